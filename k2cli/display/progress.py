"""How a recording is doing, in one line."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from k2cli.display.digits import duration_text, size_text
from k2cli.display.lag import lag_text
from k2cli.display.status import ATTENTION, LIVE, Part, spread
from k2cli.display.symbol_table import ALARM
from k2cli.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

_PACE_SECONDS = 5.0


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
        repairing: Trades missing that may still come.
        lost: Trades missing for good.
        simulated: Whether the market is made up.
        most_trades: Trades at which it ends; ``None`` if it does not.
        most_seconds: Time after which it ends; likewise.
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
    repairing: int
    lost: int
    simulated: bool
    most_trades: int | None = None
    most_seconds: float | None = None


class Pace:
    """Events per second, from a count of them that is looked at now and then.

    Args:
        started_seconds: When counting began at 0, on the clock of ``per_second``.
    """

    def __init__(self, started_seconds: float) -> None:
        self._looks = deque([(started_seconds, 0)])

    def per_second(self, count: int, now_seconds: float) -> float:
        """Give the mean pace of the last seconds, or since the last look before them.

        Args:
            count: Events so far.
            now_seconds: A monotonic clock.
        """
        self._looks.append((now_seconds, count))
        while len(self._looks) > 2 and self._looks[1][0] <= now_seconds - _PACE_SECONDS:
            self._looks.popleft()
        then_seconds, then_count = self._looks[0]
        # The floor keeps a first trade from reading as thousands a second.
        return (count - then_count) / max(1.0, now_seconds - then_seconds)


def standing_line(console: Console) -> Live:
    """Make what keeps a line in place on a terminal, and takes it away in the end."""
    return Live(
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def progress_line(progress: Progress, width: int) -> Text:
    """Draw the line, leaving out the least important parts where it is too long.

    Args:
        progress: What to tell.
        width: Cells.
    """
    live = progress.connection == LIVE
    clock = duration_text(progress.uptime_seconds)
    if progress.most_seconds is not None:
        clock += f" of {duration_text(progress.most_seconds)}"
    trades = f"{progress.trades:,}"
    if progress.most_trades is not None:
        trades += f" of {progress.most_trades:,}"
    parts = [
        Part(_connection(progress.connection, live=live), 0),
        Part(Text(clock, "dim"), 5),
        Part(Text(f"{trades} trades"), 1),
        Part(Text(f"{progress.trades_per_second:,.0f}/s".rjust(7)), 3),
        Part(_wholeness(progress), 2),
    ]
    if progress.gaps:
        gaps = f"{progress.gaps:,} gap{'' if progress.gaps == 1 else 's'}"
        parts.append(Part(Text(f"{gaps}, {progress.repaired:,} repaired"), 4))
    if progress.lag_us is not None:
        parts.append(Part(Text(lag_text(progress.lag_us), "dim"), 7))
    if progress.size_bytes is not None:
        parts.append(Part(Text(size_text(progress.size_bytes)), 6))
    parts.append(Part(Text(printable(progress.name, 60), "bold"), 8))
    if progress.simulated:
        parts.insert(1, Part(Text(" SIMULATED ", ATTENTION), 3))
    return spread(parts, width)


def _connection(words: str, *, live: bool) -> Text:
    if live:
        return Text(f"● {words}", "green")
    return Text(f"○ {printable(words, 60)}", ATTENTION)


def _wholeness(progress: Progress) -> Text:
    if progress.lost:
        return Text(f"{progress.lost:,} missing", ALARM)
    if progress.repairing:
        return Text(f" repairing {progress.repairing:,} ", ATTENTION)
    if progress.connection != LIVE:
        return Text("nothing missing so far")
    return Text("nothing missing", "green")
