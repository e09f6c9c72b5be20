"""What happened to each symbol, a line each, and how much of that fits a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.text import Text

from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

# Key of a symbol's figures, and heading.
_COLUMNS = {
    "trades": "trades",
    "rate": "trades/s",
    "first_id": "first id",
    "last_id": "last id",
    "gaps": "gaps",
    "repaired": "repaired",
    "missing": "missing",
    "duplicates": "duplicates",
    "disorders": "disorders",
    "resets": "resets",
}
_IDS = {"first_id", "last_id"}
_TOTAL = "total"

_HEADING_STYLE = "dim"
ALARM = "bold red"
"""Style of what makes a capture incomplete."""


def symbol_table(
    symbols: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    always: Collection[str],
    alarming: Collection[str] = ("missing",),
    most: int | None = None,
) -> list[Text]:
    """Draw a table with a line per symbol, and their total.

    Args:
        symbols: Each symbol and its figures, by the keys of ``--summary`` and
            ``k2 verify --json``.
        always: Keys of columns that are shown even if all of theirs is 0.
        alarming: Keys of figures that should be 0.
        most: Symbols to show: of more, those with trouble and the busiest. ``None``
            for all.
    """
    keys = [
        key
        for key in _COLUMNS
        if key in always or any(figures.get(key) for _, figures in symbols)
    ]

    def importance(symbol: tuple[str, Mapping[str, Any]]) -> tuple[int, ...]:
        figures = symbol[1]
        wrong = sum(figures.get(key, 0) for key in alarming)
        return wrong, figures["gaps"], figures["trades"]

    shown = list(symbols)
    if most is not None and len(symbols) > most:
        shown = sorted(symbols, key=importance, reverse=True)[:most]
    rows = [("symbol", [_COLUMNS[key] for key in keys])]
    rows += [
        (printable(symbol, 40), [_cell(key, figures[key]) for key in keys])
        for symbol, figures in shown
    ]
    if len(symbols) > 1:
        rows.append((_TOTAL, list(_totals(symbols, keys))))
    lines = _aligned(rows)
    lines[0].stylize(_HEADING_STYLE)
    for line, (symbol, figures) in zip(lines[1:], shown, strict=False):
        line.stylize("bold", 0, len(printable(symbol, 40)))
        if any(figures.get(key) for key in alarming):
            line.stylize(ALARM)
    if len(symbols) > 1:
        lines[-1].stylize(_HEADING_STYLE)
    left = len(symbols) - len(shown)
    if left:
        lines.insert(len(shown) + 1, _left_out(symbols, shown, alarming))
    return lines


def _left_out(
    symbols: Sequence[tuple[str, Mapping[str, Any]]],
    shown: Sequence[tuple[str, Mapping[str, Any]]],
    alarming: Collection[str],
) -> Text:
    def troubled(some: Sequence[tuple[str, Mapping[str, Any]]]) -> int:
        return sum(any(figures.get(k) for k in alarming) for _, figures in some)

    left = len(symbols) - len(shown)
    wrong = troubled(symbols) - troubled(shown)
    how = f"{wrong:,} of them not" if wrong else "all complete"
    return Text(f"and {left:,} more, {how}", ALARM if wrong else "dim")


def _totals(
    symbols: Sequence[tuple[str, Mapping[str, Any]]], keys: Sequence[str]
) -> Iterator[str]:
    for key in keys:
        total = 0 if key in _IDS else sum(figures[key] for _, figures in symbols)
        yield "" if key in _IDS else f"{total:,}"


def _cell(key: str, value: int | None) -> str:
    if value is None:
        return "-"
    return str(value) if key in _IDS else f"{value:,}"


def _aligned(rows: Sequence[tuple[str, Sequence[str]]]) -> list[Text]:
    name_cells = max(cell_len(name) for name, _ in rows)
    widths = [
        max(map(len, column)) for column in zip(*(row for _, row in rows), strict=True)
    ]
    lines = []
    for name, row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        padded = name + " " * (name_cells - cell_len(name))
        lines.append(Text("  ".join([padded, *cells])))
    return lines
