from __future__ import annotations

from typing import Any

import pytest

from k2cli.display.controls import Controls
from k2cli.display.market import MarketState
from k2cli.display.numbers import Precision
from k2cli.display.table import RESORT_SECONDS, Order
from tests.display.trading import observe


def market_of(**trades: int) -> MarketState:
    """Return a market with so many trades of each symbol."""
    market = MarketState(trades, started_seconds=0.0)
    for symbol, count in trades.items():
        for number in range(count):
            trade(market, symbol, number)
    return market


def trade(market: MarketState, symbol: str, number: int = 1, price: str = "1") -> None:
    observe(market, [(symbol, price, "1", "BUY", number, number, False)], 1.0)


def names(
    order: Order,
    market: MarketState,
    limit: int = 9,
    now_seconds: float = 10.0,
    **chosen: Any,
) -> str:
    controls = Controls(**chosen)
    rows = order.rows(market, controls, limit=limit, now_seconds=now_seconds)
    return "".join(state.symbol for state in rows)


def test_all_that_fit_keep_their_order() -> None:
    assert names(Order(Precision()), market_of(B=1, A=5, C=2)) == "BAC"


def test_the_busiest_come_first_if_not_all_fit() -> None:
    assert names(Order(Precision()), market_of(B=1, A=5, C=2), limit=2) == "ACB"


def test_rows_change_places_only_now_and_then() -> None:
    order, market = Order(Precision()), market_of(A=4, B=5)
    assert names(order, market, sort="trades") == "BA"
    for number in range(5):
        trade(market, "A", number + 5)
    assert names(order, market, 9, 10.1, sort="trades") == "BA"
    assert names(order, market, 9, 10.0 + RESORT_SECONDS, sort="trades") == "AB"


def test_rows_change_places_at_once_while_there_are_few_trades() -> None:
    order, market = Order(Precision()), market_of(A=0, B=0, C=0)
    assert names(order, market, 2) == "ABC"
    trade(market, "C")
    assert names(order, market, 2) == "CAB"


def test_what_a_key_asks_for_is_done_at_once() -> None:
    order, market = Order(Precision()), market_of(A=1, B=2)
    assert names(order, market, sort="trades") == "BA"
    assert names(order, market, sort="symbol") == "AB"
    assert names(order, market, sort="symbol", is_reversed=True) == "BA"
    assert names(order, market, sort="symbol", filter="B") == "B"


@pytest.mark.parametrize("is_reversed", [False, True])
def test_what_has_not_traded_comes_last(is_reversed: bool) -> None:
    market = market_of(A=0, B=1, C=0, D=2)
    found = names(Order(Precision()), market, sort="last", is_reversed=is_reversed)
    assert found[2:] == "AC"


def test_changes_are_compared_with_their_sign() -> None:
    market = MarketState(started_seconds=0.0)
    for symbol, price in (("A", "0.9"), ("B", "1.2"), ("C", "1")):
        trade(market, symbol)
        trade(market, symbol, price=price)
    assert names(Order(Precision()), market, sort="session") == "BCA"


def test_a_market_that_stands_still_is_another_one() -> None:
    order, market = Order(Precision()), market_of(A=1)
    names(order, market)
    copied = market.copied()
    (row,) = order.rows(copied, Controls(), limit=9, now_seconds=10.0)
    assert row is copied["A"]
