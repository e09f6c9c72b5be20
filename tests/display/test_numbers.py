from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.display.numbers import (
    NumberColumn,
    Precision,
    age_text,
    clock_text,
    duration_text,
    grouped,
    lag_text,
    notional_text,
    percent_text,
    rate_text,
    scaled_text,
    significant_decimals,
    span_text,
)


@pytest.mark.parametrize(
    ("digits", "decimals", "shown"),
    [
        ("61837.63000000", None, ("61,837", ".63000000")),
        ("61837.63000000", 2, ("61,837", ".63")),
        ("61837.00000000", 0, ("61,837", "")),
        ("61837.6", 3, ("61,837", ".600")),
        ("0.00000001", 2, ("0", ".00000001")),
        ("12345678901", 2, ("12,345,678,901", ".00")),
    ],
)
def test_padding_zeros_go_and_others_stay(
    digits: str, decimals: int | None, shown: tuple[str, str]
) -> None:
    assert grouped(digits, decimals) == shown


@given(st.decimals(0, 10**12, places=8, allow_nan=False), st.integers(0, 8) | st.none())
def test_grouping_never_changes_a_value(value: Decimal, decimals: int | None) -> None:
    whole, fraction = grouped(f"{value:f}", decimals)
    assert Decimal((whole + fraction).replace(",", "")) == value


def test_significant_decimals_ignore_padding() -> None:
    assert significant_decimals("61837.63000000") == 2
    assert significant_decimals("61837.00000000") == 0
    assert significant_decimals("61837") == 0


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0.0, "0.000 "),
        (0.00000001, "<.001 "),
        (0.0005, "0.001 "),
        (0.02, "0.020 "),
        (9.9994, "9.999 "),
        (9.9996, "10.00 "),
        (99.996, "100.0 "),
        (999.96, "1,000 "),
        (9_999.4, "9,999 "),
        (9_999.6, "10.00K"),
        (123_456, "123.5K"),
        (999_949, "999.9K"),
        (999_951, "1.000M"),
        (4_338_000_000, "4.338B"),
        (12_345_678_900_000, "12.35T"),
    ],
)
def test_amounts_have_four_digits(amount: float, shown: str) -> None:
    assert "".join(scaled_text(amount)) == shown


@given(st.floats(0, 9.9e15))
def test_amounts_of_any_size_take_the_same_room(amount: float) -> None:
    digits, scale = scaled_text(amount)
    assert (len(digits), len(scale)) == (5, 1)
    unit = {" ": 1, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[scale]
    if digits != "<.001":
        shown = float(digits.replace(",", "")) * unit
        assert shown == pytest.approx(amount, rel=6e-4, abs=6e-4)


def test_changes_have_their_sign_and_nothing_has_none() -> None:
    assert percent_text(0.0042) == ("+0", ".42%")
    assert percent_text(-0.12345) == ("-12", ".35%")
    assert percent_text(0.00004) == percent_text(-0.00004) == ("0", ".00%")


def test_ages_are_short() -> None:
    ages = (0.9, 1, 59.9, 60, 3599, 3600, 86_399, 86_400, 9e6)
    shown = ["now", "1s", "59s", "1m", "59m", "1h", "23h", "1d", "104d"]
    assert [age_text(age) for age in ages] == shown


def test_spans_of_time_are_named() -> None:
    spans = (10.0, 90.0, 60.0, 300.0, 3600.0, 5400.0)
    shown = ["10 s", "90 s", "1 min", "5 min", "1 h", "90 min"]
    assert [span_text(span) for span in spans] == shown


def test_notional_has_the_decimals_that_its_asset_deserves() -> None:
    assert notional_text(Decimal("1236.7526"), "USDT") == "1,236.75"
    assert notional_text(Decimal("0.0012"), "BTC") == "0.001200"
    assert notional_text(Decimal("1E-8"), "USDT") == "0.00"


def test_rates_show_a_decimal_only_where_it_tells() -> None:
    assert rate_text(0.24) == ("0", ".2")
    assert rate_text(99.96) == ("100", "")
    assert rate_text(1284.4) == ("1,284", "")


def test_times_are_utc_with_milliseconds() -> None:
    assert clock_text(1723161255342999) == "23:54:15.342"
    assert clock_text(0) == "00:00:00.000"


def test_durations_count_days() -> None:
    assert duration_text(134.9) == "00:02:14"
    assert duration_text(2 * 86400 + 3600) == "2d 01:00:00"
    assert duration_text(-1) == "00:00:00"


def test_points_are_aligned_unless_that_tears_holes() -> None:
    column = NumberColumn()
    some = [("61,837", ".63"), ("2,683", ".8"), ("12", "")]
    for number in some:
        column.widen(number)
    assert [column.text(number) for number in some] == [
        "61,837.63",
        " 2,683.8 ",
        "    12   ",
    ]
    tiny = ("0", ".00001174")
    column.widen(tiny)
    assert [column.text(number) for number in (*some, tiny)] == [
        " 61,837.63",
        "   2,683.8",
        "        12",
        "0.00001174",
    ]
    assert column.cells() == 10
    assert column.cells(flush=False) == len(column.text(tiny, flush=False)) == 15


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


def test_the_lag_is_said_in_units_that_fit() -> None:
    assert lag_text(38_900) == "lag 38 ms"
    assert lag_text(1_250_000) == "lag 1.2 s"
    assert lag_text(-38_900) == "clock behind by 38 ms"


@pytest.mark.parametrize(
    ("lag_us", "text"),
    [
        (0, "lag 0 ms"),
        (38_400, "lag 38 ms"),
        (1_270_000, "lag 1.3 s"),
        (-1_270_000, "clock behind by 1.3 s"),
    ],
)
def test_lag_is_told_with_its_sign(lag_us: int, text: str) -> None:
    assert lag_text(lag_us) == text
