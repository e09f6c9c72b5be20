"""What happened lately, in buckets: memory and work do not grow with the trades."""

from __future__ import annotations

from array import array
from copy import copy
from typing import Self

PRICE_BUCKETS = 60
"""Closing prices that a ``PriceWindow`` keeps."""

TICKS_PER_SECOND = 2
"""Ticks of the clock that pace is counted in."""

_RATE_TICKS = 10


class RateWindow:
    """Events per second over the last five seconds.

    Counts stand in half-second buckets, so that memory and work do not depend on the
    number of events.

    Args:
        started_seconds: When counting began, on the clock of ``now_seconds``.
    """

    __slots__ = ("_counts", "_head", "_started_seconds", "_total")

    def __init__(self, started_seconds: float) -> None:
        self._started_seconds = started_seconds
        self._counts = [0] * _RATE_TICKS
        self._head = int(started_seconds * TICKS_PER_SECOND)
        self._total = 0

    def add(self, now_seconds: float, count: int = 1) -> None:
        """Count events.

        Args:
            now_seconds: A clock that does not go back; if it does, the events count
                into the newest bucket.
            count: How many.
        """
        bucket = int(now_seconds * TICKS_PER_SECOND)
        if bucket > self._head:
            self._advance(bucket)
        self._counts[self._head % _RATE_TICKS] += count
        self._total += count

    def per_second(self, now_seconds: float) -> float:
        """Give the mean rate over the window, or since the start if that is shorter.

        Args:
            now_seconds: The same clock as for ``add``.
        """
        bucket = int(now_seconds * TICKS_PER_SECOND)
        if bucket > self._head:
            self._advance(bucket)
        oldest_seconds = (self._head - _RATE_TICKS + 1) / TICKS_PER_SECOND
        # The floor keeps a first trade from reading as thousands a second.
        span_seconds = now_seconds - max(oldest_seconds, self._started_seconds)
        return self._total / max(1.0, span_seconds)

    def copied(self) -> Self:
        """Give a copy that stays as it is."""
        other = copy(self)
        other._counts = self._counts[:]  # noqa: SLF001 - of its own class
        return other

    def _advance(self, bucket: int) -> None:
        if bucket - self._head >= _RATE_TICKS:
            self._counts = [0] * _RATE_TICKS
            self._total = 0
        else:
            for passed in range(self._head + 1, bucket + 1):
                index = passed % _RATE_TICKS
                self._total -= self._counts[index]
                self._counts[index] = 0
        self._head = bucket


class PriceWindow:
    """A price over a stretch of time: its closing values, one per bucket.

    Args:
        seconds: Length of the window; a bucket is a sixtieth of it.
        now_seconds: When the price is first known, on the clock of ``advance``.
    """

    __slots__ = ("_bucket_seconds", "_closes", "_first", "_head", "seconds")

    def __init__(self, seconds: float, now_seconds: float) -> None:
        self.seconds = seconds
        self._bucket_seconds = seconds / PRICE_BUCKETS
        self._first = self._head = int(now_seconds / self._bucket_seconds)
        self._closes = array("d", bytes(8 * PRICE_BUCKETS))

    @property
    def is_full(self) -> bool:
        """Whether the price is known since the window's beginning."""
        return self._head - self._first >= PRICE_BUCKETS

    def advance(self, price: float, now_seconds: float) -> bool:
        """Close the buckets that have gone by.

        Args:
            price: What it has been until now.
            now_seconds: A clock that does not go back.

        Returns:
            Whether a bucket was closed.
        """
        bucket = int(now_seconds / self._bucket_seconds)
        passed = bucket - self._head
        if passed <= 0:
            return False
        for index in range(max(self._head, bucket - PRICE_BUCKETS), bucket):
            self._closes[index % PRICE_BUCKETS] = price
        self._head = bucket
        return True

    def closes(self) -> array[float]:
        """Give the closing prices known, oldest first; at most ``PRICE_BUCKETS``."""
        oldest = self._head % PRICE_BUCKETS
        closes = self._closes[oldest:] + self._closes[:oldest]
        known = min(self._head - self._first, PRICE_BUCKETS)
        return closes[PRICE_BUCKETS - known :]

    def copied(self) -> Self:
        """Give a copy that stays as it is."""
        other = copy(self)
        other._closes = self._closes[:]  # noqa: SLF001 - of its own class
        return other
