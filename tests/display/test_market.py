from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.display import market as market_module
from k2cli.display.market import MarketState
from k2cli.display.prints import FLOORS_USD, TAPE_PRINTS, Print
from k2cli.display.symbol import (
    BALANCE_HALF_LIFE_SECONDS,
    FEWEST_FOR_LARGE,
    Direction,
    SymbolState,
)
from k2cli.trade import Instrument
from tests.display.trading import Facts, observe

DOLLARS = {
    symbol: Instrument(symbol, "BINANCE", base, quote)
    for symbol, base, quote in (
        ("BTCUSDT", "BTC", "USDT"),
        ("BTCEUR", "BTC", "EUR"),
        ("USDTTRY", "USDT", "TRY"),
        ("ETHBTC", "ETH", "BTC"),
        ("AAABBB", "AAA", "BBB"),
    )
}


def trade(symbol: str = "BTCUSDT", **changes: Any) -> Facts:
    facts = {
        "price": "61837.63000000",
        "size": "0.02000000",
        "side": "SELL",
        "id": 3735683259,
        "time_us": 1723161255342000,
        "is_backfill": False,
    } | changes
    return (symbol, *facts.values())  # type: ignore[return-value]  # the facts' order


def observed(*trades: Facts, now_seconds: float = 1.0) -> MarketState:
    market = MarketState(started_seconds=0.0)
    for one in trades:
        observe(market, [one], now_seconds)
    return market


def test_the_last_trade_is_shown_digit_by_digit() -> None:
    state = observed(trade(price="0.00001234", size="12.50000000"))["BTCUSDT"]
    assert (state.last_price, state.last_size) == ("0.00001234", "12.50000000")
    assert (state.side, state.last_trade_us) == ("SELL", 1723161255342000)


def test_sums_high_low_and_mean() -> None:
    market = observed(
        trade(price="10.0", size="1"),
        trade(price="30.0", size="2", side="BUY", id=3735683260),
        trade(price="20.0", size="1", id=3735683261),
    )
    state = market["BTCUSDT"]
    assert (state.trades, state.volume, state.notional) == (3, 4.0, 90.0)
    assert (state.high, state.low) == (30.0, 10.0)
    assert state.vwap == 22.5
    assert state.bought_share == 60 / 90
    assert state.change(None) == 1.0


def test_direction_compares_with_the_different_price_before() -> None:
    market = observed(trade(price="5"))
    assert market["BTCUSDT"].direction is Direction.SAME
    for price, direction in (
        ("6", Direction.UP),
        ("6.000", Direction.UP),
        ("4", Direction.DOWN),
    ):
        observe(market, [trade(price=price)], 1.0)
        assert market["BTCUSDT"].direction is direction


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["A", "B"]),
            st.integers(1, 10**10),
            st.integers(1, 10**10),
            st.sampled_from(["BUY", "SELL"]),
            st.booleans(),
        ),
        max_size=30,
    ),
    st.integers(1, 10),
)
def test_many_at_once_are_the_same_as_one_by_one(
    trades: list[tuple[str, int, int, str, bool]], batch: int
) -> None:
    facts = [
        trade(name, price=str(p), size=str(q), side=side, id=i, is_backfill=late)
        for i, (name, p, q, side, late) in enumerate(trades)
    ]
    one_by_one = observed(*facts)
    at_once = MarketState(started_seconds=0.0)
    for start in range(0, len(facts), batch):
        observe(at_once, facts[start : start + batch], 1.0)

    def told(state: SymbolState) -> list[object]:
        names = set(SymbolState.__slots__) - {"rate", "windows", "detail", "print"}
        names |= {"last_price", "last_size", "side", "last_trade_us"}
        # Sums of floats depend on their order by a hair.
        return [_rounded(getattr(state, name)) for name in sorted(names - {"last"})]

    assert list(map(told, one_by_one)) == list(map(told, at_once))
    assert list(map(_facts, one_by_one.tape())) == list(map(_facts, at_once.tape()))
    assert one_by_one.trades == at_once.trades == len(facts)
    assert one_by_one.per_second(1.0) == at_once.per_second(1.0)


def _facts(one: Print) -> list[object]:
    names = {*Print.__slots__, "symbol", "side", "price_digits", "size_digits"}
    return [_rounded(getattr(one, name)) for name in sorted(names - {"latest"})]


