"""``python -m k2cli``, the same as ``k2``."""

from __future__ import annotations

import os
import signal
import sys

# What runs until it is stopped has done what it should when it is stopped; anything
# else has not: an interrupted ``verify`` has proved nothing.
_RUN_UNTIL_STOPPED = ("stream", "record", "simulate")
_DONE, _INTERRUPTED = 0, 130  # as in ExitStatus, which is not imported yet


def main() -> None:
    """Run ``k2``; a signal before it has begun anything ends it as asked."""
    endless = sys.argv[1:2] and sys.argv[1] in _RUN_UNTIL_STOPPED
    status = _DONE if endless else _INTERRUPTED
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(status))
    # Imported only now: it takes a tenth of a second, in which signals may come.
    from k2cli.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
