"""The made-up market: the same for a seed, on the grid, and alive."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from itertools import islice, pairwise

import pytest

from k2cli.errors import SettingsError
from k2cli.simulator import Market, Trade


def played(market: Market, count: int, origin_us: int = 0) -> list[tuple[int, Trade]]:
    return list(islice(market.timeline(origin_us), count))


def test_same_seed_same_trades_and_pauses() -> None:
    assert played(Market(seed=7), 5_000) == played(Market(seed=7), 5_000)
    assert played(Market(seed=7), 50) != played(Market(seed=8), 50)


def test_only_the_origin_moves_the_times() -> None:
    early, late = played(Market(), 500), played(Market(), 500, 10**15)
    assert [due for due, _ in early] == [due for due, _ in late]
    for (_, a), (_, b) in zip(early, late, strict=True):
        assert b.trade_time_us - a.trade_time_us == 10**15
        assert b.event_time_us - a.event_time_us == 10**15
        assert (a.id, a.price, a.quantity) == (b.id, b.price, b.quantity)


def test_a_market_can_be_played_twice() -> None:
    market = Market(trade_limit=100)
    assert list(market.timeline(0)) == list(market.timeline(0))
    assert len(list(market.timeline(0))) == 100


def test_every_price_is_on_the_tick_and_every_size_on_the_step() -> None:
    market = Market(rate=5_000)
    for _, trade in played(market, 30_000):
        info = market.symbols[trade.symbol]
        price, quantity = Decimal(trade.price), Decimal(trade.quantity)
        assert price > 0
        assert quantity > 0
        assert price % Decimal(info.tick_size) == 0, trade
        assert quantity % Decimal(info.step_size) == 0, trade
        assert len(trade.price.split(".")[1]) in (2, 8)
        assert len(trade.quantity.split(".")[1]) in (2, 8)


def test_ids_are_consecutive_and_times_never_go_back() -> None:
    by_symbol: dict[str, list[Trade]] = defaultdict(list)
    last_due = 0
    for due_us, trade in played(Market(rate=5_000), 30_000):
        assert due_us >= last_due
        assert trade.event_time_us == due_us
        last_due = due_us
        by_symbol[trade.symbol].append(trade)
    for trades in by_symbol.values():
        assert trades[0].id >= 10**7
        for before, after in pairwise(trades):
            assert after.id == before.id + 1
            assert after.trade_time_us >= before.trade_time_us
            assert after.event_time_us >= before.event_time_us
            assert after.event_time_us > after.trade_time_us


def test_it_looks_alive() -> None:
    market = Market()
    trades = [trade for _, trade in played(market, 40_000)]
    counts = Counter(trade.symbol for trade in trades)
    seconds = trades[-1].event_time_us / 1e6
    assert 60 < len(trades) / seconds < 240
    assert counts["BTCUSDT"] > 20 * counts["BTCEUR"] > 0
    assert any(counts[symbol] / seconds < 1 / 20 for symbol in market.symbols)
    sellers = sum(trade.buyer_is_maker for trade in trades)
    assert 0.35 < sellers / len(trades) < 0.65
    bursts = Counter((trade.symbol, trade.trade_time_us) for trade in trades)
    assert max(bursts.values()) >= 50
    delays = sorted(trade.event_time_us - trade.trade_time_us for trade in trades)
    assert 1_000 <= delays[len(delays) // 2] <= 2_500


def test_the_catalog_has_odd_names_and_suspended_symbols() -> None:
    symbols = Market().symbols
    trading = [info for info in symbols.values() if info.status == "TRADING"]
    assert len(trading) >= 24
    assert {"BREAK", "HALT"} <= {info.status for info in symbols.values()}
    assert {"币安人生USDT", "1INCHUSDT", "USDTTRY", "PEPEUSDT"} <= symbols.keys()
    assert all(info.symbol == info.base + info.quote for info in symbols.values())


def test_symbols_can_be_chosen() -> None:
    market = Market(symbols=["PEPEUSDT", "BTCUSDT"])
    assert {trade.symbol for _, trade in played(market, 500)} == set(market.symbols)


def test_a_share_of_the_market_trades_as_the_whole_does() -> None:
    # A symbol's trades depend on the seed and its own rate, not on its neighbours.
    ids = {trade.id for _, trade in played(Market(symbols=["ETHBTC"]), 10)}
    assert min(ids) == min(
        t.id for _, t in played(Market(), 9_000) if t.symbol == "ETHBTC"
    )


@pytest.mark.parametrize("rate", [0, -1, 2_000_000, float("nan")])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(SettingsError, match="rate"):
        Market(rate=rate)


@pytest.mark.parametrize("symbols", [["NOPEUSDT"], ["FTTUSDT"], []])
def test_symbols_that_cannot_trade_are_refused(symbols: list[str]) -> None:
    with pytest.raises(SettingsError):
        Market(symbols=symbols)
