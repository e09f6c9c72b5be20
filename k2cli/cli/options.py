"""The options that several commands share, each defined once."""

from __future__ import annotations

import dataclasses
import inspect
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from k2cli.cli.completion import (
    complete_alert,
    complete_base,
    complete_quote,
    complete_symbol,
)
from k2cli.shards import MOST_SHARDS, Shard
from k2cli.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}

# Of an amount, before or behind the point.
_MOST_DIGITS = 30

_WHAT = "What to tail"
_WHEN = "When to stop, what to leave out"
_ALERTS = "Alerts"
_GAPS = "Lost trades and connections"
_WHERE = "Where from"
_TALK = "Settings and messages"


class Side(StrEnum):
    """The taker's side."""

    BUY = "buy"
    SELL = "sell"


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


def duration_seconds(text: str) -> float:
    """Read a length of time such as ``90s``, ``5m``, ``1h`` or ``2d``."""
    found = re.fullmatch(
        r"(\d{1,12}(?:\.\d{1,12})?)([smhd]?)", text.strip().lower(), re.ASCII
    )
    if not found or float(found[1]) == 0:
        raise typer.BadParameter(
            f"'{printable(text, 40)}' is no length of time; write 90s, 5m or 1h"
        )
    return float(found[1]) * _UNITS[found[2]]


