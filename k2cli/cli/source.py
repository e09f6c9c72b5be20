"""Where the trades of a run come from: Binance, or the embedded exchange."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from k2cli.binance.catalog_cache import CatalogCache
from k2cli.binance.lookup import CatalogSource, Lookup
from k2cli.binance.streams import spread
from k2cli.binance.symbols import ascii_upper, normalize_symbols
from k2cli.config import API_URL, BinanceConfig, load_config
from k2cli.errors import SettingsError, UnknownSymbol, printable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path

    from k2cli.cli.options import TailOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An exchange, real or embedded.

    Attributes:
        config: The settings, with the addresses in use.
        catalog: Where the catalog comes from.
        proxy: Whether to go through the environment's proxy.
        symbols: What to tail if none is named.
        name: Who they are, fit for printing: a host, a file.
        simulated: Whether the market is known to be made up.
        replayed: Whether a recording is played.
        finished: Set when a replay has been played to its end.
        damage: Why the end of a recording is not whole, if it is not.
    """

    config: BinanceConfig
    catalog: CatalogSource
    proxy: bool
    symbols: list[str]
    name: str
    simulated: bool = False
    replayed: bool = False
    finished: asyncio.Event | None = None
    damage: str | None = None

    async def select(self, options: TailOptions) -> Lookup:
        """Choose the symbols to tail, and look them up.

        How busy they are is asked only if they need more than one connection.

        Returns:
            A lookup whose ``symbols`` are the ones chosen, in order.

        Raises:
            UnknownSymbol: If one does not exist, or nothing fits the conditions.
            K2Error: If all symbols are asked for and no catalog can be had.
        """
        lookup = await self._look_up(options)
        if len(spread(lookup.symbols, self.config.websocket_url)) < 2:
            return lookup
        return replace(lookup, activity=await self.catalog.activity())

    async def _look_up(self, options: TailOptions) -> Lookup:
        named = normalize_symbols(
            [*(options.named_symbols or []), *(options.symbols or [])]
        )
        if not (options.all_symbols or options.quote or options.base):
            symbols = named or self.symbols
            return await self.catalog.check(symbols)
        whole = await self.catalog.whole()
        chosen = whole.catalog.select(
            base=[ascii_upper(asset) for asset in options.base or []],
            quote=[ascii_upper(asset) for asset in options.quote or []],
        )
        if not chosen:
            raise UnknownSymbol(
                "no trading symbol fits --base and --quote",
                "'k2 symbols --quote USDT' lists what there is",
            )
        wanted = list(dict.fromkeys([*named, *(info.symbol for info in chosen)]))
        checked = await self.catalog.check(wanted) if named else None
        return Lookup(
            checked.catalog if checked else whole.catalog,
            wanted,
            (*whole.warnings, *(checked.warnings if checked else ())),
        )


def settings(
    *,
    url: str | None,
    api_url: str | None,
    config_file: Path | None,
) -> BinanceConfig:
    """Put the settings of a command together, and see that k2 may run.

    Raises:
        SettingsError: If one is wrong, or k2 is switched off.
    """
    config = load_config({"websocket_url": url, "api_url": api_url}, config_file)
    if "enabled" in config.given and not config.enabled:
        raise SettingsError(
            "k2 is switched off by 'enabled = false'",
            "Change it in K2_BINANCE_ENABLED or config.toml",
        )
    return config


def binance_source(config: BinanceConfig) -> Source:
    """Give the exchange that the settings name."""
    # The data-only host has Binance.com's catalog: no help with another exchange's.
    has_rest = config.api_url == API_URL or "rest_url" in config.given
    return Source(
        config=config,
        catalog=CatalogSource(
            config.api_url,
            rest_url=config.rest_url if has_rest else None,
            cache=CatalogCache(),
            open_timeout_seconds=config.open_timeout,
        ),
        proxy=True,
        symbols=normalize_symbols(config.symbols),
        name=printable(urlsplit(config.websocket_url).hostname or ""),
    )


@asynccontextmanager
async def open_source(options: TailOptions) -> AsyncIterator[Source]:
    """Give the source that the options ask for; an embedded one runs until the end.

    Raises:
        SettingsError: If the options or settings are wrong, or the file to replay is.
    """
    _check_together(options)
    config = settings(
        url=options.url, api_url=options.api_url, config_file=options.config
    )
    if not (options.demo or options.replay):
        yield binance_source(config)
        return

    from k2cli.simulator import Market, Recording, SimulatedExchange

    trades: Market | Recording
    damage = None
    if options.replay:
        speed = 1.0 if options.speed is None else options.speed
        trades = Recording(options.replay, speed=speed)
        damage = trades.damage
        name, symbols = printable(options.replay.name), list(trades.symbols)
    else:
        trades = Market()
        name, symbols = "embedded exchange", normalize_symbols(config.symbols)
    async with SimulatedExchange(trades) as exchange:
        embedded = replace(config, websocket_url=exchange.url, api_url=exchange.api_url)
        yield Source(
            config=embedded,
            catalog=CatalogSource(exchange.api_url, proxy=False),
            proxy=False,
            symbols=symbols,
            name=name,
            simulated=options.demo,
            replayed=options.replay is not None,
            finished=exchange.finished if options.replay else None,
            damage=damage,
        )


def _check_together(options: TailOptions) -> None:
    given = {
        "--demo": options.demo,
        "--replay": options.replay,
        "--url": options.url,
    }
    both = [name for name, value in given.items() if value]
    if len(both) > 1:
        raise SettingsError(f"{' and '.join(both)} do not go together", "Leave one out")
    if options.speed is not None and options.replay is None:
        raise SettingsError("--speed goes with --replay FILE", "Add it, or leave both")
