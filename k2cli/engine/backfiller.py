"""Carrying back-fill out: requests to the exchange's history, trades back."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from k2cli.completeness.backfill import PAGE_TRADES, BackfillPlan, BackfillRequest
from k2cli.completeness.backoff import Backoff
from k2cli.errors import (
    AccessBlocked,
    AddressBanned,
    ApiError,
    ConnectFailed,
    ExchangeRefused,
    MalformedMessage,
    RestrictedLocation,
    TooManyRequests,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

    from k2cli.completeness.id_ranges import IdRange
    from k2cli.completeness.ledger import Ledger
    from k2cli.engine.protocols import TradeHistory
    from k2cli.trade import TradeBatch

# The connection to the history is closed when it has had nothing to do for so long.
IDLE_SECONDS = 60.0
_RETRY_SECONDS = 1.0
_MOST_RETRY_SECONDS = 15.0
_BAN_SECONDS = 120.0

log: FilteringBoundLogger = structlog.get_logger()


class Backfiller:
    """Fetches what is missing from the history, for all symbols over one connection.

    Args:
        history: The exchange's.
        ledger: Knows what is missing still.
        on_batch: Takes trades of the history.
        on_absent: Takes the ids that the history does not have either.
    """

    def __init__(
        self,
        history: TradeHistory,
        ledger: Ledger,
        on_batch: Callable[[TradeBatch], Awaitable[None] | None],
        on_absent: Callable[[str, IdRange], Awaitable[None] | None],
    ) -> None:
        self._history = history
        self._trackers = ledger.trackers
        self._on_batch = on_batch
        self._on_absent = on_absent
        self._plan = BackfillPlan()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._backoff = Backoff(
            _RETRY_SECONDS,
            cap_seconds=_MOST_RETRY_SECONDS,
            max_failures=0,
            random=random.random,
        )

    def request(self, symbol: str, ids: IdRange) -> None:
        """Ask for a gap to be filled."""
        self._plan.add(symbol, *ids, time.monotonic())
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Fill gaps until cancelled."""
        try:
            while True:
                now = time.monotonic()
                request = self._plan.take(now, self._activity)
                if request is not None:
                    await self._carry_out(request)
                    continue
                if not self._plan:
                    self._idle.set()
                await self._sleep(self._plan.due_in_seconds(now))
        finally:
            # Nobody need wait for what will not be filled any more.
            self._idle.set()
            await self._history.close()

    async def until_idle(self, seconds: float) -> None:
        """Wait until nothing is left to fill, but no longer than this."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    async def newest_id(self, symbol: str) -> int | None:
        """Return the history's newest trade id; ``None`` if it cannot be had now."""
        if self._plan.waits(time.monotonic()) or self._history.reserve():
            return None
        try:
            return await self._history.newest_id(symbol)
        except (ConnectFailed, ExchangeRefused, MalformedMessage) as exc:
            log.debug("Cannot read the history", reason=exc.message, symbol=symbol)
            if isinstance(exc, ConnectFailed):
                await self._history.close()
            if isinstance(exc, TooManyRequests | AddressBanned | AccessBlocked):
                wait = exc.retry_after_seconds or _BAN_SECONDS
                self._plan.not_before(time.monotonic() + wait)
            return None

    def _activity(self, symbol: str) -> int:
        return self._trackers[symbol].trades

    async def _sleep(self, seconds: float | None) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(IDLE_SECONDS if seconds is None else seconds):
                await self._wake.wait()
        except TimeoutError:
            if seconds is None:
                await self._history.close()

    async def _carry_out(self, request: BackfillRequest) -> None:
        """Ask the history for ids, unless they have come by themselves meanwhile."""
        request.ranges = self._still_missing(request)
        if not request.ranges:
            return
        wait = self._history.reserve()
        if wait:
            log.info("Back-fill waits for the request budget", seconds=round(wait, 1))
            self._put_back(request, wait)
            return
        most = min(request.last_id - request.first_id + 1, PAGE_TRADES)
        try:
            page = await self._history.page(request.symbol, request.first_id, most)
        except (ConnectFailed, ExchangeRefused, MalformedMessage) as exc:
            await self._failed(request, exc)
            return
        self._backoff.proved()
        if page is not None:
            held_back = self._on_batch(page)
            if held_back is not None:
                await held_back
        await self._answered(request, page)

    def _still_missing(self, request: BackfillRequest) -> list[IdRange]:
        still_open = self._trackers[request.symbol].open
        return [part for ids in request.ranges for part in still_open.within(*ids)]

    async def _answered(
        self, request: BackfillRequest, page: TradeBatch | None
    ) -> None:
        ids = [] if page is None else list(map(int, page.trade_ids))
        missing = self._still_missing(request)
        for absent in self._plan.answered(request, ids, missing, time.monotonic()):
            await self._give_up(request.symbol, absent)

    async def _failed(
        self,
        request: BackfillRequest,
        exc: ConnectFailed | ExchangeRefused | MalformedMessage,
    ) -> None:
        """Decide what becomes of a request that had no answer."""
        if isinstance(exc, RestrictedLocation):
            log.warning("The history is out of reach", reason=exc.message)
            for ids in self._still_missing(request):
                await self._give_up(request.symbol, ids)
            return
        wait = self._backoff.next_delay_seconds()
        if isinstance(exc, TooManyRequests | AddressBanned | AccessBlocked):
            usual = wait if isinstance(exc, TooManyRequests) else _BAN_SECONDS
            wait = max(exc.retry_after_seconds or usual, wait)
        elif isinstance(exc, ApiError):
            if 400 <= exc.status < 500:
                # It will hardly like the same question better the next time.
                await self._answered(request, None)
                return
        else:
            await self._history.close()
        log.warning(
            "Cannot read the history",
            reason=exc.message,
            symbol=request.symbol,
            retry_in_seconds=round(wait, 1),
        )
        # Others would fare no better: all of them wait.
        self._put_back(request, wait)

    def _put_back(self, request: BackfillRequest, wait_seconds: float) -> None:
        self._plan.put_back(request)
        self._plan.not_before(time.monotonic() + wait_seconds)

    async def _give_up(self, symbol: str, ids: IdRange) -> None:
        held_back = self._on_absent(symbol, ids)
        if held_back is not None:
            await held_back
