from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from k2cli.binance.venue import BinanceVenue, SymbolSelection
from k2cli.config import BinanceConfig
from k2cli.engine.session import Session
from k2cli.engine.tail import tail
from k2cli.errors import ConnectFailed, SettingsError
from k2cli.simulator import Market, SimulatedExchange
from k2cli.trade import TradeBatch
from tests.engine.fakes import FakeSymbols, FakeVenue, Memory, batch_of
from tests.engine.test_session import running


class Watched(Memory):
    """A sink that takes trades at once, and can be waited for."""

    def __init__(self, held_back: Awaitable[None] | None = None) -> None:
        super().__init__(in_order=False, held_back=held_back)
        self._has_more = asyncio.Event()

    def write(self, batch: TradeBatch) -> Awaitable[None] | None:
        self._has_more.set()
        return super().write(batch)

    async def until(self, count: int) -> None:
        while len(self.ids) < count:
            self._has_more.clear()
            await self._has_more.wait()


@pytest.fixture
async def venue(monkeypatch: pytest.MonkeyPatch) -> FakeVenue:
    monkeypatch.setattr("k2cli.engine.history_first.RETRY_SECONDS", (0.01,))
    return FakeVenue(FakeSymbols(("BTCUSDT",)))


def session_on(venue: FakeVenue, sink: Memory) -> Session:
    return Session(venue=venue, sinks=[sink], since_seconds=60)


async def run(venue: FakeVenue) -> None:
    async with asyncio.timeout(20), session_on(venue, Watched()) as session:
        await session.run()


async def test_live_trades_wait_for_the_history_and_follow_it(
    venue: FakeVenue,
) -> None:
    venue.past.ids = set(range(1, 2504))
    sink = Watched()
    session = session_on(venue, sink)
    async with running(venue, session) as (stream, task):
        # Two of them are in the history as well, one comes twice.
        stream.on_batch(batch_of(2502, 2503, 2504))
        stream.on_batch(batch_of(2504, 2505))
        assert sink.ids == []
        await sink.until(2505)
        stream.on_batch(batch_of(2506))
        session.stop()
        ledger = await task
    assert sink.ids == list(range(1, 2507))
    assert sink.backfilled == list(range(1, 2504))
    assert (ledger.trades, ledger.gaps, ledger.repaired) == (2506, 0, 0)
    assert (ledger.missing, ledger.duplicates) == (0, 0)


async def test_what_was_made_meanwhile_is_fetched_too(venue: FakeVenue) -> None:
    venue.past.ids = set(range(1, 11))
    sink = Watched()
    session = session_on(venue, sink)
    async with running(venue, session) as (stream, task):
        await venue.past.asked.wait()
        venue.past.ids |= set(range(11, 15))
        stream.on_batch(batch_of(15))
        await sink.until(15)
        session.stop()
        ledger = await task
    assert sink.ids == list(range(1, 16))
    assert ledger.gaps == 0


async def test_a_join_that_fails_is_a_gap_as_any_other(venue: FakeVenue) -> None:
    venue.past.ids = {1, 2, 3}
    sink = Watched()
    session = session_on(venue, sink)
    async with running(venue, session) as (stream, task):
        stream.on_batch(batch_of(6, 7))
        await sink.until(5)
        assert sink.ids == [1, 2, 3, 6, 7]
        venue.past.ids |= {4, 5, 6}
        await sink.until(7)
        session.stop()
        ledger = await task
    assert sink.ids[-2:] == [4, 5]
    assert (ledger.gaps, ledger.repaired, ledger.missing) == (1, 2, 0)


