"""What is drawn, or rings, a few times a second."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

from k2cli.errors import SettingsError

if TYPE_CHECKING:
    from k2cli.cli.run import RunView

REDRAWS_PER_SECOND = 4
MOST_REDRAWS_PER_SECOND = 10
_BELL = b"\a"
_STDOUT, _STDERR = 1, 2
SILENT_SECONDS = 2.0
"""How long the bell is silent after a ring, however many trades come."""


class Redrawn(ABC):
    """Something that is drawn a few times a second, whatever the rate of trades."""

    _drawing: asyncio.Task[None] | None = None
    _asked: asyncio.Event | None = None

    @abstractmethod
    def draw(self) -> None:
        """Draw once."""

    def start_drawing(self, view: RunView, every_seconds: float) -> None:
        """Draw now, and again and again until ``stop_drawing``."""
        asked = self._asked = asyncio.Event()

        async def redraw() -> None:
            try:
                while True:
                    asked.clear()
                    self.draw()
                    # However fast keys are pressed: not more often than that.
                    await asyncio.sleep(1 / MOST_REDRAWS_PER_SECOND)
                    with suppress(TimeoutError):
                        rest = every_seconds - 1 / MOST_REDRAWS_PER_SECOND
                        await asyncio.wait_for(asked.wait(), rest)
            except OSError:
                view.stop()  # the terminal is gone
            except Exception as exc:
                view.fail(exc)

        self._drawing = asyncio.create_task(redraw())

    def draw_soon(self) -> None:
        """Draw earlier than it would be time for it."""
        if self._asked is not None:
            self._asked.set()

    def stop_drawing(self) -> None:
        """Draw no more."""
        if self._drawing is not None:
            self._drawing.cancel()
            self._drawing = None


def ringing_fd() -> int | None:
    """Return the terminal that can ring, if there is one."""
    return next((fd for fd in (_STDERR, _STDOUT) if os.isatty(fd)), None)


def ring(fd: int) -> bool:
    """Ring a terminal's bell; return whether it could be."""
    # A terminal that is held with Ctrl-S takes nothing: skip, do not wait.
    if sys.platform != "win32" and not select.select((), (fd,), (), 0)[1]:
        return False
    os.write(fd, _BELL)
    return True


class Bell(Redrawn):
    """Rings the terminal's bell when trades come out.

    Raises:
        SettingsError: If there is no terminal that could ring.
    """

    def __init__(self) -> None:
        fd = ringing_fd()
        if fd is None:
            raise SettingsError(
                "--bell needs a terminal to ring", "Leave it out, or run k2 in one"
            )
        self._fd = fd
        self._view: RunView | None = None
        self._heard = 0
        self._next_seconds = 0.0

    def start(self, view: RunView) -> None:
        """Listen."""
        self._view = view
        self.start_drawing(view, 1 / REDRAWS_PER_SECOND)

    def stop(self) -> None:
        """Listen no more."""
        self.stop_drawing()

    def draw(self) -> None:
        """Ring, if trades came out since the last ring and that is long enough ago."""
        now_seconds = time.monotonic()
        if self._view is None or now_seconds < self._next_seconds:
            return
        trades = self._view.snapshot().trades
        if trades == self._heard or not ring(self._fd):
            return
        self._heard = trades
        self._next_seconds = now_seconds + SILENT_SECONDS
