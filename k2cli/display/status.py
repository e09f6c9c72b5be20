"""What surrounds the table: the connection above it, counts and keys below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from k2cli.display.numbers import (
    clock_text,
    counted,
    duration_text,
    lag_text,
    rate_text,
)
from k2cli.display.text import (
    BACKFILL_MARK,
    ERROR_BADGE,
    WARNING_BADGE,
    Part,
    fit,
    spread,
)
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

LIVE = "live"
"""The ``Status.connection`` of a connection that delivers."""

REDUNDANT = "redundant"
"""The ``Status.redundancy`` of a stream that has two connections for every symbol."""

NOTICE_SECONDS = 30.0
"""How long a message stays on the screen."""

# Priority from which on a part only says zero: it takes no room that anything else
# could use.
_ZERO = 50

ROOMY = 40
"""Width in cells from which on there is room for margins and badges."""

_EXCHANGES = {"BINANCE": "Binance Spot"}

# What is repaired sooner needs no forecast.
_LEAST_REPAIR_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """How the stream is doing, at one moment.

    Attributes:
        connection: ``LIVE``, or in words its state, e.g. ``"connecting"`` or
            ``"reconnecting in 5 s (attempt 2 of 10)"``.
        redundancy: ``REDUNDANT``, or why the stream is not although it should be; empty
            if that was not asked for.
        uptime_seconds: How long the stream has been running.
        trades: Trades received, of all symbols.
        trades_per_second: Their current rate.
        lag_us: From a trade's event time to its arrival; ``None`` if unknown.
        gaps: Sequence gaps seen so far.
        repaired: Trades back-filled from the history.
        repairing: Trades missing that may still come.
        repair_seconds: How long that takes, about; ``None`` if nobody knows.
        lost: Trades missing for good.
    """

    connection: str
    uptime_seconds: float
    trades: int = 0
    trades_per_second: float = 0.0
    lag_us: int | None = None
    gaps: int = 0
    repaired: int = 0
    repairing: int = 0
    repair_seconds: float | None = None
    lost: int = 0
    redundancy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(StreamStatus):
    """What the live screen shows beside the market.

    Attributes:
        host: Where the trades come from, e.g. ``"stream.binance.com"``.
        exchange: ``"BINANCE"``, ``"SIM"`` for the simulated one; empty while unknown.
        reconnects: Connections lost and made again.
        duplicates: Trades left out because they had come before.
        is_paused: Whether the screen is paused.
        log_message: Latest warning.
        recording: File being written at the same time.
        recorded: Trades written to it.
        label: Shown where trades are not the live market's, e.g. ``"REPLAY"``.
    """

    host: str
    exchange: str
    reconnects: int = 0
    duplicates: int = 0
    is_paused: bool = False
    log_message: str | None = None
    recording: str | None = None
    recorded: int = 0
    label: str | None = None


class Notice:
    """The latest message with its time, until it is old."""

    def __init__(self) -> None:
        self._message: str | None = None
        self._came_seconds = 0.0
        self._text = ""

    def text(
        self, message: str | None, *, now_seconds: float, time_us: int
    ) -> str | None:
        """Return what is to be shown, if anything.

        Args:
            message: The latest one; the same text said again is another object.
            now_seconds: A monotonic clock.
            time_us: The time of day, Unix microseconds.
        """
        if message is not self._message:
            self._message, self._came_seconds = message, now_seconds
            self._text = f"{clock_text(time_us).partition('.')[0]} {message}"
        if message is None or now_seconds - self._came_seconds >= NOTICE_SECONDS:
            return None
        return self._text


def header_line(status: Status, width: int) -> Text:
    """Draw the line at the top: name, exchange, host, connection, rate, lag."""
    roomy = width >= ROOMY
    parts = [Part(Text(" k2 " if roomy else "k2", "bold reverse"), 4)]
    if status.exchange == "SIM":
        parts.append(Part(Text(" SIMULATED " if roomy else "SIM", WARNING_BADGE), 0))
    elif status.exchange:
        name = _EXCHANGES.get(status.exchange, printable(status.exchange, 20))
        parts.append(Part(Text(name, "bold"), 6))
    if status.label:
        label = printable(status.label, 30)
        parts.append(Part(Text(f" {label} " if roomy else label, WARNING_BADGE), 1))
    if status.is_paused:
        parts.append(Part(Text(" PAUSED " if roomy else "PAUSED", WARNING_BADGE), 3))
    parts.append(Part(Text(printable(status.host, 40), "dim"), 9))

    if status.connection == LIVE:
        parts.append(Part(Text("● live", "bold green"), 2, to_right=True))
        if status.redundancy:
            parts.append(Part(redundancy_text(status), 6, to_right=True))
        uptime = duration_text(status.uptime_seconds)
        parts.append(Part(Text(uptime), 7, to_right=True))
    else:
        words = printable(status.connection, 60)
        parts.append(Part(Text(f"○ {words}", WARNING_BADGE), 2, to_right=True))
    # Padded, so that a growing number does not push what stands left of it.
    rate = "".join(rate_text(status.trades_per_second)).rjust(6)
    parts.append(Part(Text(f"{rate} trades/s"), 5, to_right=True))
    if status.lag_us is not None and status.connection == LIVE:
        lag = lag_text(status.lag_us).rjust(len("lag 999 ms"))
        parts.append(Part(Text(lag), 8, to_right=True))
    return spread(parts, width - roomy, gap=2 if roomy else 1)


def redundancy_text(status: StreamStatus) -> Text:
    """Draw whether the stream is redundant."""
    is_so = status.redundancy == REDUNDANT
    return Text(printable(status.redundancy, 80), "green" if is_so else WARNING_BADGE)


def footer_lines(
    status: Status, keys: Sequence[tuple[str, str]], width: int, most: int
) -> list[Text]:
    """Draw the lines at the bottom: whether it is complete, counts, keys.

    Args:
        status: How the stream is doing.
        keys: Keys and what they do, the most important first.
        width: Cells of the screen.
        most: Most lines to take, 1 or 2.
    """
    margin = " " if width >= ROOMY else ""
    room = width - 2 * len(margin)
    facts = _facts(status)
    hints = [_hint(*key, index) for index, key in enumerate(keys)]
    needed = sum(
        2 + cell_len(part.text.plain)
        for part in (*facts, *hints)
        if part.priority < _ZERO
    )
    if most < 2 or needed <= room:
        lines = [spread([*facts, *hints], room)]
    else:
        left = [Part(hint.text, hint.priority) for hint in hints]
        lines = [spread(facts, room), spread(left, room)]
    return [fit(Text.assemble(margin, line), width) for line in lines]


def message_line(status: Status, note: str, width: int) -> Text:
    """Draw the line above the footer: recording and message, a note at the right."""
    margin = " " if width >= ROOMY else ""
    said: list[tuple[str, str]] = [(margin, "")]
    if status.recording is not None:
        path = printable(status.recording, 120)
        said.append(("● ", "red"))
        said.append((f"{status.recorded:,} written to {path}", ""))
    if status.log_message:
        said.append(("  " if status.recording is not None else "", ""))
        said.append(("! ", "yellow"))
        said.append((printable(status.log_message, 300), ""))
    # A note is short; without room for it and something else, the message goes first.
    ending = f" {note}{margin}" if note else ""
    if len(said) == 1:
        rule = "─" * max(0, width - cell_len(ending))
        return fit(Text.assemble((rule + ending, "dim")), width)
    left = Text.assemble(*said)
    if cell_len(ending) > width // 2:
        return fit(left, width)
    left = fit(left, width - cell_len(ending))
    filler = " " * (width - cell_len(left.plain) - cell_len(ending))
    return Text.assemble(left, filler, (ending, "dim"))


def _facts(status: Status) -> list[Part]:
    facts = _verdict(status)
    if not (status.trades or status.gaps or status.reconnects):
        return facts
    facts.append(Part(Text(counted(status.trades, "trade")), 3))
    counts = (
        (counted(status.gaps, "gap"), status.gaps, 5, 51),
        (f"{status.repaired:,} repaired", status.repaired, 6, 53),
        ("0 missing", 0, 0, 50),
        (counted(status.duplicates, "duplicate"), status.duplicates, 40, 54),
        (counted(status.reconnects, "reconnect"), status.reconnects, 4, 52),
    )
    for words, count, priority, priority_of_none in counts:
        if count:
            facts.append(Part(Text(words), priority))
        elif words != "0 missing" or not (status.lost or status.repairing):
            # It is good to read, and need not be: the verdict says it.
            facts.append(Part(Text(words, "dim"), priority_of_none))
    return facts


def repairing_words(status: StreamStatus) -> str:
    """Say how many trades are being repaired, and how long that takes if it does."""
    words = f"repairing {status.repairing:,}"
    if (status.repair_seconds or 0.0) < _LEAST_REPAIR_SECONDS:
        return words
    return f"{words}, {duration_text(status.repair_seconds or 0.0)} left"


def _verdict(status: Status) -> list[Part]:
    said = []
    if status.lost:
        said.append(Part(Text(f" ✗ {status.lost:,} missing ", ERROR_BADGE), 0))
    if status.repairing:
        words = repairing_words(status)
        repairing = Text(f" {BACKFILL_MARK} {words} ", WARNING_BADGE)
        said.append(Part(repairing, 1 if status.lost else 0))
    if said:
        return said
    if not status.trades:
        return [Part(Text("no trades yet", "dim"), 0)]
    if status.connection != LIVE:
        # What has come meanwhile shows when it is back.
        return [Part(Text("complete so far"), 0)]
    return [Part(Text("✓ complete", "bold green"), 0)]


def _hint(key: str, does: str, index: int) -> Part:
    # The way out and the help, which has the others, go before all but the verdict.
    priority = index + (1 if index < 2 else 10)
    return Part(Text.assemble((key, "bold"), (f" {does}", "dim")), priority, True)