def _rounded(value: object) -> object:
    return float(f"{value:.9g}") if isinstance(value, float) else value


@pytest.mark.parametrize("how", [{"is_backfill": True}, {"id": 9, "time_us": 1}])
def test_a_late_trade_counts_but_does_not_turn_back_the_price(
    how: dict[str, Any],
) -> None:
    market = observed(trade(id=10, price="5"), now_seconds=4.0)
    pace = market.per_second(4.0)
    observe(market, [trade(price="7", **how)], 4.0)
    state = market["BTCUSDT"]
    assert (state.last_price, state.direction) == ("5", Direction.SAME)
    assert state.last_trade_us == 1723161255342000
    assert (state.trades, state.volume, state.high) == (2, 0.04, 7.0)
    assert market.per_second(4.0) == pace
    assert len(market.tape()) == 2


def test_an_exchange_that_counts_anew_is_followed() -> None:
    market = observed(trade(id=10, price="5", time_us=1))
    observe(market, [trade(id=1, price="6", time_us=2)], 1.0)
    assert market["BTCUSDT"].last_price == "6"


def test_change_and_trend_look_back_over_the_window() -> None:
    market = MarketState(started_seconds=0.0)
    for second in range(400):
        price = trade(price=str(100 + second), id=second)
        observe(market, [price], float(second))
    state = market["BTCUSDT"]
    state.advance(399.9)
    # Closing prices of seconds: the one of a minute before.
    assert state.change(60.0) == pytest.approx(499 / 439 - 1)
    assert state.change(300.0) == pytest.approx(499 / 199 - 1, rel=0.02)
    assert state.change(None) == pytest.approx(3.99)
    assert state.trend(60.0) == [float(p) for p in range(439, 500)]
    assert len(state.trend(300.0)) == 61


def test_early_on_the_trend_shows_the_session_finely() -> None:
    market = MarketState(started_seconds=0.0)
    for second in range(10):
        observe(market, [trade(price=str(100 + second), id=second)], float(second))
    state = market["BTCUSDT"]
    # Seconds, not the sixtieths of an hour.
    assert state.trend(3600.0) == [float(p) for p in range(100, 110)]


def test_looking_at_a_symbol_before_it_trades_changes_nothing() -> None:
    market = MarketState(["BTCUSDT"], started_seconds=0.0)
    market["BTCUSDT"].advance(1.0)
    observe(market, [trade(price="5")], 1.0)
    assert market["BTCUSDT"].direction is Direction.SAME
    assert len(market["BTCUSDT"].windows) == 4


def test_the_balance_forgets() -> None:
    market = observed(trade(side="BUY", price="1", size="100"), now_seconds=0.0)
    later = BALANCE_HALF_LIFE_SECONDS
    observe(market, [trade(side="SELL", price="1", size="50", id=3735683260)], later)
    assert market["BTCUSDT"].bought_share == pytest.approx(0.5)


def test_the_pace_of_a_symbol_is_its_own() -> None:
    market = MarketState(started_seconds=0.0)
    for tenth in range(100):
        observe(market, [trade("A", id=tenth), trade("A", id=tenth)], tenth / 10)
    observe(market, [trade("B")], 9.9)
    for state in market:
        state.advance(9.95)
    assert market["A"].rate.per_second(9.95) == pytest.approx(20.0, rel=0.05)
    assert market["B"].rate.per_second(9.95) < 1
    assert market.per_second(9.95) == pytest.approx(20.2, rel=0.05)


def orders_of(notionals: Iterable[float]) -> MarketState:
    """Return a market with an order of each notional."""
    market = MarketState(started_seconds=0.0)
    for number, notional in enumerate(notionals):
        one = trade(price="1", size=f"{notional:.9f}", id=number, time_us=number * 1000)
        observe(market, [one], 1.0)
    return market


def test_one_in_a_hundred_is_large_at_most() -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    market = MarketState(started_seconds=0.0)
    large = 0
    for number in range(20_000):
        size = f"{chance.lognormvariate(3, 1.5):.9f}"
        one = trade(price="1", size=size, id=number, time_us=number * 1000)
        observe(market, [one], 1.0)
        large += market["BTCUSDT"].last_is_large
    assert 100 < large < 300


