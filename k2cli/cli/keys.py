"""Keys, while the screen is drawn; and what Ctrl-Z and ``fg`` do to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

if sys.platform != "win32":
    import termios
    import tty

if TYPE_CHECKING:
    from collections.abc import Callable

    from prompt_toolkit.input import Input
    from prompt_toolkit.key_binding import KeyPress

# An escape sequence follows its first byte at once; alone, that is the key Esc.
_ESCAPE_SECONDS = 0.05

# What a terminal tells of the mouse: button, column, line, and whether it is pressed.
_is_mouse = re.compile(r"\x1b\[<(\d{1,3});(\d{1,5});(\d{1,5})M").fullmatch
_MOUSE_KEY = "<vt100-mouse-event>"
_BUTTONS = {"0": "click", "2": "right-click", "64": "wheel-up", "65": "wheel-down"}

_NAMES = {
    "c-m": "enter",
    "c-j": "enter",
    "c-h": "backspace",
    "c-?": "backspace",
    "<sigint>": "q",
    "c-c": "q",  # only where Ctrl-C makes no signal, as on Windows
}


class Keyboard:
    """Hands over the keys that are pressed, without waiting for the end of a line.

    Ctrl-C, Ctrl-Z and Ctrl-S mean what they always mean.

    Args:
        on_key: Called with a character, or with a key's name: ``"enter"``,
            ``"escape"``, ``"backspace"``, ``"up"``, ``"pagedown"`` …; for the mouse
            with ``"click"``, ``"right-click"``, ``"wheel-up"`` or ``"wheel-down"``, and
            the line of the screen, from 0 on.
    """

    def __init__(self, on_key: Callable[[str, int], None]) -> None:
        self._on_key = on_key
        self._active = ExitStack()
        self._opening: asyncio.Task[None] | None = None
        self._flush: asyncio.TimerHandle | None = None

    @staticmethod
    def usable() -> bool:
        """Say whether there is a keyboard: a terminal on stdin."""
        return sys.stdin is not None and sys.stdin.isatty()

    @property
    def is_listening(self) -> bool:
        """Whether keys are handed over."""
        return self._opening is not None

    def start(self) -> None:
        """Begin to listen, in the foreground; harmless twice, or without a keyboard."""
        if self._opening is not None or not self.usable():
            return
        self._active.callback(_single_keys())
        self._opening = asyncio.create_task(self._open())

    def stop(self) -> None:
        """Give the terminal its settings back; harmless twice."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._flush is not None:
            self._flush.cancel()
        self._active.close()

    async def _open(self) -> None:
        # It takes a tenth of a second to import: the screen is not to wait for it.
        create_input = await asyncio.to_thread(_create_input)
        keyboard = create_input()
        # EOFError: the terminal is gone already.
        with contextlib.suppress(EOFError):
            self._active.enter_context(keyboard.attach(lambda: self._read(keyboard)))

    def _read(self, keyboard: Input) -> None:
        self._press(keyboard.read_keys())
        if self._flush is not None:
            self._flush.cancel()
        loop = asyncio.get_running_loop()
        self._flush = loop.call_later(
            _ESCAPE_SECONDS, lambda: self._press(keyboard.flush_keys())
        )

    def _press(self, keys: list[KeyPress]) -> None:
        for press in keys:
            key = str(getattr(press.key, "value", press.key))
            if key != _MOUSE_KEY:
                self._on_key(_NAMES.get(key, key), 0)
            elif (told := _is_mouse(press.data)) and told[1] in _BUTTONS:
                self._on_key(_BUTTONS[told[1]], int(told[3]) - 1)


class Suspension:
    """Leaves the screen at Ctrl-Z, and comes back with ``fg``.

    Args:
        leave: Gives the terminal back.
        resume: Called when the process goes on, be it in the background.
    """

    def __init__(self, leave: Callable[[], None], resume: Callable[[], None]) -> None:
        self._leave = leave
        self._resume = resume

    def start(self) -> None:
        """Take care of the signals from now on."""
        if sys.platform == "win32":
            return
        loop = asyncio.get_running_loop()
        if signal.getsignal(signal.SIGTSTP) != signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        loop.add_signal_handler(signal.SIGCONT, self._resume)

    def stop(self) -> None:
        """Leave the signals alone again."""
        if sys.platform == "win32":
            return
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGTSTP)
        loop.remove_signal_handler(signal.SIGCONT)

    def _suspend(self) -> None:
        self._leave()
        os.kill(os.getpid(), signal.SIGSTOP)


def in_foreground() -> bool:
    """Say whether the terminal on stdin, if there is one, is ours to use."""
    if sys.platform == "win32":
        return True
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return True


def _single_keys() -> Callable[[], None]:
    """Have every key handed over at once, unseen; give what undoes that."""
    if sys.platform == "win32":
        return lambda: None
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    # Not the raw mode of prompt_toolkit, which takes Ctrl-C and Ctrl-Z away.
    tty.setcbreak(terminal, termios.TCSANOW)

    def undo() -> None:
        # From the background this would stop us; the shell has seen to it there.
        if in_foreground():
            with contextlib.suppress(termios.error):
                termios.tcsetattr(terminal, termios.TCSANOW, before)

    return undo


def _create_input() -> Callable[[], Input]:
    from prompt_toolkit.input import create_input

    return create_input
