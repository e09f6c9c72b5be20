from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.display.digits import (
    clock_text,
    duration_text,
    grouped,
    notional_text,
    rate_text,
    significant_decimals,
    volume_text,
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
    ("volume", "shown"),
    [
        ("0", ("0", ".000", "")),
        ("0.00000001", ("<0", ".001", "")),
        ("0.0005", ("0", ".000", "")),
        ("0.02", ("0", ".020", "")),
        ("99999.999", ("99,999", ".999", "")),
        ("123456", ("123", ".456", "K")),
        ("4338000000", ("4", ".338", "B")),
    ],
)
def test_volumes_stay_short_and_have_no_exponent(
    volume: str, shown: tuple[str, str, str]
) -> None:
    assert volume_text(Decimal(volume)) == shown


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
