"""Graphs, precision, lag and notice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.display.graphs import balance_bar, line_chart, sparkline
from k2cli.display.lag import LagMeter, lag_text, lag_us
from k2cli.display.notice import SHOWN_SECONDS, Notice
from k2cli.display.number_column import NumberColumn
from k2cli.display.precision import Precision

from .conftest import MakeTrade


def test_a_line_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7], 7) == "▁▂▃▄▅▆▇"
    assert sparkline([7, 1], 4) == "▇▇▁▁"
    assert sparkline([5.0], 4) == "▁▁▁▁"
    assert sparkline([0.00001179, 0.00001180], 2) == "▁▇"


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=70), st.integers(1, 40))
def test_a_line_takes_its_cells_and_ends_with_the_latest(
    values: list[float], cells: int
) -> None:
    line = sparkline(values, cells)
    assert len(line) == cells
    if values[-1] == max(values) > min(values) and len(values) <= cells:
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


def test_points_are_aligned_unless_that_tears_holes() -> None:
    column = NumberColumn()
    some = [("61,837", ".63"), ("2,683", ".8"), ("12", "")]
    for number in some:
        column.take(number)
    assert [column.text(number) for number in some] == [
        "61,837.63",
        " 2,683.8 ",
        "    12   ",
    ]
    tiny = ("0", ".00001174")
    column.take(tiny)
    assert [column.text(number) for number in (*some, tiny)] == [
        " 61,837.63",
        "   2,683.8",
        "        12",
        "0.00001174",
    ]
    assert column.cells() == 10
    assert column.cells(flush=False) == len(column.text(tiny, flush=False)) == 15


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


def test_decimals_of_an_unknown_symbol_only_grow() -> None:
    precision = Precision()
    assert precision.price("A", "1.50000000") == ("1", ".50")
    assert precision.price("A", "1.12500000") == ("1", ".125")
    assert precision.price("A", "1.50000000") == ("1", ".500")
    assert precision.mean_price("A", 1234.5) == ("1,234", ".500")
    assert precision.size("A", "2.00000000") == ("2", "")


def test_decimals_of_a_known_symbol_are_its_own() -> None:
    precision = Precision({"A": 1}, {"A": 3})
    assert precision.price("A", "1.00000000") == ("1", ".0")
    assert precision.size("A", "1.00000000") == ("1", ".000")
    assert precision.mean_price("A", 1.26) == ("1", ".3")
    assert precision.price("A", "1.25") == ("1", ".25")


def with_lag(make_trade: MakeTrade, lag: int, unit: str = "us") -> Any:
    event_time_us = 1723161255343000
    digits = str(event_time_us if unit == "us" else event_time_us // 1000)
    return make_trade(
        ingestion_timestamp=event_time_us + lag, vendor_data={"event_time": digits}
    )


@pytest.mark.parametrize("unit", ["us", "ms"])
def test_the_lag_is_from_event_to_arrival(make_trade: MakeTrade, unit: str) -> None:
    assert lag_us(with_lag(make_trade, 38_000, unit)) == 38_000
    assert lag_us(with_lag(make_trade, -5_000, unit)) == -5_000
    assert lag_us(make_trade(vendor_data={})) is None


def test_the_lag_is_said_in_units_that_fit() -> None:
    assert lag_text(38_900) == "lag 38 ms"
    assert lag_text(1_250_000) == "lag 1.2 s"
    assert lag_text(-38_900) == "clock behind by 38 ms"


def test_one_late_trade_does_not_make_the_lag_jump(make_trade: MakeTrade) -> None:
    meter = LagMeter()
    for lag in (10_000, 11_000, 900_000, 12_000):
        shown = meter.look(with_lag(make_trade, lag), 1.0)
    assert shown == 11_500


def test_a_lag_is_forgotten_when_nothing_comes(make_trade: MakeTrade) -> None:
    meter = LagMeter()
    assert meter.look(None, 0.0) is None
    trade = with_lag(make_trade, 10_000)
    assert meter.look(trade, 1.0) == 10_000
    assert meter.look(trade, 5.0) == 10_000
    assert meter.look(trade, 6.5) is None
    assert meter.look(make_trade(vendor_data={}), 7.0) is None


def test_a_message_goes_after_a_while_and_comes_back_if_said_again() -> None:
    notice = Notice()
    first, again = str(b"lost", "ascii"), str(b"lost", "ascii")
    day_us = 1723161255342000

    def look(message: str | None, now_seconds: float) -> str | None:
        return notice.look(message, now_seconds=now_seconds, time_us=day_us)

    assert look(None, 0.0) is None
    assert look(first, 1.0) == "23:54:15 lost"
    assert look(first, SHOWN_SECONDS) == "23:54:15 lost"
    assert look(first, 1.0 + SHOWN_SECONDS) is None
    assert look(again, 40.0) == "23:54:15 lost"
