from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from k2cli.completeness.reorder import ReorderBuffer
from tests.batches import BTC, ETH, ids_of, trade_batch


def popped(
    buffer: ReorderBuffer, symbol: str, before_id: int | None = None, resets: int = 0
) -> list[int]:
    """Take out everything that may go."""
    ids = []
    while (trade := buffer.pop(symbol, before_id, resets)) is not None:
        ids += ids_of(trade)
    return ids


def test_it_is_empty_at_first() -> None:
    buffer = ReorderBuffer()
    assert buffer.trades == 0
    assert BTC not in buffer
    assert buffer.pop(BTC, None) is None
    assert buffer.fullest() is None


def test_the_lowest_id_goes_first() -> None:
    buffer = ReorderBuffer()
    for trade_id in (9, 7, 8, 0, 12):
        buffer.push(trade_batch([trade_id]))
    assert popped(buffer, BTC) == [0, 7, 8, 9, 12]
    assert buffer.trades == 0
    assert BTC not in buffer


def test_nothing_goes_that_something_is_missing_before() -> None:
    buffer = ReorderBuffer()
    for trade_id in (5, 6, 9):
        buffer.push(trade_batch([trade_id]))
    assert buffer.pop(BTC, 4) is None
    assert buffer.pop(BTC, 5) is None
    assert popped(buffer, BTC, 8) == [5, 6]
    assert BTC in buffer
    assert buffer.trades == 1


def test_each_symbol_waits_on_its_own() -> None:
    buffer = ReorderBuffer()
    buffer.push(trade_batch([1]))
    for trade_id in (1, 2):
        buffer.push(trade_batch([trade_id], ETH))
    assert buffer.trades == 3
    assert buffer.fullest() == ETH
    assert popped(buffer, ETH) == [1, 2]
    assert buffer.fullest() == BTC
    assert buffer.trades == 1


def test_trades_from_before_a_reset_go_first() -> None:
    buffer = ReorderBuffer()
    for trade_id, resets in ((5, 1), (1000, 0), (1, 1), (5, 0)):
        buffer.push(trade_batch([trade_id]), resets)
    assert popped(buffer, BTC, 5, 1) == [5, 1000, 1]
    assert popped(buffer, BTC) == [5]


@given(ids=st.lists(st.integers(0, 10**12), unique=True), bound=st.integers(0, 10**12))
def test_what_goes_is_ascending_and_nothing_is_forgotten(
    ids: list[int], bound: int
) -> None:
    buffer = ReorderBuffer()
    for trade_id in ids:
        buffer.push(trade_batch([trade_id]))
    assert buffer.trades == len(ids)
    assert popped(buffer, BTC, bound) == sorted(i for i in ids if i < bound)
    assert popped(buffer, BTC) == sorted(i for i in ids if i >= bound)
