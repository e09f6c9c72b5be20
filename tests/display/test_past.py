from __future__ import annotations

import pytest

from k2cli.display.market import MarketState
from k2cli.display.past import observe_past
from tests.batches import BTC, FIRST_TIME_US, trade_batch

# The clock of the market stands at 1000 when the first trade is made.
OFFSET_SECONDS = 1000 - FIRST_TIME_US / 1e6


def test_windows_go_by_the_times_of_trades() -> None:
    """As if each trade had come when it was made; without that all are of now."""
    times = [FIRST_TIME_US + second * 1_000_000 for second in range(120)]
    market = MarketState([BTC], started_seconds=1000.0, windows_seconds=[60.0])
    batch = trade_batch(range(1, 121), times_us=times, is_backfill=True)
    reached_seconds = observe_past(market, batch, OFFSET_SECONDS)
    assert reached_seconds == pytest.approx(1119, abs=0.5)
    state = market[BTC]
    assert state.trades == 120
    window = state.window(60.0)
    assert window is not None
    assert window.is_full
    assert market.per_second(reached_seconds) == pytest.approx(1.0, abs=0.2)
    assert len(state.detail.candles(60.0, reached_seconds)) == 60 if state.detail else 0


def test_live_ones_go_on_from_there() -> None:
    market = MarketState([BTC], started_seconds=1000.0)
    past = trade_batch([1, 2], is_backfill=True)
    observe_past(market, past, OFFSET_SECONDS)
    market.observe(trade_batch([3]), 1001.0)
    late = trade_batch([2], is_backfill=True)
    market.observe(late, 1001.0)
    assert market[BTC].last[6] == 3
    assert [one.is_backfill for one in market.tape()] == [True, False, True, True]
