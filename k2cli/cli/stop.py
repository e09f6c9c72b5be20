"""Stopping on request: the first signal politely, the second at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from k2cli.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Stop:
    """Turns signals into a request to stop, and a second one into an end at once.

    Args:
        on_request: Called at the first signal.
    """

    def __init__(self, on_request: Callable[[], None]) -> None:
        self._on_request = on_request
        # Not whether it is to end: that may have another reason, unknown to the user.
        self._is_signalled = False
        self._at_exit: list[Callable[[], None]] = []

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
        for number in taken:
            if sys.platform == "win32":
                signal.signal(
                    number,
                    lambda *_: loop.call_soon_threadsafe(self._signalled),
                )
            else:
                loop.add_signal_handler(number, self._signalled)
        try:
            yield
        finally:
            for number in taken:
                if sys.platform != "win32":
                    loop.remove_signal_handler(number)
                # What is left takes a moment, the ledger included.
                signal.signal(number, lambda *_: self._signalled())

    def _signalled(self) -> None:
        if not self._is_signalled:
            self._is_signalled = True
            self._on_request()
            return
        for restore in self._at_exit:
            restore()
        os._exit(ExitStatus.INTERRUPTED)
