"""``k2 stream``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from k2cli.cli.completion import complete_columns, complete_floor
from k2cli.cli.options import TailOptions, duration_seconds, takes
from k2cli.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k2cli.cli.log import LogOutput
    from k2cli.cli.pipe import PipeSink
    from k2cli.cli.run import Display
    from k2cli.cli.screen import ScreenSink
    from k2cli.display.formats import LineFormat
    from k2cli.engine.protocols import SymbolSet

_WHAT = "What comes out"
_SCREEN = "The live table"

# How much later a trade may come out so that it costs less: hardly for a program that
# reads it, as long as one picture stands for a person who looks.
_MAX_DELAY_SECONDS, _MAX_TABLE_DELAY_SECONDS = 0.001, 0.016


class OutputFormat(StrEnum):
    """What ``k2 stream`` prints."""

    AUTO = "auto"
    TABLE = "table"
    LINES = "lines"
    JSON = "json"
    CSV = "csv"


class SortColumn(StrEnum):
    """What the rows of the live table can be sorted by."""

    SYMBOL = "symbol"
    LAST = "last"
    CHANGE = "change"
    SESSION = "session"
    VOLUME = "volume"
    NOTIONAL = "notional"
    RATE = "rate"
    BALANCE = "balance"
    AGE = "age"
    TRADES = "trades"


def window_seconds(text: str) -> float:
    """Read a window of time, from ten seconds to a day."""
    seconds = duration_seconds(text)
    if not 10 <= seconds <= 86_400:
        raise typer.BadParameter(f"'{text}' is not from 10s to 24h")
    return seconds


def since_seconds(text: str) -> float:
    """Read how far back to begin, up to a day."""
    seconds = duration_seconds(text)
    if seconds > 86_400:
        raise typer.BadParameter(f"'{printable(text, 40)}' is more than 24h")
    return seconds


def output_form(text: str) -> str:
    """Read a form of output: a name, or a template with braces."""
    names = [form.value for form in OutputFormat]
    if text.lower() in names:
        return OutputFormat(text.lower())
    if "{" not in text:
        raise typer.BadParameter(
            f"'{text}' is none of {', '.join(names)}, nor a template like "
            "'{symbol} {price}'"
        )
    from k2cli.display.formats import line_format

    line_format(text)
    return text


def complete_form(incomplete: str) -> list[str]:
    """Offer the names of forms."""
    return [form.value for form in OutputFormat if form.value.startswith(incomplete)]


@takes(TailOptions)
def stream(
    options: TailOptions,
    output_format: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            metavar="[auto|table|lines|json|csv|TEMPLATE]",
            parser=output_form,
            autocompletion=complete_form,
            help="auto: a live table on a terminal, JSON lines in a pipe. lines: one "
            "a trade for people, and for screen readers. Or a template like "
            "'{symbol} {price}'.",
            rich_help_panel=_WHAT,
        ),
    ] = "auto",
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="The same as --format json.", rich_help_panel=_WHAT
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Record the same trades to FILE meanwhile.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    since: Annotated[
        float | None,
        typer.Option(
            "--since",
            metavar="TIME",
            parser=since_seconds,
            help="Begin so long ago, with the exchange's history: 15m, 1h …",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    bell: Annotated[
        bool,
        typer.Option(
            "--bell",
            help="Ring the terminal's bell when trades come out, once in two seconds "
            "at most.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--svg",
            metavar="FILE",
            help="Save a picture of the table's last screen.",
            rich_help_panel=_SCREEN,
        ),
    ] = None,
    sort: Annotated[
        SortColumn | None,
        typer.Option(
            "--sort",
            help="Column that rows are sorted by. Without it they stand as asked for, "
            "or the busiest first if they do not fit.",
            rich_help_panel=_SCREEN,
            show_default=False,
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="NAME,NAME...",
            help="The columns to show, the one most wanted first.",
            autocompletion=complete_columns,
            rich_help_panel=_SCREEN,
        ),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            "--window",
            metavar="TIME",
            parser=window_seconds,
            help="Time that change and trend look back over: 1m, 5m, 1h … By default "
            "5m.",
            rich_help_panel=_SCREEN,
        ),
    ] = None,
    tape: Annotated[
        bool | None,
        typer.Option(
            "--tape/--no-tape",
            help="Show the tape of latest trades, or charts in its place. By default "
            "as there is room.",
            rich_help_panel=_SCREEN,
            show_default=False,
        ),
    ] = None,
    floor: Annotated[
        float | None,
        typer.Option(
            "--floor",
            metavar="USD",
            help="Least worth of an order on the tape: 1000, 10000, 100000, 1000000.",
            autocompletion=complete_floor,
            rich_help_panel=_SCREEN,
        ),
    ] = None,
    mouse: Annotated[
        bool | None,
        typer.Option(
            "--mouse/--no-mouse",
            help="Take clicks and the wheel, or leave the mouse to the terminal, for "
            "selecting text. By default taken.",
            rich_help_panel=_SCREEN,
            show_default=False,
        ),
    ] = None,
) -> int:
    """Tail live trades: a table on a terminal, JSON lines in a pipe.

    Examples:
      k2 stream --symbols BTCUSDT ETHUSDT           # the live table
      k2 stream BTCUSDT --json -n 10 | jq -r .price
      k2 stream --quote USDT --format lines --min-notional 100000 --bell
      k2 stream BTCUSDT --since 15m                 # the last minutes first
      k2 stream @majors --columns last,trend        # a group of the configuration
      k2 stream BTCUSDT -o btc.jsonl                # watch and record
    """
    import sys

    from k2cli.cli.checks import check_options
    from k2cli.cli.run import configure_log, run_session
    from k2cli.errors import SettingsError

    if json and output_format not in (OutputFormat.AUTO, OutputFormat.JSON):
        raise SettingsError(
            f"--json and --format {output_format} contradict", "Leave one out"
        )
    looks = {
        "columns": columns,
        "sort": sort.value if sort is not None else None,
        "window": window,
        "tape": tape,
        "floor": floor,
        "mouse": mouse,
    }
    given = [f"--{name}" for name, value in looks.items() if value is not None]
    if given and (json or output_format not in (OutputFormat.AUTO, OutputFormat.TABLE)):
        raise SettingsError(
            f"{given[0]} is for the live table", "Leave it or --format out"
        )
    if given:
        from k2cli.cli.looks import DisplayConfig

        DisplayConfig.load(looks, options.config)
    if since is not None:
        _check_since(options, output)
    check_options(options, output=output, svg=picture)
    log_output = configure_log(options)
    chosen = OutputFormat.JSON if json else output_format

    pipe, screen = _output(chosen, options, log_output, picture, looks)
    displays: list[Display] = []
    if screen is not None:
        displays.append(screen)
        if since is not None:
            screen.begin_in_past(since)
    elif since is not None and not options.quiet and not sys.stdout.isatty():
        from k2cli.cli.past_progress import PastProgressLine

        displays.append(PastProgressLine(log_output))
    if bell:
        from k2cli.cli.redrawn import Bell

        displays.append(Bell())
    capture = None
    if output is not None:
        from k2cli.capture.sink import CaptureSink

        capture = CaptureSink(output)
    return run_session(
        options,
        log_output,
        pipe=pipe,
        display_sink=screen,
        capture=capture,
        displays=tuple(displays),
        since_seconds=since,
        max_delay_seconds=_MAX_DELAY_SECONDS
        if screen is None
        else _MAX_TABLE_DELAY_SECONDS,
    )


def _check_since(options: TailOptions, output: Path | None) -> None:
    from k2cli.errors import SettingsError

    if options.replay is not None:
        raise SettingsError(
            "--since is for live trades: a replay begins with its first one",
            "Leave --since or --replay out",
        )
    if output is not None:
        raise SettingsError(
            "--since and --output do not go together: a capture begins with what is "
            "received live",
            "Leave one out",
        )


def _output(
    chosen: str,
    options: TailOptions,
    log_output: LogOutput,
    picture: Path | None,
    looks: Mapping[str, object],
) -> tuple[PipeSink | None, ScreenSink | None]:
    """Make what takes the trades: a pipe or a screen."""
    import os
    import sys

    from k2cli.cli.pipe import PipeSink
    from k2cli.errors import SettingsError

    terminal = sys.stdout.isatty()
    is_table = chosen in (OutputFormat.AUTO, OutputFormat.TABLE)
    if (terminal and is_table) or picture is not None:
        from rich.console import Console

        from k2cli.cli.looks import DisplayConfig
        from k2cli.cli.screen import ScreenSink
        from k2cli.display.terminal import LiveTable

        if not is_table:
            raise SettingsError("--svg is a picture of the table", "Leave --format out")
        # Not sys.stdout: without a buffer (PYTHONUNBUFFERED, as in many containers) it
        # loses the rest of a write that a signal interrupts, as resizing does.
        screen = os.fdopen(
            sys.stdout.fileno(), "w", encoding=sys.stdout.encoding, closefd=False
        )
        console = Console(file=screen)
        if LiveTable.usable(console) or picture is not None:
            first = DisplayConfig.load(looks, options.config)
            return None, ScreenSink(console, log_output, first, picture)
    if chosen == OutputFormat.TABLE:
        raise SettingsError(
            "the table needs a terminal that can move its cursor",
            "Leave --format out, or choose lines, json or csv",
        )
    if chosen == OutputFormat.AUTO:
        chosen = OutputFormat.LINES if terminal else OutputFormat.JSON
    if chosen == OutputFormat.JSON:
        return PipeSink(), None

    def make_format(symbols: SymbolSet) -> LineFormat:
        return _line_format(str(chosen), symbols, options, on_terminal=terminal)

    return PipeSink(make_format), None


def _line_format(
    name: str, symbols: SymbolSet, options: TailOptions, *, on_terminal: bool
) -> LineFormat:
    import os
    import shutil

    from k2cli.display.formats import FormatOptions, line_format

    return line_format(
        name,
        FormatOptions(
            colour=on_terminal
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb",
            symbols=list(symbols.symbols),
            price_decimals=symbols.price_decimals(),
            size_decimals=symbols.quantity_decimals(),
            least_notional=options.min_notional or 0,
            width=shutil.get_terminal_size().columns if on_terminal else None,
        ),
    )
