"""Trade ids in sequence: what is there, what is missing, what came twice."""

from __future__ import annotations

from bisect import bisect_right
from enum import Enum


class Verdict(Enum):
    """How a trade fits the sequence of its symbol."""

    FIRST = "first"
    NEXT = "next"
    GAP = "gap"
    LATE = "late"
    DUPLICATE = "duplicate"
    RESET = "reset"


class SequenceTracker:
    """Follows the trade ids of one symbol, which the exchange counts up by one.

    Attributes:
        first_id: The first id seen.
        last_id: The highest id seen.
        trades: Trades accepted: each id once.
        gaps: Jumps seen, whether or not their trades arrived later.
        duplicates: Trades whose id had been seen before.
        resets: Times the exchange began to count anew, as test networks do monthly.
    """

    def __init__(self) -> None:
        self.first_id: int | None = None
        self.last_id: int | None = None
        self.trades = 0
        self.gaps = 0
        self.duplicates = 0
        self.resets = 0
        self._last_time_us = 0
        # Missing ids as inclusive ranges, those of each count ascending and apart from
        # each other; only those of the present count can still come.
        self._missing: list[tuple[int, int]] = []
        self._present_count_from = 0

    @property
    def missing_ranges(self) -> list[tuple[int, int]]:
        """Ids that were jumped over and have not come since, as inclusive ranges."""
        return list(self._missing)

    @property
    def missing(self) -> int:
        """How many ids are missing."""
        return sum(last - first + 1 for first, last in self._missing)

    def resume(self, last_id: int, last_time_us: int) -> None:
        """Go on from a capture that ended with this trade.

        Args:
            last_id: Its trade id.
            last_time_us: Its trade time, Unix microseconds.
        """
        self.last_id = last_id
        self._last_time_us = last_time_us

    def observe(self, trade_id: int, trade_time_us: int) -> Verdict:
        """Take note of a trade.

        Args:
            trade_id: The exchange's id of it.
            trade_time_us: When it was made, Unix microseconds; tells a duplicate from
                the first trades after a reset.

        Returns:
            How it fits. ``DUPLICATE`` means: leave it out.
        """
        last_id = self.last_id
        if self.first_id is None:
            self.first_id = trade_id
        if last_id is None:
            verdict = Verdict.FIRST
        elif trade_id == last_id + 1:
            verdict = Verdict.NEXT
        elif trade_id > last_id:
            verdict = Verdict.GAP
            self.gaps += 1
            self._missing.append((last_id + 1, trade_id - 1))
        elif self._fill(trade_id):
            self.trades += 1
            return Verdict.LATE
        elif trade_time_us > self._last_time_us:
            # A repeated trade keeps its time: a lower id made later is a new count.
            verdict = Verdict.RESET
            self.resets += 1
            self._present_count_from = len(self._missing)
        else:
            self.duplicates += 1
            return Verdict.DUPLICATE
        self.trades += 1
        self.last_id = trade_id
        self._last_time_us = max(trade_time_us, self._last_time_us)
        return verdict

    def _fill(self, trade_id: int) -> bool:
        """Take an id out of the missing ones, if it is among them."""
        start = self._present_count_from
        at = bisect_right(self._missing, trade_id, start, key=lambda ids: ids[0]) - 1
        if at < start:
            return False
        first, last = self._missing[at]
        if trade_id > last:
            return False
        left = [(first, trade_id - 1)] if first < trade_id else []
        right = [(trade_id + 1, last)] if trade_id < last else []
        self._missing[at : at + 1] = left + right
        return True
