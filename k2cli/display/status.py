"""What surrounds the table: the connection above it, the ledger below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from k2cli.display.digits import duration_text, rate_text
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

LIVE = "live"
"""The ``Status.connection`` of a connection that delivers."""

# Both colours are named, so that the words stand out on any background.
_ATTENTION = "bold black on yellow"
_ALARM = "bold white on red"

ROOMY = 40
"""Width in cells from which on there is room for margins and badges."""

_EXCHANGES = {"BINANCE": "Binance Spot"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How the stream is doing, for one drawing of the screen.

    Attributes:
        host: Where the trades come from, e.g. ``"stream.binance.com"``.
        exchange: ``"BINANCE"``, or ``"SIM"`` for the made-up market.
        connection: ``LIVE``, or in words what is going on instead, e.g.
            ``"connecting"`` or ``"reconnecting in 5 s (attempt 2 of 10)"``.
        uptime_seconds: How long the stream has been running.
        trades: Trades seen, of all symbols.
        trades_per_second: Their pace now.
        reconnects: Connections lost and made anew.
        gaps: Jumps in trade ids seen so far.
        repaired: Trades brought back from the history.
        missing: Trades known to be missing now, being repaired or lost.
        log_message: Latest message worth a person's attention.
        recording: File being written at the same time.
        recorded: Trades written to it.
        label: What is shown instead of the live market, e.g. ``"REPLAY"``.
    """

    host: str
    exchange: str
    connection: str
    uptime_seconds: float
    trades: int = 0
    trades_per_second: float = 0.0
    reconnects: int = 0
    gaps: int = 0
    repaired: int = 0
    missing: int = 0
    log_message: str | None = None
    recording: str | None = None
    recorded: int = 0
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a line that is left out when the line gets too long.

    Attributes:
        text: What it says.
        priority: 0 stays longest.
        to_right: Whether it stands at the right end.
    """

    text: Text
    priority: int
    to_right: bool = False


def fit(text: Text, width: int) -> Text:
    """Give a copy of a line that is cut, with ``…``, where it exceeds the width.

    Args:
        text: One line.
        width: Cells.
    """
    text = text.copy()
    text.truncate(max(0, width), overflow="ellipsis")
    return text


def spread(parts: Sequence[Part], width: int, gap: int = 2) -> Text:
    """Lay parts out on one line, some flush left, some flush right.

    Args:
        parts: In reading order; the least important are left out if need be.
        width: Cells of the line.
        gap: Cells between parts.
    """
    kept: set[int] = set()
    used = -gap
    for index in sorted(range(len(parts)), key=lambda i: parts[i].priority):
        cells = gap + cell_len(parts[index].text.plain)
        if kept and used + cells > width:
            break
        kept.add(index)
        used += cells
    space = " " * gap
    left, right = (
        Text(space).join(
            part.text
            for index, part in enumerate(parts)
            if index in kept and part.to_right is to_right
        )
        for to_right in (False, True)
    )
    if not right:
        return fit(left, width)
    filler = width - cell_len(left.plain) - cell_len(right.plain)
    return fit(Text.assemble(left, " " * max(0, filler), right), width)


def header_line(status: Status, width: int) -> Text:
    """Draw the line at the top: what this is, where from, alive or not, how fast.

    Args:
        status: How the stream is doing.
        width: Cells of the screen.
    """
    roomy = width >= ROOMY
    parts = [Part(Text(" k2 " if roomy else "k2", "bold reverse"), 3)]
    if status.exchange == "SIM":
        parts.append(Part(Text(" SIMULATED " if roomy else "SIM", _ATTENTION), 0))
    else:
        name = _EXCHANGES.get(status.exchange, printable(status.exchange, 20))
        parts.append(Part(Text(name, "bold"), 5))
    if status.label:
        label = printable(status.label, 30)
        parts.append(Part(Text(f" {label} " if roomy else label, _ATTENTION), 1))
    parts.append(Part(Text(printable(status.host, 40), "dim"), 7))

    if status.connection == LIVE:
        parts.append(Part(Text("● live", "green"), 2, to_right=True))
        uptime = duration_text(status.uptime_seconds)
        parts.append(Part(Text(uptime), 6, to_right=True))
    else:
        words = printable(status.connection, 60)
        parts.append(Part(Text(f"○ {words}", _ATTENTION), 2, to_right=True))
    # Padded, so that a growing number does not push what stands left of it.
    rate = "".join(rate_text(status.trades_per_second)).rjust(6)
    parts.append(Part(Text(f"{rate} trades/s "), 4, to_right=True))
    return spread(parts, width, gap=2 if roomy else 1)


def ledger_line(status: Status, width: int) -> Text:
    """Draw the line at the bottom: what is missing, and how to leave.

    Args:
        status: How the stream is doing.
        width: Cells of the screen.
    """
    if status.missing:
        verdict = Text(f"{status.missing:,} missing", _ALARM)
    else:
        verdict = Text("no gaps" if not status.gaps else "nothing missing", "green")
    facts = [Part(verdict, 0)]
    if status.gaps:
        facts.append(Part(Text(_count(status.gaps, "gap")), 3))
        facts.append(Part(Text(f"{status.repaired:,} repaired"), 4))
    facts.append(Part(Text(_count(status.reconnects, "reconnect")), 2))
    facts.append(Part(Text(_count(status.trades, "trade")), 5))

    way_out = Text("  Ctrl-C ends" if width >= ROOMY else "Ctrl-C ends", "dim")
    margin = " " if width >= ROOMY else ""
    room = width - 2 * len(margin)
    dotted = [
        Part(_with_dot(p.text) if i else p.text, p.priority)
        for i, p in enumerate(facts)
    ]
    return fit(
        Text.assemble(
            margin,
            spread([*dotted, Part(way_out, 1, to_right=True)], room, gap=1),
        ),
        width,
    )


def message_line(status: Status, width: int) -> Text:
    """Draw the line above the ledger: the recording, the latest message; or nothing.

    Args:
        status: How the stream is doing.
        width: Cells of the screen.
    """
    margin = " " if width >= ROOMY else ""
    text = Text(margin)
    if status.recording is not None:
        path = printable(status.recording, 120)
        written = f"{status.recorded:,} written"
        text.append("● ", "red")
        text.append(f"{written} to {path}")
    if status.log_message:
        if status.recording is not None:
            text.append("  ")
        text.append(printable(status.log_message, 300), "dim")
    return fit(text, width)


def _with_dot(text: Text) -> Text:
    return Text.assemble(("· ", "dim"), text)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
