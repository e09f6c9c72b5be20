"""Prices and shares as pictures of a few cells: sparklines, bars, line charts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from k2cli.display.numbers import span_text
from k2cli.display.text import fit, styled
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k2cli.display.market import SymbolState
    from k2cli.display.numbers import Precision

# Not the full block: rows are to stand apart.
_LEVELS = "▁▂▃▄▅▆▇"
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
        return _LEVELS[0] * cells
    scale = (len(_LEVELS) - 1) / (high - low)
    return "".join(_LEVELS[round((value - low) * scale)] for value in picked)


def balance_bar(share: float, cells: int) -> tuple[str, str]:
    """Draw a share, 0 to 1, as the filled part of a bar and the rest."""
    filled = round(share * cells)
    return _FILLED * filled, _REST * (cells - filled)


def line_chart(values: Sequence[float], cells: int, lines: int) -> list[str]:
    """Draw values as a line of dots, two by four to a cell.

    Args:
        values: Oldest first, evenly spaced; at least one.
        cells: Width.
        lines: Height; the lowest value is at the bottom, the highest at the top, and
            one that never changes in the middle.
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


def chart_lines(
    states: Sequence[SymbolState],
    precision: Precision,
    window_seconds: float,
    *,
    width: int,
    height: int,
) -> list[Text]:
    """Draw prices as charts one below the other, each with a title above it.

    Args:
        states: The symbols, at least one; they have traded.
        precision: Writes their prices.
        window_seconds: How far to look back.
        width: Cells.
        height: Lines in all, at least 3 for each chart.
    """
    lines: list[Text] = []
    for place, state in enumerate(states):
        room = (place + 1) * height // len(states) - len(lines)
        window = state.window(window_seconds)
        is_full = window is not None and window.is_full
        span = span_text(window_seconds) if is_full else "since the start"
        title = f"{printable(state.symbol, 20)}, {span} "
        title += "─" * (width - cell_len(title))
        lines.append(fit(Text(title, "dim"), width))
        lines += _chart(state, precision, window_seconds, width - 1, room - 1)
    return lines


def _chart(
    state: SymbolState,
    precision: Precision,
    window_seconds: float,
    width: int,
    height: int,
) -> list[Text]:
    """Draw the price as a line, its highest and lowest value beside it."""
    prices = state.trend(window_seconds)
    high, low = max(prices), min(prices)
    marked = {0: high, height - 1: low} if high > low else {height // 2: low}
    labels = {
        line: "".join(precision.mean_price(state.symbol, price))
        for line, price in marked.items()
    }
    room = max(map(len, labels.values()))
    chart = line_chart(prices, width - room - 1, height)
    return [
        styled([(line, "cyan"), (f" {labels.get(index, ''):>{room}}", "dim")])
        for index, line in enumerate(chart)
    ]
