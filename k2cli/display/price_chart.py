"""A symbol's price over time, with a scale of prices and an axis of times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from k2cli.display.charts import (
    candle_chart,
    column_chart,
    line_chart,
    price_scale,
    time_axis,
    with_scale,
)
from k2cli.display.detail import CANDLES, merged
from k2cli.display.numbers import span_text
from k2cli.display.text import BACKFILL_MARK, fit, styled
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k2cli.display.detail import Candle, Event
    from k2cli.display.numbers import Precision
    from k2cli.display.symbol import SymbolState

FEWEST_PRICES = 4
"""Prices that a chart is drawn from at least."""

# A window of time is charted once this part of it has been seen.
_LEAST_SEEN = 0.4
_LEAST_CANDLE_LINES = 5
_LEAST_CANDLE_CELLS = 30
# Height from which on there are a line of amounts and one of gaps below the candles.
_WITH_AMOUNTS = 9
_EVENT_MARKS = {
    "gap": ("!", "yellow"),
    "repaired": (BACKFILL_MARK, "yellow"),
    "missing": ("✗", "bold red"),
}
_NO_CHART = "the chart begins after a few seconds"


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
        height: Lines in all, at least 5 for each chart.
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
        lines += line_price_chart(state, precision, window_seconds, width, room - 1)
    return lines


def line_price_chart(
    state: SymbolState,
    precision: Precision,
    window_seconds: float,
    width: int,
    height: int,
) -> list[Text]:
    """Draw a price as a line."""
    prices = state.trend(window_seconds)
    if len(prices) < FEWEST_PRICES:
        return _no_chart(width, height)
    scale = price_scale(
        min(prices),
        max(prices),
        height - 1,
        lambda price: "".join(precision.mean_price(state.symbol, price)),
    )
    cells = max(map(len, scale.values()))
    room = max(2, width - cells - 1)
    lines = [styled([(line, "cyan")]) for line in line_chart(prices, room, height - 1)]
    axis = time_axis(state.trend_seconds(window_seconds), room)
    lines = [*with_scale(lines, scale, cells), styled([(axis, "dim")])]
    return [fit(line, width) for line in lines]


def candle_price_chart(
    state: SymbolState,
    precision: Precision,
    window_seconds: float,
    *,
    width: int,
    height: int,
    now_seconds: float,
) -> tuple[list[Text], float]:
    """Draw a price as candles, or as a line where there are none or no room.

    Returns:
        The lines, and the seconds that they look back over.
    """
    seconds = _charted_seconds(state, window_seconds)
    candles: list[Candle] = []
    if state.detail is not None:
        candles = state.detail.candles(seconds, now_seconds)
    shown = state.trend(window_seconds)
    if (
        state.detail is None
        or len(candles) < FEWEST_PRICES
        # What was seen before it was looked at closely shows only as a line.
        or len(shown) > 4 * len(candles) + FEWEST_PRICES
        or height < _LEAST_CANDLE_LINES
        or width < _LEAST_CANDLE_CELLS
    ):
        lines = line_price_chart(state, precision, window_seconds, width, height)
        return lines, state.trend_seconds(window_seconds)
    below = 3 if height >= _WITH_AMOUNTS else 1
    scale = price_scale(
        min(candle.low for candle in candles),
        max(candle.high for candle in candles),
        height - below,
        lambda price: "".join(precision.mean_price(state.symbol, price)),
    )
    cells = max(6, *map(len, scale.values()))
    room = width - cells - 1
    places = _places(candles)
    seconds *= places / CANDLES
    group = -(-places // room)
    for candle in candles:
        candle.place -= CANDLES - places
    if group > 1:
        candles = merged(candles, group)
    places = -(-places // group)
    lines = with_scale(
        candle_chart(candles, places, room, height - below), scale, cells
    )
    if below > 1:
        amounts = {
            candle.place: (
                candle.bought + candle.sold,
                "green" if candle.bought >= candle.sold else "red",
            )
            for candle in candles
        }
        line = column_chart(amounts, places, room)
        lines.append(line.append(f" {'amount':>{cells}}", "dim"))
        events = _events(state.detail.events, seconds, now_seconds, room)
        lines.append(events.append(f" {'gaps':>{cells}}", "dim"))
    lines.append(styled([(time_axis(seconds, room), "dim")]))
    return [fit(line, width) for line in lines], seconds


def _charted_seconds(state: SymbolState, window_seconds: float) -> float:
    """Choose the longest window, up to the chosen one, of which enough was seen."""
    fit_ones = [w for w in state.windows if w.seconds <= window_seconds]
    if not fit_ones:
        return window_seconds
    seen = [w for w in fit_ones if w.seen_seconds >= _LEAST_SEEN * w.seconds]
    return (seen[-1] if seen else fit_ones[0]).seconds


def _places(candles: Sequence[Candle]) -> int:
    """Return how many of the latest candles are shown, while there are only few."""
    seen = CANDLES - candles[0].place
    return next(CANDLES // part for part in (4, 2, 1) if seen <= CANDLES // part)


def _events(
    events: Sequence[Event], seconds: float, now_seconds: float, cells: int
) -> Text:
    """Draw gaps and repairs on a line of time; the gravest of a place shows."""
    row = [("·", "dim")] * cells
    gravity = list(_EVENT_MARKS)
    for event in sorted(events, key=lambda one: gravity.index(one.kind)):
        back = now_seconds - event.seconds
        if 0 <= back <= seconds:
            place = cells - 1 - round(back / seconds * (cells - 1))
            row[place] = _EVENT_MARKS[event.kind]
    return styled(row)


def _no_chart(width: int, height: int) -> list[Text]:
    lines = [Text()] * height
    lines[height // 2] = fit(Text(_NO_CHART.center(width).rstrip(), "dim"), width)
    return lines
