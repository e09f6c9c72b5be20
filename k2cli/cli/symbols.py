"""``k2 symbols``."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k2cli.cli import options as shared
from k2cli.cli.completion import (
    complete_base,
    complete_quote,
    complete_status,
    complete_symbol,
)

if TYPE_CHECKING:
    from k2cli.binance.catalog import SymbolInfo
    from k2cli.binance.lookup import Lookup

_ALL = "all"
_STATUSES = ("TRADING", "END_OF_DAY", "HALT", "BREAK", "CANCEL_ONLY")
_WHICH = "Which symbols"
_WHAT = "What comes out"


class SortKey(StrEnum):
    """What the list is sorted by; symbols in alphabetical order where that is equal."""

    SYMBOL = "symbol"
    BASE = "base"
    QUOTE = "quote"
    STATUS = "status"
    TICK = "tick"
    STEP = "step"


def symbols(
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help="Part of a symbol's name.",
            show_default=False,
            autocompletion=complete_symbol,
        ),
    ] = "",
    quote: Annotated[
        list[str] | None,
        typer.Option(
            "--quote",
            metavar="ASSET",
            help="Only with this quote asset.",
            rich_help_panel=_WHICH,
            autocompletion=complete_quote,
        ),
    ] = None,
    base: Annotated[
        list[str] | None,
        typer.Option(
            "--base",
            metavar="ASSET",
            help="Only of this base asset.",
            rich_help_panel=_WHICH,
            autocompletion=complete_base,
        ),
    ] = None,
    status: Annotated[
        str,
        typer.Option(
            metavar="STATUS",
            help="Only with this status; all for any.",
            rich_help_panel=_WHICH,
            autocompletion=complete_status,
        ),
    ] = "TRADING",
    sort: Annotated[
        SortKey,
        typer.Option(
            "--sort",
            metavar="KEY",
            help="symbol, base, quote, status, tick or step; sizes, smallest first.",
            rich_help_panel=_WHAT,
        ),
    ] = SortKey.SYMBOL,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object a line, as in a pipe.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
    pager: Annotated[
        bool,
        typer.Option(
            "--pager/--no-pager",
            help="Page what is longer than the screen, with $PAGER or less.",
            rich_help_panel=_WHAT,
        ),
    ] = True,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the exchange, not the kept catalog.")
    ] = False,
    demo: shared.Demo = False,
    api_url: shared.ApiUrl = None,
    config: shared.Config = None,
    log_level: shared.Level = shared.LogLevel.INFO,
    log_format: shared.Format = shared.LogFormat.AUTO,
    debug: shared.Debug = False,
) -> int:
    """List and search the symbols that can be traded.

    Examples:
      k2 symbols btc --quote EUR                    # search
      k2 symbols --sort quote                       # all, page by page
      k2 symbols --base BTC --json | jq -r .symbol
    """
    del debug  # main() reads it
    import sys

    import structlog

    from k2cli.binance.symbols import ascii_upper
    from k2cli.cli.log import configure, stderr_output

    configure(log_level.value, log_format.value, stderr_output())
    lookup = _whole_catalog(
        shared.TailOptions(api_url=api_url, demo=demo, config=config), refresh=refresh
    )
    for warning in lookup.warnings:
        structlog.get_logger().warning(warning)
    bases = [ascii_upper(asset.strip()) for asset in base or []]
    quotes = [ascii_upper(asset.strip()) for asset in quote or []]
    lookup.catalog.check_assets(base=bases, quote=quotes)
    found = lookup.catalog.select(
        text=ascii_upper(text.strip().replace("/", "").replace("-", "")),
        base=bases,
        quote=quotes,
        status=_status(status, lookup),
    )
    found.sort(key=_SORTED_BY[sort])
    if json or not sys.stdout.isatty():
        _print_json(found)
    else:
        _print_table(found, paged=pager)
    if not found:
        typer.echo(
            f"k2: none of the {len(lookup.catalog):,} symbols fits; "
            "--status all takes in those that are not trading",
            err=True,
        )
    return 0


def _status(text: str, lookup: Lookup) -> str | None:
    """Return the status that is wanted; ``None`` for any.

    Raises:
        SettingsError: If it is none that Binance documents, nor one of the catalog.
    """
    from k2cli.binance.symbols import ascii_upper
    from k2cli.cli.checks import did_you_mean
    from k2cli.errors import SettingsError, printable

    wanted = ascii_upper(text.strip())
    if wanted == ascii_upper(_ALL):
        return None
    known = sorted({*_STATUSES, *(info.status for info in lookup.catalog)})
    if wanted not in known:
        raise SettingsError(
            f"there is no status '{printable(text, 40)}'",
            f"{did_you_mean(wanted, known)}There are {', '.join(known)}, and all",
        )
    return wanted


_SORTED_BY: dict[SortKey, Callable[[SymbolInfo], Any]] = {
    SortKey.SYMBOL: lambda info: info.symbol,
    SortKey.BASE: lambda info: info.base_asset,
    SortKey.QUOTE: lambda info: info.quote_asset,
    SortKey.STATUS: lambda info: info.status,
    SortKey.TICK: lambda info: _size(info.tick_size),
    SortKey.STEP: lambda info: _size(info.step_size),
}


def _size(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:  # an exchange may say anything
        return Decimal(0)


def _whole_catalog(options: shared.TailOptions, *, refresh: bool) -> Lookup:
    import asyncio

    from k2cli.cli.venue import open_venue

    async def fetch() -> Lookup:
        async with open_venue(options) as venue:
            return await venue.venue.catalog.whole(refresh=refresh)

    return asyncio.run(fetch())


def _print_json(found: list[SymbolInfo]) -> None:
    from k2cli.cli.pipe import print_bytes
    from k2cli.text import machine_json

    print_bytes(b"".join(machine_json(info.to_dict()) for info in found))


def _print_table(found: list[SymbolInfo], *, paged: bool) -> None:
    import sys

    from rich.console import Console

    from k2cli.cli.pager import page, pager_command, shows_colours
    from k2cli.display.reports import catalog_lines

    if not found:
        return
    console = Console()
    lines = catalog_lines([info.to_dict() for info in found])
    screen_lines = console.height
    command = pager_command(lines=len(lines), screen_lines=screen_lines)
    if not paged:
        command = None
    if command is not None and not shows_colours():
        console = Console(color_system=None)
    with console.capture() as captured:
        for line in lines:
            console.print(line, soft_wrap=True)
    if command is None or not page(captured.get(), command):
        sys.stdout.write(captured.get())