def test_the_scale_of_large_follows_the_market() -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    notionals = [chance.lognormvariate(0, 1.5) for _ in range(10_000)]
    before = orders_of(notionals)["BTCUSDT"].large_notional
    grown = [100 * notional for notional in notionals]
    after = orders_of(notionals + grown)["BTCUSDT"].large_notional
    assert after / before == pytest.approx(100, rel=0.5)


def test_equal_orders_are_never_large() -> None:
    assert not any(one.is_large for one in orders_of([5.0] * 1000).tape())


def test_the_first_orders_are_never_large() -> None:
    market = orders_of(float(10**number) for number in range(FEWEST_FOR_LARGE))
    assert not any(one.is_large for one in market.tape())
    # A small fill of it, and another one with the rest: together they are large.
    for size in ("1", str(10**200)):
        observe(market, [trade(size=size, id=999, time_us=999_000)], 1.0)
    assert [one.is_large for one in market.tape()[:2]] == [True, False]
    assert market.tape()[0].trades == 2
    assert market["BTCUSDT"].last_is_large


def test_the_tape_is_bounded_and_keeps_the_latest() -> None:
    market = observed(*(trade(id=n, time_us=n * 1000) for n in range(1000)))
    assert len(market.tape()) == TAPE_PRINTS
    assert market.tape()[0].latest[6] == 999


def test_only_symbols_that_are_followed_are_on_the_tape() -> None:
    market = MarketState(["A"], started_seconds=0.0)
    market.follow(lambda symbol: symbol == "B")
    observe(market, [trade("A"), trade("B"), trade("C")], 1.0)
    assert [entry.symbol for entry in market.tape()] == ["B"]


def test_a_copy_stays_as_it_is() -> None:
    market = observed(trade("A", price="1"))
    copied = market.copied()
    observe(market, [trade("A", price="2"), trade("B")], 2.0)
    assert copied["A"].last_price == "1"
    assert (len(copied), len(copied.tape()), copied.trades) == (1, 1, 1)


def test_all_keep_the_order_in_which_they_were_asked_for() -> None:
    market = MarketState(["A", "B", "C"], started_seconds=0.0)
    observe(market, [trade("C"), trade("D")], 1.0)
    assert [state.symbol for state in market] == ["A", "B", "C", "D"]


def test_invented_symbols_cannot_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(market_module, "MAX_SYMBOLS", 2)
    market = observed(*map(trade, "ABCD"))
    assert len(market) == 2
    assert market.trades == 4
    assert market.per_second(1.0) == 4.0


def test_the_fills_of_one_order_are_one_print() -> None:
    market = observed(
        trade(price="10.0", size="1", side="BUY", id=1, time_us=5_000_100),
        trade(price="10.2", size="3", side="BUY", id=2, time_us=5_000_900),
    )
    (one,) = market.tape()
    assert (one.trades, one.size, one.largest, one.price_digits) == (2, 4, 3, "10.2")
    assert one.mean_price == pytest.approx(10.15)
    assert one.delta == pytest.approx(40.6)


@pytest.mark.parametrize(
    "change",
    [
        {"side": "SELL"},
        {"time_us": 5_001_000},
        {"is_backfill": True},
        {"symbol": "ETHUSDT"},
    ],
)
def test_another_side_millisecond_or_symbol_is_another_print(
    change: dict[str, Any],
) -> None:
    market = observed(
        trade(side="BUY", id=1, time_us=5_000_100),
        trade(**({"side": "BUY", "id": 2, "time_us": 5_000_100} | change)),  # type: ignore[arg-type]  # symbol is a text
    )
    assert [one.trades for one in market.tape()] == [1, 1]


def test_a_print_comes_on_the_tape_of_every_floor_that_it_reaches() -> None:
    market = MarketState(started_seconds=0.0)
    for number in range(3):
        one = trade(price="50000", size="0.1", side="BUY", id=number, time_us=1000)
        observe(market, [one], 1.0, DOLLARS)
    assert [len(market.tape(floor)) for floor in range(len(FLOORS_USD))] == [
        *(1, 1, 1, 0, 0)
    ]
    assert market.tape(2)[0].usd == pytest.approx(15_000)
    small = trade(price="50000", size="0.001", id=9, time_us=9000)
    observe(market, [small], 1.0, DOLLARS)
    assert [len(market.tape(floor)) for floor in (0, 1)] == [2, 1]


