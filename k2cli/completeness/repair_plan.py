"""Where to get what a capture lacks: from the history, or from daily archives."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from k2cli.completeness.backfill import PAGE_TRADES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ARCHIVE_REQUESTS = 40
"""An archive is cheaper than so many requests to the history: it costs no weight."""

DAY_US = 86_400 * 10**6
# Binance began in July 2017: no archive is older.
_FIRST_DAY = 17_348


class Hole(NamedTuple):
    """Ids that a capture lacks.

    Attributes:
        symbol: E.g. ``"BTCUSDT"``.
        first_id: The first one.
        last_id: The last one, included.
        since_us: When the trade before them was made, Unix microseconds; 0 if there is
            none.
        until_us: When the one behind them was made.
    """

    symbol: str
    first_id: int
    last_id: int
    since_us: int
    until_us: int

    @property
    def ids(self) -> int:
        """How many ids these are."""
        return self.last_id - self.first_id + 1


class SymbolDay(NamedTuple):
    """A symbol's trades of one day.

    Attributes:
        symbol: E.g. ``"BTCUSDT"``.
        day: Days since 1970-01-01, UTC.
    """

    symbol: str
    day: int


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """How to get what is missing.

    Attributes:
        holes: What is missing.
        archives: The days that are taken from archives.
        past_days: All days of which there should be archives.
        requests: How many requests to the history the rest takes, about.
    """

    holes: Sequence[Hole]
    archives: Sequence[SymbolDay]
    past_days: Sequence[SymbolDay]
    requests: int

    @property
    def ids(self) -> int:
        """How many ids are missing."""
        return sum(hole.ids for hole in self.holes)


def plan_repair(
    holes: Sequence[Hole], today: int, *, with_archives: bool = True
) -> RepairPlan:
    """Plan how to get what is missing.

    Args:
        holes: What is missing, ascending by id for each symbol.
        today: The day that is not over yet, in days since 1970-01-01, UTC.
        with_archives: Whether there are archives.
    """
    by_day: dict[SymbolDay, list[tuple[int, int]]] = defaultdict(list)
    shares: dict[SymbolDay, float] = defaultdict(float)
    undated: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for hole in holes:
        days = list(_shares(hole, today)) if with_archives and hole.since_us else []
        if len(days) == 1:
            by_day[SymbolDay(hole.symbol, days[0][0])].append(hole[1:3])
        elif days:
            for day, share in days:
                shares[SymbolDay(hole.symbol, day)] += share * hole.ids
        else:
            undated[hole.symbol].append(hole[1:3])
    requests = {
        day: count_pages(by_day.get(day, ())) + -(-shares.get(day, 0.0) // PAGE_TRADES)
        for day in {**by_day, **shares}
    }
    past_days = sorted(each for each in requests if each.day < today)
    archives = [each for each in past_days if requests[each] >= ARCHIVE_REQUESTS]
    left = sum(cost for day, cost in requests.items() if day not in set(archives))
    left += sum(count_pages(ranges) for ranges in undated.values())
    return RepairPlan(holes, archives, past_days, int(left))


def count_pages(ranges: Iterable[tuple[int, int]]) -> int:
    """Return how many pages of the history have all of these ids, given ascending."""
    pages = 0
    seen_to = -1
    for first_id, last_id in ranges:
        start = max(first_id, seen_to + 1)
        if start <= last_id:
            needed = -(-(last_id - start + 1) // PAGE_TRADES)
            pages += needed
            seen_to = start + needed * PAGE_TRADES - 1
    return pages


def _shares(hole: Hole, today: int) -> Iterator[tuple[int, float]]:
    """Return the days of a hole, and how much of its time is in each."""
    since_us = max(hole.since_us, _FIRST_DAY * DAY_US)
    until_us = min(max(hole.until_us, since_us), (today + 1) * DAY_US - 1)
    length_us = until_us - since_us + 1
    for day in range(since_us // DAY_US, until_us // DAY_US + 1):
        begin_us = max(since_us, day * DAY_US)
        end_us = min(until_us + 1, (day + 1) * DAY_US)
        yield day, (end_us - begin_us) / length_us
