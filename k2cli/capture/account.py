"""One symbol's ids in a capture: which are there, and which are not."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from k2cli.capture.sequence import Verdict

MOST_RANGES = 100_000
"""Missing ranges that are kept for one symbol; further ones are only counted."""


class Place(NamedTuple):
    """Where in a capture something is.

    Attributes:
        file: The file's position in the capture, from 0 on.
        line: Its line, from 1 on.
    """

    file: int
    line: int


class MissingRange(NamedTuple):
    """Ids that a capture lacks.

    Attributes:
        first_id: The first one.
        last_id: The last one, included.
        place: The trade that jumped over them.
    """

    first_id: int
    last_id: int
    place: Place


class SymbolAccount:
    """Follows the ids of one symbol through a capture that is written already.

    Unlike ``SequenceTracker``, which decides what to write, it tells a trade in the
    wrong place from one that is there twice, wherever both are: what is there is always
    from the lowest id to the highest, without the missing ranges.

    Args:
        trade_id: Of the first trade.
        time_us: When that was made, Unix microseconds.

    Attributes:
        first_id: The first trade's id; a lower one if it comes later.
        next_id: One more than the highest id.
        last_time_us: When the trade with the highest id was made, Unix microseconds;
            digits do as well as a number.
        repaired: Trades that came from the history.
        gaps: Jumps in the ids, whether or not their trades come later.
        duplicates: Trades that are there once more.
        disorders: Trades behind one with a higher id.
        resets: Times the exchange began to count anew, as test networks do monthly.
        unnamed_ranges: Missing ranges that are not kept.
        missing: Ids that are missing.
    """

    __slots__ = (
        "_former_ranges",
        "_former_trades",
        "_low_id",
        "_missing_now",
        "_ranges",
        "_unnamed_from",
        "disorders",
        "duplicates",
        "first_id",
        "gaps",
        "last_time_us",
        "missing",
        "next_id",
        "repaired",
        "resets",
        "unnamed_ranges",
    )

    def __init__(self, trade_id: int, time_us: int) -> None:
        self.first_id = self._low_id = trade_id
        self.next_id = trade_id + 1
        self.last_time_us: int | str = time_us
        self.repaired = 0
        self.gaps = 0
        self.duplicates = 0
        self.disorders = 0
        self.resets = 0
        self.missing = 0
        self.unnamed_ranges = 0
        # Of the present count; ascending and apart from each other.
        self._ranges: list[MissingRange] = []
        self._missing_now = 0
        self._unnamed_from: int | None = None
        self._former_ranges: list[MissingRange] = []
        self._former_trades = 0

    @property
    def last_id(self) -> int:
        """The highest id, of the last count if there are several."""
        return self.next_id - 1

    @property
    def trades(self) -> int:
        """Trades that are there, each counted once."""
        return self._former_trades + self._present

    @property
    def missing_ranges(self) -> list[MissingRange]:
        """What is missing, as far as it is kept, ascending by id within a count."""
        return self._former_ranges + self._ranges

    @property
    def _present(self) -> int:
        return self.next_id - self._low_id - self._missing_now

    def observe(self, trade_id: int, time_us: int, place: Place) -> Verdict:
        """Take note of a trade other than the first.

        Where so many ranges are missing that not all are kept, a trade that may be out
        of order or there twice counts as out of order.

        Args:
            trade_id: Its id.
            time_us: When it was made, Unix microseconds; tells a duplicate from the
                first trades after a reset.
            place: Where it is.

        Returns:
            ``NEXT``, ``GAP``, ``LATE`` (out of order), ``DUPLICATE`` or ``RESET``.
        """
        if trade_id >= self.next_id:
            jumped = trade_id > self.next_id
            if jumped:
                self.gaps += 1
                self._lack(MissingRange(self.next_id, trade_id - 1, place))
            self.next_id = trade_id + 1
            self.last_time_us = max(time_us, int(self.last_time_us))
            return Verdict.GAP if jumped else Verdict.NEXT
        if self._fill(trade_id):
            return Verdict.LATE
        if time_us > int(self.last_time_us):
            # A repeated trade keeps its time: a lower id made later is a new count.
            self._begin_anew(trade_id, time_us)
            return Verdict.RESET
        if trade_id < self._low_id:
            self._extend_down(trade_id, place)
            return Verdict.LATE
        if self._unnamed_from is not None and trade_id >= self._unnamed_from:
            self.disorders += 1
            return Verdict.LATE
        self.duplicates += 1
        return Verdict.DUPLICATE

    def _lack(self, ids: MissingRange) -> None:
        count = ids.last_id - ids.first_id + 1
        self.missing += count
        self._missing_now += count
        if self._has_room():
            self._ranges.insert(bisect_right(self._ranges, ids), ids)
        else:
            self._leave_unnamed(ids)

    def _has_room(self) -> bool:
        return len(self._ranges) + len(self._former_ranges) < MOST_RANGES

    def _leave_unnamed(self, ids: MissingRange) -> None:
        self.unnamed_ranges += 1
        if self._unnamed_from is None or ids.first_id < self._unnamed_from:
            self._unnamed_from = ids.first_id

    def _fill(self, trade_id: int) -> bool:
        at = bisect_right(self._ranges, trade_id, key=lambda ids: ids.first_id) - 1
        if at < 0 or trade_id > self._ranges[at].last_id:
            return False
        ids = self._ranges[at]
        below = MissingRange(ids.first_id, trade_id - 1, ids.place)
        above = MissingRange(trade_id + 1, ids.last_id, ids.place)
        parts = [part for part in (below, above) if part.first_id <= part.last_id]
        if len(parts) == 2 and not self._has_room():
            self._leave_unnamed(parts.pop())
        self._ranges[at : at + 1] = parts
        self.missing -= 1
        self._missing_now -= 1
        self.disorders += 1
        return True

    def _extend_down(self, trade_id: int, place: Place) -> None:
        """Take a trade before the first one: what lies between is missing."""
        self.disorders += 1
        if trade_id + 1 < self._low_id:
            self.gaps += 1
            self._lack(MissingRange(trade_id + 1, self._low_id - 1, place))
        if self.first_id == self._low_id:
            self.first_id = trade_id
        self._low_id = trade_id

    def _begin_anew(self, trade_id: int, time_us: int) -> None:
        self._former_trades += self._present
        self._former_ranges += self._ranges
        self._ranges = []
        self._missing_now = 0
        self._unnamed_from = None
        self._low_id = trade_id
        self.next_id = trade_id + 1
        self.last_time_us = time_us
        self.resets += 1
