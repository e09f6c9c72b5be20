"""One symbol's price over the window of time, where the tape leaves room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2cli.display.frame import styled
from k2cli.display.graphs import line_chart

if TYPE_CHECKING:
    from rich.text import Text

    from k2cli.display.precision import Precision
    from k2cli.display.symbol import SymbolState


def chart_lines(
    state: SymbolState,
    precision: Precision,
    window_seconds: float,
    *,
    width: int,
    height: int,
) -> list[Text]:
    """Draw the price as a line, its highest and lowest value beside it.

    Args:
        state: The symbol; it has traded.
        precision: Writes its prices.
        window_seconds: How far to look back.
        width: Cells.
        height: Lines, at least 2.
    """
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
