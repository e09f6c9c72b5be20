"""The table of symbols: rows in an order that is steady, drawn to fit a width."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich.cells import cell_len

from k2cli.display.columns import COLUMNS, Cell, Column, Row
from k2cli.display.symbol import seen_text
from k2cli.display.text import fit, styled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.text import Text

    from k2cli.display.columns import SortKey
    from k2cli.display.controls import Controls
    from k2cli.display.market import MarketState
    from k2cli.display.numbers import Precision
    from k2cli.display.symbol import SymbolState

RESORT_SECONDS = 2.0
"""Rows change places at most this often, unless a key asks for it."""

_GAP = 2
_WIDEST_GAP = 4
# Narrower than this there is one cell between columns.
_ROOMY = 70
# From this width on there is a margin on the right as well.
_WITH_MARGIN = 100

_CURSOR = "▸"
# Units of worth: each serves for up to seven digits.
_USD_UNITS = ((1.0, ""), (1e3, " K"), (1e6, " M"), (1e9, " B"))
_MOST_IN_UNIT = 9_999_999

_SORT_KEYS = {
    column.name: column.sort_key for column in COLUMNS if column.sort_key is not None
}


class Order:
    """Sorts symbols, at most every ``RESORT_SECONDS``."""

    def __init__(self, precision: Precision) -> None:
        self._precision = precision
        self._sorted: list[SymbolState] = []
        self._asked: tuple[object, ...] = ()
        self._sorted_seconds = 0.0
        self._sorted_trades = 0

    def rows(
        self,
        market: MarketState,
        controls: Controls,
        *,
        limit: int,
        now_seconds: float,
    ) -> list[SymbolState]:
        """Return all symbols that fit the filter, in order.

        Without a column to sort by, that is the order in which they were asked for if
        no more than ``limit``, which fit on the screen, else the busiest first: those
        with the most trades so far. (The rate would make rows jump; the count settles.)
        """
        # A paused market is a copy: its identity tells that the states are others.
        asked = (
            id(market),
            controls.sort,
            controls.is_ascending,
            controls.window_seconds,
            controls.filter,
            len(market) > limit,
        )
        # At first everything moves: until it settles there is nothing to be read.
        due = (
            now_seconds - self._sorted_seconds >= RESORT_SECONDS
            or market.trades > 2 * self._sorted_trades
        )
        if asked != self._asked or due or not self._sorted:
            self._sorted = self._sort(market, controls, limit, now_seconds)
            self._asked, self._sorted_seconds = asked, now_seconds
            self._sorted_trades = market.trades
        return self._sorted

    def _sort(
        self, market: MarketState, controls: Controls, limit: int, now_seconds: float
    ) -> list[SymbolState]:
        states = [state for state in market if controls.shows(state.symbol)]
        if controls.sort is None:
            if len(states) <= limit:
                return states
            return sorted(states, key=lambda state: state.trades, reverse=True)

        key_of = _SORT_KEYS[controls.sort]

        def key(state: SymbolState) -> SortKey:
            state.advance(now_seconds)
            window_seconds = controls.window_seconds
            return key_of(Row(state, now_seconds, window_seconds, self._precision, {}))

        # Those that have not traded come last, in either direction.
        by_name = controls.sort == "symbol"
        ready = [state for state in states if by_name or not state.is_quiet]
        quiet = [state for state in states if not by_name and state.is_quiet]
        return [*sorted(ready, key=key, reverse=not controls.is_ascending), *quiet]


@dataclass(slots=True)
class _Widths:
    """Widest parts seen in a column, in cells; they only grow, against jitter."""

    text: int = 0
    fraction: int = 0
    number: int = 0
    mark: int = 0

    def widen(self, cell: Cell) -> None:
        text, fraction = cell_len(cell.text), len(cell.fraction)
        self.text = max(self.text, text)
        self.fraction = max(self.fraction, fraction)
        self.number = max(self.number, text + fraction)
        self.mark = max(self.mark, len(cell.mark))


@dataclass(frozen=True, slots=True)
class _Placed:
    """A column that fits.

    Attributes:
        column: The column.
        number: Cells for text and fraction together.
        fraction: Cells for the fraction alone, if numbers align on their points;
            else 0, and they are flush on their side.
        mark: Cells for the mark.
    """

    column: Column
    number: int
    fraction: int = 0
    mark: int = 0


class Table:
    """Draws rows, and remembers widths so that nothing jitters."""

    def __init__(
        self, precision: Precision, columns: Sequence[Column] = COLUMNS
    ) -> None:
        self._precision = precision
        self._columns = columns
        self.forget_widths()

    def forget_widths(self) -> None:
        """Let columns be narrow again, for another size of the screen."""
        self._widths = {column.name: _Widths() for column in self._columns}
        self._unit = 0

    def lines(
        self,
        states: Sequence[SymbolState],
        controls: Controls,
        *,
        width: int,
        now_seconds: float,
    ) -> list[Text]:
        """Draw the headings and a row for each symbol."""
        window_seconds = controls.window_seconds
        room: dict[str, int] = {}
        rows = []
        usd_unit, unit = self._usd_unit(states)
        for state in states:
            state.advance(now_seconds)
            rows.append(
                Row(
                    state,
                    now_seconds,
                    window_seconds,
                    self._precision,
                    room,
                    usd_unit,
                )
            )
        cells = {
            column.name: [_cell(column, row) for row in rows]
            for column in self._columns
            if column.room is None
        }
        for name, column_cells in cells.items():
            for cell in column_cells:
                self._widths[name].widen(cell)
        window = seen_text(states, window_seconds)
        headings = {
            column.name: column.heading(window, unit) for column in self._columns
        }
        placed, gap = self._layout(width, headings)
        for one in placed:
            if one.column.room is not None:
                room[one.column.name] = one.number
                cells[one.column.name] = [_cell(one.column, row) for row in rows]
        lines = [_headings(placed, gap, headings, controls)]
        for index, row in enumerate(rows):
            is_chosen = row.state.symbol == controls.cursor
            runs = [(_CURSOR if is_chosen else " ", "bold")]
            for place, one in enumerate(placed):
                if place:
                    runs.append((" " * gap, ""))
                runs.extend(_runs(cells[one.column.name][index], one))
            line = styled(runs)
            if is_chosen:
                line.stylize("reverse", 1)
            lines.append(line)
        return [
            fit(line, width) if cell_len(line.plain) > width else line for line in lines
        ]

    def _usd_unit(self, states: Sequence[SymbolState]) -> tuple[float, str]:
        """Choose one unit for the worth of all rows; it only grows, against jitter."""
        most = max((one.notional * one.usd_rate for one in states), default=0.0)
        while most / _USD_UNITS[self._unit][0] > _MOST_IN_UNIT and self._unit + 1 < len(
            _USD_UNITS
        ):
            self._unit += 1
        return _USD_UNITS[self._unit]

    def _layout(
        self, width: int, headings: Mapping[str, str]
    ) -> tuple[list[_Placed], int]:
        """Choose columns by priority until the next one does not fit.

        What room is left goes to numbers that then align on their decimal points, the
        most important column first; then to columns that can use it; then between
        columns.

        Returns:
            The columns from left to right, and the cells between them.
        """
        gap = _GAP if width >= _ROOMY else 1
        placed = {
            column.name: self._compact(column, headings[column.name])
            for column in self._columns
        }
        if gap == _GAP:
            for column in self._columns:
                if column.is_aligned:
                    placed[column.name] = self._aligned(placed[column.name])
        chosen: list[Column] = []
        left = width - (2 if width >= _WITH_MARGIN else 1) + gap
        for _, group in groupby(sorted(self._columns, key=_priority), _priority):
            together = list(group)
            cells = sum(
                gap + placed[column.name].number + placed[column.name].mark
                for column in together
            )
            if chosen and cells > left:
                break
            chosen += together
            left -= cells
        for column in chosen:
            aligned = self._aligned(placed[column.name])
            cost = aligned.number - placed[column.name].number
            if cost <= left:
                placed[column.name] = aligned
                left -= cost
        for column in chosen:
            if column.room is not None and left > 0:
                least = placed[column.name].number
                wider = min(left, column.room[1] - least)
                placed[column.name] = _Placed(column, least + wider)
                left -= wider
        if len(chosen) > 1 and gap == _GAP:
            gap = min(_WIDEST_GAP, gap + left // (len(chosen) - 1))
        return [
            placed[column.name] for column in self._columns if column in chosen
        ], gap

    def _compact(self, column: Column, words: str) -> _Placed:
        heading = cell_len(words)
        if column.room is not None:
            return _Placed(column, max(column.room[0], heading))
        widths = self._widths[column.name]
        # The heading may stand above the mark as well.
        number = max(widths.number, heading - widths.mark, column.least)
        return _Placed(column, number, mark=widths.mark)

    def _aligned(self, placed: _Placed) -> _Placed:
        widths = self._widths[placed.column.name]
        if not widths.fraction:
            return placed
        number = max(widths.text + widths.fraction, placed.number)
        return _Placed(placed.column, number, widths.fraction, placed.mark)


def _priority(column: Column) -> int:
    return column.priority


def _cell(column: Column, row: Row) -> Cell:
    return column.quiet(row) if row.state.is_quiet else column.cell(row)


def _runs(cell: Cell, placed: _Placed) -> Iterator[tuple[str, str]]:
    fraction = len(cell.fraction)
    # Room behind the fraction, then what is left of the column before the text.
    after = max(0, placed.fraction - fraction)
    before = placed.number - cell_len(cell.text) - fraction - after
    if placed.column.justify == "left":
        before, after = 0, before + after
    style = cell.fraction_style
    yield " " * before, ""
    yield cell.text, cell.style
    yield cell.fraction, cell.style if style is None else style
    # Beside what it is about, not behind the room for more decimals.
    yield cell.mark, cell.mark_style
    yield " " * after, ""
    yield " " * (placed.mark - len(cell.mark)), ""


def _headings(
    columns: Sequence[_Placed],
    gap: int,
    headings: Mapping[str, str],
    controls: Controls,
) -> Text:
    runs = [(" ", "")]
    for placed in columns:
        column = placed.column
        heading = headings[column.name]
        room = " " * (placed.number + placed.mark - cell_len(heading))
        after = " " * gap
        if column.justify == "right":
            runs.append((room, ""))
        else:
            after = room + after
        if placed is columns[-1]:
            after = after[:-gap]
        if column.name == controls.sort:
            # The arrow stands in the gap, so that nothing moves for it.
            runs.append((heading, "bold"))
            runs.append(("▲" if controls.is_ascending else "▼", "bold"))
            runs.append((after[1:], ""))
        else:
            runs.append((heading, "dim"))
            runs.append((after, ""))
    line = styled(runs)
    line.rstrip()
    return line
