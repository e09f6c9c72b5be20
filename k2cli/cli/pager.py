"""A pager for what is longer than the screen, as git has it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

# What a shell says of a command that it cannot run.
_NOT_RUN = (126, 127)
# less: quit if it fits, show colours, leave the text on the screen.
_LESS = "FRX"


def pager_command(*, lines: int, screen_lines: int) -> str | None:
    """Give the user's pager, if there is a use for one.

    That is ``$PAGER``, or ``less`` where there is that. There is none without a
    terminal to read keys from, nor if ``$PAGER`` is empty or ``cat``.

    Args:
        lines: Of the text.
        screen_lines: Of the terminal.
    """
    if lines < screen_lines or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    if os.environ.get("TERM") == "dumb":
        return None
    command = os.environ.get("PAGER", "less" if shutil.which("less") else "")
    return None if command.strip() in ("", "cat") else command


def shows_colours() -> bool:
    """Whether the user's ``$LESS`` lets colours through; other pagers do."""
    return "r" in os.environ.get("LESS", _LESS).lower()


def page(text: str, command: str) -> bool:
    """Let the user read a text with a pager, until they quit.

    Args:
        text: The text.
        command: The pager, as a shell reads it.

    Returns:
        Whether there was such a pager.
    """
    # A shell, as PAGER may hold options; it is the user's own.
    pager = subprocess.Popen(  # noqa: S602
        command,
        shell=True,
        stdin=subprocess.PIPE,
        env={"LESS": _LESS, **os.environ},
    )
    # Ctrl-C is the pager's business: less goes on, more ends.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with suppress(BrokenPipeError):
            pager.communicate(text.encode(errors="backslashreplace"))
        return pager.wait() not in _NOT_RUN
    finally:
        signal.signal(signal.SIGINT, before)
