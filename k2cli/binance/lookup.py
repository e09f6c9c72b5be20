"""Getting the catalog, by the first way that works, and checking symbols against it."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from k2cli.binance.api import ILLEGAL_CHARACTERS, INVALID_SYMBOL, BinanceApiClient
from k2cli.binance.catalog import FRESH_SECONDS, TRADING, Catalog
from k2cli.binance.rest import get_exchange_info
from k2cli.binance.symbols import parse_binance_symbol
from k2cli.binance.wire import SIMULATED
from k2cli.completeness.backoff import HostRotation
from k2cli.errors import (
    AccessBlocked,
    ApiError,
    ConnectFailed,
    K2Error,
    RestrictedLocation,
    UnknownSymbol,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from k2cli.binance.catalog import CatalogCache

# Knowing which symbols are busy is worth no longer wait.
_ACTIVITY_SECONDS = 5.0
# Asking for more symbols by name makes no smaller reply than a whole catalog is worth.
_MOST_BY_NAME = 100
_WITHOUT_CATALOG = (
    "without a catalog, symbols are not checked, and base and quote asset are guessed "
    "from the ending"
)

log: FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Lookup:
    """What is known of the symbols.

    Attributes:
        catalog: The catalog; empty if none can be had.
        symbols: The symbols looked up, in order.
        warnings: What the user should know about it, a line each.
        activity: How many trades a day symbols have, as far as known.
    """

    catalog: Catalog
    symbols: list[str]
    warnings: tuple[str, ...] = ()
    activity: Mapping[str, int] = field(default_factory=dict)

    def pair(self, symbol: str) -> tuple[str, str]:
        """Return a symbol's base and quote asset, by its ending if need be."""
        base, quote, _ = parse_binance_symbol(symbol, self.catalog)
        return base, quote

    def price_decimals(self) -> Mapping[str, int]:
        """Return the decimals of the price step, by symbol, as far as known."""
        return self.catalog.price_decimals()

    def quantity_decimals(self) -> Mapping[str, int]:
        """Return the decimals of the quantity step, by symbol, as far as known."""
        return self.catalog.quantity_decimals()


