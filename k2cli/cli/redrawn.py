"""What is drawn a few times a second."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k2cli.cli.tail import Tail

REDRAWS_PER_SECOND = 4
MOST_REDRAWS_PER_SECOND = 10


class Redrawn(ABC):
    """Something that is drawn a few times a second, whatever the rate of trades."""

    _drawing: asyncio.Task[None] | None = None
    _asked: asyncio.Event | None = None

    @abstractmethod
    def draw(self) -> None:
        """Draw once."""

    def start_drawing(self, tail: Tail, every_seconds: float) -> None:
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
                tail.stop.request()  # the terminal is gone
            except Exception as exc:
                tail.stop.fail(exc)

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
