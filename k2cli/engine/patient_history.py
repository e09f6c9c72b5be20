"""An exchange's history for whoever can wait: within the budget, asked again."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

import structlog

from k2cli.completeness.backoff import Backoff
from k2cli.engine.history_failures import HISTORY_ERRORS, explain_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

    from k2cli.completeness.id_ranges import IdRange
    from k2cli.engine.history_failures import HistoryError
    from k2cli.engine.protocols import TradeHistory
    from k2cli.trade import TradeBatch

_RETRY_SECONDS = 1.0
_MOST_RETRY_SECONDS = 15.0
_MOST_FAILURES = 4
# What is too long to wait for.
_MOST_BAN_SECONDS = 600.0

_Answer = TypeVar("_Answer")

log: FilteringBoundLogger = structlog.get_logger()


class PatientHistory:
    """Waits for the request budget, and asks again after a failure that may pass.

    Its methods raise as those of the API client do, after some failures of one request.

    Args:
        history: The exchange's.
        sleep: Waits a number of seconds.

    Attributes:
        requests: How many were made.
        has_answered: Whether any was answered.
    """

    def __init__(
        self,
        history: TradeHistory,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.requests = 0
        self.has_answered = False
        self._history = history
        self._sleep = sleep
        self._empty = _new_backoff()

    async def page(self, symbol: str, first_id: int, most: int) -> TradeBatch | None:
        """Return trades by ascending id, from ``first_id`` on; ``None`` if none are."""
        return await self._ask(lambda: self._history.page(symbol, first_id, most))

    async def ids_since(self, symbol: str, time_us: int) -> IdRange | None:
        """Return the ids of the trades made since a time; ``None`` if none were."""
        return await self._ask(lambda: self._history.ids_since(symbol, time_us))

    async def close(self) -> None:
        """Close the connection; the next call opens another one."""
        await self._history.close()

    async def page_reaching(
        self, symbol: str, first_id: int, most: int
    ) -> TradeBatch | None:
        """Return trades as ``page`` does; ``None`` if it has none that reach that id.

        That proves nothing: it is asked again for a while, and but once more after it
        has been empty all the time.
        """
        while True:
            page = await self.page(symbol, first_id, most)
            if page is not None and int(page.trade_ids[-1]) >= first_id:
                self._empty.proved()
                return page
            self._empty.failed()
            if self._empty.exhausted:
                return None
            await self._sleep(self._empty.next_delay_seconds())

    async def _ask(self, request: Callable[[], Awaitable[_Answer]]) -> _Answer:
        # Several may be under way: a connection that is lost is one failure for each.
        backoff = _new_backoff()
        while True:
            wait_seconds = self._history.reserve()
            if wait_seconds:
                await self._sleep(wait_seconds)
                continue
            self.requests += 1
            try:
                answer = await request()
            except HISTORY_ERRORS as exc:
                await self._wait_after(exc, backoff)
                continue
            self.has_answered = True
            return answer

    async def _wait_after(self, exc: HistoryError, backoff: Backoff) -> None:
        """Wait before the same request is made again; raise if it is of no use."""
        failure = explain_failure(exc)
        if failure.is_final or failure.wait_seconds > _MOST_BAN_SECONDS:
            raise exc
        if failure.closes:
            await self._history.close()
        backoff.failed()
        if backoff.exhausted:
            raise exc
        wait_seconds = backoff.next_delay_seconds(failure.wait_seconds)
        log.warning(
            "Cannot read the history",
            reason=exc.message,
            retry_in_seconds=round(wait_seconds, 1),
        )
        await self._sleep(wait_seconds)


def _new_backoff() -> Backoff:
    return Backoff(
        _RETRY_SECONDS,
        cap_seconds=_MOST_RETRY_SECONDS,
        max_failures=_MOST_FAILURES,
        random=random.random,
    )
