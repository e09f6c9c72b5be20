"""Trades put together as the orders that they are fills of."""

from __future__ import annotations

from dataclasses import replace

from k2cli.display.prints import fills_of
from tests.batches import BTC, ETH, trade_batch


def test_the_fills_of_one_order_are_one_among_others() -> None:
    symbols = [BTC, BTC, ETH, BTC, BTC]
    at = 1_723_161_255_000_000
    times = [at, at + 999, at + 999, at + 999, at + 1000]
    batch = trade_batch([2, 4, 6, 8, 10], symbols, times_us=times)
    batch.prices = ["10", "12", "7", "11", "11"]
    batch.quantities = ["1", "3", "5", "1", "1"]
    found = list(fills_of(batch))
    assert [(one[0], one[5], one[6]) for one in found] == [
        *((BTC, 3, 8), (ETH, 1, 6), (BTC, 1, 10))
    ]
    # Sums, the largest, first, highest, lowest, last, and the one before.
    assert found[0][9:] == (5.0, 57.0, 3.0, 10.0, 12.0, 10.0, 11.0, 12.0)
    assert found == list(fills_of(replace(batch, is_plain=False)))
