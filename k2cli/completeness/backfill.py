"""Filling gaps from the exchange's history: what to ask for, and when to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from k2cli.completeness.id_ranges import IdRange

if TYPE_CHECKING:
    from collections.abc import Callable


# The most trades that one request of the history gives.
PAGE_TRADES = 1000
# A trade that was jumped over is often on its way, by another connection say.
SETTLE_SECONDS = 0.3
# When to look again for ids that the history did not have: it is read from a database
# that may trail the stream by a moment. After the last look they are lost.
RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0)
# When to ask again after an answer that tells nothing; doubled up to the most.
REFUSED_SECONDS = 0.5
MOST_REFUSED_SECONDS = 60.0


@dataclass(slots=True)
class BackfillRequest:
    """Missing ids of a symbol that are to be asked for together.

    Attributes:
        symbol: Whose.
        ranges: The ids wanted, ascending.
        due_seconds: Not to be asked for before.
        misses: How often the history was found not to have them.
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
    """What is to be asked for, and when."""

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
            symbol: Whose.
            first_id: First id missing.
            last_id: Last id missing.
            now_seconds: The time now, by a monotonic clock.
            settle_seconds: How long to wait for the trades to come by themselves.
        """
        due = now_seconds + settle_seconds
        self._requests.append(
            BackfillRequest(symbol, [IdRange(first_id, last_id)], due)
        )

    def take(
        self, now_seconds: float, activity: Callable[[str], int] = lambda _: 0
    ) -> BackfillRequest | None:
        """Take out the next request that is due, if one is.

        What is due of the same symbol goes along with it: a page has room for many
        small gaps, and each request costs the same.

        Args:
            now_seconds: The time now.
            activity: How busy a symbol is. The busiest goes first: after an outage of
                the whole market the last one's turn comes after minutes, and what is
                held meanwhile is to be little.
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
        along: list[BackfillRequest] = []
        left: list[BackfillRequest] = []
        for request in self._requests:
            goes = (
                request.symbol == next_one.symbol
                and request.misses == next_one.misses
                and request.due_seconds <= now_seconds
            )
            (along if goes else left).append(request)
        self._requests = left
        next_one.ranges = sorted(ids for request in along for ids in request.ranges)
        return next_one

    def due_in_seconds(self, now_seconds: float) -> float | None:
        """Tell how long until a request is due; ``None`` if there is no request."""
        due = min((request.due_seconds for request in self._requests), default=None)
        if due is None:
            return None
        return max(due - now_seconds, self._not_before_seconds - now_seconds, 0.0)

    def put_back(self, request: BackfillRequest) -> None:
        """Ask for a request again: no answer was had, which is not its fault."""
        self._requests.append(request)

    def not_before(self, due_seconds: float) -> None:
        """Let all requests wait at least so long, those that are yet to come too."""
        self._not_before_seconds = max(due_seconds, self._not_before_seconds)

    def waits(self, now_seconds: float) -> bool:
        """Tell whether nothing at all may be asked for now."""
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
        missing: list[IdRange],
        now_seconds: float,
    ) -> list[IdRange]:
        """Work out what an answer leaves to be done.

        Args:
            request: What was asked for, with the page size ``PAGE_TRADES`` at most.
            page: The trade ids of the answer, ascending.
            missing: The ids of the request that are missing still.
            now_seconds: The time now.

        Returns:
            Ids to give up: they were not there at several misses.
        """
        if not missing:
            return []
        # Only a page that reaches beyond an id proves that it is not there.
        reached = page[-1] if page else -1
        if reached < request.first_id:
            self.refused(
                BackfillRequest(
                    request.symbol, missing, 0.0, request.misses, request.refusals
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
