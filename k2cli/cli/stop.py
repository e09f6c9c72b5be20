"""Stopping on request: the first signal politely, the second at once.

Signals are taken between two instructions of Python, not by the event loop: one that is
stuck would never see them. If it does not take the request in time, the process ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from k2cli.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# How long the event loop may take to see a request. Its turns are short: one that takes
# this long hangs, in a system call perhaps.
_DEAF_SECONDS = 0.9


def has_terminal() -> bool:
    """Return whether the process has a terminal that could hang up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True


class Stop:
    """Turns signals into a request to stop, and a second one into an end at once.

    Args:
        on_request: Called at the first signal.
        on_hangup: Called at SIGHUP instead, where no terminal can hang up; ``None`` to
            stop there, too.
    """

    def __init__(
        self,
        on_request: Callable[[], None],
        on_hangup: Callable[[], None] | None = None,
    ) -> None:
        self._on_request = on_request
        self._on_hangup = None if has_terminal() else on_hangup
        # Not whether it is to end: that may have another reason, unknown to the user.
        self._is_signalled = False
        self._at_exit: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_heard = threading.Event()

    @property
    def is_signalled(self) -> bool:
        """Whether a signal has asked for the end."""
        return self._is_signalled

    def before_exit(self, restore: Callable[[], None]) -> None:
        """Have something done even if a second signal ends the process at once."""
        self._at_exit.append(restore)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take signals as requests while the context lasts."""
        loop = asyncio.get_running_loop()
        names = ["SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"]
        taken = [getattr(signal, name) for name in names if hasattr(signal, name)]
        # Under nohup a lost terminal is no reason to stop.
        taken = [
            number
            for number in taken
            if number.name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN
        ]
        self._loop = loop
        for number in taken:
            if number.name == "SIGHUP" and (on_hangup := self._on_hangup) is not None:
                loop.add_signal_handler(number, on_hangup)
            else:
                signal.signal(number, lambda *_: self._signalled())
        try:
            yield
        finally:
            # What is left, the ledger included, takes a moment: no more is granted.
            self._loop = None

    def _signalled(self) -> None:
        if self._is_signalled:
            self._end()
        self._is_signalled = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._request)
        threading.Thread(target=self._watch, daemon=True, name="k2-stop").start()

    def _request(self) -> None:
        self._is_heard.set()
        self._on_request()

    def _watch(self) -> None:
        """End the process unless the event loop sees the request soon."""
        if not self._is_heard.wait(_DEAF_SECONDS):
            self._end()

    def _end(self) -> None:
        for restore in self._at_exit:
            with suppress(Exception):
                restore()
        os._exit(ExitStatus.INTERRUPTED)
