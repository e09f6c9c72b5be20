"""The live table: a market and a status, drawn to fit a screen exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.segment import Segment
from rich.text import Text

from k2cli.display.columns import COLUMNS, Cell, Column, Row
from k2cli.display.digits import significant_decimals
from k2cli.display.status import (
    ROOMY,
    Status,
    fit,
    header_line,
    ledger_line,
    message_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console, ConsoleOptions

    from k2cli.display.market import MarketState, SymbolState

_GAP = 2
_WIDEST_GAP = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """One drawing of the screen.

    Attributes:
        lines: As many as the screen has, none wider than it.
    """

    lines: tuple[Text, ...]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[Text | Segment]:
        for index, line in enumerate(self.lines):
            if index:
                yield Segment.line()
            # A Text ends its own line, which would make every second line empty.
            line = line.copy()
            line.end = ""
            yield line


@dataclass(slots=True)
class _Widths:
    """Widest parts seen in a column, in cells; they only grow, against jitter."""

    text: int = 0
    fraction: int = 0
    number: int = 0
    mark: int = 0

    def widen(self, cell: Cell) -> None:
        text, fraction = cell_len(cell.text), cell_len(cell.fraction)
        self.text = max(self.text, text)
        self.fraction = max(self.fraction, fraction)
        self.number = max(self.number, text + fraction)
        self.mark = max(self.mark, cell_len(cell.mark))


@dataclass(frozen=True, slots=True)
class _Layout:
    """What stands where on the lines of the table.

    Attributes:
        columns: Those that fit, from left to right.
        aligned: Whether numbers align on their decimal points, which looks best and
            takes most room; else they are flush right.
        margin: Spaces on the left.
        gap: Spaces between columns.
    """

    columns: tuple[Column, ...]
    aligned: bool
    margin: str
    gap: str


@dataclass(slots=True)
class TableView:
    """Draws the table, and remembers widths and decimals so that nothing jitters.

    Args:
        price_decimals: Decimals of a symbol's tick size, by symbol. Where unknown, the
            most decimals seen so far are shown.
        size_decimals: Decimals of a symbol's step size, likewise.
        columns: What to show, from left to right.
    """

    price_decimals: Mapping[str, int] = field(default_factory=dict)
    size_decimals: Mapping[str, int] = field(default_factory=dict)
    columns: Sequence[Column] = COLUMNS
    _widths: dict[str, _Widths] = field(default_factory=dict, init=False)
    _decimals: dict[str, tuple[int, int]] = field(default_factory=dict, init=False)
    _size: tuple[int, int] = field(default=(0, 0), init=False)

    def frame(
        self,
        market: MarketState,
        status: Status,
        *,
        width: int,
        height: int,
        now_seconds: float,
    ) -> Frame:
        """Draw the screen.

        Args:
            market: The symbols.
            status: How the stream is doing.
            width: Cells of the screen, at least 1.
            height: Lines of the screen, at least 1.
            now_seconds: The clock of ``market.observe``.
        """
        if self._size != (width, height):
            self._widths.clear()
            self._size = (width, height)

        above = [header_line(status, width)]
        below = [ledger_line(status, width)]
        if height >= 8:
            below.insert(0, message_line(status, width))
        if height >= 12:
            rule = Text("─" * width, "dim")
            above.append(Text())
            below.insert(0, rule)
        room = height - len(above) - len(below)
        middle = self._table(market, width, room, now_seconds) if room > 0 else []
        filler = [Text()] * max(0, room - len(middle))
        lines = [*above, *middle[: max(0, room)], *filler, *below]
        if height < 2:
            lines = lines[:height]
        return Frame(tuple(lines))

    def _table(
        self, market: MarketState, width: int, room: int, now_seconds: float
    ) -> list[Text]:
        """Draw headings, rows, and how many rows are not shown, in ``room`` lines."""
        headings = room >= 2
        room -= headings
        left_out = len(market) - room
        if left_out > 0 and room >= 2:
            room -= 1
            left_out += 1
        rows = [self._row(s, now_seconds) for s in market.rows(room)]
        layout = self._layout(rows, width)
        margin = layout.margin

        lines = [self._headings(layout)] if headings else []
        lines += [self._line(row, layout) for row in rows]
        if not rows:
            lines.append(Text(f"{margin}waiting for the first trade", "dim"))
        if left_out > 0 and room >= 1 and len(market) > len(rows):
            plural = "" if left_out == 1 else "s"
            note = f"{margin}… and {left_out:,} more symbol{plural}"
            lines.append(Text(f"{note}, busiest first", "dim"))
        return [fit(line, width) for line in lines]

    def _row(self, state: SymbolState, now_seconds: float) -> Row:
        symbol = state.symbol
        price, size = self._decimals.get(symbol, (2, 0))
        price = max(price, significant_decimals(state.last_price))
        size = max(size, significant_decimals(state.last_size))
        self._decimals[symbol] = (price, size)
        return Row(
            state=state,
            trades_per_second=state.rate.per_second(now_seconds),
            price_decimals=self.price_decimals.get(symbol, price),
            size_decimals=self.size_decimals.get(symbol, size),
        )

    def _layout(self, rows: Sequence[Row], width: int) -> _Layout:
        for column in self.columns:
            widths = self._widths.setdefault(column.name, _Widths())
            for row in rows:
                widths.widen(_cell(column, row))
        aligned = self._fitting(width, aligned=True)
        if len(aligned.columns) == len(self.columns):
            return aligned
        flush = self._fitting(width, aligned=False)
        return flush if len(flush.columns) > len(aligned.columns) else aligned

    def _fitting(self, width: int, *, aligned: bool) -> _Layout:
        """Choose columns by priority until the next one does not fit."""
        margin, gap = (1, _GAP) if width >= ROOMY else (0, 1)
        chosen: set[str] = set()
        used = margin - gap
        for column in sorted(self.columns, key=lambda c: c.priority):
            widths = self._widths[column.name]
            cells = gap + self._number_width(column, aligned=aligned) + widths.mark
            if chosen and used + cells > width:
                break
            chosen.add(column.name)
            used += cells
        if len(chosen) > 1 and gap == _GAP:
            gap = min(_WIDEST_GAP, gap + (width - used) // (len(chosen) - 1))
        columns = tuple(column for column in self.columns if column.name in chosen)
        return _Layout(columns, aligned, " " * margin, " " * gap)

    def _number_width(self, column: Column, *, aligned: bool) -> int:
        widths = self._widths[column.name]
        number = widths.text + widths.fraction if aligned else widths.number
        return max(number, cell_len(column.header))

    def _headings(self, layout: _Layout) -> Text:
        cells = []
        for column in layout.columns:
            width = self._number_width(column, aligned=layout.aligned)
            is_left = column.justify == "left"
            place = column.header.ljust if is_left else column.header.rjust
            cells.append(place(width) + " " * self._widths[column.name].mark)
        return Text(layout.margin + layout.gap.join(cells), "dim")

    def _line(self, row: Row, layout: _Layout) -> Text:
        line = Text(layout.margin)
        for index, column in enumerate(layout.columns):
            cell = _cell(column, row)
            widths = self._widths[column.name]
            # Room behind the fraction, then what is left of the column before it.
            fraction = cell_len(cell.fraction)
            after = widths.fraction - fraction if layout.aligned else 0
            before = self._number_width(column, aligned=layout.aligned)
            before -= cell_len(cell.text) + fraction + after
            if column.justify == "left":
                before, after = 0, before + after
            if index:
                line.append(layout.gap)
            line.append(" " * before)
            line.append(cell.text + cell.fraction, cell.style)
            line.append(" " * after)
            line.append(cell.mark, cell.mark_style)
            line.append(" " * (widths.mark - cell_len(cell.mark)))
        line.rstrip()
        return line


def _cell(column: Column, row: Row) -> Cell:
    return column.quiet(row) if row.state.is_quiet else column.cell(row)