async def test_ids_that_the_history_lacks_are_named(
    venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k2cli.completeness.backfill.RETRY_SECONDS", (0.01,))
    venue.past.ids = {1, 2, 4, 5}
    sink = Watched()
    session = session_on(venue, sink)
    async with running(venue, session) as (stream, task):
        stream.on_batch(batch_of(6))
        await sink.until(5)
        session.stop()
        ledger = await task
    assert sink.ids == [1, 2, 4, 5, 6]
    assert ledger.trackers["BTCUSDT"].missing_ranges == [(3, 3)]


async def test_a_limit_counts_the_past_and_takes_no_more(venue: FakeVenue) -> None:
    venue.past.ids = set(range(1, 1500))
    sink = Watched()
    session = session_on(venue, sink)
    async with running(venue, session, count=1003) as (stream, task):
        stream.on_batch(batch_of(1500))
        ledger = await task
    assert sink.ids == list(range(1, 1004))
    assert ledger.trades == 1003


async def test_a_run_that_ends_before_has_the_history_so_far_and_no_gap(
    venue: FakeVenue,
) -> None:
    venue.past.ids = set(range(1, 3000))
    blocked = asyncio.get_running_loop().create_future()
    sink = Watched(blocked)
    session = session_on(venue, sink)
    async with running(venue, session) as (stream, task):
        stream.on_batch(batch_of(3000))
        await sink.until(1)
        progress = session.snapshot().past
        session.stop(hurry=True)
        ledger = await task
    assert progress is not None
    assert (progress.trades, progress.wanted) == (1000, 2999)
    assert sink.ids == list(range(1, 1001))
    assert ledger.verdict == "complete"


async def test_more_than_the_budget_brings_is_refused(venue: FakeVenue) -> None:
    venue.past.requests_per_minute = 1
    venue.past.ids = set(range(1, 10_001))
    with pytest.raises(SettingsError, match=r"10,000 trades, .* Ask for 30s"):
        await run(venue)
    venue.symbols = FakeSymbols(("BTCUSDT", "ETHUSDT", "BNBUSDT"))
    with pytest.raises(SettingsError, match="Follow 2 symbols at most"):
        await run(venue)
    assert venue.past.requests == []


async def test_a_history_that_cannot_be_had_ends_the_run(venue: FakeVenue) -> None:
    venue.past.ids = {1, 2}
    venue.past.errors = [ConnectFailed("no way", permanent=True)]
    with pytest.raises(ConnectFailed, match="no way"):
        await run(venue)


async def test_one_that_breaks_off_leaves_a_gap(venue: FakeVenue) -> None:
    venue.past.ids = set(range(1, 5000))
    blocked = asyncio.get_running_loop().create_future()
    sink = Watched(blocked)
    session = session_on(venue, sink)
    async with running(venue, session) as (stream, task):
        stream.on_batch(batch_of(5000))
        await sink.until(1)
        venue.past.errors = [ConnectFailed("no way", permanent=True)]
        blocked.set_result(None)
        await sink.until(5000)
        session.stop()
        ledger = await task
    assert sorted(sink.ids) == list(range(1, 5001))
    assert ledger.gaps == 1
    assert ledger.missing == 0


async def test_it_is_not_for_a_capture(venue: FakeVenue) -> None:
    with pytest.raises(ValueError, match="order to keep"):
        session_on(venue, Memory())


async def test_two_symbols_of_an_exchange_are_joined_by_time() -> None:
    market = Market(seed=3, rate=2000)
    async with SimulatedExchange(market, history_seconds=3) as exchange:
        config = BinanceConfig(websocket_url=exchange.url, api_url=exchange.api_url)
        selection = SymbolSelection(symbols=("BTCUSDT", "ETHUSDT"))
        ids: dict[str, list[int]] = {"BTCUSDT": [], "ETHUSDT": []}
        past_times, live = [], 0
        async with asyncio.timeout(20):
            async for trade in tail(
                venue=BinanceVenue.from_config(config, selection, proxy=False),
                since_seconds=3,
            ):
                assert trade.source_sequence is not None
                ids[trade.symbol].append(trade.source_sequence)
                if trade.vendor_data.get("source") == "backfill":
                    assert not live
                    past_times.append(trade.timestamp)
                else:
                    live += 1
                    if live > 500:
                        break
    assert past_times == sorted(past_times)
    assert past_times[-1] - past_times[0] > 2_000_000
    for own in ids.values():
        assert own == list(range(own[0], own[0] + len(own)))
        assert len(own) > 500
