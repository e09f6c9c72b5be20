"""What differs between two drawings of a line, cell by cell."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rich.cells import get_character_cell_size
from rich.segment import Segment
from rich.style import Style

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Cell = tuple[str, Style]
"""What stands in a cell; the text is empty in the second cell of a wide character."""

BLANK: Cell = (" ", Style.null())

# To go to another place takes about as many bytes.
_WORTH_SKIPPING = 8


def cells_of(segments: Iterable[Segment], width: int) -> list[Cell]:
    """Lay a line out on cells, cut or filled up to a width.

    Args:
        segments: The line.
        width: Cells.
    """
    cells: list[Cell] = []
    null = BLANK[1]
    for text, style, _ in segments:
        shown = style or null
        if text.isascii():
            cells.extend([(character, shown) for character in text])
            continue
        for character in text:
            size = get_character_cell_size(character)
            if size:
                cells.append((character, shown))
                cells.extend([("", shown)] * (size - 1))
            elif cells:
                # It joins the one before it, which may be two cells wide.
                last = -1 if cells[-1][0] else -2
                cells[last] = (cells[last][0] + character, cells[last][1])
    if len(cells) > width:
        is_halved = cells[width][0] == ""
        del cells[width:]
        if is_halved:
            cells[-1] = BLANK
    cells.extend([BLANK] * (width - len(cells)))
    return cells


def changes(old: list[Cell], new: list[Cell]) -> Iterator[tuple[int, list[Cell]]]:
    """Give the stretches of a line that have to be drawn anew.

    Stretches with little between them are one: to skip a few cells costs more than to
    draw them.

    Args:
        old: The line as it is on the screen.
        new: As it is to be; equally long.

    Yields:
        The first cell's place and the cells.
    """
    differing = [i for i, cell in enumerate(new) if cell != old[i]]
    start = end = -1
    for index in differing:
        if start >= 0 and index - end <= _WORTH_SKIPPING:
            end = index
            continue
        if start >= 0:
            yield _whole(new, start, end)
        start = end = index
    if start >= 0:
        yield _whole(new, start, end)


def segments_of(cells: list[Cell]) -> Iterator[Segment]:
    """Give cells as segments, neighbours of one style together."""
    for style, group in groupby(cells, key=lambda cell: cell[1]):
        yield Segment("".join(text for text, _ in group), style)


def _whole(new: list[Cell], start: int, end: int) -> tuple[int, list[Cell]]:
    """Begin and end a stretch with whole characters."""
    while start and not new[start][0]:
        start -= 1
    end += 1
    while end < len(new) and not new[end][0]:
        end += 1
    return start, new[start:end]
