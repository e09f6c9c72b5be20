"""An exchange's history for whoever can wait: within the budget, asked again."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

import structlog

from k2cli.completeness.backoff import Backoff
from k2cli.errors import (
    AddressBanned,
    ApiError,
    ConnectFailed,
    ExchangeRefused,
    MalformedMessage,
    TooManyRequests,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

    from k2cli.completeness.id_ranges import IdRange
    from k2cli.engine.protocols import TradeHistory
    from k2cli.trade import TradeBatch

_RETRY_SECONDS = 1.0
_MOST_RETRY_SECONDS = 15.0
_MOST_FAILURES = 4
# What the exchange asks for without saying how long, and what is too long to wait for.
_USUAL_BAN_SECONDS = 120.0
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

    async def page(self, symbol: str, first_id: int, most: int) -> TradeBatch | None:
        """Return trades by ascending id, from ``first_id`` on; ``None`` if none are."""
        return await self._ask(lambda: self._history.page(symbol, first_id, most))

    async def ids_since(self, symbol: str, time_us: int) -> IdRange | None:
        """Return the ids of the trades made since a time; ``None`` if none were."""
        return await self._ask(lambda: self._history.ids_since(symbol, time_us))

    async def close(self) -> None:
        """Close the connection; the next call opens another one."""
        await self._history.close()

    async def _ask(self, request: Callable[[], Awaitable[_Answer]]) -> _Answer:
        # Several may be under way: a connection that is lost is one failure for each.
        backoff = Backoff(
            _RETRY_SECONDS,
            cap_seconds=_MOST_RETRY_SECONDS,
            max_failures=_MOST_FAILURES,
            random=random.random,
        )
        while True:
            wait_seconds = self._history.reserve()
            if wait_seconds:
                await self._sleep(wait_seconds)
                continue
            self.requests += 1
            try:
                answer = await request()
            except (ConnectFailed, ExchangeRefused, MalformedMessage) as exc:
                await self._wait_after(exc, backoff)
                continue
            self.has_answered = True
            return answer

    async def _wait_after(
        self, exc: ConnectFailed | ExchangeRefused | MalformedMessage, backoff: Backoff
    ) -> None:
        """Wait before the same request is made again; raise if it is of no use."""
        backoff.failed()
        wait_seconds = backoff.next_delay_seconds()
        if isinstance(exc, TooManyRequests | AddressBanned):
            wait_seconds = exc.retry_after_seconds or _USUAL_BAN_SECONDS
            if wait_seconds > _MOST_BAN_SECONDS:
                raise exc
        elif isinstance(exc, ApiError):
            # It is about this question: others may be answered.
            if 400 <= exc.status < 500:
                raise exc
        elif isinstance(exc, ExchangeRefused) or (
            isinstance(exc, ConnectFailed) and exc.permanent
        ):
            raise exc
        else:
            await self._history.close()
        if backoff.exhausted:
            raise exc
        log.warning(
            "Cannot read the history",
            reason=exc.message,
            retry_in_seconds=round(wait_seconds, 1),
        )
        await self._sleep(wait_seconds)
