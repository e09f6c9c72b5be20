"""The exchange's symbols as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from k2cli.display.digits import significant_decimals
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HEADINGS = {
    "symbol": "symbol",
    "base_asset": "base",
    "quote_asset": "quote",
    "status": "status",
    "tick_size": "tick size",
    "step_size": "step size",
}
_SIZES = ("tick_size", "step_size")
_TRADING = "TRADING"


def catalog_lines(entries: Sequence[Mapping[str, str]]) -> list[Text]:
    """Draw a table of catalog entries: a heading, a line each, and their number.

    Args:
        entries: Texts by the keys of ``k2 symbols --json``.
    """
    columns = []
    for key, title in _HEADINGS.items():
        cells = [printable(entry[key], 40) for entry in entries]
        if key in _SIZES:
            cells = _by_point(cells)
        columns.append(_filled([title, *cells]))
    lines = [Text("  ".join(row)) for row in zip(*columns, strict=True)]
    heading, *rows = lines
    heading.stylize("dim")
    for row, entry in zip(rows, entries, strict=True):
        row.stylize("bold", 0, len(columns[0][0]))
        if entry["status"] == _TRADING:
            row.highlight_words([f" {_TRADING} "], "green")
    count = f"{len(entries):,} symbol{'' if len(entries) == 1 else 's'}"
    return [*lines, Text(count, "dim")]


def _filled(cells: Sequence[str]) -> list[str]:
    width = max(map(cell_len, cells))
    return [cell + " " * (width - cell_len(cell)) for cell in cells]


def _by_point(sizes: Sequence[str]) -> list[str]:
    """Cut padding zeros, and put the points into one column."""
    decimals = max(map(significant_decimals, sizes), default=0)
    parts = [(size.partition(".")[0], significant_decimals(size)) for size in sizes]
    room = max((len(whole) for whole, _ in parts), default=0)
    shown = [
        size[: len(whole) + 1 + kept] if kept else whole
        for size, (whole, kept) in zip(sizes, parts, strict=True)
    ]
    return [
        " " * (room - len(whole)) + text.ljust(len(whole) + 1 + decimals)
        for text, (whole, _) in zip(shown, parts, strict=True)
    ]
