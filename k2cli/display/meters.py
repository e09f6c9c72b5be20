"""Rates, prices and lag over recent time: memory does not grow with the trades."""

from __future__ import annotations

from array import array
from collections import deque
from copy import copy
from statistics import median
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from k2cli.trade import TradeV2

PRICE_BUCKETS = 60
"""Closing prices that a ``PriceWindow`` keeps."""

TICKS_PER_SECOND = 2
"""Ticks of the clock in which ``RateWindow`` counts."""

_RATE_TICKS = 10
_RATE_SECONDS = _RATE_TICKS / TICKS_PER_SECOND
_LAG_SAMPLES = 8
_LAG_STALE_SECONDS = 5.0


class RateWindow:
    """Events per second over the last five seconds, counted in half-second buckets."""

    __slots__ = ("_counts", "_head", "_started_seconds", "_total")

    def __init__(self, started_seconds: float) -> None:
        self._started_seconds = started_seconds
        self._counts = [0] * _RATE_TICKS
        self._head = int(started_seconds * TICKS_PER_SECOND)
        self._total = 0

    def add(self, now_seconds: float, count: int = 1) -> None:
        """Count events; those before the newest bucket count into it."""
        self._advance(int(now_seconds * TICKS_PER_SECOND))
        self._counts[self._head % _RATE_TICKS] += count
        self._total += count

    def per_second(self, now_seconds: float) -> float:
        """Return the mean over the window, or since the start if that is shorter."""
        self._advance(int(now_seconds * TICKS_PER_SECOND))
        oldest_seconds = (self._head - _RATE_TICKS + 1) / TICKS_PER_SECOND
        # The floor keeps a first trade from reading as thousands a second.
        span_seconds = now_seconds - max(oldest_seconds, self._started_seconds)
        return self._total / max(1.0, span_seconds)

    def copied(self) -> Self:
        """Return a copy that stays as it is."""
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
        self._head = max(self._head, bucket)


class CountRate:
    """Events, or an amount, per second from a total that is read now and then."""

    def __init__(self, started_seconds: float) -> None:
        self._readings = deque[tuple[float, float]]([(started_seconds, 0)])

    def per_second(self, count: float, now_seconds: float) -> float:
        """Return the mean over five seconds, or since the last reading before them."""
        readings = self._readings
        readings.append((now_seconds, count))
        while len(readings) > 2 and readings[1][0] <= now_seconds - _RATE_SECONDS:
            readings.popleft()
        then_seconds, then_count = readings[0]
        # The floor keeps a first trade from reading as thousands a second.
        return (count - then_count) / max(1.0, now_seconds - then_seconds)


class PriceWindow:
    """A price over a window of time: its closing values in sixtieths of it."""

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

    @property
    def seen_seconds(self) -> float:
        """How long the price has been known, at most the window."""
        return min(self._head - self._first, PRICE_BUCKETS) * self._bucket_seconds

    @property
    def oldest(self) -> float:
        """The first price of a window that is full."""
        return self._closes[self._head % PRICE_BUCKETS]

    def advance(self, price: float, now_seconds: float) -> bool:
        """Close the buckets that have passed with the price until now.

        Returns:
            Whether a bucket was closed.
        """
        bucket = int(now_seconds / self._bucket_seconds)
        if bucket <= self._head:
            return False
        for index in range(max(self._head, bucket - PRICE_BUCKETS), bucket):
            self._closes[index % PRICE_BUCKETS] = price
        self._head = bucket
        return True

    def closes(self) -> array[float]:
        """Return the closing prices known, oldest first; at most ``PRICE_BUCKETS``."""
        oldest = self._head % PRICE_BUCKETS
        closes = self._closes[oldest:] + self._closes[:oldest]
        known = min(self._head - self._first, PRICE_BUCKETS)
        return closes[PRICE_BUCKETS - known :]

    def copied(self) -> Self:
        """Return a copy that stays as it is."""
        other = copy(self)
        other._closes = self._closes[:]  # noqa: SLF001 - of its own class
        return other


def lag_us(trade: TradeV2) -> int | None:
    """Return the time from a trade's event time to its arrival, in microseconds.

    Negative if this computer's clock is behind the exchange's; ``None`` for a trade
    without event time, as a back-filled one.
    """
    event_time = trade.vendor_data.get("event_time")
    if event_time is None:
        return None
    # As the wire has it: thirteen digits are milliseconds.
    event_time_us = int(event_time) * (1000 if len(event_time) < 15 else 1)
    return trade.ingestion_timestamp - event_time_us


class LagMeter:
    """The lag as a figure that is steady enough to be read.

    It is the median of the last few samples, so that one late trade does not make it
    jump.
    """

    def __init__(self) -> None:
        self._last: TradeV2 | None = None
        self._samples: deque[tuple[float, int]] = deque(maxlen=_LAG_SAMPLES)

    def sample(self, trade: TradeV2 | None, now_seconds: float) -> int | None:
        """Return the lag, with the newest trade taken into account.

        ``None`` if no trade has come for some seconds.
        """
        if trade is not None and trade is not self._last:
            self._last = trade
            lag = lag_us(trade)
            if lag is not None:
                self._samples.append((now_seconds, lag))
        while self._samples and now_seconds - self._samples[0][0] > _LAG_STALE_SECONDS:
            self._samples.popleft()
        if not self._samples:
            return None
        return int(median(lag for _, lag in self._samples))
