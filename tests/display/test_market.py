from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from k2cli.display import market as market_module
from k2cli.display.market import Direction, MarketState, RateWindow
from k2cli.trade import TradeV2

MakeTrade = Callable[..., TradeV2]


def test_symbols_asked_for_are_there_before_they_trade() -> None:
    market = MarketState(["ETHUSDT", "BTCUSDT"], started_seconds=0.0)
    assert [state.symbol for state in market.rows(10)] == ["ETHUSDT", "BTCUSDT"]
    assert all(state.is_quiet for state in market.rows(10))


def test_the_last_trade_is_known(make_trade: MakeTrade) -> None:
    market = MarketState(started_seconds=0.0)
    market.observe(make_trade(), 1.0)
    state = market["BTCUSDT"]
    assert not state.is_quiet
    assert (state.last_price, state.last_size) == ("61837.63000000", "0.02000000")
    assert (state.side, state.base_asset, state.quote_asset) == ("SELL", "BTC", "USDT")
    assert state.last_trade_us == 1723161255342000
    assert state.trades == market.trades == 1


def test_direction_compares_with_the_last_different_price(
    make_trade: MakeTrade,
) -> None:
    market = MarketState(started_seconds=0.0)
    seen = []
    # 9 and 10 tell numbers from text; "10" and "10.0" are the same price.
    for price in ("9.5", "10", "10.0", "10", "9", "9", "9.01"):
        market.observe(make_trade(price=price), 1.0)
        seen.append(market["BTCUSDT"].direction)
    up, same, down = Direction.UP, Direction.SAME, Direction.DOWN
    assert seen == [same, up, up, up, down, down, up]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.decimals(0, 10**9, places=8, allow_nan=False),
            st.decimals(0, 10**12, places=8, allow_nan=False),
        ),
        max_size=20,
    )
)
def test_sums_are_exact(
    make_trade: MakeTrade, trades: list[tuple[Decimal, Decimal]]
) -> None:
    market = MarketState(["BTCUSDT"], started_seconds=0.0)
    for price, quantity in trades:
        market.observe(make_trade(price=f"{price:f}", quantity=f"{quantity:f}"), 1.0)
    state = market["BTCUSDT"]
    units = [(int(p.scaleb(8)), int(q.scaleb(8))) for p, q in trades]
    with_16_decimals = sum(p * q for p, q in units)
    assert int(state.volume * 10**8) == sum(q for _, q in units)
    whole, fraction = divmod(with_16_decimals, 10**16)
    assert f"{state.notional:f}".partition(".")[0] == str(whole)
    shown = f"{state.notional:f}".partition(".")[2]
    assert shown.ljust(16, "0") == f"{fraction:016}"


def test_a_repaired_trade_counts_but_does_not_turn_back_the_price(
    make_trade: MakeTrade,
) -> None:
    market = MarketState(started_seconds=0.0)
    market.observe(make_trade(source_sequence=10, price="5"), 4.0)
    pace = market.per_second(4.0)
    market.observe(make_trade(source_sequence=9, price="7", timestamp=1), 4.0)
    state = market["BTCUSDT"]
    assert (state.last_price, state.direction) == ("5", Direction.SAME)
    assert state.last_trade_us == 1723161255342000
    assert state.trades == 2
    assert state.volume == Decimal("0.04")
    assert market.per_second(4.0) == pace


def test_without_sequence_the_trade_time_tells_what_is_late(
    make_trade: MakeTrade,
) -> None:
    market = MarketState(started_seconds=0.0)
    market.observe(make_trade(source_sequence=None, timestamp=2, price="5"), 1.0)
    market.observe(make_trade(source_sequence=None, timestamp=1, price="7"), 1.0)
    assert market["BTCUSDT"].last_price == "5"


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


def test_all_that_fit_keep_their_order(make_trade: MakeTrade) -> None:
    market = MarketState(["A", "B", "C"], started_seconds=0.0)
    market.observe(make_trade("C"), 1.0)
    assert [state.symbol for state in market.rows(3)] == ["A", "B", "C"]


def test_the_busiest_come_first_if_not_all_fit(make_trade: MakeTrade) -> None:
    market = MarketState(["A", "B", "C", "D"], started_seconds=0.0)
    for symbol in ("C", "C", "D"):
        market.observe(make_trade(symbol), 1.0)
    assert [state.symbol for state in market.rows(3)] == ["C", "D", "A"]


def test_invented_symbols_cannot_fill_the_memory(
    make_trade: MakeTrade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_module, "MAX_SYMBOLS", 2)
    market = MarketState(started_seconds=0.0)
    for symbol in "ABCD":
        market.observe(make_trade(symbol), 1.0)
    assert len(market) == 2
    assert market.trades == 4
    assert market.per_second(1.0) == 4.0
