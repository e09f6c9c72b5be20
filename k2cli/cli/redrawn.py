"""What is drawn a few times a second."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k2cli.cli.tail import Tail

REDRAWS_PER_SECOND = 4


class Redrawn(ABC):
    """Something that is drawn a few times a second, whatever the rate of trades."""

    _drawing: asyncio.Task[None] | None = None

    @abstractmethod
    def draw(self) -> None:
        """Draw once."""

    def start_drawing(self, tail: Tail, every_seconds: float) -> None:
        """Draw now, and again and again until ``stop_drawing``."""

        async def redraw() -> None:
            try:
                while True:
                    self.draw()
                    await asyncio.sleep(every_seconds)
            except OSError:
                tail.stop.request()  # the terminal is gone
            except Exception as exc:
                tail.stop.fail(exc)

        self._drawing = asyncio.create_task(redraw())

    def stop_drawing(self) -> None:
        """Draw no more."""
        if self._drawing is not None:
            self._drawing.cancel()
            self._drawing = None
