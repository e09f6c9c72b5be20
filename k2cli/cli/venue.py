"""Where the trades of a command come from: Binance, or the embedded exchange."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from k2cli.binance.lookup import CatalogSource
from k2cli.binance.pacing import MAX_DELAY_SECONDS
from k2cli.binance.symbols import normalize_symbols
from k2cli.binance.venue import BinanceVenue, SymbolSelection
from k2cli.cli import groups
from k2cli.config import BinanceConfig, load_config
from k2cli.config_file import default_config_file, read_table
from k2cli.errors import SettingsError, printable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from k2cli.cli.options import TailOptions

# The first connection is tried for so long: long enough for a server that restarts,
# short enough for an address that is wrong.
FIRST_SECONDS = 12.0
# A made-up history takes seconds to make up.
_MOST_HISTORY_SECONDS = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVenue:
    """An exchange, real or embedded, and what a screen says of it.

    Attributes:
        venue: The exchange.
        max_reconnect_attempts: Consecutive failures before giving up; 0 for never.
        is_simulated: Whether the market is known to be made up.
        is_replay: Whether a recording is played.
        finished: Set when a replay has been played to its end.
        damage: Why the end of a recording is not whole, if it is not.
        reread: Returns the same exchange with the symbols that are configured now;
            ``None`` where nobody configures them.
    """

    venue: BinanceVenue
    max_reconnect_attempts: int
    is_simulated: bool = False
    is_replay: bool = False
    finished: asyncio.Event | None = None
    damage: str | None = None
    reread: Callable[[], BinanceVenue] | None = None


def settings(
    *,
    url: str | None,
    api_url: str | None,
    config_file: Path | None,
    redundant: bool | None = None,
) -> BinanceConfig:
    """Put the settings of a command together, and see that k2 may run.

    Raises:
        SettingsError: If one is wrong, or k2 is switched off.
    """
    given = {"websocket_url": url, "api_url": api_url, "redundant": redundant}
    config = load_config(given, config_file)
    if "enabled" in config.model_fields_set and not config.enabled:
        raise SettingsError(
            "k2 is switched off by 'enabled = false'",
            "Change it in K2_BINANCE_ENABLED or config.toml",
        )
    return config


@asynccontextmanager
async def open_venue(
    options: TailOptions,
    max_delay_seconds: float = MAX_DELAY_SECONDS,
    history_seconds: float = 0.0,
) -> AsyncIterator[OpenVenue]:
    """Open the exchange that the options ask for; an embedded one runs until the end.

    Args:
        options: What the user asked for.
        max_delay_seconds: As for the stream client, unless the options say it.
        history_seconds: How far back the history of an embedded exchange goes.

    Raises:
        SettingsError: If the options or settings are wrong, or the file to replay is.
    """
    _check_together(options)
    if options.max_delay is not None:
        max_delay_seconds = options.max_delay
    config = settings(
        url=options.url,
        api_url=options.api_url,
        config_file=options.config,
        redundant=options.redundant,
    )
    selection = SymbolSelection(
        symbols=tuple(
            normalize_symbols(
                groups.expanded(
                    [*(options.named_symbols or []), *(options.symbols or [])],
                    options.config,
                )
            )
        ),
        quote=tuple(options.quote or ()),
        base=tuple(options.base or ()),
        all=options.all_symbols,
        shard=options.shard,
    )
    if not (options.demo or options.replay):

        def venue_of(config: BinanceConfig) -> BinanceVenue:
            return BinanceVenue.from_config(
                config,
                selection,
                max_connection_age_seconds=options.max_connection_age,
                max_delay_seconds=max_delay_seconds,
                repair_share=options.repair_weight,
                max_first_seconds=FIRST_SECONDS
                if config.max_reconnect_attempts
                else None,
            )

        def reread() -> BinanceVenue:
            now = settings(
                url=options.url, api_url=options.api_url, config_file=options.config
            )
            # All else is for the next start: the exchange must stay the same.
            return venue_of(config.model_copy(update={"symbols": now.symbols}))

        yield OpenVenue(
            venue=venue_of(config),
            max_reconnect_attempts=config.max_reconnect_attempts,
            reread=reread if _can_be_configured_anew(options) else None,
        )
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
    async with SimulatedExchange(
        trades, history_seconds=min(history_seconds, _MOST_HISTORY_SECONDS)
    ) as exchange:
        embedded = config.model_copy(
            update={
                "websocket_url": exchange.url,
                "fallback_urls": [],
                "api_url": exchange.api_url,
                "api_fallback_urls": [],
                "symbols": symbols,
            }
        )
        yield OpenVenue(
            venue=BinanceVenue(
                embedded,
                CatalogSource(exchange.api_url, proxy=False),
                selection,
                name=name,
                proxy=False,
                max_connection_age_seconds=options.max_connection_age,
                max_delay_seconds=max_delay_seconds,
                repair_share=options.repair_weight,
            ),
            max_reconnect_attempts=config.max_reconnect_attempts,
            is_simulated=options.demo,
            is_replay=options.replay is not None,
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


def _can_be_configured_anew(options: TailOptions) -> bool:
    """Return whether a service manager, or whoever wrote config.toml, may say SIGHUP.

    To a recording of symbols that were typed, it says that the terminal is gone.
    """
    if "NOTIFY_SOCKET" in os.environ:
        return True
    typed = (options.named_symbols, options.symbols, options.quote, options.base)
    if any(typed) or options.all_symbols or "K2_BINANCE_SYMBOLS" in os.environ:
        return False
    file = options.config or default_config_file()
    return "symbols" in read_table(file, required=False)
