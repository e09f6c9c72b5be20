"""Which columns fit on a screen, and how wide each of them is."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k2cli.display.columns import Cell, Column

_GAP = 2
_WIDEST_GAP = 4
# Narrower than this there is one cell between columns.
_ROOMY = 70
# From here on there is a margin on the right as well.
_AIRY = 100


@dataclass(frozen=True, slots=True)
class Placed:
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
    fraction: int
    mark: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands where on the lines of the table.

    Attributes:
        columns: Those that fit, from left to right.
        margin: Cells on the left.
        gap: Cells between columns.
    """

    columns: tuple[Placed, ...]
    margin: int
    gap: int


@dataclass(slots=True)
class Widths:
    """Widest parts seen in a column, in cells; they only grow, against jitter."""

    text: int = 0
    fraction: int = 0
    number: int = 0
    mark: int = 0

    def widen(self, cell: Cell) -> None:
        """Make room for a cell."""
        text, fraction = cell_len(cell.text), len(cell.fraction)
        self.text = max(self.text, text)
        self.fraction = max(self.fraction, fraction)
        self.number = max(self.number, text + fraction)
        self.mark = max(self.mark, len(cell.mark))


@dataclass(slots=True)
class Columns:
    """Lays columns out; remembers how wide they have been.

    Args:
        columns: All there are, from left to right.
    """

    columns: Sequence[Column]
    _widths: dict[str, Widths] = field(default_factory=dict, init=False)

    def forget(self) -> None:
        """Let columns be narrow again."""
        self._widths.clear()

    def widen(self, column: Column, cell: Cell) -> None:
        """Make room for a cell; not for a column that takes what room there is."""
        self._widths.setdefault(column.name, Widths()).widen(cell)

    def layout(self, width: int, window: str) -> Layout:
        """Choose columns by priority until the next one does not fit.

        What room is left goes to numbers that then align on their decimal points, the
        most important column first; then to columns that can use it; then between
        columns.

        Args:
            width: Cells of the screen.
            window: The window of time, for headings.
        """
        margin, gap = 1, _GAP if width >= _ROOMY else 1
        compact = {
            column.name: self._aligned(placed)
            if column.is_aligned and gap == _GAP
            else placed
            for column in self.columns
            for placed in [self._compact(column, window)]
        }
        chosen: list[Column] = []
        left = width - margin * (2 if width >= _AIRY else 1) + gap
        for _, group in groupby(sorted(self.columns, key=_priority), _priority):
            together = list(group)
            placed = [compact[column.name] for column in together]
            cells = sum(gap + one.number + one.mark for one in placed)
            if chosen and cells > left:
                break
            chosen += together
            left -= cells
        for column in chosen:
            aligned = self._aligned(compact[column.name])
            cost = aligned.number - compact[column.name].number
            if cost <= left:
                compact[column.name] = aligned
                left -= cost
        for column in chosen:
            if column.room is not None and left > 0:
                least = compact[column.name].number
                wider = min(left, column.room[1] - least)
                compact[column.name] = Placed(column, least + wider, 0, 0)
                left -= wider
        if len(chosen) > 1 and gap == _GAP:
            gap = min(_WIDEST_GAP, gap + left // (len(chosen) - 1))
        kept = {column.name for column in chosen}
        return Layout(
            tuple(compact[c.name] for c in self.columns if c.name in kept),
            margin,
            gap,
        )

    def _compact(self, column: Column, window: str) -> Placed:
        heading = cell_len(column.header.format(window=window))
        if column.room is not None:
            return Placed(column, max(column.room[0], heading), 0, 0)
        widths = self._widths.get(column.name) or Widths()
        # The heading may stand above the mark as well.
        number = max(widths.number, heading - widths.mark, column.least)
        return Placed(column, number, 0, widths.mark)

    def _aligned(self, placed: Placed) -> Placed:
        widths = self._widths.get(placed.column.name) or Widths()
        if placed.column.room is not None or not widths.fraction:
            return placed
        number = max(widths.text + widths.fraction, placed.number)
        return Placed(placed.column, number, widths.fraction, placed.mark)


def _priority(column: Column) -> int:
    return column.priority