class CatalogSource:
    """Gets the catalog: from disk, from the API, or from the data-only host.

    Args:
        api_url: The WebSocket API.
        fallback_urls: Other addresses of it, tried where one cannot be reached.
        rest_url: The data-only host, asked if the API refuses this location; ``None``
            for not at all.
        cache: Catalogs on disk; ``None`` to neither read nor keep any.
        open_timeout_seconds: Longest time to connect.
        proxy: As for the stream client.
        clock: Returns Unix seconds.
    """

    def __init__(
        self,
        api_url: str,
        *,
        fallback_urls: Sequence[str] = (),
        rest_url: str | None = None,
        cache: CatalogCache | None = None,
        open_timeout_seconds: float = 10.0,
        proxy: str | bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api_url = api_url
        self._hosts = HostRotation([api_url, *fallback_urls])
        self._rest_url = rest_url
        self._cache = cache
        self._open_timeout_seconds = open_timeout_seconds
        self._proxy = proxy
        self._clock = clock

    async def whole(self, *, refresh: bool = False) -> Lookup:
        """Return all symbols of the exchange.

        Args:
            refresh: Ask the exchange even if the kept catalog is fresh.

        Raises:
            K2Error: If the exchange cannot be asked and no catalog is kept.
        """
        kept = self._kept()
        if kept is not None and not refresh and self._is_fresh(kept):
            return _all_of(kept)
        try:
            return _all_of(await self._fetch())
        except K2Error as exc:
            if kept is None:
                raise
            return _all_of(kept, f"{exc.message}; using {self._age(kept)}")

    async def check(self, symbols: Sequence[str]) -> Lookup:
        """Look up the symbols in use.

        Raises:
            UnknownSymbol: If the exchange does not have one of them; the hint says what
                may have been meant.
        """
        kept = self._kept()
        if (
            kept is not None
            and self._is_fresh(kept)
            and all(symbol in kept for symbol in symbols)
        ):
            return Lookup(kept, list(symbols), _not_trading(kept, symbols))
        try:
            catalog = await self._fetch_for(symbols)
        except K2Error as exc:
            if kept is None:
                nothing = Catalog((), whole=False, fetched_at_seconds=self._clock())
                return Lookup(
                    nothing, list(symbols), (f"{exc.message}; {_WITHOUT_CATALOG}",)
                )
            # An old catalog cannot say that a symbol does not exist by now.
            missing = [symbol for symbol in symbols if symbol not in kept]
            unchecked = f"; not in it: {', '.join(missing)}" if missing else ""
            return Lookup(
                kept,
                list(symbols),
                (
                    f"{exc.message}; using {self._age(kept)}{unchecked}",
                    *_not_trading(kept, symbols),
                ),
            )
        for symbol in symbols:
            if symbol not in catalog:
                raise _unknown(symbol, catalog)
        return Lookup(catalog, list(symbols), _not_trading(catalog, symbols))

    async def activity(self) -> dict[str, int]:
        """Return how many trades each symbol had in a day, as far as known."""
        try:
            async with (
                asyncio.timeout(_ACTIVITY_SECONDS),
                self._connection() as api,
            ):
                return await api.trade_counts()
        except (K2Error, TimeoutError) as exc:
            log.debug("Which symbols are busy is unknown", reason=str(exc))
            return {}

    async def _fetch_for(self, symbols: Sequence[str]) -> Catalog:
        """Fetch the symbols in use, or the whole catalog if one is not known."""
        if len(symbols) > _MOST_BY_NAME:
            return await self._fetch()
        try:
            return await self._fetch(symbols)
        except ApiError as exc:
            if exc.code not in (INVALID_SYMBOL, ILLEGAL_CHARACTERS):
                raise
        # One unknown name fails the whole request without saying which.
        return await self._fetch()

    async def _fetch(self, symbols: Sequence[str] = ()) -> Catalog:
        is_simulated = False
        try:
            async with self._connection() as api:
                is_simulated = api.exchange == SIMULATED
                reply: dict[str, Any] = await api.exchange_info(symbols)
        except (RestrictedLocation, AccessBlocked):
            if self._rest_url is None:
                raise
            reply = await get_exchange_info(self._rest_url, symbols)
        catalog = Catalog.from_exchange_info(
            reply, whole=not symbols, fetched_at_seconds=self._clock()
        )
        if catalog.whole and self._cache is not None and not is_simulated:
            self._cache.save(self._api_url, catalog)
        return catalog

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[BinanceApiClient]:
        """Connect to the first address that can be reached."""
        while True:
            api = BinanceApiClient(
                self._hosts.url,
                open_timeout_seconds=self._open_timeout_seconds,
                proxy=self._proxy,
            )
            try:
                await api.connect()
                break
            except ConnectFailed:
                self._hosts.failed()
                if self._hosts.all_failed:
                    raise
        self._hosts.ended(0.0)
        try:
            yield api
        finally:
            await api.close()

    def _kept(self) -> Catalog | None:
        return self._cache.load(self._api_url) if self._cache is not None else None

    def _is_fresh(self, catalog: Catalog) -> bool:
        return 0 <= self._clock() - catalog.fetched_at_seconds < FRESH_SECONDS

    def _age(self, catalog: Catalog) -> str:
        hours = max(self._clock() - catalog.fetched_at_seconds, 0) / 3600
        age = f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
        return f"the catalog of {age} ago"


def _all_of(catalog: Catalog, *warnings: str) -> Lookup:
    return Lookup(catalog, [info.symbol for info in catalog], warnings)


def _not_trading(catalog: Catalog, symbols: Sequence[str]) -> tuple[str, ...]:
    found = [info for symbol in symbols if (info := catalog.get(symbol)) is not None]
    return tuple(
        f"{info.symbol} is not trading (status {printable(info.status, 20)}): "
        "no trades will come until it is"
        for info in found
        if info.status != TRADING
    )


def _unknown(symbol: str, catalog: Catalog) -> UnknownSymbol:
    suggestions = [printable(name, 40) for name in catalog.suggestions(symbol)]
    return UnknownSymbol(
        f"the exchange has no symbol {printable(symbol, 40)}",
        f"Did you mean {' or '.join(suggestions)}?"
        if suggestions
        else "'k2 symbols TEXT' searches those it has",
    )


def lookup_of(symbols: object) -> Lookup:
    """See that symbols are what ``look_up`` has returned: it knows their assets."""
    if not isinstance(symbols, Lookup):
        raise TypeError("symbols must be what look_up() has returned")
    return symbols
