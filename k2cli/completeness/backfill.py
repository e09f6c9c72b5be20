"""Filling gaps from the exchange's history: what to ask for, when, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from k2cli.completeness.id_ranges import IdRange

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
    """Missing ids of one symbol, to be asked for together.

    Attributes:
        symbol: Exchange symbol, e.g. ``"BTCUSDT"``.
        ranges: The ids wanted, ascending.
        due_seconds: When to ask for them at the earliest, by a monotonic clock.
        misses: How often the history did not have them.
        refusals: How often it has not answered, or not with anything that tells.
    """

    symbol: str
    ranges: list[IdRange]
    due_seconds: float
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


class BackfillPlan:
    """The requests that are to be made, and when."""

    def __init__(self) -> None:
        self._requests: list[BackfillRequest] = []
        self._not_before_seconds = 0.0

    def __bool__(self) -> bool:
        return bool(self._requests)

    def add(
        self,
        symbol: str,
        first_id: int,
        last_id: int,
        now_seconds: float,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """Add a gap.

        Args:
            symbol: Exchange symbol.
            first_id: First id missing.
            last_id: Last id missing.
            now_seconds: The time now, by a monotonic clock.
            settle_seconds: How long to wait for the trades to arrive by themselves.
        """
        due = now_seconds + settle_seconds
        self._requests.append(
            BackfillRequest(symbol, [IdRange(first_id, last_id)], due)
        )

    def take(
        self, now_seconds: float, activity: Callable[[str], int] = lambda _: 0
    ) -> BackfillRequest | None:
        """Remove and return the next request that is due, if there is one.

        Other requests of its symbol that are due are joined to it: a page has room for
        many small gaps, and each request costs the same.

        Args:
            now_seconds: The time now.
            activity: How busy a symbol is. The busiest goes first: after an outage of
                the whole market the last one is asked for minutes later, and few trades
                should have to wait until then.
        """
        if self.due_in_seconds(now_seconds) != 0:
            return None
        next_one = min(
            (
                request
                for request in self._requests
                if request.due_seconds <= now_seconds
            ),
            key=lambda request: (-activity(request.symbol), request.due_seconds),
        )
        joined: list[BackfillRequest] = []
        left: list[BackfillRequest] = []
        for request in self._requests:
            joins = (
                request.symbol == next_one.symbol
                and request.misses == next_one.misses
                and request.due_seconds <= now_seconds
            )
            (joined if joins else left).append(request)
        self._requests = left
        next_one.ranges = sorted(ids for request in joined for ids in request.ranges)
        return next_one

    def due_in_seconds(self, now_seconds: float) -> float | None:
        """Return the time until a request is due; ``None`` if there is no request."""
        due = min((request.due_seconds for request in self._requests), default=None)
        if due is None:
            return None
        return max(due - now_seconds, self._not_before_seconds - now_seconds, 0.0)

    def put_back(self, request: BackfillRequest) -> None:
        """Keep a request that got no answer; it does not count as a miss."""
        self._requests.append(request)

    def not_before(self, due_seconds: float) -> None:
        """Let all requests, those added later too, wait until then at least."""
        self._not_before_seconds = max(due_seconds, self._not_before_seconds)

    def waits(self, now_seconds: float) -> bool:
        """Return whether no request at all may be made now."""
        return now_seconds < self._not_before_seconds

    def refused(self, request: BackfillRequest, now_seconds: float) -> None:
        """Ask for a request again later, and ever later: its answer told nothing.

        Args:
            request: What was asked for.
            now_seconds: The time now.
        """
        delay = REFUSED_SECONDS * 2.0 ** min(request.refusals, 10)
        request.refusals += 1
        request.due_seconds = now_seconds + min(delay, MOST_REFUSED_SECONDS)
        self._requests.append(request)

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
        if not missing:
            return []
        # Only a page that reaches beyond an id proves that it is not there.
        reached = page[-1] if page else -1
        if reached < request.first_id:
            self.refused(
                BackfillRequest(
                    request.symbol,
                    [IdRange(*ids) for ids in missing],
                    0.0,
                    request.misses,
                    request.refusals,
                ),
                now_seconds,
            )
            return []
        absent = [IdRange(a, min(b, reached)) for a, b in missing if a <= reached]
        unseen = [IdRange(max(a, reached + 1), b) for a, b in missing if b > reached]
        if unseen:
            rest = BackfillRequest(request.symbol, unseen, now_seconds, request.misses)
            self._requests.append(rest)
        if not absent:
            return []
        if request.misses >= len(RETRY_SECONDS):
            return absent
        due = now_seconds + RETRY_SECONDS[request.misses]
        self._requests.append(
            BackfillRequest(request.symbol, absent, due, request.misses + 1)
        )
        return []
