"""Trade ids in sequence: what was received, what is missing, what came twice."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from k2cli.completeness.id_ranges import IdRange, IdRanges

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from k2cli.trade import TradeBatch

MOST_LOST_RANGES = 10_000
"""Ranges of lost ids that a tracker keeps; ids of older ranges are only counted."""

# Trades that are looked at together where nothing is open.
_AT_ONCE = 256


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
        first_id: The first id accounted for: the first seen or, in a resumed capture,
            the one after its end.
        last_id: The highest id seen.
        first_time_us: When the earliest trade accepted was made, Unix microseconds.
        trades: Trades accepted: each id once.
        repaired: Of these, those from the history.
        gaps: Jumps seen, whether or not their trades came later.
        duplicates: Trades whose id had been seen before.
        open: Ids that are missing and may still come.
        pending: Of the trades accepted, those that wait for such ids.
        strays: Trades with an id or a time that the exchange did not confirm.
        unnamed: Lost ids that are only counted, as there were too many ranges.
        resets: How many times the ids started over, as on test networks every month.
    """

    __slots__ = (
        "_earlier",
        "_last_time_us",
        "_latest_plain_time",
        "_lost",
        "duplicates",
        "first_id",
        "first_time_us",
        "gaps",
        "last_id",
        "open",
        "pending",
        "repaired",
        "resets",
        "strays",
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
        self.unnamed = 0
        self.pending = 0
        self.strays = 0
        # Of the trade with the highest id; None while that has not come.
        self._last_time_us: int | None = 0
        # The latest time that accept_contiguous() has seen since then, as text.
        self._latest_plain_time = ""
        self.open = IdRanges()
        self._lost = IdRanges()
        # What is missing from before the last reset, and from earlier runs.
        self._earlier: list[IdRange] = []

    @property
    def missing_ranges(self) -> list[IdRange]:
        """Ids that were jumped over and have not come since; without the unnamed."""
        return [*self._earlier, *IdRanges([*self._lost, *self.open])]

    @property
    def given_up(self) -> list[IdRange]:
        """Those of the missing ids that are lost; without the unnamed."""
        return [*self._earlier, *self._lost]

    @property
    def missing(self) -> int:
        """How many ids are missing."""
        earlier = sum(one.ids for one in self._earlier)
        return earlier + self._lost.ids + self.open.ids + self.unnamed

    @property
    def last_time_us(self) -> int | None:
        """When the trade with the highest id was made, Unix microseconds, if known."""
        self._settle_time()
        return self._last_time_us if self.trades else None

    @property
    def known_time_us(self) -> int | None:
        """The same, also where that trade is of the run before."""
        self._settle_time()
        return self._last_time_us

    def give_up(self, first_id: int, last_id: int) -> list[IdRange]:
        """Give up the open ids from ``first_id`` to ``last_id``.

        Returns:
            Those of them that were open.
        """
        given_up = self.open.remove(first_id, last_id)
        for one in given_up:
            self._lost.add(*one)
        self._bound_lost()
        return given_up

    def resume(self, last_id: int, last_time_us: int | None) -> None:
        """Continue a capture that ended with this trade.

        Args:
            last_id: Its trade id.
            last_time_us: Its trade time, Unix microseconds, if that is known.
        """
        self.last_id = last_id
        self._last_time_us = last_time_us

    def remember_lost(
        self, lost: Iterable[tuple[int, int]], *, is_exact: bool = False
    ) -> None:
        """Add what an earlier run of the same capture gave up.

        Args:
            lost: Ids. Those after the end of the capture are left out: they will be
                noticed again.
            is_exact: Whether none are: the ids have started over since.
        """
        end = self.last_id
        known = {IdRange(*one) for one in lost}
        self._earlier += sorted(
            ids for ids in known if is_exact or end is None or ids.last_id <= end
        )

    def expect(self, newest_id: int) -> IdRange | None:
        """Note that the exchange has trades up to this one: what is not here is open.

        Args:
            newest_id: The newest trade's id, as the history has it.

        Returns:
            The ids that were not known of, if any.
        """
        if self.last_id is None or newest_id <= self.last_id:
            return None
        unseen = IdRange(self.last_id + 1, newest_id)
        if self.first_id is None:
            self.first_id = unseen.first_id
        self.gaps += 1
        self.open.add(*unseen)
        self.last_id = newest_id
        self._last_time_us = None
        self._latest_plain_time = ""
        return unseen

    def observe(self, trade_id: int, trade_time_us: int) -> Verdict:
        """Record one trade id and say how it fits the sequence.

        Args:
            trade_id: The exchange's id of the trade.
            trade_time_us: When it was made, Unix microseconds; tells a duplicate from
                the first trades after a reset.

        Returns:
            How it fits. A ``DUPLICATE`` is to be left out. After ``GAP``, the ids
            between the last one and this one are open.
        """
        self._settle_time()
        last_id, last_time_us = self.last_id, self._last_time_us
        if last_id is None:
            verdict = Verdict.FIRST
        elif trade_id == last_id + 1:
            verdict = Verdict.NEXT
        elif trade_id > last_id:
            verdict = Verdict.GAP
            self.gaps += 1
            self.open.add(last_id + 1, trade_id - 1)
        elif self.open.remove(trade_id, trade_id):
            self.trades += 1
            self.first_time_us = min(trade_time_us, self.first_time_us or trade_time_us)
            if trade_id == last_id:
                self._last_time_us = trade_time_us
            return Verdict.LATE
        elif last_time_us is not None and trade_time_us > last_time_us:
            # A repeated trade keeps its time: with a later time, ids have started over.
            verdict = Verdict.RESET
            self.begin_anew()
        else:
            self.duplicates += 1
            return Verdict.DUPLICATE
        if self.first_id is None:
            # With a last id but no first one, a capture was resumed.
            self.first_id = min(trade_id, trade_id if last_id is None else last_id + 1)
        if self.first_time_us is None:
            self.first_time_us = trade_time_us
        self.trades += 1
        self.last_id = trade_id
        self._last_time_us = max(trade_time_us, last_time_us or 0)
        return verdict

    def begin_anew(self) -> None:
        """Begin a new count: the exchange has, whatever ids come now."""
        self.resets += 1
        self._earlier = self.missing_ranges
        self._lost, self.open = IdRanges(), IdRanges()
        self._bound_earlier()
        self.last_id, self._last_time_us = None, 0
        self._latest_plain_time = ""

    def _settle_time(self) -> None:
        """Convert the time that ``accept_contiguous`` has kept as text."""
        if self._latest_plain_time:
            latest_us = int(self._latest_plain_time)
            self._last_time_us = max(latest_us, self._last_time_us or 0)
            self._latest_plain_time = ""

    def _bound_lost(self) -> None:
        """Keep the newest ranges, and only count the ids of older ones."""
        excess = len(self._lost) - MOST_LOST_RANGES
        if excess <= 0:
            return
        oldest = list(self._lost)[:excess]
        removed = self._lost.remove(oldest[0].first_id, oldest[-1].last_id)
        self.unnamed += sum(one.ids for one in removed)

    def _bound_earlier(self) -> None:
        excess = len(self._earlier) - MOST_LOST_RANGES
        if excess > 0:
            self.unnamed += sum(one.ids for one in self._earlier[:excess])
            del self._earlier[:excess]


def accept_behind_gaps(
    trackers: Mapping[str, SequenceTracker],
    batch: TradeBatch,
    start: int,
    waiting: Container[str],
) -> int:
    """Record trades up to the first that is not simply the next behind an open gap.

    The same as ``observe`` for each; they are pending.

    Args:
        trackers: By symbol; has all of the batch's.
        batch: A plain one.
        start: Index of the first trade.
        waiting: The symbols with trades that wait for a gap already.

    Returns:
        The index of the first trade that was not recorded, or the batch's length.
    """
    end = len(batch.symbols)
    for index in range(start, end):
        symbol, trade_time = batch.symbols[index], batch.trade_times[index]
        tracker = trackers[symbol]
        trade_id = int(batch.trade_ids[index])
        if (
            trade_id - 1 != tracker.last_id
            or not tracker.open.ids
            or tracker.resets
            or symbol not in waiting
        ):
            return index
        tracker.last_id = trade_id
        tracker.trades += 1
        tracker.pending += 1
        if trade_time > tracker._latest_plain_time:  # noqa: SLF001 - as below
            tracker._latest_plain_time = trade_time  # noqa: SLF001 - likewise
    return end


def accept_contiguous(
    trackers: Mapping[str, SequenceTracker],
    batch: TradeBatch,
    start: int,
    waiting: Container[str] = (),
) -> int:
    """Record trades up to the first that is not simply the next of its symbol.

    The same as ``observe`` for each, for symbols of which nothing is open.

    Args:
        trackers: By symbol; all symbols of the batch are there.
        batch: A plain batch.
        start: Index of the first trade.
        waiting: The symbols with trades that must go on before.

    Returns:
        The index of the first trade that was not recorded, or the batch's length.
    """
    end = len(batch.symbols)
    index = start
    # In steps: where every other trade opens a gap, each call would copy all the rest.
    for first in range(start, end, _AT_ONCE):
        last = min(first + _AT_ONCE, end)
        if waiting:
            some = range(first, last)
            last = next((i for i in some if batch.symbols[i] in waiting), last)
        for symbol, trade_id, trade_time in zip(
            batch.symbols[first:last],
            map(int, batch.trade_ids[first:last]),
            batch.trade_times[first:last],
            strict=True,
        ):
            tracker = trackers[symbol]
            if (
                trade_id - 1 != tracker.last_id
                or tracker.open.ids
                or tracker.first_id is None
            ):
                return index
            tracker.last_id = trade_id
            tracker.trades += 1
            # Microseconds of 16 digits compare as texts.
            if trade_time > tracker._latest_plain_time:  # noqa: SLF001 - the hot path of this very class
                tracker._latest_plain_time = trade_time  # noqa: SLF001 - likewise
            index += 1
        if index < first + _AT_ONCE:
            break
    return index
