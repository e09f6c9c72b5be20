"""Carrying repairs out: gaps to the exchange's API, trades back, one at a time."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from k2cli.binance.api import HISTORY_WEIGHT, BinanceApiClient
from k2cli.binance.backoff import Backoff
from k2cli.binance.budget import WeightBudget
from k2cli.capture.repair import PAGE_TRADES, Piece, RepairPlan
from k2cli.errors import (
    AccessBlocked,
    AddressBanned,
    ApiError,
    ConnectFailed,
    ExchangeRefused,
    RestrictedLocation,
    TooManyRequests,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

    from k2cli.binance.lookup import Lookup
    from k2cli.capture.ledger import Ledger
    from k2cli.capture.sequence import IdRange
    from k2cli.cli.source import Source
    from k2cli.trade import TradeV2

# The API connection is let go when it has had nothing to do for so long.
IDLE_SECONDS = 60.0
# The exchange itself gives a request up after 10 s.
REPLY_SECONDS = 12.0
_RETRY_SECONDS = 1.0
_MOST_RETRY_SECONDS = 15.0
_BAN_SECONDS = 120.0

log: FilteringBoundLogger = structlog.get_logger()


class Repairer:
    """Fetches what is missing from the history, for all symbols over one connection.

    Args:
        source: The exchange.
        lookup: Base and quote assets.
        ledger: Knows what is missing still.
        on_trade: Takes a trade of the history; awaited if it gives an awaitable.
        on_lost: Takes the ids that the history does not have either.
    """

    def __init__(
        self,
        source: Source,
        lookup: Lookup,
        ledger: Ledger,
        on_trade: Callable[[TradeV2], Awaitable[None] | None],
        on_lost: Callable[[str, IdRange], Awaitable[None] | None],
    ) -> None:
        self._source = source
        self._pairs = {symbol: lookup.pair(symbol) for symbol in lookup.symbols}
        self._ledger = ledger
        self._on_trade = on_trade
        self._on_lost = on_lost
        self._plan = RepairPlan()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._budget = WeightBudget()
        self._backoff = Backoff(
            _RETRY_SECONDS,
            cap_seconds=_MOST_RETRY_SECONDS,
            max_failures=0,
            random=random.random,
        )
        self._api: BinanceApiClient | None = None
        self._connecting = asyncio.Lock()

    def repair(self, symbol: str, ids: IdRange) -> None:
        """Ask for a gap to be repaired."""
        self._plan.add(symbol, *ids, time.monotonic())
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Repair until cancelled."""
        try:
            while True:
                now = time.monotonic()
                piece = self._plan.take(now, self._trades)
                if piece is not None:
                    await self._look(piece)
                    continue
                if not self._plan:
                    self._idle.set()
                await self._sleep(self._plan.due_in_seconds(now))
        finally:
            # Nobody need wait for what will not be repaired any more.
            self._idle.set()
            await self._hang_up()

    async def until_idle(self, seconds: float) -> None:
        """Wait until nothing is left to repair, but no longer than this."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    async def newest_id(self, symbol: str) -> int | None:
        """Ask the history for the newest trade id; ``None`` if it cannot tell."""
        if self._plan.waits(time.monotonic()):
            return None
        if self._budget.reserve(HISTORY_WEIGHT, time.time()):
            return None
        try:
            api = await self._connected()
            newest = await api.historical_trades(symbol, None, 1, self._pairs[symbol])
        except (ConnectFailed, ExchangeRefused) as exc:
            log.debug("Cannot read the history", reason=exc.message, symbol=symbol)
            if isinstance(exc, ConnectFailed):
                await self._hang_up()
            if isinstance(exc, TooManyRequests | AddressBanned | AccessBlocked):
                wait = exc.retry_after_seconds or _BAN_SECONDS
                self._plan.not_before(time.monotonic() + wait)
            return None
        return newest[-1].source_sequence if newest else None

    def _trades(self, symbol: str) -> int:
        return self._ledger.trackers[symbol].trades

    async def _sleep(self, seconds: float | None) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(IDLE_SECONDS if seconds is None else seconds):
                await self._wake.wait()
        except TimeoutError:
            if seconds is None:
                await self._hang_up()

    async def _look(self, piece: Piece) -> None:
        """Ask the history for a piece, unless it has come by itself meanwhile."""
        tracker = self._ledger.trackers[piece.symbol]
        piece.ranges = self._still_missing(piece)
        if not piece.ranges:
            return
        wait = self._budget.reserve(HISTORY_WEIGHT, time.time())
        if wait:
            log.info("Repairs wait for the request budget", seconds=round(wait, 1))
            self._plan.put_back(piece)
            self._plan.not_before(time.monotonic() + wait)
            return
        try:
            trades = await self._fetch(piece)
        except (ConnectFailed, ExchangeRefused) as exc:
            await self._failed(piece, exc)
            return
        self._backoff.proved()
        page = [trade.source_sequence or 0 for trade in trades]
        for trade_id, trade in zip(page, trades, strict=True):
            # Between the ids wanted, a page has others that are no repair.
            if tracker.open_ranges(trade_id, trade_id):
                held_back = self._on_trade(trade)
                if held_back is not None:
                    await held_back
        await self._answered(piece, page)

    def _still_missing(self, piece: Piece) -> list[IdRange]:
        tracker = self._ledger.trackers[piece.symbol]
        return [part for ids in piece.ranges for part in tracker.open_ranges(*ids)]

    async def _answered(self, piece: Piece, page: list[int]) -> None:
        missing = self._still_missing(piece)
        for ids in self._plan.answered(piece, page, missing, time.monotonic()):
            await self._lose(piece.symbol, ids)

    async def _fetch(self, piece: Piece) -> list[TradeV2]:
        api = await self._connected()
        limit = min(piece.last_id - piece.first_id + 1, PAGE_TRADES)
        return await api.historical_trades(
            piece.symbol, piece.first_id, limit, self._pairs[piece.symbol]
        )

    async def _connected(self) -> BinanceApiClient:
        async with self._connecting:
            if self._api is None:
                api = BinanceApiClient(
                    self._source.config.api_url,
                    open_timeout_seconds=self._source.config.open_timeout,
                    reply_timeout_seconds=REPLY_SECONDS,
                    proxy=self._source.proxy,
                    budget=self._budget,
                )
                await api.__aenter__()
                self._api = api
            return self._api

    async def _failed(self, piece: Piece, exc: ConnectFailed | ExchangeRefused) -> None:
        """Decide what becomes of a piece that there was no answer for."""
        if isinstance(exc, RestrictedLocation):
            log.warning("The history is out of reach", reason=exc.message)
            for ids in self._still_missing(piece):
                await self._lose(piece.symbol, ids)
            return
        wait = self._backoff.next_delay_seconds()
        if isinstance(exc, TooManyRequests | AddressBanned | AccessBlocked):
            usual = wait if isinstance(exc, TooManyRequests) else _BAN_SECONDS
            wait = max(exc.retry_after_seconds or usual, wait)
        elif isinstance(exc, ApiError):
            if 400 <= exc.status < 500:
                # It will hardly like the same question better the next time.
                await self._answered(piece, [])
                return
        else:
            await self._hang_up()
        log.warning(
            "Cannot read the history",
            reason=exc.message,
            symbol=piece.symbol,
            retry_in_seconds=round(wait, 1),
        )
        # Others would fare no better: all of them wait.
        self._plan.put_back(piece)
        self._plan.not_before(time.monotonic() + wait)

    async def _lose(self, symbol: str, ids: IdRange) -> None:
        held_back = self._on_lost(symbol, ids)
        if held_back is not None:
            await held_back

    async def _hang_up(self) -> None:
        api, self._api = self._api, None
        if api is not None:
            await api.__aexit__(None, None, None)
