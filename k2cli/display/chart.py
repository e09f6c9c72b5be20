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
    ends = [precision.mean_price(state.symbol, f(prices)) for f in (max, min)]
    high, low = ("".join(end) for end in ends)
    room = max(len(high), len(low))
    labels = [high, *[""] * (height - 2), low]
    chart = line_chart(prices, width - room - 1, height)
    return [
        styled([(line, "cyan"), (f" {label:>{room}}", "dim")])
        for line, label in zip(chart, labels, strict=True)
    ]
