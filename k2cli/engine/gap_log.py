"""What the log says of gaps: a few lines, and a sum of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from k2cli.completeness.id_ranges import IdRange

log: FilteringBoundLogger = structlog.get_logger()


class LogThrottle:
    """Says whether one more log line of a kind is worth a person's time.

    After an outage of thousands of symbols, thousands of lines say the same.

    Args:
        most: Lines in one period.
        seconds: Its length, from its first line on.
    """

    def __init__(self, most: int = 20, seconds: float = 60.0) -> None:
        self._most = most
        self._seconds = seconds
        self._since_seconds = 0.0
        self._lines = 0

    def allows(self, now_seconds: float) -> bool:
        """Count a line; return whether it is one of the first of its period.

        Args:
            now_seconds: A monotonic clock.
        """
        if not self._lines or now_seconds - self._since_seconds >= self._seconds:
            self._since_seconds, self._lines = now_seconds, 0
        self._lines += 1
        return self._lines <= self._most


class RangeLog:
    """Logs ranges of ids: the first ones of a minute, and then sums of the others.

    Args:
        event: What has happened to them.
        level: Of the lines: ``"info"`` or ``"warning"``.
        most: Lines of single ranges in a minute.
        pause_seconds: Between two sums.
    """

    def __init__(
        self, event: str, level: str, *, most: int = 10, pause_seconds: float = 10.0
    ) -> None:
        self._event = event
        self._say = log.warning if level == "warning" else log.info
        self._throttle = LogThrottle(most)
        self._pause_seconds = pause_seconds
        self._summed_seconds = float("-inf")
        self._ranges = self._trades = 0
        self._symbols: set[str] = set()

    def note(self, symbol: str, ids: IdRange, now_seconds: float, **more: Any) -> None:
        """Log a range, or count it.

        Args:
            symbol: Whose.
            ids: The range.
            now_seconds: A monotonic clock.
            more: What else the line says.
        """
        allowed = self._throttle.allows(now_seconds)
        (self._say if allowed else log.debug)(
            self._event,
            symbol=symbol,
            first_id=ids.first_id,
            last_id=ids.last_id,
            trades=ids.ids,
            **more,
        )
        if not allowed:
            self._ranges += 1
            self._trades += ids.ids
            self._symbols.add(symbol)

    def sum_up(self, now_seconds: float, *, at_once: bool = False) -> None:
        """Log what was counted, if there is any and it is time for it."""
        if not self._ranges:
            return
        if now_seconds - self._summed_seconds < self._pause_seconds and not at_once:
            return
        self._say(
            f"{self._event}: more of them",
            ranges=self._ranges,
            symbols=len(self._symbols),
            trades=self._trades,
        )
        self._summed_seconds = now_seconds
        self._ranges = self._trades = 0
        self._symbols.clear()
