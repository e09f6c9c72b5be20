"""Binance as a venue: symbols, streams and history behind one object."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from k2cli.binance.catalog import CatalogCache
from k2cli.binance.client import MAX_AGE_SECONDS, BinanceWebSocketClient
from k2cli.binance.history import BinanceHistory
from k2cli.binance.limits import SHARE
from k2cli.binance.lookup import CatalogSource, Lookup, lookup_of
from k2cli.binance.pacing import MAX_DELAY_SECONDS
from k2cli.binance.status import ConnectionState, ConnectionStatus
from k2cli.binance.streams import is_binance_com, spread
from k2cli.binance.symbols import ascii_upper, normalize_symbols
from k2cli.errors import UnknownSymbol, printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from k2cli.config import BinanceConfig
    from k2cli.shards import Shard
    from k2cli.trade import TradeBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolSelection:
    """Which symbols to follow: those named, and those that the catalog has.

    Attributes:
        symbols: As people write them.
        quote: Quote assets: all trading symbols with one of them.
        base: Base assets, likewise; with both, symbols that fit both.
        all: Whether to follow all trading symbols.
        shard: Which share of these to follow; ``None`` for all of them.
    """

    symbols: Sequence[str] = ()
    quote: Sequence[str] = ()
    base: Sequence[str] = ()
    all: bool = False
    shard: Shard | None = None


class BinanceVenue:
    """An exchange that speaks as Binance Spot does.

    Args:
        config: The settings, with the addresses in use. Its symbols are followed if no
            others are selected.
        catalog: Where the catalog comes from.
        selection: Which symbols to follow.
        name: What to call it, fit for printing; the host if not given.
        proxy: As for the stream client.
        max_connection_age_seconds: Likewise.
        max_first_seconds: Likewise.
        max_delay_seconds: Likewise.
        repair_share: How much of the request weight repair may use.
    """

    def __init__(
        self,
        config: BinanceConfig,
        catalog: CatalogSource,
        selection: SymbolSelection | None = None,
        *,
        name: str = "",
        proxy: str | bool = True,
        max_connection_age_seconds: float = MAX_AGE_SECONDS,
        max_first_seconds: float | None = None,
        max_delay_seconds: float = MAX_DELAY_SECONDS,
        repair_share: float = SHARE,
    ) -> None:
        self.config = config
        self.catalog = catalog
        self.selection = selection or SymbolSelection()
        self._name = name
        self._proxy = proxy
        self._max_connection_age_seconds = max_connection_age_seconds
        self._max_first_seconds = max_first_seconds
        self._max_delay_seconds = max_delay_seconds
        self._repair_share = repair_share

    @classmethod
    def from_config(
        cls,
        config: BinanceConfig,
        selection: SymbolSelection | None = None,
        **options: Any,
    ) -> Self:
        """Return the exchange that the settings name, with a catalog kept on disk.

        Args:
            config: The settings.
            selection: Which symbols to follow.
            options: Other arguments of the class.
        """
        # The data-only host has Binance.com's catalog: no help with another exchange's.
        has_rest = "rest_url" in config.model_fields_set or is_binance_com(
            config.api_url
        )
        catalog = CatalogSource(
            config.api_url,
            fallback_urls=config.api_fallbacks,
            rest_url=config.rest_url if has_rest else None,
            cache=CatalogCache(),
            open_timeout_seconds=config.open_timeout,
            proxy=options.get("proxy", True),
        )
        return cls(config, catalog, selection, **options)

    @property
    def name(self) -> str:
        """What to call it, fit for printing."""
        host = urlsplit(self.config.websocket_url).hostname or ""
        return self._name or printable(host)

    async def look_up(self) -> Lookup:
        """Choose the symbols to follow, and look them up.

        How busy they are is asked only if they need more than one connection.

        Raises:
            UnknownSymbol: If one does not exist, or none fits the conditions.
            K2Error: If all are asked for and no catalog can be had.
        """
        lookup = await self._select()
        if len(spread(lookup.symbols, self.config.websocket_url)) < 2:
            return lookup
        return replace(lookup, activity=await self.catalog.activity())

    def stream(
        self,
        symbols: object,
        on_batch: Callable[[TradeBatch], Awaitable[None] | None],
        on_live: Callable[[], None],
    ) -> BinanceWebSocketClient:
        """Return a stream of the trades of these symbols, not connected yet.

        Args:
            symbols: What ``look_up`` has returned.
            on_batch: Called with trades as they come; an awaitable that it returns
                holds the connection back until it is done.
            on_live: Called when a connection is made.
        """
        lookup = lookup_of(symbols)

        def note(status: ConnectionStatus) -> None:
            if status.state is ConnectionState.LIVE:
                on_live()

        return BinanceWebSocketClient.from_config(
            self.config,
            symbols=lookup.symbols,
            on_batch=on_batch,
            on_status=note,
            catalog=lookup.catalog,
            activity=lookup.activity,
            max_first_seconds=self._max_first_seconds,
            max_connection_age_seconds=self._max_connection_age_seconds,
            max_delay_seconds=self._max_delay_seconds,
            proxy=self._proxy,
        )

    def history(self, symbols: object) -> BinanceHistory:
        """Return access to the past trades of these symbols.

        Args:
            symbols: What ``look_up`` has returned.
        """
        lookup = lookup_of(symbols)
        return BinanceHistory(
            self.config.api_url,
            {symbol: lookup.pair(symbol) for symbol in lookup.symbols},
            fallback_urls=self.config.api_fallbacks,
            open_timeout_seconds=self.config.open_timeout,
            proxy=self._proxy,
            share=self._repair_share,
        )

    async def _select(self) -> Lookup:
        selection = self.selection
        named = normalize_symbols(list(selection.symbols))
        if not (selection.all or selection.quote or selection.base):
            return await self.catalog.check(
                self._share(named or normalize_symbols(list(self.config.symbols)))
            )
        whole = await self.catalog.whole()
        base = [ascii_upper(asset.strip()) for asset in selection.base]
        quote = [ascii_upper(asset.strip()) for asset in selection.quote]
        whole.catalog.check_assets(base=base, quote=quote)
        chosen = whole.catalog.select(base=base, quote=quote)
        if not chosen:
            raise UnknownSymbol(
                "no trading symbol fits --base and --quote",
                "'k2 symbols --quote USDT' lists what there is",
            )
        named = self._share(named, may_be_empty=True)
        wanted = [*named, *self._share([info.symbol for info in chosen])]
        wanted = list(dict.fromkeys(wanted))
        checked = await self.catalog.check(wanted) if named else None
        return Lookup(
            checked.catalog if checked else whole.catalog,
            wanted,
            (*whole.warnings, *(checked.warnings if checked else ())),
        )

    def _share(self, symbols: list[str], *, may_be_empty: bool = False) -> list[str]:
        """Return those of the symbols that are in the share to follow."""
        shard = self.selection.shard
        if shard is None:
            return symbols
        found = [symbol for symbol in symbols if shard.has(symbol)]
        if not found and not may_be_empty:
            raise UnknownSymbol(
                f"none of the {len(symbols):,} symbols is in the share {shard}",
                "Choose more symbols, or share them among fewer",
            )
        return found
