"""How late trades arrive."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k2cli.trade import TradeV2

_SAMPLES = 8
_STALE_SECONDS = 5.0


def lag_us(trade: TradeV2) -> int | None:
    """Give the time from a trade's event time to its arrival, in microseconds.

    Negative if this computer's clock is behind the exchange's; ``None`` for a trade
    without event time, as a back-filled one.
    """
    event_time = trade.vendor_data.get("event_time")
    if event_time is None:
        return None
    # As the wire has it: thirteen digits are milliseconds.
    event_time_us = int(event_time) * (1000 if len(event_time) < 15 else 1)
    return trade.ingestion_timestamp - event_time_us


def lag_text(lag_us: int) -> str:
    """Say how late trades arrive; a negative lag is a clock that is behind."""
    milliseconds = abs(lag_us) // 1000
    text = (
        f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"
    )
    return f"lag {text}" if lag_us >= 0 else f"clock behind by {text}"


class LagMeter:
    """The lag as a figure that stands still enough to be read.

    It is the median of what was seen at the last few looks, so that one late trade
    does not make it jump.
    """

    def __init__(self) -> None:
        self._last: TradeV2 | None = None
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)

    def look(self, trade: TradeV2 | None, now_seconds: float) -> int | None:
        """Take the newest trade into account, and give the lag.

        Args:
            trade: The newest trade, a few times a second.
            now_seconds: A monotonic clock.

        Returns:
            Microseconds; ``None`` if no trade has come for some seconds.
        """
        if trade is not None and trade is not self._last:
            self._last = trade
            lag = lag_us(trade)
            if lag is not None:
                self._samples.append((now_seconds, lag))
        while self._samples and now_seconds - self._samples[0][0] > _STALE_SECONDS:
            self._samples.popleft()
        if not self._samples:
            return None
        return int(median(lag for _, lag in self._samples))
