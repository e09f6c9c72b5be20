from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from k2cli.capture.hold import Hold
from k2cli.trade import TradeV2

if TYPE_CHECKING:
    from tests.capture.conftest import MakeTrade


def popped(
    hold: Hold, symbol: str, before_id: int | None = None, count: int = 0
) -> list[int | None]:
    """Let everything go that may."""
    ids = []
    while (trade := hold.pop(symbol, before_id, count)) is not None:
        ids.append(trade.source_sequence)
    return ids


def test_it_is_empty_at_first() -> None:
    hold = Hold()
    assert hold.trades == 0
    assert "BTCUSDT" not in hold
    assert hold.pop("BTCUSDT", None) is None
    assert hold.fullest() is None


def test_the_lowest_id_goes_first(make_trade: MakeTrade) -> None:
    hold = Hold()
    for trade_id in (9, 7, 8, 0, 12):
        hold.push(make_trade(trade_id))
    assert popped(hold, "BTCUSDT") == [0, 7, 8, 9, 12]
    assert hold.trades == 0
    assert "BTCUSDT" not in hold


def test_nothing_goes_that_something_is_missing_before(make_trade: MakeTrade) -> None:
    hold = Hold()
    for trade_id in (5, 6, 9):
        hold.push(make_trade(trade_id))
    assert hold.pop("BTCUSDT", 4) is None
    assert hold.pop("BTCUSDT", 5) is None
    assert popped(hold, "BTCUSDT", 8) == [5, 6]
    assert "BTCUSDT" in hold
    assert hold.trades == 1


def test_each_symbol_is_held_on_its_own(make_trade: MakeTrade) -> None:
    hold = Hold()
    hold.push(make_trade(1))
    for trade_id in (1, 2):
        hold.push(make_trade(trade_id, "ETHUSDT"))
    assert hold.trades == 3
    assert hold.fullest() == "ETHUSDT"
    assert popped(hold, "ETHUSDT") == [1, 2]
    assert hold.fullest() == "BTCUSDT"
    assert hold.trades == 1


def test_an_earlier_count_goes_before_a_later_one(make_trade: MakeTrade) -> None:
    hold = Hold()
    for trade_id, count in ((5, 1), (1000, 0), (1, 1), (5, 0)):
        hold.push(make_trade(trade_id), count)
    assert popped(hold, "BTCUSDT", 5, 1) == [5, 1000, 1]
    assert popped(hold, "BTCUSDT") == [5]


@given(ids=st.lists(st.integers(0, 10**12), unique=True), bound=st.integers(0, 10**12))
def test_what_goes_is_ascending_and_nothing_is_forgotten(
    ids: list[int], bound: int
) -> None:
    hold = Hold()
    for trade_id in ids:
        hold.push(bare_trade(trade_id))
    assert hold.trades == len(ids)
    assert popped(hold, "BTCUSDT", bound) == sorted(i for i in ids if i < bound)
    assert popped(hold, "BTCUSDT") == sorted(i for i in ids if i >= bound)


def bare_trade(trade_id: int) -> TradeV2:
    return TradeV2(
        message_id="",
        trade_id=f"BINANCE-{trade_id}",
        symbol="BTCUSDT",
        exchange="BINANCE",
        asset_class="crypto",
        timestamp=1,
        price="1",
        quantity="1",
        currency="USDT",
        side="BUY",
        trade_conditions=[],
        source_sequence=trade_id,
        ingestion_timestamp=1,
        platform_sequence=None,
        vendor_data={},
    )
