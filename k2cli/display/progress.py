"""How a recording, or the reading of a capture, is doing, in one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from k2cli.display.numbers import (
    counted,
    duration_text,
    lag_text,
    rate_text,
    size_text,
)
from k2cli.display.status import (
    LIVE,
    StreamStatus,
    redundancy_text,
    repairing_words,
)
from k2cli.display.text import ERROR_STYLE, WARNING_BADGE, Part, spread
from k2cli.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

_BAR_CELLS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(StreamStatus):
    """A recording, at one moment.

    Attributes:
        name: The file.
        size_bytes: Its size; ``None`` if it has none, as stdout.
        simulated: Whether the market is simulated.
        most_trades: Trades at which it ends; ``None`` if it does not.
        most_seconds: Time after which it ends; likewise.
    """

    name: str
    size_bytes: int | None
    simulated: bool
    most_trades: int | None = None
    most_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How far the reading of a capture has come.

    Attributes:
        name: The file being read.
        lines: Lines read so far.
        findings: Problems found so far.
        read_bytes: Bytes read so far, as they are on disk.
        size_bytes: Bytes that there are; ``None`` if unknown, as of a pipe.
        seconds: How long it has taken so far.
    """

    name: str
    lines: int
    findings: int
    read_bytes: int
    size_bytes: int | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Repairing:
    """How far the repair of a capture has come.

    Attributes:
        name: The capture.
        activity: What it is doing.
        fetched: Trades fetched so far.
        wanted: Trades that were missing when it began.
        left_seconds: How long it takes still, about; ``None`` if that is unknown.
    """

    name: str
    activity: str
    fetched: int
    wanted: int
    left_seconds: float | None


def live_line(console: Console) -> Live:
    """Return what keeps a line in place on a terminal, and removes it in the end."""
    return Live(
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def progress_line(progress: Progress, width: int) -> Text:
    """Draw a recording's line, without its least important parts if it is too long."""
    clock = duration_text(progress.uptime_seconds)
    if progress.most_seconds is not None:
        clock += f" of {duration_text(progress.most_seconds)}"
    trades = f"{progress.trades:,}"
    if progress.most_trades is not None:
        trades += f" of {progress.most_trades:,}"
    parts = [
        Part(_connection(progress.connection), 0),
        Part(Text(clock, "dim"), 5),
        Part(Text(f"{trades} trades"), 1),
        Part(Text(f"{progress.trades_per_second:,.0f}/s".rjust(7)), 3),
        Part(_completeness(progress), 2),
    ]
    if progress.redundancy:
        parts.insert(1, Part(redundancy_text(progress), 3))
    if progress.gaps:
        gaps = f"{counted(progress.gaps, 'gap')}, {progress.repaired:,} repaired"
        parts.append(Part(Text(gaps), 4))
    if progress.lag_us is not None:
        parts.append(Part(Text(lag_text(progress.lag_us), "dim"), 7))
    if progress.size_bytes is not None:
        parts.append(Part(Text(size_text(progress.size_bytes)), 6))
    parts.append(Part(Text(printable(progress.name, 60), "bold"), 8))
    if progress.simulated:
        parts.insert(1, Part(Text(" SIMULATED ", WARNING_BADGE), 3))
    return spread(parts, width)


def _connection(words: str) -> Text:
    if words == LIVE:
        return Text(f"● {words}", "green")
    return Text(f"○ {printable(words, 60)}", WARNING_BADGE)


def _completeness(progress: Progress) -> Text:
    if progress.lost:
        return Text(f"{progress.lost:,} missing", ERROR_STYLE)
    if progress.repairing:
        return Text(f" {repairing_words(progress)} ", WARNING_BADGE)
    if progress.connection != LIVE:
        return Text("nothing missing so far")
    return Text("nothing missing", "green")


def repairing_line(repairing: Repairing, width: int) -> Text:
    """Draw a repair's line, without its least important parts if it is too long."""
    parts = [
        Part(Text(printable(repairing.activity, 60)), 3),
        Part(Text(printable(repairing.name, 60), "bold"), 4),
    ]
    if repairing.wanted:
        fetched = f"{repairing.fetched:,} of {counted(repairing.wanted, 'trade')}"
        parts.insert(0, Part(_bar(repairing.fetched / repairing.wanted), 0))
        parts.insert(1, Part(Text(fetched), 1))
    if repairing.left_seconds is not None:
        left = duration_text(repairing.left_seconds)
        parts.append(Part(Text(f"{left} left", "dim"), 2))
    return spread(parts, width)


def _bar(done: float) -> Text:
    full = int(min(done, 1.0) * _BAR_CELLS)
    bar = Text.assemble(
        ("━" * full, "green"), ("━" * (_BAR_CELLS - full), "bright_black")
    )
    return bar + Text(f" {min(done, 1.0):4.0%}")


def reading_line(reading: Reading, width: int) -> Text:
    """Draw a reading's line, without its least important parts if it is too long."""
    seconds = max(reading.seconds, 1e-3)
    bytes_per_second = reading.read_bytes / seconds
    rate = "".join(rate_text(reading.lines / seconds))
    wrong = (
        Text(f"{reading.findings:,} found", ERROR_STYLE)
        if reading.findings
        else Text("nothing wrong so far", "green")
    )
    parts = [
        Part(Text(size_text(reading.read_bytes)), 1),
        Part(Text(f"{size_text(int(bytes_per_second))}/s"), 3),
        Part(Text(f"{reading.lines:,} lines"), 4),
        Part(Text(f"{rate}/s", "dim"), 6),
        Part(wrong, 2),
        Part(Text(printable(reading.name, 60), "bold"), 7),
    ]
    if reading.size_bytes:
        parts.insert(0, Part(_bar(reading.read_bytes / reading.size_bytes), 0))
        left_bytes = reading.size_bytes - reading.read_bytes
        if bytes_per_second and left_bytes > 0:
            left = duration_text(left_bytes / bytes_per_second)
            parts.append(Part(Text(f"{left} left", "dim"), 5))
    return spread(parts, width)
