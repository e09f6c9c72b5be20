"""The table's columns: a new one is an entry in ``COLUMNS`` and a function above it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from k2cli.display.charts import balance_bar, sparkline
from k2cli.display.numbers import age_text, percent_text, rate_text, scaled_text
from k2cli.display.symbol import Direction
from k2cli.display.text import LARGE_MARK
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from k2cli.display.numbers import Precision
    from k2cli.display.symbol import SymbolState

LARGE_STYLE = "bold magenta"
SIDE_STYLES = {"BUY": "green", "SELL": "red"}

_UP, _DOWN = "green", "red"
ARROWS = {
    Direction.UP: (" ▲", _UP),
    Direction.SAME: ("  ", ""),
    Direction.DOWN: (" ▼", _DOWN),
}
# A price that has just moved is coloured for this long; then the eye can rest.
_MOVED_SECONDS = 1.0
_STALE_SECONDS = 60.0
_LONGEST_SYMBOL = 20

SortKey = float | str


@dataclass(frozen=True, slots=True)
class Cell:
    """One value. Its parts align with those of the cells above and below.

    All parts must be printable text.

    Attributes:
        text: A word, or a number up to its decimal point; placed by the column.
        fraction: From the decimal point on; flush left.
        mark: What follows a number (an arrow, a unit); flush left.
        style: Rich style of the text.
        fraction_style: Rich style of the fraction; ``None`` for that of the text.
        mark_style: Rich style of the mark.
    """

    text: str
    fraction: str = ""
    mark: str = ""
    style: str = ""
    fraction_style: str | None = None
    mark_style: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One symbol, ready for its cells.

    Attributes:
        state: What is known of the symbol.
        now_seconds: The clock of the state.
        window_seconds: Window of time for change and trend.
        precision: Writes its prices and sizes.
        room: Cells of the columns that have no width of their own, by name.
        usd_unit: USD that the column of worth counts in.
    """

    state: SymbolState
    now_seconds: float
    window_seconds: float
    precision: Precision
    room: Mapping[str, int]
    usd_unit: float = 1.0


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: Unique name; what ``--sort`` calls it.
        priority: 0 stays longest when the screen gets narrow; columns of one priority
            come and go together.
        cell: Returns the value for a symbol that has traded.
        meaning: What it is, for the help.
        header: Heading, if it is not the name; ``{window}`` stands for the time that
            is looked back over, ``{unit}`` for the unit of USD.
        justify: Side on which the cells' text is flush.
        quiet: Returns the value for a symbol that has not traded.
        is_aligned: Whether its numbers align on their decimal points even where that
            takes the room of another column.
        least: Cells that its numbers take from the beginning, so that it seldom has
            to widen.
        room: Fewest and most cells of a column that takes what room there is.
        sort_key: What rows are sorted by, for a row that has traded; ``None`` if
            sorting by it makes no sense.
        ascending: Whether that is from small to large.
    """

    name: str
    priority: int
    cell: Callable[[Row], Cell]
    meaning: str
    header: str = ""
    justify: Literal["left", "right"] = "right"
    quiet: Callable[[Row], Cell] = lambda _: Cell("–", style="dim")
    is_aligned: bool = False
    least: int = 0
    room: tuple[int, int] | None = None
    sort_key: Callable[[Row], SortKey] | None = None
    ascending: bool = False

    def heading(self, window: str, unit: str = "") -> str:
        """Return the heading.

        Args:
            window: The window of time in words.
            unit: Thousands or millions of USD, in a letter.
        """
        return (self.header or self.name).format(window=window, unit=unit)


def _symbol(row: Row) -> Cell:
    return Cell(printable(row.state.symbol, _LONGEST_SYMBOL), style="bold")


def _quiet_symbol(row: Row) -> Cell:
    return Cell(printable(row.state.symbol, _LONGEST_SYMBOL), style="dim")


def _last(row: Row) -> Cell:
    state = row.state
    whole, fraction = row.precision.price(state.symbol, state.last_price)
    arrow, style = ARROWS[state.direction]
    moved = row.now_seconds - state.moved_seconds < _MOVED_SECONDS
    return Cell(whole, fraction, arrow, style if moved else "", mark_style=style)


def _change(row: Row) -> Cell:
    whole, fraction = percent_text(row.state.change(row.window_seconds))
    style = {"+": _UP, "-": _DOWN}.get(whole[0], "dim")
    return Cell(whole, fraction, style=style)


def _session(row: Row) -> Cell:
    # One column of colour is enough.
    return Cell(*percent_text(row.state.change(None)))


def _trend(row: Row) -> Cell:
    prices = row.state.trend(row.window_seconds)
    return Cell(sparkline(prices, row.room["trend"]), style="cyan")


def _high(row: Row) -> Cell:
    return Cell(*row.precision.mean_price(row.state.symbol, row.state.high))


def _low(row: Row) -> Cell:
    return Cell(*row.precision.mean_price(row.state.symbol, row.state.low))


def _vwap(row: Row) -> Cell:
    return Cell(*row.precision.mean_price(row.state.symbol, row.state.vwap))


def _volume(row: Row) -> Cell:
    digits, scale = scaled_text(row.state.volume)
    return Cell(digits, mark=scale)


def _notional(row: Row) -> Cell:
    state = row.state
    if state.usd_rate:
        amount = state.notional * state.usd_rate / row.usd_unit
        return Cell(f"{amount:,.0f}" if amount >= 0.5 else "<1")
    return Cell("–", style="dim")


def _notional_usd(row: Row) -> float:
    """Return what rows are compared by; what has no rate comes last."""
    state = row.state
    return state.notional * state.usd_rate if state.usd_rate else -1.0


def _per_second(row: Row) -> float:
    return row.state.rate.per_second(row.now_seconds)


def _rate(row: Row) -> Cell:
    per_second = _per_second(row)
    return Cell(*rate_text(per_second), style="" if per_second else "dim")


def _balance(row: Row) -> Cell:
    bought, sold = balance_bar(row.state.bought_share, row.room["balance"])
    return Cell(bought, sold, style=_UP, fraction_style=_DOWN)


def _age_seconds(row: Row) -> float:
    return row.now_seconds - row.state.last_seconds


def _age(row: Row) -> Cell:
    seconds = _age_seconds(row)
    return Cell(age_text(seconds), style="dim" if seconds < _STALE_SECONDS else "")


def _side(row: Row) -> Cell:
    side = row.state.side
    return Cell(printable(side, 10), style=SIDE_STYLES.get(side, ""))


def _size(row: Row) -> Cell:
    state = row.state
    whole, fraction = row.precision.size(state.symbol, state.last_size)
    mark = f" {LARGE_MARK}" if state.last_is_large else "  "
    return Cell(whole, fraction, mark, mark_style=LARGE_STYLE)


def _trades(row: Row) -> Cell:
    return Cell(f"{row.state.trades:,}")


COLUMNS = (
    Column(
        "symbol",
        0,
        _symbol,
        "the symbol",
        justify="left",
        quiet=_quiet_symbol,
        sort_key=lambda row: row.state.symbol,
        ascending=True,
    ),
    Column(
        "last",
        1,
        _last,
        "last price; ▲ or ▼: higher or lower than the one before",
        is_aligned=True,
        sort_key=lambda row: row.state.price,
    ),
    Column(
        "change",
        2,
        _change,
        "its change over the window of time, or over as much of it as was seen",
        header="{window}",
        least=len("+12.34%"),
        sort_key=lambda row: row.state.change(row.window_seconds),
    ),
    Column(
        "session",
        9,
        _session,
        "its change since the start",
        least=len("+12.34%"),
        sort_key=lambda row: row.state.change(None),
    ),
    Column(
        "trend",
        4,
        _trend,
        "prices over the window of time; full height is 0.1 % at least",
        justify="left",
        room=(7, 32),
    ),
    Column("high", 10, _high, "highest price since the start"),
    Column("low", 10, _low, "lowest price since the start"),
    Column(
        "vwap",
        13,
        _vwap,
        "mean price since the start, weighted by size",
        header="VWAP",
    ),
    Column(
        "volume",
        7,
        _volume,
        "traded since the start, in the base asset",
        sort_key=lambda row: row.state.volume,
    ),
    Column(
        "notional",
        8,
        _notional,
        "traded since the start, in USD by the stream's own pairs; – without a rate",
        header="USD{unit}",
        sort_key=_notional_usd,
    ),
    Column(
        "rate",
        3,
        _rate,
        "trades per second, over the last five",
        header="t/s",
        least=len("123.4"),
        sort_key=_per_second,
    ),
    Column(
        "balance",
        5,
        _balance,
        "taker buys' and sells' shares of the notional, the last minute weighing most",
        header="buy|sell",
        justify="left",
        room=(8, 16),
        sort_key=lambda row: row.state.bought_share,
    ),
    Column(
        "age",
        6,
        _age,
        "time since the last trade",
        least=len("59s"),
        sort_key=_age_seconds,
        ascending=True,
    ),
    Column("side", 14, _side, "the last trade's taker side", justify="left"),
    Column(
        "size",
        12,
        _size,
        f"the last trade's; {LARGE_MARK}: of an order larger than 99 in 100 are",
    ),
    Column(
        "trades",
        15,
        _trades,
        "trades since the start",
        sort_key=lambda row: row.state.trades,
    ),
)
"""All columns, from left to right."""

SORTABLE = tuple(column.name for column in COLUMNS if column.sort_key is not None)
"""What rows can be sorted by: the values of ``--sort``."""


def chosen_columns(names: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns of these names, the first staying longest; all for none.

    The symbol is always one of them.
    """
    if not names:
        return COLUMNS
    by_name = {column.name: column for column in COLUMNS}
    wanted = dict.fromkeys(["symbol", *names] if "symbol" not in names else names)
    return tuple(
        replace(by_name[name], priority=place) for place, name in enumerate(wanted)
    )
