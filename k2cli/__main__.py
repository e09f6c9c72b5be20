"""``python -m k2cli``, the same as ``k2``."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Run ``k2``; a signal before it has begun anything ends it as asked."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(0))
    # Imported only now: it takes a tenth of a second, in which signals may come.
    from k2cli.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