def delay_seconds(text: str) -> float:
    """Read a short time such as ``2ms`` or ``0``, at most a second."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s?)", text.strip().lower())
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1) if found else -1.0
    if not 0 <= seconds <= 1:
        raise typer.BadParameter(f"'{text}' is not from 0 to 1s; write 0, 2ms or 0.1s")
    return seconds


def shard(text: str) -> Shard:
    """Read a share such as ``2/5``."""
    found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text.strip())
    if not (found and 1 <= int(found[1]) <= int(found[2]) <= MOST_SHARDS):
        raise typer.BadParameter(
            f"'{printable(text, 40)}' is no share; write 2/5 for the second of five"
        )
    return Shard(int(found[1]), int(found[2]))


def amount(text: str) -> Decimal:
    """Read an amount of money, at least 0."""
    try:
        value = Decimal(text.replace(",", "").replace("_", ""))
    except InvalidOperation:
        value = Decimal(-1)
    if not value.is_finite() or value < 0 or abs(value.adjusted()) > _MOST_DIGITS:
        raise typer.BadParameter(
            f"'{printable(text, 40)}' is no amount; write a number like 100000"
        )
    return value


def weight_share(text: str) -> float:
    """Read a share of the request weight, such as ``90%``."""
    found = re.fullmatch(r"(\d{1,3})%?", text.strip(), re.ASCII)
    if not found or not 1 <= int(found[1]) <= 100:
        raise typer.BadParameter(
            f"'{printable(text, 40)}' is no share; write 50% or 90%"
        )
    return int(found[1]) / 100


Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="WSS",
        help="Market streams to connect to.",
        rich_help_panel=_WHERE,
    ),
]
ApiUrl = Annotated[
    str | None,
    typer.Option(
        "--api-url",
        metavar="WSS",
        help="WebSocket API to ask for the catalog.",
        rich_help_panel=_WHERE,
    ),
]
Demo = Annotated[
    bool,
    typer.Option(
        "--demo",
        help="Use the embedded exchange and its made-up market: no network.",
        rich_help_panel=_WHERE,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Read settings from this file.",
        rich_help_panel=_TALK,
    ),
]
Level = Annotated[
    LogLevel, typer.Option("--log-level", help="Least to log.", rich_help_panel=_TALK)
]
Format = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        help="auto: readable on a terminal, JSON otherwise.",
        rich_help_panel=_TALK,
    ),
]
RepairWeight = Annotated[
    float,
    typer.Option(
        "--repair-weight",
        metavar="SHARE",
        parser=weight_share,
        help="How much of the exchange's request weight repair may use.",
        rich_help_panel=_GAPS,
    ),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show tracebacks.", rich_help_panel=_TALK),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TailOptions:
    """What ``k2 stream`` and ``k2 record`` have in common."""

    symbols: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SYMBOL",
            help="Symbols: BTCUSDT, btcusdt, BTC/USDT. Without any, those of the "
            "configuration.",
            show_default=False,
            autocompletion=complete_symbol,
        ),
    ] = None
    named_symbols: Annotated[
        list[str] | None,
        typer.Option(
            "--symbols",
            "-s",
            metavar="SYMBOL...",
            help="The same: --symbols BTCUSDT ETHUSDT, or BTCUSDT,ETHUSDT.",
            autocompletion=complete_symbol,
            rich_help_panel=_WHAT,
        ),
    ] = None
    quote: Annotated[
        list[str] | None,
        typer.Option(
            "--quote",
            metavar="ASSET",
            help="All symbols traded against this asset, like USDT.",
            autocompletion=complete_quote,
            rich_help_panel=_WHAT,
        ),
    ] = None
    base: Annotated[
        list[str] | None,
        typer.Option(
            "--base",
            metavar="ASSET",
            help="All symbols of this asset, like BTC.",
            autocompletion=complete_base,
            rich_help_panel=_WHAT,
        ),
    ] = None
    all_symbols: Annotated[
        bool,
        typer.Option("--all", help="All trading symbols.", rich_help_panel=_WHAT),
    ] = False
    shard: Annotated[
        Shard | None,
        typer.Option(
            "--shard",
            metavar="N/TOTAL",
            parser=shard,
            help="Only this share of them, like 2/5: so that five machines follow all.",
            rich_help_panel=_WHAT,
        ),
    ] = None
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            "-n",
            min=1,
            metavar="N",
            help="Stop after N trades.",
            rich_help_panel=_WHEN,
        ),
    ] = None
    duration: Annotated[
        float | None,
        typer.Option(
            "--duration",
            metavar="TIME",
            parser=duration_seconds,
            help="Stop after 90s, 5m, 1h …",
            rich_help_panel=_WHEN,
        ),
    ] = None
    min_notional: Annotated[
        Decimal | None,
        typer.Option(
            "--min-notional",
            metavar="AMOUNT",
            parser=amount,
            help="Only trades worth at least this, in their quote asset.",
            rich_help_panel=_WHEN,
        ),
    ] = None
    side: Annotated[
        Side | None,
        typer.Option(
            "--side",
            case_sensitive=False,
            help="Only trades of this taker side.",
            rich_help_panel=_WHEN,
        ),
    ] = None
    alert: Annotated[
        list[str] | None,
        typer.Option(
            "--alert",
            metavar="CONDITION",
            help="Say when 'price>65000', 'move>1%/5m' or 'notional>1M'; "
            "'BTCUSDT:price>65000' for one symbol.",
            autocompletion=complete_alert,
            rich_help_panel=_ALERTS,
        ),
    ] = None
    on_alert: Annotated[
        str | None,
        typer.Option(
            "--on-alert",
            metavar="COMMAND",
            help="Run this for each alert, without a shell; the facts are in its "
            "environment and on stdin.",
            rich_help_panel=_ALERTS,
        ),
    ] = None
    url: Url = None
    api_url: ApiUrl = None
    demo: Demo = False
    replay: Annotated[
        Path | None,
        typer.Option(
            "--replay",
            metavar="FILE",
            help="Play a capture or a recording on the embedded exchange.",
            rich_help_panel=_WHERE,
        ),
    ] = None
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed",
            metavar="X",
            min=0,
            help="Replay X times as fast as recorded; 0 for as fast as can be.",
            rich_help_panel=_WHERE,
        ),
    ] = None
    redundant: Annotated[
        bool | None,
        typer.Option(
            "--redundant/--no-redundant",
            help="Keep two connections for every symbol, on different hosts if there "
            "are several, and take each trade from the one that is first with it.",
            show_default=False,
            rich_help_panel=_GAPS,
        ),
    ] = None
    backfill: Annotated[
        bool,
        typer.Option(
            "--backfill/--no-backfill",
            help="Fetch missing trades from the exchange's history.",
            rich_help_panel=_GAPS,
        ),
    ] = True
    max_backfill: Annotated[
        int,
        typer.Option(
            "--max-backfill",
            metavar="N",
            min=0,
            help="Report a gap of more than N trades instead of repairing it.",
            rich_help_panel=_GAPS,
        ),
    ] = 1_000_000
    repair_weight: RepairWeight = "50%"  # type: ignore[assignment]  # likewise
    max_connection_age: Annotated[
        float,
        typer.Option(
            "--max-connection-age",
            metavar="TIME",
            parser=duration_seconds,
            help="Replace a connection before it is older; Binance ends it at 24h.",
            rich_help_panel=_GAPS,
        ),
    ] = "23.5h"  # type: ignore[assignment]  # Typer sends defaults through the parser
    max_delay: Annotated[
        float | None,
        typer.Option(
            "--max-delay",
            metavar="TIME",
            parser=delay_seconds,
            help="Where trades come fast, let one wait so long at most, which takes "
            "less CPU. 0: never. By default 2ms for record, 1ms in a pipe.",
            rich_help_panel=_TALK,
        ),
    ] = None
    summary: Annotated[
        Path | None,
        typer.Option(
            "--summary",
            metavar="FILE",
            help="Write the account at the end as JSON to FILE.",
            rich_help_panel=_TALK,
        ),
    ] = None
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Say nothing on stderr but errors, and what is missing.",
            rich_help_panel=_TALK,
        ),
    ] = False
    config: Config = None
    log_level: Level = LogLevel.INFO
    log_format: Format = LogFormat.AUTO
    debug: Debug = False


def takes(options: type[Any]) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command the options of a dataclass, handed over as its first argument.

    Args:
        options: A dataclass whose fields are annotated as Typer parameters.
    """
    hints = get_type_hints(options, include_extras=True)
    shared = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(options)
    ]

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        own_hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=own_hints[parameter.name])
            for parameter in list(inspect.signature(command).parameters.values())[1:]
        ]

        @wraps(command)
        def with_options(**values: Any) -> int:
            given = {one.name: values.pop(one.name) for one in shared}
            return command(options(**given), **values)

        # Keyword-only, in the order in which --help lists them.
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        signature = inspect.Signature(shared[:1] + parameters + shared[1:])
        with_options.__signature__ = signature  # type: ignore[attr-defined]  # inspect reads it
        with_options.__annotations__ = {
            p.name: p.annotation for p in signature.parameters.values()
        }
        return with_options

    return decorate
