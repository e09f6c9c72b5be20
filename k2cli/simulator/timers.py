"""Named timers of one owner, which end with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Timers:
    """Timers on the running event loop, one per name."""

    def __init__(self) -> None:
        self._handles: dict[str, asyncio.TimerHandle] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._handles

    def start(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        """Call something later; a timer of the same name is replaced."""
        self.cancel(name)

        def ring() -> None:
            del self._handles[name]
            call()

        loop = asyncio.get_running_loop()
        self._handles[name] = loop.call_later(max(0.0, seconds), ring)

    def cancel(self, name: str) -> None:
        """Forget a timer, if there is one."""
        handle = self._handles.pop(name, None)
        if handle is not None:
            handle.cancel()

    def cancel_all(self) -> None:
        """Forget all timers."""
        for name in list(self._handles):
            self.cancel(name)
