"""Sparklines, bars and line charts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.display.charts import (
    balance_bar,
    candle_chart,
    line_chart,
    price_scale,
    sparkline,
    time_axis,
)
from k2cli.display.detail import Candle, merged


def test_a_line_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7], 7) == "▁▂▃▄▅▆▇"
    assert sparkline([7, 1], 4) == "▇▇▁▁"
    assert sparkline([5.0], 4) == "▁▁▁▁"
    assert sparkline([0.00001179, 0.00001180], 2) == "▁▆"


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=70), st.integers(1, 40))
def test_a_line_takes_its_cells_and_ends_with_the_latest(
    values: list[float], cells: int
) -> None:
    line = sparkline(values, cells)
    assert len(line) == cells
    if values[-1] == max(values) > 1.01 * min(values) and len(values) <= cells:
        assert line[-1] == "▇"


@pytest.mark.parametrize(
    ("share", "bar"), [(0.0, "╌╌╌╌"), (0.5, "━━╌╌"), (0.9, "━━━━"), (1.0, "━━━━")]
)
def test_a_bar_shows_a_share_without_colour(share: float, bar: str) -> None:
    assert "".join(balance_bar(share, 4)) == bar


def test_a_chart_goes_from_the_bottom_to_the_top() -> None:
    assert line_chart([1, 2], 4, 2) == ["  ⡠⠊", "⡠⠊  "]
    assert line_chart([2, 1], 4, 1) == ["⠉⠒⠤⣀"]
    assert line_chart([5.0], 3, 2) == ["   ", "⠒⠒⠒"]


@given(
    st.lists(st.floats(0, 1e12), min_size=1, max_size=61),
    st.integers(2, 60),
    st.integers(2, 20),
)
def test_a_chart_has_its_size_and_no_holes(
    values: list[float], cells: int, lines: int
) -> None:
    chart = line_chart(values, cells, lines)
    assert [len(line) for line in chart] == [cells] * lines
    assert all(dots == " " or 0x2800 < ord(dots) <= 0x28FF for dots in "".join(chart))
    for column in zip(*chart, strict=True):
        assert any(dots != " " for dots in column)


def test_a_calm_price_looks_calm() -> None:
    assert sparkline([100.0, 100.01, 100.0, 100.01], 4) == "▁▂▁▂"
    assert sparkline([100.0, 100.2], 2) == "▁▇"


def test_a_scale_has_round_prices_on_their_lines() -> None:
    scale = price_scale(100.0, 101.0, 11, lambda price: f"{price:.1f}")
    assert scale == {0: "101.0", 5: "100.5", 10: "100.0"}
    assert price_scale(5.0, 5.0, 3, str) == {1: "5.0"}


def test_a_scale_has_two_prices_however_small_the_chart() -> None:
    scale = price_scale(64_165.4, 64_219.2, 10, lambda price: f"{price:.0f}")
    assert scale == {7: "64180", 3: "64200"}
    scale = price_scale(99.9, 100.2, 2, lambda price: f"{price:.1f}")
    assert scale == {0: "100.2", 1: "100.0"}


@given(st.floats(1e-9, 1e9), st.floats(0, 10), st.integers(1, 60))
def test_every_scale_has_a_price_and_none_outside_the_chart(
    low: float, factor: float, lines: int
) -> None:
    scale = price_scale(low, low * (1 + factor), lines, str)
    assert scale
    assert all(0 <= line < max(2, lines) for line in scale)


@given(st.floats(1, 100_000), st.integers(1, 240))
def test_an_axis_ends_with_now(seconds: float, cells: int) -> None:
    axis = time_axis(seconds, cells)
    assert len(axis) == cells
    if cells >= 3:
        assert axis.endswith("now")


def test_an_axis_has_round_times() -> None:
    assert time_axis(300, 40).split() == ["-4m", "-2m", "now"]


def candle(place: int, start: float, high: float, low: float, close: float) -> Candle:
    return Candle(place, start, high, low, close, 1.0, 1.0, 0.0, 1)


def test_candles_rise_and_fall_with_other_shapes() -> None:
    lines = candle_chart([candle(0, 1, 4, 1, 4), candle(1, 4, 4, 1, 1)], 2, 2, 2)
    assert [line.plain for line in lines] == ["┃█", "┃█"]
    lines = candle_chart([candle(0, 3, 8, 1, 3), candle(1, 3, 3, 3, 3)], 2, 2, 4)
    assert [line.plain for line in lines] == ["│ ", "│ ", "╽╻", "│ "]


def test_neighbouring_candles_are_joined() -> None:
    joined = merged(
        [candle(0, 1, 5, 1, 2), candle(1, 2, 3, 0, 3), candle(2, 3, 3, 3, 3)], 2
    )
    assert [(one.place, one.open, one.high, one.low, one.close) for one in joined] == [
        (0, 1, 5, 0, 3),
        (1, 3, 3, 3, 3),
    ]
    assert joined[0].trades == 2
