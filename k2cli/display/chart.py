"""Prices over the window of time, where the tape leaves room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from k2cli.display.digits import span_text
from k2cli.display.frame import styled
from k2cli.display.graphs import line_chart
from k2cli.display.status import fit
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k2cli.display.precision import Precision
    from k2cli.display.symbol import SymbolState


# Lines from which on a chart is worth its place below another one.
_COMFORTABLE = 10


def charts_in(height: int) -> int:
    """Say how many charts are best drawn one below the other.

    Args:
        height: Lines.
    """
    return max(1, height // _COMFORTABLE)


def chart_column(
    states: Sequence[SymbolState],
    precision: Precision,
    window_seconds: float,
    *,
    width: int,
    height: int,
) -> list[Text]:
    """Draw charts one below the other, each with a title above it.

    Args:
        states: The symbols, at least one; they have traded.
        precision: Writes their prices.
        window_seconds: How far to look back.
        width: Cells.
        height: Lines, at least 3 for each.

    Returns:
        As many lines as asked for; the first is a title.
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
        lines += _chart(
            state, precision, window_seconds, width=width - 1, height=room - 1
        )
    return lines


def _chart(
    state: SymbolState,
    precision: Precision,
    window_seconds: float,
    *,
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
