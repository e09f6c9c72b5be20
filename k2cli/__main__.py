"""``python -m k2cli``, the same as ``k2``."""

from __future__ import annotations

import os
import signal
import sys

# What runs until it is stopped has done what it should when it is stopped; anything
# else has not: an interrupted ``verify`` has proved nothing.
_RUN_UNTIL_STOPPED = ("stream", "record", "simulate")
_DONE, _USAGE, _INTERRUPTED = 0, 2, 130  # as in ExitStatus, which is not imported yet


def _occupy_closed_streams() -> None:
    """Put something in the place of standard streams that are closed.

    Otherwise a capture or a connection would get their numbers, and talk or records
    with it. What is written to a stdout put there fails, as it should.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR if fd == 2 else os.O_RDONLY)


def main() -> None:
    """Run ``k2``; a signal before it has begun anything ends it as asked."""
    _occupy_closed_streams()
    endless = sys.argv[1:2] and sys.argv[1] in _RUN_UNTIL_STOPPED
    status = _DONE if endless else _INTERRUPTED
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(status))
    if not os.environ.get("TERMINAL_WIDTH", "0").strip().isdecimal():
        # Typer reads it while it is imported.
        print("k2: error: TERMINAL_WIDTH is no number. Unset it", file=sys.stderr)  # noqa: T201
        sys.exit(_USAGE)
    # Imported only now: it takes a tenth of a second, in which signals may come.
    from k2cli.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
