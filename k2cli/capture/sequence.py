"""Trade ids in sequence: what is there, what is missing, what came twice."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from k2cli.trade import PlainTrade

IdRange = tuple[int, int]
"""First and last trade id, both included."""


MOST_LOST_RANGES = 10_000
"""Ranges of lost ids that a tracker can name; of older ones it knows only the count."""


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

    Ids that are jumped over are *open* as long as they may come: late, or from the
    history. Given up, they are *lost*. Missing is what is open or lost.

    Attributes:
        first_id: The first id accounted for: the first seen or, in a capture that is
            gone on with, the one after its end.
        last_id: The highest id seen.
        first_time_us: When the earliest trade accepted was made, Unix microseconds.
        trades: Trades accepted: each id once.
        repaired: Of these, those from the history.
        gaps: Jumps seen, whether or not their trades came later.
        duplicates: Trades whose id had been seen before.
        unnamed: Ids missing that are in no range, as there were too many ranges.
        resets: Times the exchange began to count anew, as test networks do monthly.
    """

    __slots__ = (
        "_former",
        "_last_time_us",
        "_lost",
        "_open",
        "_run_time",
        "duplicates",
        "first_id",
        "first_time_us",
        "gaps",
        "last_id",
        "repaired",
        "resets",
        "trades",
        "unnamed",
    )

    def __init__(self) -> None:
        self.first_id: int | None = None
        self.last_id: int | None = None
        self.first_time_us: int | None = None
        self.trades = 0
        self.repaired = 0
        self.gaps = 0
        self.duplicates = 0
        self.resets = 0
        # Of the trade with the highest id; None while that has not come.
        self._last_time_us: int | None = 0
        # The latest trade time that pass_over() has seen since then, as it came.
        self._run_time = ""
        # Inclusive ranges, ascending and apart from each other.
        self._open: list[IdRange] = []
        self._lost: list[IdRange] = []
        # What is missing of former counts and runs.
        self._former: list[IdRange] = []
        self.unnamed = 0

    @property
    def missing_ranges(self) -> list[IdRange]:
        """Ids that were jumped over and have not come since, as inclusive ranges."""
        joined: list[IdRange] = []
        for first, last in sorted(self._lost + self._open):
            if joined and first == joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], last)
            else:
                joined.append((first, last))
        return self._former + joined

    @property
    def missing(self) -> int:
        """How many ids are missing."""
        named = sum(map(_count, (self._former, self._lost, self._open)))
        return named + self.unnamed

    @property
    def open(self) -> int:
        """How many ids are missing that may still come."""
        return _count(self._open)

    @property
    def open_gaps(self) -> int:
        """How many ranges of ids these are."""
        return len(self._open)

    @property
    def last_time_us(self) -> int | None:
        """When the trade with the highest id was made, Unix microseconds, if known."""
        self._catch_up()
        return self._last_time_us if self.trades else None

    @property
    def first_open_id(self) -> int | None:
        """The lowest id that may still come; ``None`` if nothing is open."""
        return self._open[0][0] if self._open else None

    def open_ranges(self, first_id: int, last_id: int) -> list[IdRange]:
        """Give the open ids from ``first_id`` to ``last_id``, both included."""
        return [
            (max(first, first_id), min(last, last_id))
            for first, last in self._open[self._touching(first_id, last_id)]
        ]

    def give_up(self, first_id: int, last_id: int) -> None:
        """Give up the open ids from ``first_id`` to ``last_id``: they are lost."""
        self._lost += self.open_ranges(first_id, last_id)
        touched = self._touching(first_id, last_id)
        self._open[touched] = [
            part
            for first, last in self._open[touched]
            for part in (
                (first, min(last, first_id - 1)),
                (max(first, last_id + 1), last),
            )
            if part[0] <= part[1]
        ]
        self._lost = self._named(self._lost)

    def forget_open(self) -> None:
        """End the account before the first open id, so that nothing is open."""
        if self.last_id is None or not self._open:
            return
        end = self._open[0][0] - 1
        behind = [ids for ids in self._lost if ids[0] > end]
        self.trades -= self.last_id - end - _count(behind) - _count(self._open)
        self._lost = [ids for ids in self._lost if ids[0] <= end]
        self._open = []
        self.last_id = end
        self._last_time_us = None
        self._run_time = ""
        if not self.trades:
            self.first_id = self.first_time_us = None

    def resume(self, last_id: int, last_time_us: int) -> None:
        """Go on from a capture that ended with this trade.

        Args:
            last_id: Its trade id.
            last_time_us: Its trade time, Unix microseconds.
        """
        self.last_id = last_id
        self._last_time_us = last_time_us

    def remember(self, lost: list[IdRange]) -> None:
        """Take up what an earlier run of the same capture gave up.

        Args:
            lost: Ids that the capture has trades behind; what is behind its end will
                be noticed again.
        """
        end = self.last_id
        self._former += sorted({ids for ids in lost if end is None or ids[1] <= end})

    def expect(self, newest_id: int) -> IdRange | None:
        """Learn from elsewhere that trades were made which have not come.

        Args:
            newest_id: The newest trade's id.

        Returns:
            The ids that are open by it, if any.
        """
        if self.last_id is None or newest_id <= self.last_id:
            return None
        unseen = (self.last_id + 1, newest_id)
        if self.first_id is None:
            self.first_id = unseen[0]
        self.gaps += 1
        self._open.append(unseen)
        self.last_id = newest_id
        self._last_time_us = None
        self._run_time = ""
        return unseen

    def observe(self, trade_id: int, trade_time_us: int) -> Verdict:
        """Take note of a trade.

        Args:
            trade_id: The exchange's id of it.
            trade_time_us: When it was made, Unix microseconds; tells a duplicate from
                the first trades after a reset.

        Returns:
            How it fits. ``DUPLICATE`` means: leave it out. After ``GAP``, the ids from
            the last one before to this one are open.
        """
        self._catch_up()
        last_id, last_time_us = self.last_id, self._last_time_us
        if last_id is None:
            verdict = Verdict.FIRST
        elif trade_id == last_id + 1:
            verdict = Verdict.NEXT
        elif trade_id > last_id:
            verdict = Verdict.GAP
            self.gaps += 1
            self._open.append((last_id + 1, trade_id - 1))
        elif self._fill(trade_id):
            self.trades += 1
            self.first_time_us = min(trade_time_us, self.first_time_us or trade_time_us)
            if trade_id == last_id:
                self._last_time_us = trade_time_us
            return Verdict.LATE
        elif last_time_us is not None and trade_time_us > last_time_us:
            # A repeated trade keeps its time: a lower id made later is a new count.
            verdict = Verdict.RESET
            self.resets += 1
            self._former = self._named(self.missing_ranges)
            self._lost, self._open = [], []
        else:
            self.duplicates += 1
            return Verdict.DUPLICATE
        if self.first_id is None:
            # Without a first one but with a last one it was resumed.
            self.first_id = min(trade_id, trade_id if last_id is None else last_id + 1)
        if self.first_time_us is None:
            self.first_time_us = trade_time_us
        self.trades += 1
        self.last_id = trade_id
        self._last_time_us = max(trade_time_us, last_time_us or 0)
        return verdict

    def _catch_up(self) -> None:
        """Take over the time that ``pass_over`` has left as a text."""
        if self._run_time:
            self._last_time_us = max(int(self._run_time), self._last_time_us or 0)
            self._run_time = ""

    def _named(self, lost: list[IdRange]) -> list[IdRange]:
        """Keep as many ranges as can be named, and count the ids of the older ones."""
        older = len(lost) - MOST_LOST_RANGES
        # forget_open() has to know what is behind an open id.
        if older <= 0 or (self._open and lost[older - 1][1] > self._open[0][0]):
            return lost
        self.unnamed += _count(lost[:older])
        return lost[older:]

    def _touching(self, first_id: int, last_id: int) -> slice:
        """Find the open ranges that have any of the ids from one to the other."""
        return slice(
            bisect_left(self._open, first_id, key=lambda ids: ids[1]),
            bisect_right(self._open, last_id, key=lambda ids: ids[0]),
        )

    def _fill(self, trade_id: int) -> bool:
        """Take an id out of the open ones, if it is among them."""
        at = bisect_right(self._open, trade_id, key=lambda ids: ids[0]) - 1
        if at < 0:
            return False
        first, last = self._open[at]
        if trade_id > last:
            return False
        left = [(first, trade_id - 1)] if first < trade_id else []
        right = [(trade_id + 1, last)] if trade_id < last else []
        self._open[at : at + 1] = left + right
        return True


def pass_over(
    trackers: Mapping[str, SequenceTracker],
    trades: Sequence[PlainTrade],
    start: int,
    stop: int,
) -> int:
    """Take note of many trades, up to the first that is not simply the next one.

    The same as ``observe`` for each, for trades of symbols of which nothing is open.

    Args:
        trackers: By symbol.
        trades: Of symbols that have a tracker.
        start: Index of the first one.
        stop: Index after the last one.

    Returns:
        The index of the first trade that was not noted, or ``stop``.
    """
    for index in range(start, stop):
        _, _, symbol, digits, _, _, trade_time, _, _ = trades[index]
        tracker = trackers[symbol]
        trade_id = int(digits)
        if (
            trade_id - 1 != tracker.last_id
            or tracker._open  # noqa: SLF001 - the hot path of this very class
            or tracker.first_id is None
        ):
            return index
        tracker.last_id = trade_id
        tracker.trades += 1
        # Microseconds of 16 digits compare as texts.
        if trade_time > tracker._run_time:  # noqa: SLF001
            tracker._run_time = trade_time  # noqa: SLF001
    return stop


def _count(ranges: list[IdRange]) -> int:
    return sum(last - first + 1 for first, last in ranges)
