from __future__ import annotations

import pytest

from k2cli.display.lines import SizeMarks


@pytest.mark.parametrize(
    ("notional", "marks"),
    [
        (100_000, ""),
        (999_999.99, ""),
        (1_000_000, "◆"),
        (9_999_999, "◆"),
        (10_000_000, "◆◆"),
        (10**12, "◆◆◆"),
    ],
)
def test_a_least_notional_is_the_scale(notional: float, marks: str) -> None:
    assert SizeMarks(100_000).marks("BTCUSDT", notional) == marks


def test_without_one_a_symbols_own_mean_is() -> None:
    large = SizeMarks()
    for _ in range(20):
        assert large.marks("BTCUSDT", 100) == ""
        large.marks("ETHBTC", 0.01)
    assert large.marks("BTCUSDT", 999) == ""
    assert large.marks("BTCUSDT", 1500) == "◆"
    assert large.marks("ETHBTC", 1.5) == "◆◆"


def test_nothing_is_large_before_it_is_known_what_is_usual() -> None:
    large = SizeMarks()
    large.marks("BTCUSDT", 1)
    assert large.marks("BTCUSDT", 10**9) == ""


def test_worthless_trades_have_no_scale() -> None:
    large = SizeMarks()
    assert {large.marks("BTCUSDT", 0.0) for _ in range(30)} == {""}
