"""Filling gaps from the exchange's history: what to ask for, when, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from k2cli.completeness.id_ranges import IdRange, IdRanges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


# The most trades that one request returns.
PAGE_TRADES = 1000
# A trade that was jumped over is often on its way, on another connection for example.
SETTLE_SECONDS = 0.3
# When to ask again for ids that the history did not have: it is read from a database
# that may be behind the stream by a moment. After the last try the ids are lost.
RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0)
# When to ask again after an answer that tells nothing; doubled up to the most.
REFUSED_SECONDS = 0.5
MOST_REFUSED_SECONDS = 60.0


@dataclass(slots=True)
class BackfillRequest:
    """Missing ids of one symbol, to be asked for together: a page has all of them.

    Attributes:
        symbol: Exchange symbol, e.g. ``"BTCUSDT"``.
        ranges: The ids wanted, ascending.
        misses: How often the history did not have them.
        refusals: How often it has not answered, or not with anything that tells.
    """

    symbol: str
    ranges: list[IdRange]
    misses: int = 0
    refusals: int = 0

    @property
    def first_id(self) -> int:
        """First id wanted."""
        return self.ranges[0][0]

    @property
    def last_id(self) -> int:
        """Last id wanted."""
        return self.ranges[-1][1]


@dataclass(slots=True)
class _Wanted:
    """What a symbol lacks and the history has not been found to lack, too."""

    ids: IdRanges = field(default_factory=IdRanges)
    due_seconds: float = 0.0
    refusals: int = 0
    is_queued: bool = False

    @property
    def requests(self) -> int:
        """How many it takes to ask for all of it, about."""
        first_id, last_id = self.ids.first_id, self.ids.last_id
        if first_id is None or last_id is None:
            return 0
        pages = (last_id - first_id) // PAGE_TRADES + 1
        return min(pages, len(self.ids) + self.ids.ids // PAGE_TRADES)


class BackfillPlan:
    """The requests that are to be made, and when.

    Any number may be under way at a time. However many gaps a symbol has, memory holds
    two numbers for each.
    """

    def __init__(self) -> None:
        self._wanted: dict[str, _Wanted] = {}
        # What is due at a time: gaps that settle, symbols, requests to be made again.
        self._later: list[tuple[float, int, str | BackfillRequest]] = []
        # What is due, the busiest symbol in front.
        self._ready: list[tuple[int, int, str | BackfillRequest]] = []
        self._order = count()
        self._not_before_seconds = 0.0

    def __bool__(self) -> bool:
        return bool(self._later or self._ready)

    @property
    def requests(self) -> int:
        """How many are to be made still, about."""
        again = sum(
            not isinstance(each[-1], str) for each in (*self._later, *self._ready)
        )
        return again + sum(wanted.requests for wanted in self._wanted.values())

    def add(self, symbol: str, first_id: int, last_id: int, now_seconds: float) -> None:
        """Add a gap; its trades have a moment to arrive by themselves.

        Args:
            symbol: Exchange symbol.
            first_id: First id missing.
            last_id: Last id missing.
            now_seconds: The time now, by a monotonic clock.
        """
        gap = BackfillRequest(symbol, [IdRange(first_id, last_id)])
        self._queue_later(gap, now_seconds + SETTLE_SECONDS)

    def take(
        self, now_seconds: float, activity: Callable[[str], int] = lambda _: 0
    ) -> BackfillRequest | None:
        """Remove and return the next request that is due, if there is one.

        It joins the gaps of its symbol that fit in a page: each request costs the same.

        Args:
            now_seconds: The time now.
            activity: How busy a symbol is. The busiest goes first: after an outage of
                the whole market the last one is asked for minutes later, and few trades
                should have to wait until then.
        """
        if self.waits(now_seconds):
            return None
        while self._later and self._later[0][0] <= now_seconds:
            _, _, due = heappop(self._later)
            if isinstance(due, str):
                self._queue(due, activity(due))
            elif due.misses:
                self._queue(due, activity(due.symbol))
            else:
                wanted = self._want(due)
                if not wanted.is_queued:
                    wanted.is_queued = True
                    self._queue(due.symbol, activity(due.symbol))
        while self._ready:
            busy, _, due = heappop(self._ready)
            if not isinstance(due, str):
                return due
            wanted = self._wanted[due]
            if wanted.due_seconds > now_seconds:
                self._queue_later(due, wanted.due_seconds)
            elif (first_id := wanted.ids.first_id) is not None:
                ranges = wanted.ids.remove(first_id, first_id + PAGE_TRADES - 1)
                if wanted.ids:
                    self._queue(due, -busy)
                else:
                    del self._wanted[due]
                return BackfillRequest(due, ranges, refusals=wanted.refusals)
        return None

    def due_in_seconds(self, now_seconds: float) -> float | None:
        """Return the time until a request is due; ``None`` if there is no request."""
        if not self:
            return None
        due = now_seconds if self._ready else self._later[0][0]
        return max(due - now_seconds, self._not_before_seconds - now_seconds, 0.0)

    def put_back(self, request: BackfillRequest) -> None:
        """Keep a request that got no answer; it does not count as a miss."""
        self._ask_again(request, 0.0)

    def not_before(self, due_seconds: float) -> None:
        """Let all requests, those added later too, wait until then at least."""
        self._not_before_seconds = max(due_seconds, self._not_before_seconds)

    def waits(self, now_seconds: float) -> bool:
        """Return whether no request at all may be made now."""
        return now_seconds < self._not_before_seconds

    def refused(self, request: BackfillRequest, now_seconds: float) -> None:
        """Ask for a request again later, and ever later: its answer told nothing.

        The others of its symbol wait, too.

        Args:
            request: What was asked for.
            now_seconds: The time now.
        """
        delay = REFUSED_SECONDS * 2.0 ** min(request.refusals, 10)
        request.refusals += 1
        self._ask_again(request, now_seconds + min(delay, MOST_REFUSED_SECONDS))

    def answered(
        self,
        request: BackfillRequest,
        page: list[int],
        missing: Sequence[tuple[int, int]],
        now_seconds: float,
    ) -> list[IdRange]:
        """Plan what an answer leaves to be done.

        Args:
            request: What was asked for.
            page: The trade ids of the answer, ascending.
            missing: The ids of the request that are still missing.
            now_seconds: The time now.

        Returns:
            Ids to give up, as the history did not have them several times.
        """
        # Only a page that reaches beyond an id proves that it is not there.
        reached = page[-1] if page else -1
        if missing and reached < request.first_id:
            request.ranges = [IdRange(*ids) for ids in missing]
            self.refused(request, now_seconds)
            return []
        if request.symbol in self._wanted:
            self._wanted[request.symbol].refusals = 0
        absent = [IdRange(a, min(b, reached)) for a, b in missing if a <= reached]
        unseen = [IdRange(max(a, reached + 1), b) for a, b in missing if b > reached]
        if unseen:
            self.put_back(BackfillRequest(request.symbol, unseen, request.misses))
        if not absent or request.misses >= len(RETRY_SECONDS):
            return absent
        again = BackfillRequest(request.symbol, absent, request.misses + 1)
        self._queue_later(again, now_seconds + RETRY_SECONDS[request.misses])
        return []

    def _ask_again(self, request: BackfillRequest, due_seconds: float) -> None:
        if request.misses:
            self._queue_later(request, due_seconds)
            return
        wanted = self._want(request)
        wanted.refusals = max(wanted.refusals, request.refusals)
        wanted.due_seconds = max(wanted.due_seconds, due_seconds)
        if not wanted.is_queued:
            wanted.is_queued = True
            self._queue_later(request.symbol, wanted.due_seconds)

    def _want(self, request: BackfillRequest) -> _Wanted:
        wanted = self._wanted.setdefault(request.symbol, _Wanted())
        for ids in request.ranges:
            wanted.ids.add(*ids)
        return wanted

    def _queue(self, due: str | BackfillRequest, busy: int) -> None:
        heappush(self._ready, (-busy, next(self._order), due))

    def _queue_later(self, due: str | BackfillRequest, due_seconds: float) -> None:
        heappush(self._later, (due_seconds, next(self._order), due))
