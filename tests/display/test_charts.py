"""Sparklines, bars and line charts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.display.charts import balance_bar, line_chart, sparkline


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
