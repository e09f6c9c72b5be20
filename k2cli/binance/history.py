"""Past trades, from the exchange's API."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from k2cli.binance.api import (
    HISTORY_WEIGHT,
    MOST_NAMED_TICKERS,
    BinanceApiClient,
    tickers_weight,
)
from k2cli.binance.handshake import SameExchange
from k2cli.binance.limits import SHARE, WeightBudget
from k2cli.binance.lookup import lookup_of
from k2cli.completeness.backoff import HostRotation
from k2cli.completeness.id_ranges import IdRange
from k2cli.errors import ConnectFailed, K2Error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from k2cli.trade import TradeBatch

MOST_PER_PAGE = 1000
# The exchange itself gives a request up after 10 s.
REPLY_SECONDS = 12.0


class BinanceHistory:
    """Past trades of some symbols, over one connection that is opened when needed.

    A request fails as one of ``BinanceApiClient`` does. A connection that failed is
    closed, and the next request opens another one.

    Args:
        url: The WebSocket API.
        assets: Base and quote asset by symbol.
        fallback_urls: Other addresses of the API, which have their turn after a
            failure.
        open_timeout_seconds: Longest time to connect.
        reply_timeout_seconds: Longest time to wait for a reply.
        proxy: As for the stream client.
        share: How much of the request weight may be used.
        clock: Returns Unix seconds.
    """

    def __init__(
        self,
        url: str,
        assets: Mapping[str, tuple[str, str]],
        *,
        fallback_urls: Sequence[str] = (),
        open_timeout_seconds: float = 10.0,
        reply_timeout_seconds: float = REPLY_SECONDS,
        proxy: str | bool = True,
        share: float = SHARE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._hosts = HostRotation([url, *fallback_urls])
        self._same_exchange = SameExchange()
        self._assets = dict(assets)
        self._open_timeout_seconds = open_timeout_seconds
        self._reply_timeout_seconds = reply_timeout_seconds
        self._proxy = proxy
        self._clock = clock
        self._budget = WeightBudget(share=share)
        self._api: BinanceApiClient | None = None
        self._connected_seconds = 0.0
        self._connecting = asyncio.Lock()

    @property
    def requests_per_minute(self) -> float:
        """How many requests the budget allows."""
        return self._budget.per_minute / HISTORY_WEIGHT

    def reserve(self) -> float:
        """Take the cost of one page, or of asking for the newest trade.

        Returns:
            0 if it may be sent now; else the seconds to wait, and nothing is taken.
        """
        return self._budget.reserve(HISTORY_WEIGHT, self._clock())

    async def page(self, symbol: str, first_id: int, most: int) -> TradeBatch | None:
        """Return trades by ascending id, from ``first_id`` on; ``None`` if none are.

        Args:
            symbol: One of those given.
            first_id: First id wanted.
            most: Most trades to return, up to 1000 of which come at once.
        """
        return await self._ask(symbol, first_id, min(most, MOST_PER_PAGE))

    async def newest(self, symbol: str) -> TradeBatch | None:
        """Return the newest trade; ``None`` if there is none."""
        return await self._ask(symbol, None, 1)

    async def newest_ids(self, symbols: Sequence[str]) -> Mapping[str, int] | None:
        """Return the ids of newest trades, of symbols that have traded in 24 hours.

        Returns:
            ``None`` if the request budget has no room for it now.
        """
        few = len(symbols) <= MOST_NAMED_TICKERS
        weight = tickers_weight(len(symbols))
        if self._budget.reserve(weight, self._clock()):
            return None
        async with self._connection(weight) as api:
            return await api.newest_ids(symbols if few else (), reserved=weight)

    async def ids_since(self, symbol: str, time_us: int) -> IdRange | None:
        """Return the ids of the trades made since a time; ``None`` if none were.

        Two requests, which together cost less than a page.

        Args:
            symbol: One of those given.
            time_us: Trade time, Unix microseconds.
        """
        async with self._connection(HISTORY_WEIGHT) as api:
            try:
                first = await api.trade_ids(symbol, time_us // 1000)
                newest = await api.trade_ids(symbol) if first is not None else None
            finally:
                self._budget.note(None, self._clock(), HISTORY_WEIGHT)
        if first is None or newest is None or newest.last_id < first.first_id:
            return None
        return IdRange(first.first_id, newest.last_id)

    def extend(self, symbols: object) -> None:
        """Give access to the past trades of further symbols.

        Args:
            symbols: What ``look_up`` has returned.
        """
        lookup = lookup_of(symbols)
        self._assets |= {symbol: lookup.pair(symbol) for symbol in lookup.symbols}

    async def close(self) -> None:
        """Close the connection; the next call opens another one."""
        api, self._api = self._api, None
        if api is not None:
            self._hosts.ended(self._clock() - self._connected_seconds)
            await api.close()

    async def _ask(
        self, symbol: str, from_id: int | None, limit: int
    ) -> TradeBatch | None:
        pair = self._assets[symbol]
        async with self._connection(HISTORY_WEIGHT) as api:
            return await api.historical_trades(
                symbol, from_id, limit, pair, reserved=HISTORY_WEIGHT
            )

    @asynccontextmanager
    async def _connection(self, reserved: int) -> AsyncIterator[BinanceApiClient]:
        """Connect, unless that is done; a connection that fails is closed."""
        try:
            api = await self._connected()
        except BaseException:
            self._budget.note(None, self._clock(), reserved)
            raise
        try:
            yield api
        except ConnectFailed:
            if self._api is api:
                self._api = None
                self._hosts.failed()
            await api.close()
            raise

    async def _connected(self) -> BinanceApiClient:
        async with self._connecting:
            if self._api is None:
                api = BinanceApiClient(
                    self._hosts.url,
                    open_timeout_seconds=self._open_timeout_seconds,
                    reply_timeout_seconds=self._reply_timeout_seconds,
                    proxy=self._proxy,
                    budget=self._budget,
                    same_exchange=self._same_exchange,
                    clock=self._clock,
                )
                try:
                    await api.connect()
                except K2Error:
                    self._hosts.failed()
                    raise
                self._api, self._connected_seconds = api, self._clock()
            return self._api
