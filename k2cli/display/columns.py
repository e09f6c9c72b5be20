"""The table's columns, one entry each: a newcomer adds a column in this file only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from k2cli.display.digits import clock_text, grouped, rate_text, volume_text
from k2cli.display.market import Direction, SymbolState
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable

_DIRECTIONS = {
    Direction.UP: (" ▲", "green"),
    Direction.SAME: ("  ", ""),
    Direction.DOWN: (" ▼", "red"),
}
_SIDES = {"BUY": "green", "SELL": "red"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One value. Its parts align with those of the cells above and below.

    All parts must be printable text.

    Attributes:
        text: A word, or a number up to its decimal point; placed by the column.
        fraction: From the decimal point on; flush left.
        mark: What follows a number (an arrow, a unit); flush left.
        style: Rich style of text and fraction.
        mark_style: Rich style of the mark.
    """

    text: str
    fraction: str = ""
    mark: str = ""
    style: str = ""
    mark_style: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One symbol, ready for its cells.

    Attributes:
        state: What is known of the symbol.
        trades_per_second: Its pace now.
        price_decimals: Decimals that its prices are shown with.
        size_decimals: Decimals that its sizes are shown with.
    """

    state: SymbolState
    trades_per_second: float
    price_decimals: int
    size_decimals: int


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: Unique name.
        header: Heading.
        priority: 0 stays longest when the screen gets narrow.
        justify: Side on which the cells' text is flush.
        cell: Gives the value for a symbol that has traded.
        quiet: Gives the value for a symbol that has not.
    """

    name: str
    header: str
    priority: int
    justify: Literal["left", "right"]
    cell: Callable[[Row], Cell]
    quiet: Callable[[Row], Cell] = lambda _: Cell("–", style="dim")


def _symbol(row: Row) -> Cell:
    return Cell(printable(row.state.symbol, 40), style="bold")


def _quiet_symbol(row: Row) -> Cell:
    return Cell(printable(row.state.symbol, 40), style="dim")


def _last(row: Row) -> Cell:
    whole, fraction = grouped(row.state.last_price, row.price_decimals)
    arrow, style = _DIRECTIONS[row.state.direction]
    return Cell(whole, fraction, arrow, style, style)


def _size(row: Row) -> Cell:
    whole, fraction = grouped(row.state.last_size, row.size_decimals)
    return Cell(whole, fraction)


def _side(row: Row) -> Cell:
    side = row.state.side
    return Cell(printable(side, 10), style=_SIDES.get(side, ""))


def _rate(row: Row) -> Cell:
    whole, fraction = rate_text(row.trades_per_second)
    return Cell(whole, fraction, style="" if row.trades_per_second else "dim")


def _trades(row: Row) -> Cell:
    return Cell(f"{row.state.trades:,}")


def _volume(row: Row) -> Cell:
    whole, fraction, scale = volume_text(row.state.volume)
    asset = printable(row.state.base_asset, 12)
    return Cell(whole, fraction, f"{scale or ' '} {asset}", mark_style="dim")


def _time(row: Row) -> Cell:
    return Cell(clock_text(row.state.last_trade_us), style="dim")


COLUMNS = (
    Column("symbol", "symbol", 0, "left", _symbol, _quiet_symbol),
    Column("last", "last", 1, "right", _last),
    Column("size", "size", 4, "right", _size),
    Column("side", "side", 3, "left", _side),
    Column("rate", "trades/s", 2, "right", _rate),
    Column("trades", "trades", 7, "right", _trades),
    Column("volume", "volume", 6, "right", _volume),
    Column("time", "UTC", 5, "left", _time),
)
"""All columns, from left to right."""
