"""Prices and shares as pictures of a few cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Not the full block: between rows there is to be some air.
_LEVELS = "▁▂▃▄▅▆▇"
_FLAT = "▁"
# Heavy and broken: they differ without colour too.
_FILLED, _REST = "━", "╌"
# Braille patterns: the bits of the dots of the left and the right half, from the top.
_NO_DOTS = 0x2800
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


def sparkline(values: Sequence[float], cells: int) -> str:
    """Draw values as a line of blocks, from the lowest to the highest value.

    Args:
        values: Oldest first, evenly spaced; at least one.
        cells: Width. Fewer values are stretched, of more the last of each group counts.
    """
    count = len(values)
    picked = [
        values[(i + 1) * count // cells - 1 if count >= cells else i * count // cells]
        for i in range(cells)
    ]
    low, high = min(picked), max(picked)
    if low == high:
        return _FLAT * cells
    scale = (len(_LEVELS) - 1) / (high - low)
    return "".join(_LEVELS[round((value - low) * scale)] for value in picked)


def line_chart(values: Sequence[float], cells: int, lines: int) -> list[str]:
    """Draw values as a line of dots, two by four to a cell.

    Args:
        values: Oldest first, evenly spaced; at least one.
        cells: Width.
        lines: Height; the lowest value is at the bottom, the highest at the top, and
            one that never changes in the middle.

    Returns:
        As many texts as lines, each as wide as asked for.
    """
    low, high = min(values), max(values)
    bottom = lines * 4 - 1
    scale = bottom / (high - low) if high > low else 0.0
    lowest = bottom if high > low else lines // 2 * 4 + 1
    step = (len(values) - 1) / (cells * 2 - 1)
    grid = [[_NO_DOTS] * cells for _ in range(lines)]
    before = None
    for column in range(cells * 2):
        place = min(int(column * step), len(values) - 1)
        after = min(place + 1, len(values) - 1)
        value = values[place] + (values[after] - values[place]) * (
            column * step - place
        )
        row = lowest - round((value - low) * scale)
        # From the dot before it without a break, however steep it is.
        start = row if before is None else before + (row > before) - (row < before)
        for dot in range(min(start, row), max(start, row) + 1):
            grid[dot // 4][column // 2] |= _DOTS[column % 2][dot % 4]
        before = row
    # A space where there is no dot: not every font leaves that pattern empty.
    return ["".join(map(chr, line)).replace(chr(_NO_DOTS), " ") for line in grid]


def balance_bar(share: float, cells: int) -> tuple[str, str]:
    """Draw a share as a bar in two parts that differ without colour.

    Args:
        share: The first part's, 0 to 1.
        cells: Width.

    Returns:
        The filled part and the rest.
    """
    filled = round(share * cells)
    return _FILLED * filled, _REST * (cells - filled)
