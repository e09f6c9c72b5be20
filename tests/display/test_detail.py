"""What is kept of a symbol that is looked at closely."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.display.detail import CANDLES, SymbolDetail
from k2cli.display.market import MarketState
from tests.display.trading import observe


def detail_of(market: MarketState) -> SymbolDetail:
    detail = market["A"].detail
    assert detail is not None
    return detail


@given(
    st.lists(
        st.tuples(
            st.integers(1, 50),
            st.integers(1, 9),
            st.booleans(),
            st.sampled_from([0.0, 0.1, 0.5, 3.0]),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_candles_add_up_to_the_live_trades(
    trades: list[tuple[int, int, bool, float, bool, bool]],
) -> None:
    market = MarketState(["A"], started_seconds=0.0)
    now_seconds = 1.0
    live = []
    for number, (price, size, is_buy, pause, late, looked_at) in enumerate(trades):
        now_seconds += pause
        side = "BUY" if is_buy else "SELL"
        trade = ("A", str(price), str(size), side, number, number * 1000, late)
        observe(market, [trade], now_seconds)
        if not late:
            live.append((price, size, is_buy))
        if looked_at:
            # To look must change nothing.
            market["A"].advance(now_seconds)
            detail_of(market).candles(300.0, now_seconds)
    candles = detail_of(market).candles(300.0, now_seconds)
    assert sum(one.trades for one in candles) == len(live)
    assert sum(one.volume for one in candles) == pytest.approx(
        sum(size for _, size, _ in live)
    )
    for is_buy, amount in (
        (True, sum(one.bought for one in candles)),
        (False, sum(one.sold for one in candles)),
    ):
        wanted = sum(price * size for price, size, buys in live if buys is is_buy)
        assert amount == pytest.approx(wanted)
    if live:
        prices = [price for price, _, _ in live]
        assert max(one.high for one in candles) == max(prices)
        assert min(one.low for one in candles) == min(prices)
        assert (candles[0].open, candles[-1].close) == (prices[0], prices[-1])
    assert all(0 <= one.place < CANDLES for one in candles)


def test_sizes_are_counted_for_complete_orders() -> None:
    market = MarketState(["A"], started_seconds=0.0)
    for number, (size, millisecond) in enumerate([(2, 1), (3, 1), (40, 2), (1, 3)]):
        trade = ("A", "1", str(size), "BUY", number, millisecond * 1000, False)
        observe(market, [trade], 1.0)
    assert detail_of(market).sizes() == [(3.0, 1), (10.0, 0), (30.0, 1)]


def test_a_copy_stays_as_it_is() -> None:
    market = MarketState(["A"], started_seconds=0.0)
    observe(market, [("A", "1", "1", "BUY", 1, 1000, False)], 1.0)
    copied = market.copied()
    observe(market, [("A", "5", "1", "BUY", 2, 2000, False)], 1.0)
    (candle,) = detail_of(copied).candles(60.0, 1.0)
    assert (candle.high, candle.trades) == (1.0, 1)
    (candle,) = detail_of(market).candles(60.0, 1.0)
    assert (candle.high, candle.trades) == (5.0, 2)
