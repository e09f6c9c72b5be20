"""``k2 doctor``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from k2cli.cli import options as shared  # noqa: TC001 - Typer reads annotations

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from k2cli.cli.hosts import Finding
    from k2cli.cli.options import TailOptions
    from k2cli.completeness.id_ranges import IdRange
    from k2cli.completeness.ledger import Ledger
    from k2cli.engine.protocols import SymbolSet
    from k2cli.engine.session import SessionSnapshot
    from k2cli.trade import TradeBatch

_FIRST_TRADE_SECONDS = 15.0
_CONNECTION_SECONDS = 3600.0
_LEAST_FREE_BYTES = 1_000_000_000
_LEAST_CELLS, _LEAST_LINES = 60, 15


class _NoSink:
    """Takes trades and does nothing with them."""

    in_order = False
    journal = None
    on_failure: Callable[[Exception], None]

    async def open(self, symbols: SymbolSet, ledger: Ledger) -> None:
        """Nothing is opened."""

    async def extend(self, ledger: Ledger) -> None:
        """Nothing is kept by symbol."""

    def write(self, batch: TradeBatch) -> Awaitable[None] | None:
        """Nothing is written."""

    def lost(self, symbol: str, ids: IdRange) -> None:
        """Nothing is noted."""

    async def flush(self) -> None:
        """Nothing waits."""

    async def close(self) -> None:
        """Nothing is open."""


def doctor(
    url: shared.Url = None,
    api_url: shared.ApiUrl = None,
    demo: shared.Demo = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> int:
    """Check what k2 needs: settings, terminal, disk, hosts, clock, a trade.

    The status is 3 if something is wrong that keeps k2 from working.

    Examples:
      k2 doctor
      k2 doctor --demo                              # without the network
    """
    del debug  # main() reads it
    import asyncio

    from k2cli.cli.exit_status import ExitStatus
    from k2cli.cli.log import configure, stderr_output
    from k2cli.cli.options import TailOptions
    from k2cli.errors import printable

    configure("error", "auto", stderr_output())
    options = TailOptions(
        url=url,
        api_url=api_url,
        demo=demo,
        config=config,
        # Its default is a text that only the command line reads.
        max_connection_age=_CONNECTION_SECONDS,
    )
    is_well = True

    def report(finding: Finding) -> None:
        nonlocal is_well
        good, what, found = finding
        is_well = is_well and good is not False
        mark = {True: "ok", False: "FAIL", None: "note"}[good]
        typer.echo(f"{mark:<4}  {what:<12}{printable(found, 300)}")

    for finding in (*_program(), *_terminal(), *_disk(), _settings(options)):
        report(finding)
    for finding in asyncio.run(_exchange(options)):
        report(finding)
    return ExitStatus.DONE if is_well else ExitStatus.UNREACHABLE


def _program() -> Iterator[Finding]:
    import platform

    from k2cli import __version__

    python = f"Python {platform.python_version()}, {platform.system()}"
    yield True, "k2", f"{__version__}, {python}"


def _terminal() -> Iterator[Finding]:
    import shutil

    if not sys.stdout.isatty():
        yield True, "terminal", "stdout is none: k2 stream prints JSON lines"
        return
    size = shutil.get_terminal_size()
    found = f"{size.columns}×{size.lines}, {sys.stdout.encoding}"
    if not sys.stdout.encoding.lower().startswith("utf"):
        found += "; the live table needs UTF-8: set LANG, e.g. to C.UTF-8"
    elif size.columns < _LEAST_CELLS or size.lines < _LEAST_LINES:
        found += f"; comfortable from {_LEAST_CELLS}×{_LEAST_LINES} on"
    yield True, "terminal", found


def _disk() -> Iterator[Finding]:
    import shutil
    from pathlib import Path

    from k2cli.display.numbers import size_text

    free_bytes = shutil.disk_usage(Path.cwd()).free
    enough = free_bytes >= _LEAST_FREE_BYTES
    more = "" if enough else "; little for a recording: make room"
    yield True, "disk", f"{size_text(free_bytes)} free here{more}"


def _settings(options: TailOptions) -> Finding:
    from k2cli.config import explain_config
    from k2cli.config_file import default_config_file
    from k2cli.errors import SettingsError

    file: Path = options.config or default_config_file()
    try:
        settings = explain_config(
            {"websocket_url": options.url, "api_url": options.api_url}, options.config
        )
    except SettingsError as exc:
        return False, "settings", str(exc)
    changed = [name for name, _, source in settings if source != "the default"]
    found = f"{', '.join(changed)} set" if changed else "all at their defaults"
    return True, "settings", f"{found}; file {file}{'' if file.exists() else ': none'}"


async def _exchange(options: TailOptions) -> list[Finding]:
    """Connect to every host, look symbols up, and wait for a trade."""
    import time

    from k2cli.cli.hosts import host_findings
    from k2cli.cli.venue import open_venue
    from k2cli.engine.session import Session
    from k2cli.errors import K2Error

    findings: list[Finding] = []
    what = "exchange"
    try:
        async with open_venue(options) as opened:
            config, is_embedded = opened.venue.config, opened.is_simulated
            findings += await host_findings(config, proxy=not is_embedded)
            session = Session(venue=opened.venue, sinks=[_NoSink()], max_backfill=0)
            started_seconds = time.monotonic()
            async with session:
                symbols = session.symbols
                names = ", ".join(list(symbols.symbols)[:3]) if symbols else ""
                took = f"{time.monotonic() - started_seconds:.1f} s"
                found = f"{opened.venue.name} knows {names} ({took})"
                findings.append((True, what, found))
                what = "trades"
                await session.run(1, _FIRST_TRADE_SECONDS)
                findings += _trades(session.snapshot())
    except K2Error as exc:
        findings.append((False, what, str(exc)))
    return findings


def _trades(snapshot: SessionSnapshot) -> Iterator[Finding]:
    from k2cli.display.meters import lag_us
    from k2cli.display.numbers import lag_text

    trade = snapshot.last_trade
    if trade is None:
        seconds = f"{_FIRST_TRADE_SECONDS:.0f} s"
        yield False, "trades", f"none came in {seconds}"
        return
    yield True, "trades", f"{trade.symbol} {trade.side} at {trade.price}"
    lag = lag_us(trade)
    if lag is not None:
        yield True, "lag", lag_text(lag).removeprefix("lag ")
