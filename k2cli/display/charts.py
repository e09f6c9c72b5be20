"""Prices and shares as pictures of a few cells: sparklines, bars, lines, candles."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import TYPE_CHECKING

from k2cli.display.numbers import short_span
from k2cli.display.text import styled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rich.text import Text

    from k2cli.display.detail import Candle

# Not the full block: rows are to stand apart.
_LEVELS = "▁▂▃▄▅▆▇"
# Heavy and broken: they differ without colour too.
_FILLED, _REST = "━", "╌"
# Braille patterns: the bits of the dots of the left and the right half, from the top.
_NO_DOTS = 0x2800
# A sparkline is as high as a change of 0.1 % at least: a calm price looks calm.
_LEAST_SPAN = 0.001
# Halves of a cell of a candle: its upper and lower half is body, wick or neither.
# A falling one is filled, so that it differs without colour too.
_RISING = {
    "bb": "┃",
    "bw": "╿",
    "wb": "╽",
    "b ": "╹",
    " b": "╻",
    "ww": "│",
    "w ": "╵",
    " w": "╷",
    "  ": " ",
}
_FALLING = _RISING | {"bb": "█", "bw": "█", "wb": "█", "b ": "▀", " b": "▄"}
_RISING_STYLE, _FALLING_STYLE = "green", "red"
# Lines between the prices of a scale, about.
_LINES_A_PRICE = 4
_CELLS_A_TIME = 12
_TIMES_SECONDS = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 14_400, 21_600, 43_200),
)
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
    scale = (len(_LEVELS) - 1) / max(high - low, high * _LEAST_SPAN)
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


def price_scale(
    low: float, high: float, lines: int, text: Callable[[float], str]
) -> dict[int, str]:
    """Return round prices by the line, counted from the top, that each belongs to.

    Args:
        low: Price at the bottom.
        high: Price at the top; the same if it never changed.
        lines: Height of the chart.
        text: Writes a price.
    """
    if high <= low:
        return {lines // 2: text(low)}
    aim = (high - low) / max(1, lines // _LINES_A_PRICE)
    # One price alone says nothing of the scale: then there are more.
    for aimed in (aim, aim / 2.5, aim / 5):
        power = 10 ** floor(log10(aimed))
        step = next(power * n for n in (1, 2, 5, 10) if power * n >= aimed * 0.999)
        scale: dict[int, str] = {}
        for number in range(ceil(low / step), floor(high / step) + 1):
            line = round((high - number * step) / (high - low) * (lines - 1))
            scale.setdefault(line, text(number * step))
        if len(scale) > 1:
            return scale
    return {lines - 1: text(low), 0: text(high)}


def time_axis(seconds: float, cells: int) -> str:
    """Write times before now below a chart, which ends with now.

    Args:
        seconds: What the chart looks back over.
        cells: Its width.
    """
    aim = seconds * _CELLS_A_TIME / cells
    step = next((one for one in _TIMES_SECONDS if one >= aim), seconds)
    axis = [" "] * cells
    for number in range(int(seconds / step) + 1):
        back = number * step
        label = f"-{short_span(back)}" if back else "now"
        end = cells - round(back / seconds * (cells - 1))
        # A label stands left of its moment, the first ones right of the edge.
        start = max(0, end - len(label))
        place = axis[max(0, start - 1) : start + len(label) + 1]
        if start + len(label) <= cells and not "".join(place).strip():
            axis[start : start + len(label)] = label
    return "".join(axis)


def with_scale(
    lines: Iterable[Text], scale: Mapping[int, str], cells: int
) -> list[Text]:
    """Write the prices of a scale right of a chart's lines.

    Args:
        lines: The chart.
        scale: Prices by line.
        cells: Width of the prices.
    """
    done = []
    for number, line in enumerate(lines):
        label = scale.get(number)
        line.append("┤" if label else "│", "dim")
        if label:
            line.append(f"{label:>{cells}}", "dim")
        done.append(line)
    return done


def candle_chart(
    candles: Sequence[Candle], places: int, cells: int, lines: int
) -> list[Text]:
    """Draw candles; the highest price is at the top, the lowest at the bottom.

    Args:
        candles: With places from 0 to ``places - 1``; at least one.
        places: How many there are room for; at most ``cells``.
        cells: Width.
        lines: Height.
    """
    high = max(candle.high for candle in candles)
    low = min(candle.low for candle in candles)
    step = cells // places
    first = cells - step * places
    halves = 2 * lines
    scale = (halves - 1) / (high - low) if high > low else 0.0

    def half(price: float) -> int:
        return round((high - price) * scale) if scale else lines

    rows = [[(" ", "")] * cells for _ in range(lines)]
    for candle in candles:
        column = first + candle.place * step
        falling = candle.close < candle.open
        glyphs = _FALLING if falling else _RISING
        style = _FALLING_STYLE if falling else _RISING_STYLE
        kinds = [" "] * halves
        for place in range(half(candle.high), half(candle.low) + 1):
            kinds[place] = "w"
        ends = half(candle.open), half(candle.close)
        for place in range(min(ends), max(ends) + 1):
            kinds[place] = "b"
        for line in range(lines):
            glyph = glyphs[kinds[2 * line] + kinds[2 * line + 1]]
            if glyph != " ":
                rows[line][column] = (glyph, style)
    return [styled(_joined(row)) for row in rows]


def column_chart(
    columns: Mapping[int, tuple[float, str]], places: int, cells: int
) -> Text:
    """Draw amounts as a line of columns below the candles.

    Args:
        columns: Amount and style by place.
        places: As for ``candle_chart``.
        cells: Likewise.
    """
    most = max((amount for amount, _ in columns.values()), default=0.0)
    step = cells // places
    row = [(" ", "")] * cells
    for place, (amount, style) in columns.items():
        if amount > 0:
            level = _LEVELS[ceil(amount / most * len(_LEVELS)) - 1]
            row[cells - step * places + place * step] = (level, style)
    return styled(_joined(row))


def _joined(row: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join neighbouring cells of one style; spaces have any."""
    runs: list[tuple[str, str]] = []
    for text, style in row:
        if runs and (style == runs[-1][1] or text == " "):
            runs[-1] = (runs[-1][0] + text, runs[-1][1])
        else:
            runs.append((text, style))
    return runs
