"""The exchange's symbols as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
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


def catalog_table(entries: Sequence[Mapping[str, str]]) -> Table:
    """Make a table of catalog entries.

    Args:
        entries: Texts by the keys of ``k2 symbols --json``.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    widths = {
        key: max((significant_decimals(entry[key]) for entry in entries), default=0)
        for key in ("tick_size", "step_size")
    }
    for heading in _HEADINGS.values():
        table.add_column(heading, justify="left", no_wrap=True)
    for entry in entries:
        cells = []
        for key in _HEADINGS:
            text = printable(entry[key], 40)
            if key in widths:
                text = _trimmed(text, widths[key])
            elif key == "symbol":
                cells.append(Text(text, "bold"))
                continue
            elif key == "status" and text == "TRADING":
                cells.append(Text(text, "green"))
                continue
            cells.append(Text(text))
        table.add_row(*cells)
    count = f"{len(entries):,} symbol" + ("" if len(entries) == 1 else "s")
    table.caption = Text(count, "dim")
    table.caption_justify = "left"
    return table


def _trimmed(digits: str, decimals: int) -> str:
    """Cut padding zeros, and fill up so that the points stand in one column."""
    whole, _, fraction = digits.partition(".")
    shown = fraction.rstrip("0")
    text = f"{whole}.{shown}" if shown else whole
    room = decimals + 1 if decimals else 0
    return f"{whole:>7}" + (text[len(whole) :]).ljust(room)
