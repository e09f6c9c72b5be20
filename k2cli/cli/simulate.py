"""``k2 simulate``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from k2cli.cli import options as shared
from k2cli.cli.completion import complete_fault
from k2cli.text import printable

# Made-up trades of before the start are made at the start.
_MOST_HISTORY_SECONDS = 3600.0

if TYPE_CHECKING:
    from k2cli.simulator import SimulatedExchange


class SimulateCommand(TyperCommand):
    """Lists the faults below the options, where its help is asked for."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """See ``TyperCommand``."""
        from rich.console import Console
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        from k2cli.simulator import fault_help

        super().format_help(ctx, formatter)
        faults = Table.grid(padding=(0, 2))
        for syntax, effect in fault_help():
            faults.add_row(Text(syntax, style="bold cyan", overflow="fold"), effect)
        Console().print(
            Panel(faults, title="Faults", title_align="left", border_style="dim")
        )


def _list_faults(wanted: bool) -> None:
    if wanted:
        from k2cli.simulator import fault_help

        for syntax, effect in fault_help():
            typer.echo(f"{syntax:<50} {effect}")
        raise typer.Exit


def history_seconds(text: str) -> float:
    """Read a length of time that a history may have: up to a day."""
    seconds = shared.duration_seconds(text)
    if seconds > _MOST_HISTORY_SECONDS:
        raise typer.BadParameter(f"'{printable(text, 40)}' is more than 1h")
    return seconds


def simulate(
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any free one."),
    ] = 9443,
    rate: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=100_000,
            help="Trades per second of the made-up market, over all symbols.",
        ),
    ] = 120.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = 1,
    market_size: Annotated[
        int | None,
        typer.Option(
            "--market-size",
            metavar="SYMBOLS",
            help="How many symbols the made-up market has; Binance has some 3500. "
            "29 by default.",
            show_default=False,
        ),
    ] = None,
    burst: Annotated[
        float,
        typer.Option(
            "--burst",
            metavar="X",
            help="Every ten seconds, let one second be X times as busy as the others.",
        ),
    ] = 1.0,
    replay: Annotated[
        Path | None,
        typer.Option(
            "--replay",
            metavar="FILE",
            help="Play a capture or a recording instead; it starts with the first "
            "subscription.",
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed",
            metavar="X",
            min=0,
            help="Replay X times as fast as recorded; 0 for as fast as can be.",
        ),
    ] = None,
    history: Annotated[
        float | None,
        typer.Option(
            "--history",
            metavar="TIME",
            parser=history_seconds,
            help="How far back the history of the made-up market goes: 15m, 1h … "
            "Without it, to the start.",
            show_default=False,
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            metavar="NAME@POSITION[:ARG]",
            autocompletion=complete_fault,
            help="Misbehave after so many trades, e.g. drop@1000, skip@200:5, "
            "stall@500:30s; --faults lists all.",
        ),
    ] = None,
    _faults: Annotated[
        bool,
        typer.Option(
            "--faults",
            help="List the faults there are, and exit.",
            callback=_list_faults,
            is_eager=True,
        ),
    ] = False,
    nested_errors: Annotated[
        bool,
        typer.Option(
            "--nested-errors",
            help="Answer wrong stream requests as Binance was seen to, not as it "
            "documents.",
        ),
    ] = False,
    tls: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--tls",
            metavar="CERT KEY",
            help="Speak TLS with this certificate and key, PEM files.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            "--duration",
            metavar="TIME",
            parser=shared.duration_seconds,
            help="Stop after 90s, 5m, 1h …",
        ),
    ] = None,
    debug: shared.Debug = False,
) -> int:
    """Run the embedded exchange for any Binance client.

    Examples:
      k2 simulate --port 9443                       # until Ctrl-C
      k2 simulate --market-size 3500 --rate 5000 --burst 10 --duration 1h
      k2 simulate --replay trades.jsonl --speed 10 --fault drop@1000
    """
    del debug  # main() reads it
    import asyncio

    from k2cli.cli.log import configure, stderr_output
    from k2cli.errors import SettingsError
    from k2cli.simulator import Market, Recording, Rules, SimulatedExchange

    if replay is None and speed is not None:
        raise SettingsError("--speed goes with --replay FILE", "Add it, or leave both")
    if replay is not None and (market_size is not None or burst != 1):
        raise SettingsError(
            "--market-size and --burst make up a market; --replay plays a recording",
            "Leave one out",
        )
    if replay is not None and history is not None:
        raise SettingsError(
            "--history is made up, too; the history of --replay begins with its file",
            "Leave one out",
        )
    source: Market | Recording
    if replay is not None:
        source = Recording(replay, speed=1.0 if speed is None else speed)
    else:
        source = Market(seed=seed, rate=rate, size=market_size, burst=burst)
    exchange = SimulatedExchange(
        source,
        port=port,
        faults=fault or [],
        rules=Rules(flat_errors=not nested_errors),
        history_seconds=history or 0.0,
        tls=(str(tls[0]), str(tls[1])) if tls is not None else None,
    )
    configure("warning", "auto", stderr_output())
    # What k2 trusts is up to OpenSSL.
    trust = f"SSL_CERT_FILE={shlex.quote(str(tls[0]))} " if tls is not None else ""
    return asyncio.run(_serve(exchange, duration, trust))


async def _serve(
    exchange: SimulatedExchange, duration_seconds: float | None, trust: str
) -> int:
    import asyncio

    from k2cli.cli.stop import Stop

    stopped = asyncio.Event()
    with Stop(stopped.set).on_signals():
        async with exchange:
            typer.echo(
                f"SIMULATED exchange, not Binance. Streams: {exchange.url}   "
                f"API: {exchange.api_url}   Ctrl-C ends it.\n"
                f"  k2:             {trust}k2 stream --url {exchange.url} BTCUSDT\n"
                f"  Other clients:  streams {exchange.url.removesuffix('/stream')}, "
                f"REST {exchange.rest_url}",
                err=True,
            )
            try:
                async with asyncio.timeout(duration_seconds):
                    await stopped.wait()
            except TimeoutError:
                pass
    return 0