def test_worth_is_in_usd_by_the_streams_own_pairs() -> None:
    market = MarketState(started_seconds=0.0)
    prices = {
        "BTCUSDT": "60000",
        "BTCEUR": "50000",
        "USDTTRY": "40",
        "ETHBTC": "0.05",
        "AAABBB": "7",
    }
    for now_seconds in (1.0, 2.0):
        for symbol, price in prices.items():
            observe(market, [trade(symbol, price=price)], now_seconds, DOLLARS)
    rates = {symbol: market[symbol].usd_rate for symbol in prices}
    assert rates == pytest.approx(
        {"BTCUSDT": 1, "BTCEUR": 1.2, "USDTTRY": 0.025, "ETHBTC": 60000, "AAABBB": 0}
    )


def test_the_market_at_a_glance() -> None:
    market = MarketState(started_seconds=0.0)
    for symbol, before, after in (
        ("AUSDT", "10", "11"),
        ("BUSDT", "10", "8"),
        ("CUSDT", "10", "10"),
        ("DUSDT", "10", "10.5"),
    ):
        quote = {symbol: Instrument(symbol, "BINANCE", symbol[0], "USDT")}
        for number, price in enumerate((before, after)):
            one = trade(symbol, price=price, size="200", id=number, side="BUY")
            observe(market, [one], 1.0 + number, quote)
    look = market.breadth(300.0, 3.0)
    assert (look.rising, look.falling, look.unchanged) == (2, 1, 1)
    assert [mover.symbol for mover in look.movers[:2]] == ["BUSDT", "AUSDT"]
    assert look.movers[0].change == pytest.approx(-0.2)
    assert look.prints[0].symbol == "AUSDT"
    assert look.usd_per_second == pytest.approx(15_900 / 3)
    assert look.delta_usd == pytest.approx(15_900)
    # It is computed now and then, for what is shown.
    assert market.breadth(300.0, 3.5) is look
    only = market.breadth(300.0, 3.5, lambda symbol: symbol == "CUSDT", "C")
    assert (only.rising, only.falling, only.unchanged) == (0, 0, 1)


def test_details_are_kept_of_few_symbols_or_of_what_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert observed(trade("A"))["A"].detail is not None
    monkeypatch.setattr(market_module, "MOST_DETAILED", 1)
    market = MarketState(["A", "B"], started_seconds=0.0)
    observe(market, [trade("A"), trade("B")], 1.0)
    assert market["A"].detail is None
    market.open("A", 2.0)
    detail = market["A"].detail
    assert detail is not None
    assert [one.symbol for one in detail.prints] == ["A"]
    market.note_event("A", "gap", 1, 2.0)
    market.note_event("B", "gap", 1, 2.0)
    assert len(detail.events) == 1


def test_a_quiet_symbol_moves_on_with_the_window() -> None:
    market = MarketState(started_seconds=0.0)
    for number, price in enumerate(("10", "11")):
        observe(market, [trade("QUSDT", price=price, id=number)], 1.0 + number)
    assert market.breadth(60.0, 3.0).rising == 1
    look = market.breadth(60.0, 100.0)
    assert (look.rising, look.unchanged, look.movers[0].change) == (0, 1, 0.0)


def test_a_filter_takes_nothing_from_a_symbol_looked_at_closely() -> None:
    market = observed(trade("A", id=1, time_us=1000))
    market.follow(lambda symbol: symbol == "B")
    for number in (2, 3):
        observe(market, [trade("A", id=number, time_us=number * 1000)], 1.0)
    detail = market["A"].detail
    assert detail is not None
    assert (len(detail.prints), sum(n for _, n in detail.sizes())) == (3, 2)
    assert len(market.tape()) == 1


def test_a_pause_loses_no_size() -> None:
    market = MarketState(started_seconds=0.0)
    for number in range(4):
        observe(market, [trade("A", id=number, time_us=number * 1000)], 1.0)
        market.copied()
    detail = market["A"].detail
    assert detail is not None
    assert sum(orders for _, orders in detail.sizes()) == 4
