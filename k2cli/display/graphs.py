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
