"""``python -m k2cli``, the same as ``k2``."""

from k2cli.cli.app import main

if __name__ == "__main__":
    main()
