"""Symbols that have fallen silent, and when to look into their history."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# A symbol is suspect after many times its usual pause, and after at least so long.
USUAL_PAUSES = 20
LEAST_SILENCE_SECONDS = 30.0
# It takes so many trades to know the usual pause.
LEAST_TRADES = 20
# While a symbol stays silent, the pauses between looks double, up to this.
MOST_SILENCE_SECONDS = 3600.0


class StallDetector:
    """Notices which symbols have fallen silent, from their trade counts alone.

    Most of them are only quiet; the exchange's history shows which are not.

    Args:
        started_seconds: The time now, by a monotonic clock.
    """

    def __init__(self, started_seconds: float) -> None:
        self._started_seconds = started_seconds
        # Trades, and since when there have been no more.
        self._last: dict[str, tuple[int, float]] = {}
        self._patience_seconds: dict[str, float] = {}

    def suspects(self, trades: Mapping[str, int], now_seconds: float) -> list[str]:
        """Return the symbols whose history should be looked into now.

        Args:
            trades: How many trades have come so far, by symbol.
            now_seconds: The time now; call this every second or so.
        """
        suspects = []
        for symbol, count in trades.items():
            last = self._last.get(symbol)
            if last is None or last[0] != count:
                self._last[symbol] = (count, now_seconds)
                self._patience_seconds.pop(symbol, None)
                continue
            if count < LEAST_TRADES:
                continue
            since = last[1]
            pause = (since - self._started_seconds) / count
            patience = self._patience_seconds.get(
                symbol, max(LEAST_SILENCE_SECONDS, USUAL_PAUSES * pause)
            )
            if now_seconds - since >= patience:
                suspects.append(symbol)
                silent = now_seconds - since
                self._patience_seconds[symbol] = min(
                    2 * silent, silent + MOST_SILENCE_SECONDS
                )
        return suspects
