"""Stopping on request: the first signal politely, the second at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from k2cli.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator


class Stop:
    """A request to stop, made by a signal, by a limit reached, or by a failure.

    Attributes:
        requested: Set from the first request on.
        error: The failure, if that is what stopped it.
    """

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.error: Exception | None = None
        # Not whether it is to end: that may have another reason, unknown to the user.
        self._is_signalled = False
        self._at_exit: list[Callable[[], None]] = []

    def request(self) -> None:
        """Ask for the end."""
        self.requested.set()

    def fail(self, error: Exception) -> None:
        """Ask for the end because of a failure; the first one counts."""
        self.error = self.error or error
        self.requested.set()

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
                # What is left takes a moment, account included.
                signal.signal(number, lambda *_: self._signalled())

    async def unless_requested(self, work: Coroutine[Any, Any, Any]) -> bool:
        """Do some work, but drop it when the end is asked for.

        Returns:
            Whether the work was finished.
        """
        task = asyncio.ensure_future(work)
        waiting = asyncio.ensure_future(self.requested.wait())
        try:
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
                return True
            return False
        finally:
            waiting.cancel()
            task.cancel()
            await asyncio.gather(task, waiting, return_exceptions=True)

    def _signalled(self) -> None:
        if not self._is_signalled:
            self._is_signalled = True
            self.requested.set()
            return
        for restore in self._at_exit:
            restore()
        os._exit(ExitStatus.INTERRUPTED)
