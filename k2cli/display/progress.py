"""How a recording is doing, in one line."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from k2cli.display.digits import duration_text, size_text
from k2cli.display.lag import lag_text
from k2cli.display.status import LIVE, Part, spread
from k2cli.errors import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A recording, at one moment.

    Attributes:
        connection: ``LIVE``, or in words what is going on instead.
        uptime_seconds: How long it has been running.
        name: The file.
        size_bytes: Its size; ``None`` if it has none, as stdout.
        trades: Trades written.
        trades_per_second: Their pace now.
        lag_us: From the last trade's event time to its arrival; ``None`` if unknown.
        gaps: Jumps in trade ids seen so far.
        repaired: Trades that came from the history.
        missing: Trades missing now.
        simulated: Whether the market is made up.
    """

    connection: str
    uptime_seconds: float
    name: str
    size_bytes: int | None
    trades: int
    trades_per_second: float
    lag_us: int | None
    gaps: int
    repaired: int
    missing: int
    simulated: bool


def progress_line(progress: Progress, width: int) -> Text:
    """Draw the line, leaving out the least important parts where it is too long.

    Args:
        progress: What to tell.
        width: Cells.
    """
    live = progress.connection == LIVE
    clock = duration_text(progress.uptime_seconds)
    complete = (
        Text(f"{progress.missing:,} missing", "bold red")
        if progress.missing
        else Text("nothing missing", "green")
    )
    parts = [
        Part(Text("● ", "green" if live else "yellow") + Text(progress.connection), 0),
        Part(Text(clock, "dim"), 4),
        Part(Text(f"{progress.trades:,} trades"), 1),
        Part(Text(f"{progress.trades_per_second:,.0f}/s"), 3),
        Part(complete, 2),
        Part(Text(printable(progress.name, 60), "bold"), 7),
    ]
    if progress.repaired:
        parts.append(Part(Text(f"{progress.repaired:,} repaired"), 4))
    if progress.size_bytes is not None:
        parts.append(Part(Text(size_text(progress.size_bytes)), 5))
    if progress.lag_us is not None:
        parts.append(Part(Text(lag_text(progress.lag_us), "dim"), 6))
    if progress.simulated:
        parts.insert(1, Part(Text(" SIMULATED ", "bold black on yellow"), 3))
    return spread(parts, width)
