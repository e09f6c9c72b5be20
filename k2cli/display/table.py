"""The table of symbols: headings and rows, drawn to fit a width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from k2cli.display.columns import COLUMNS, Cell, Column, Row
from k2cli.display.digits import span_text
from k2cli.display.frame import styled
from k2cli.display.layout import Columns, Layout, Placed
from k2cli.display.status import fit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text

    from k2cli.display.controls import Controls
    from k2cli.display.precision import Precision
    from k2cli.display.symbol import SymbolState

_Runs = list[tuple[str, str]]


class Table:
    """Draws rows, and remembers widths so that nothing jitters.

    Args:
        precision: Writes prices and sizes.
        columns: What to show, from left to right.
    """

    def __init__(
        self, precision: Precision, columns: Sequence[Column] = COLUMNS
    ) -> None:
        self._precision = precision
        self._columns = Columns(columns)

    def forget_widths(self) -> None:
        """Let columns be narrow again, as the screen has changed."""
        self._columns.forget()

    def lines(
        self,
        states: Sequence[SymbolState],
        controls: Controls,
        *,
        width: int,
        now_seconds: float,
    ) -> list[Text]:
        """Draw the headings and a row for each symbol.

        Args:
            states: The symbols, in order.
            controls: The window of time, and what rows are sorted by.
            width: Cells.
            now_seconds: The clock of the states.
        """
        window_seconds = controls.window_seconds
        room: dict[str, int] = {}
        rows = []
        for state in states:
            state.settle(now_seconds)
            rows.append(Row(state, now_seconds, window_seconds, self._precision, room))
        cells = {
            column.name: [_cell(column, row) for row in rows]
            for column in self._columns.columns
            if column.room is None
        }
        for column in self._columns.columns:
            for cell in cells.get(column.name, ()):
                self._columns.widen(column, cell)
        window = span_text(window_seconds)
        layout = self._columns.layout(width, window)
        for placed in layout.columns:
            if placed.column.room is not None:
                room[placed.column.name] = placed.number
                cells[placed.column.name] = [_cell(placed.column, r) for r in rows]
        lines = [_headings(layout, window, controls)]
        for index in range(len(rows)):
            runs: _Runs = [(" " * layout.margin, "")]
            for place, placed in enumerate(layout.columns):
                if place:
                    runs.append((" " * layout.gap, ""))
                runs.extend(_runs(cells[placed.column.name][index], placed))
            lines.append(styled(runs))
        return [
            fit(line, width) if cell_len(line.plain) > width else line for line in lines
        ]


def _cell(column: Column, row: Row) -> Cell:
    return column.quiet(row) if row.state.is_quiet else column.cell(row)


def _runs(cell: Cell, placed: Placed) -> Iterator[tuple[str, str]]:
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
    yield " " * after, ""
    yield cell.mark, cell.mark_style
    yield " " * (placed.mark - len(cell.mark)), ""


def _headings(layout: Layout, window: str, controls: Controls) -> Text:
    runs: _Runs = [(" " * layout.margin, "")]
    for place, placed in enumerate(layout.columns):
        column = placed.column
        heading = column.header.format(window=window)
        room = " " * (placed.number + placed.mark - cell_len(heading))
        after = " " * layout.gap
        if column.justify == "right":
            runs.append((room, ""))
        else:
            after = room + after
        if place == len(layout.columns) - 1:
            after = after[: -layout.gap] or ""
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
