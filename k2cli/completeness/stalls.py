"""Symbols that have fallen silent, and what the exchange's newest ids say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k2cli.completeness.sequence import SequenceTracker

# A symbol is suspect after many times its usual pause, and after at least so long.
USUAL_PAUSES = 20
LEAST_SILENCE_SECONDS = 30.0
# While a symbol stays silent, the pauses between looks double, up to this.
MOST_SILENCE_SECONDS = 3600.0
# A few symbols are looked up at next to no cost. The cost of more is that of all: they
# are looked up together, and not so often.
FEW_SYMBOLS = 20
PAUSE_SECONDS = 20.0
FEW_PAUSE_SECONDS = 5.0


class StallDetector:
    """Notices which symbols have fallen silent, from their trade counts alone.

    Most of them are only quiet; the exchange's newest ids show which are not.

    Args:
        started_seconds: The time now, by a monotonic clock.
    """

    def __init__(self, started_seconds: float) -> None:
        self._started_seconds = started_seconds
        self._looked_seconds = float("-inf")
        # Trades, and since when there have been no more.
        self._last: dict[str, tuple[int, float]] = {}
        self._patience_seconds: dict[str, float] = {}
        # The exchange's newest id when a symbol without trades was looked up first.
        self._seen: dict[str, int | None] = {}

    def suspects(self, trades: Mapping[str, int], now_seconds: float) -> list[str]:
        """Return the symbols that should be looked up now.

        A symbol that has not traded is looked up at once, to know its newest id, and
        then like the others.

        Args:
            trades: How many trades have come so far, by symbol.
            now_seconds: The time now; call this every second or so.
        """
        suspects, silent = [], []
        for symbol, count in trades.items():
            last = self._last.get(symbol)
            if last is None or last[0] != count:
                since = now_seconds if count else self._started_seconds
                self._last[symbol] = (count, since)
                self._patience_seconds.pop(symbol, None)
            silence_seconds = now_seconds - self._last[symbol][1]
            if count and silence_seconds < LEAST_SILENCE_SECONDS:
                continue
            silent.append(symbol)
            if silence_seconds >= self._patience(symbol):
                suspects.append(symbol)
        are_few = len(suspects) <= FEW_SYMBOLS
        pause_seconds = FEW_PAUSE_SECONDS if are_few else PAUSE_SECONDS
        if not suspects or now_seconds - self._looked_seconds < pause_seconds:
            return []
        self._looked_seconds = now_seconds
        if not are_few:
            suspects = silent
        for symbol in suspects:
            silence_seconds = now_seconds - self._last[symbol][1]
            patience = min(2 * silence_seconds, silence_seconds + MOST_SILENCE_SECONDS)
            self._patience_seconds[symbol] = max(patience, LEAST_SILENCE_SECONDS)
        return suspects

    def has_stalled(
        self, symbol: str, tracker: SequenceTracker, newest_id: int | None
    ) -> bool:
        """Say whether a suspect has traded, and nothing of it has come.

        Args:
            symbol: A suspect.
            tracker: Its tracker.
            newest_id: As the exchange says; ``None`` if it has none.
        """
        if not tracker.trades and symbol not in self._seen:
            # What it has traded before is no stall.
            self._seen[symbol] = newest_id
        return newest_id is not None and newest_id > self.known_id(
            symbol, tracker, newest_id
        )

    def known_id(self, symbol: str, tracker: SequenceTracker, newest_id: int) -> int:
        """Return the id up to which there was nothing to come from the stream."""
        if tracker.trades:
            return tracker.last_id or 0
        seen = self._seen.get(symbol)
        # What had no trades in a day has one at least.
        return newest_id - 1 if seen is None else max(seen, tracker.last_id or 0)

    def _patience(self, symbol: str) -> float:
        patience = self._patience_seconds.get(symbol)
        if patience is not None:
            return patience
        count, since_seconds = self._last[symbol]
        if not count:
            return 0.0
        pause = (since_seconds - self._started_seconds) / count
        return max(LEAST_SILENCE_SECONDS, USUAL_PAUSES * pause)
