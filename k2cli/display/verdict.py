"""What ``k2 verify`` found, for people, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from k2cli.display.digits import duration_text, rate_text, size_text
from k2cli.display.status import ATTENTION, Part, spread
from k2cli.display.symbol_table import ALARM, symbol_table
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_NAMED = 20
"""Findings of a kind that are named unless all are asked for."""

_BAR_CELLS = 24

# Keys of the table's columns that are shown even if all of theirs is 0.
_ALWAYS = ("trades", "first_id", "last_id", "gaps", "missing")
_ALARMING = ("missing", "duplicates", "disorders")

# How a finding is called, and how several are, in the order in which they are told.
_KINDS = {
    "missing": ("missing", "missing"),
    "duplicate": ("duplicate", "duplicates"),
    "disorder": ("out of order", "out of order"),
    "schema": ("schema violation", "schema violations"),
    "numbering": ("break in the numbering", "breaks in the numbering"),
    "torn": ("torn tail", "torn tails"),
    "damaged": ("damaged file", "damaged files"),
}


def verdict_lines(
    report: Mapping[str, Any], *, everything: bool = False, most: int | None = None
) -> list[Text]:
    """Draw a report: a table with a line per symbol, what is wrong, and the verdict.

    Args:
        report: As ``k2 verify --json`` prints it.
        everything: Whether to name every finding, not just the first ones of a kind.
        most: Symbols to show: of more, those with trouble and the busiest. ``None``
            for all.
    """
    symbols = [(one["symbol"], one) for one in report["symbols"]]
    lines = (
        symbol_table(symbols, always=_ALWAYS, alarming=_ALARMING, most=most)
        if symbols
        else []
    )
    for kind, (name, _) in _KINDS.items():
        found = (
            _missing(report["symbols"])
            if kind == "missing"
            else [one for one in report["problems"] if one["kind"] == kind]
        )
        shown = found if everything else found[:MOST_NAMED]
        lines += [
            Text.assemble(
                (f"{printable(one['file'])}:{one['line']}: ", "bold"),
                (f"{name}: ", ALARM),
                one["text"],
            )
            for one in shown
        ]
        lines += _left_out(report, kind, len(found), len(shown))
    lines.append(_verdict(report))
    return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How far the reading of a capture has come.

    Attributes:
        name: The file being read.
        lines: Lines read so far.
        findings: What was found to be wrong so far.
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


def reading_line(reading: Reading, width: int) -> Text:
    """Draw the progress, leaving out the least important parts where it is too long.

    Args:
        reading: What to tell.
        width: Cells.
    """
    seconds = max(reading.seconds, 1e-3)
    bytes_per_second = reading.read_bytes / seconds
    rate = "".join(rate_text(reading.lines / seconds))
    wrong = (
        Text(f"{reading.findings:,} found", ALARM)
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
        done = min(reading.read_bytes / reading.size_bytes, 1.0)
        full = int(done * _BAR_CELLS)
        bar = Text.assemble(
            ("━" * full, "green"), ("━" * (_BAR_CELLS - full), "bright_black")
        )
        parts.insert(0, Part(bar + Text(f" {done:4.0%}"), 0))
        left_bytes = reading.size_bytes - reading.read_bytes
        if bytes_per_second and left_bytes > 0:
            left = duration_text(left_bytes / bytes_per_second)
            parts.append(Part(Text(f"{left} left", "dim"), 5))
    return spread(parts, width)


def _missing(symbols: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**ids, "text": _missing_text(one["symbol"], ids["first_id"], ids["last_id"])}
        for one in symbols
        for ids in one["missing_ranges"]
    ]


def _missing_text(symbol: str, first_id: int, last_id: int) -> str:
    shown = printable(symbol, 40)
    if first_id == last_id:
        return f"{shown} {first_id} before this trade"
    count = last_id - first_id + 1
    return f"{shown} {first_id}-{last_id}, {count:,} trades, before this one"


def _left_out(
    report: Mapping[str, Any], kind: str, kept: int, shown: int
) -> list[Text]:
    if kind == "missing":
        total = kept + sum(one["unnamed_ranges"] for one in report["symbols"])
        what = "missing ranges"
    else:
        total, what = report["counts"][kind], _KINDS[kind][1]
    if total == shown:
        return []
    hint = "; --all names them" if kept > shown else ""
    return [Text(f"and {total - shown:,} more: {what}{hint}", "dim")]


def _verdict(report: Mapping[str, Any]) -> Text:
    if report["verdict"] == "empty":
        return Text("empty: no records, which proves nothing", ATTENTION)
    symbols = len(report["symbols"])
    account = f"{_counted(report['trades'], 'trade')} of {_counted(symbols, 'symbol')}"
    if len(report["files"]) > 1:
        account += f" in {len(report['files']):,} files"
    if report["verdict"] == "whole":
        text = f"whole: {account}, nothing missing, nothing twice, all in order"
        return Text(text, "bold green")
    counts = {"missing": report["missing"], **report["counts"]}
    found = [
        f"{count:,} {_KINDS[kind][count != 1]}"
        for kind, count in counts.items()
        if count
    ]
    return Text(f"not whole: {account}, {', '.join(found)}", ALARM)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
