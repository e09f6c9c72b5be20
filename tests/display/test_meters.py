from __future__ import annotations

from typing import Any

import pytest

from k2cli.display.meters import (
    PRICE_BUCKETS,
    CountRate,
    LagMeter,
    PriceWindow,
    RateWindow,
    lag_us,
)

from .conftest import MakeTrade


def test_a_steady_pace_reads_as_what_it_is() -> None:
    window = RateWindow(100.0)
    for tenth in range(200):
        window.add(100.0 + tenth / 10)
    assert window.per_second(119.99) == pytest.approx(10.0, rel=0.03)


def test_the_pace_is_right_from_the_first_seconds_on() -> None:
    window = RateWindow(100.0)
    for tenth in range(20):
        window.add(100.0 + tenth / 10)
    assert window.per_second(102.0) == pytest.approx(10.0)


def test_one_trade_at_the_start_is_one_per_second() -> None:
    window = RateWindow(100.0)
    window.add(100.0)
    assert window.per_second(100.0) == 1.0


def test_several_can_be_counted_at_once() -> None:
    window = RateWindow(100.0)
    window.add(100.0, 7)
    assert window.per_second(100.0) == 7.0


def test_the_pace_falls_to_zero_in_silence() -> None:
    window = RateWindow(0.0)
    for _ in range(100):
        window.add(10.0)
    assert window.per_second(12.0) > 0
    assert window.per_second(15.5) == 0.0
    window.add(20.0)
    # So long a silence that to step through it would never end.
    assert window.per_second(1e12) == 0.0


def test_a_clock_that_steps_back_loses_nothing() -> None:
    window = RateWindow(100.0)
    window.add(110.0)
    window.add(109.0)
    assert window.per_second(110.0) == pytest.approx(2 / 4.5)


def test_memory_of_the_pace_does_not_grow() -> None:
    window = RateWindow(0.0)
    for count in range(10_000):
        window.add(count / 100)
    assert len(window._counts) == 10


def test_prices_are_kept_bucket_by_bucket() -> None:
    window = PriceWindow(60.0, 100.0)
    assert list(window.closes()) == []
    assert not window.advance(1.0, 100.9)
    assert window.advance(2.0, 101.0)
    assert window.advance(3.0, 103.5)
    # The second 102 went by without a trade: the price stood.
    assert list(window.closes()) == [2.0, 3.0, 3.0]
    assert not window.is_full


def test_the_oldest_prices_leave_a_full_window() -> None:
    window = PriceWindow(60.0, 0.0)
    for second in range(1, 101):
        window.advance(float(second), float(second))
    assert window.is_full
    assert list(window.closes()) == [float(s) for s in range(41, 101)]


def test_after_a_long_silence_the_price_has_stood_all_the_time() -> None:
    window = PriceWindow(60.0, 0.0)
    window.advance(1.0, 30.0)
    window.advance(5.0, 1e9)
    assert list(window.closes()) == [5.0] * PRICE_BUCKETS


def test_a_copy_stays_as_it_is() -> None:
    prices, pace = PriceWindow(60.0, 0.0), RateWindow(0.0)
    prices.advance(1.0, 2.0)
    pace.add(1.0)
    copies = prices.copied(), pace.copied()
    prices.advance(9.0, 3.0)
    pace.add(1.0)
    assert list(copies[0].closes()) == [1.0, 1.0]
    assert copies[1].per_second(1.0) == 1.0


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


def test_one_late_trade_does_not_make_the_lag_jump(make_trade: MakeTrade) -> None:
    meter = LagMeter()
    for lag in (10_000, 11_000, 900_000, 12_000):
        shown = meter.sample(with_lag(make_trade, lag), 1.0)
    assert shown == 11_500


def test_a_lag_is_forgotten_when_nothing_comes(make_trade: MakeTrade) -> None:
    meter = LagMeter()
    assert meter.sample(None, 0.0) is None
    trade = with_lag(make_trade, 10_000)
    assert meter.sample(trade, 1.0) == 10_000
    assert meter.sample(trade, 5.0) == 10_000
    assert meter.sample(trade, 6.5) is None
    assert meter.sample(make_trade(vendor_data={}), 7.0) is None


def test_the_pace_is_that_of_the_last_seconds() -> None:
    pace = CountRate(100.0)
    assert pace.per_second(1, 100.1) == 1.0
    for second in range(1, 21):
        assert pace.per_second(second * 50, 100.0 + second) == 50.0
    for second in range(21, 25):
        pace.per_second(1000, 100.0 + second)
    assert pace.per_second(1000, 125.0) == 0.0


def test_rare_looks_give_the_pace_in_between() -> None:
    pace = CountRate(0.0)
    assert pace.per_second(300, 30.0) == 10.0
    assert pace.per_second(3300, 60.0) == 100.0
