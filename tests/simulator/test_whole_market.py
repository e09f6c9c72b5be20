"""A market as large as Binance's: its symbols, its tail, its bursts, its memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice, pairwise

import pytest

from k2cli.errors import SettingsError
from k2cli.simulator import Market, SimulatedExchange, Trade
from k2cli.simulator.listings import LISTINGS, listings
from k2cli.simulator.market import BurstClock
from k2cli.simulator.trades import TradeLog

from .conftest import Ids, Listen

SIZE = 3_500


def test_names_are_unique_and_in_the_catalog() -> None:
    market = Market(size=SIZE)
    assert len(market.symbols) == SIZE
    for symbol, info in market.symbols.items():
        assert symbol == info.base + info.quote
        assert len(symbol) <= 20
    bases = {info.base for info in market.symbols.values()}
    quotes = Counter(info.quote for info in market.symbols.values())
    assert 500 < len(bases) < 1_500
    assert quotes["USDT"] > quotes["BTC"] > quotes["ETH"] > 50


def test_a_small_market_is_the_beginning_of_a_large_one() -> None:
    assert listings(len(LISTINGS)) == LISTINGS
    assert listings(5) == LISTINGS[:5]
    assert listings(SIZE)[:100] == listings(100)


def test_a_few_symbols_are_busy_and_most_are_quiet() -> None:
    market = Market(size=SIZE, rate=20_000)
    counts = Counter(t.symbol for _, t in islice(market.timeline(0), 60_000))
    busiest = sum(count for _, count in counts.most_common(SIZE // 100))
    assert busiest > 60_000 / 2
    assert len(counts) > SIZE / 4


def test_made_up_prices_and_quantities_are_on_their_grids() -> None:
    market = Market(size=SIZE, rate=20_000)
    for _, trade in islice(market.timeline(0), 40_000):
        info = market.symbols[trade.symbol]
        assert Decimal(trade.price) > 0
        assert Decimal(trade.price) % Decimal(info.tick_size) == 0, trade
        assert Decimal(trade.quantity) > 0
        assert Decimal(trade.quantity) % Decimal(info.step_size) == 0, trade


@pytest.mark.parametrize("size", [0, 20_001])
def test_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(SettingsError, match="symbols is not possible"):
        Market(size=size)


@pytest.mark.parametrize("burst", [0.5, 1_001])
def test_impossible_bursts_are_refused(burst: float) -> None:
    with pytest.raises(SettingsError, match="burst"):
        Market(burst=burst)


def test_a_burst_squeezes_a_tenth_of_the_time() -> None:
    clock = BurstClock(11)
    # Of ten steady seconds the first 4.5 fill the nine calm ones.
    assert clock.played_us(4_500_000) == 9_000_000
    assert clock.played_us(10_000_000) == 10_000_000
    assert clock.played_us(14_500_000) == 19_000_000
    times = [clock.played_us(us) for us in range(0, 30_000_000, 10_007)]
    assert all(before <= after for before, after in pairwise(times))
    assert BurstClock(1).played_us(123) == 123


def test_bursts_leave_the_trades_and_the_mean_as_they_are() -> None:
    steady = list(islice(Market(rate=2_000).timeline(0), 60_000))
    bursting = list(islice(Market(rate=2_000, burst=10).timeline(0), 60_000))
    by_second = Counter(trade.trade_time_us // 10**6 for _, trade in bursting)
    assert by_second[9] > 5 * by_second[8]
    assert by_second[19] > 5 * by_second[12]
    assert abs(bursting[-1][0] - steady[-1][0]) < 10 * 10**6
    last_due = 0
    for due_us, _ in bursting:
        assert due_us >= last_due
        last_due = due_us


def make(symbol: str, number: int) -> Trade:
    return Trade(symbol, number, "2.5", "1.0", number, number, buyer_is_maker=False)


def test_the_log_of_many_symbols_stays_bounded() -> None:
    log = TradeLog(limit=10_000, total_limit=1_000)
    for number in range(1, 5_001):
        log.extend([make("BUSYUSDT", number)], number)
        if number % 100 == 0:
            log.extend([make(f"Q{number // 100}USDT", 1)], number)
    kept = log.ids("BUSYUSDT")
    # What each symbol has left ends with its newest trade; the total is kept in steps.
    assert kept[-1] == 5_000
    assert kept == list(range(kept[0], 5_001))
    assert 800 < len(kept) <= 1_000 + 1_000 // 32 + 1
    assert all(log.ids(f"Q{number}USDT") == [1] for number in range(1, 51))


def test_totals_count_what_the_log_has_let_go_of() -> None:
    log = TradeLog(limit=10_000, total_limit=100)
    log.extend([make("BTCUSDT", number) for number in range(1, 501)], 0)
    for number in range(501, 1_001):
        log.extend([make("BTCUSDT", number)], 0)
    totals = log.totals("BTCUSDT")
    assert len(log.ids("BTCUSDT")) < 200
    assert totals.count == 1_000
    assert totals.volume == 1_000
    assert totals.first is not None
    assert totals.first.id == 1


async def test_thousands_of_symbols_over_many_connections(
    listen: Listen, ids: Ids
) -> None:
    market = Market(size=SIZE, rate=20_000)
    trades = [trade for _, trade in islice(market.timeline(0), 10_000)]
    groups = [
        [name for name in group if name.isascii()]
        for group in batched(market.symbols, 200)
    ]
    async with SimulatedExchange() as exchange:
        clients = [await listen(exchange, *group) for group in groups]
        await exchange.publish(trades)
        for client, group in zip(clients, groups, strict=True):
            expected = [trade.id for trade in trades if trade.symbol in group]
            assert await ids(client, len(expected)) == expected


def batched(names: Iterable[str], size: int) -> Iterator[list[str]]:
    remaining = iter(names)
    while batch := list(islice(remaining, size)):
        yield batch
