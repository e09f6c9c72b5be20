from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from k2cli.capture.pending import PendingJournal
from k2cli.completeness.ledger import Ledger
from k2cli.engine.session import Session
from k2cli.errors import (
    ExchangeUnreachable,
    OutputError,
    ReaderGone,
    RestrictedLocation,
)
from tests.engine.fakes import FakeStream, FakeSymbols, FakeVenue, Memory, batch_of


@asynccontextmanager
async def running(
    venue: FakeVenue, session: Session, count: int | None = None
) -> AsyncIterator[tuple[FakeStream, asyncio.Task[Ledger]]]:
    """Run a session in the background; give its stream and its result to be."""
    async with asyncio.timeout(20), session:
        run = asyncio.create_task(session.run(count))
        try:
            yield await venue.streaming, run
        finally:
            session.stop(hurry=True)
            await asyncio.gather(run, return_exceptions=True)


async def test_trades_go_to_every_sink_and_into_the_ledger(venue: FakeVenue) -> None:
    first, second = Memory(), Memory(in_order=False)
    session = Session(venue=venue, sinks=[first, second])
    async with running(venue, session) as (stream, run):
        stream.on_batch(batch_of(1, 2, 3))
        session.stop()
        ledger = await run
    assert first.ids == second.ids == [1, 2, 3]
    assert (ledger.trades, ledger.missing) == (3, 0)
    assert first.events == ["open", "flush", "close"]


async def test_a_gap_is_filled_in_order_for_one_and_at_once_for_another(
    venue: FakeVenue,
) -> None:
    venue.past.ids = set(range(1, 20))
    ordered, immediate = Memory(), Memory(in_order=False)
    session = Session(venue=venue, sinks=[ordered, immediate])
    async with running(venue, session) as (stream, run):
        stream.on_batch(batch_of(1, 2, 6, 7))
        assert immediate.ids == [1, 2, 6, 7]
        assert ordered.ids == [1, 2]
        session.stop()
        ledger = await run
    assert ordered.ids == [1, 2, 3, 4, 5, 6, 7]
    assert immediate.ids == [1, 2, 6, 7, 3, 4, 5]
    assert immediate.backfilled == [3, 4, 5]
    assert (ledger.repaired, ledger.missing, ledger.duplicates) == (3, 0, 0)


async def test_what_the_history_lacks_is_named_and_the_rest_goes_on(
    venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k2cli.completeness.backfill.RETRY_SECONDS", (0.01,))
    venue.past.ids = {1, 3, 5}
    sink = Memory()
    session = Session(venue=venue, sinks=[sink])
    async with running(venue, session) as (stream, run):
        stream.on_batch(batch_of(1, 5))
        session.stop()
        ledger = await run
    assert sink.ids == [1, 3, 5]
    assert sink.lost_ids == [("BTCUSDT", (2, 2)), ("BTCUSDT", (4, 4))]
    assert ledger.trackers["BTCUSDT"].missing_ranges == [(2, 2), (4, 4)]


async def test_without_backfill_a_gap_is_reported_at_once(venue: FakeVenue) -> None:
    sink = Memory()
    session = Session(venue=venue, sinks=[sink], max_backfill=0)
    async with running(venue, session) as (stream, _):
        stream.on_batch(batch_of(1, 5))
        assert sink.ids == [1, 5]
        assert sink.lost_ids == [("BTCUSDT", (2, 4))]
    assert venue.past.requests == []


@pytest.mark.parametrize("in_order", [True, False])
async def test_a_count_ends_the_run_at_exactly_that_trade(
    venue: FakeVenue, in_order: bool
) -> None:
    sink = Memory(in_order=in_order)
    session = Session(venue=venue, sinks=[sink])
    async with running(venue, session, count=3) as (stream, run):
        stream.on_batch(batch_of(1, 2))
        stream.on_batch(batch_of(3, 4, 5))
        ledger = await run
        stream.on_batch(batch_of(6))
    assert sink.ids == [1, 2, 3]
    assert ledger.trades == 3
    assert session.snapshot().trades == 3


async def test_filters_choose_after_the_accounting(venue: FakeVenue) -> None:
    sink = Memory()
    session = Session(venue=venue, sinks=[sink], side="BUY")
    async with running(venue, session, count=2) as (stream, run):
        stream.on_batch(batch_of(1, 2, 3, 4, 5))
        ledger = await run
    assert sink.ids == [1, 3]
    # What is behind the last trade that was wanted is no part of the run.
    assert ledger.trades == 3


async def test_a_least_notional_may_be_a_float(venue: FakeVenue) -> None:
    sink = Memory()
    session = Session(venue=venue, sinks=[sink], min_notional=200.5)
    async with running(venue, session) as (stream, _):
        stream.on_batch(batch_of(1, price="100.24"))
        stream.on_batch(batch_of(2, price="100.25"))
    assert sink.ids == [2]


async def test_a_count_looks_past_duplicates(venue: FakeVenue) -> None:
    sink = Memory()
    session = Session(venue=venue, sinks=[sink])
    async with running(venue, session, count=3) as (stream, run):
        stream.on_batch(batch_of(1, 1, 1, 2, 3, 4))
        ledger = await run
    assert sink.ids == [1, 2, 3]
    assert ledger.duplicates == 2


async def test_a_slow_sink_holds_the_stream_back(venue: FakeVenue) -> None:
    room = asyncio.Event()

    async def wait() -> None:
        await room.wait()

    sink = Memory(held_back=wait())
    session = Session(venue=venue, sinks=[sink])
    async with running(venue, session) as (stream, _):
        held_back = stream.on_batch(batch_of(1, 2, 9))
        assert held_back is not None
        waiting = asyncio.ensure_future(held_back)
        await asyncio.sleep(0)
        assert not waiting.done()
        room.set()
        await waiting
        assert stream.on_batch(batch_of(10)) is None


async def test_a_sink_that_fails_ends_the_run(venue: FakeVenue) -> None:
    sink = Memory()
    session = Session(venue=venue, sinks=[sink])
    async with running(venue, session) as (_, run):
        sink.on_failure(OutputError("the disk is full"))
        with pytest.raises(OutputError, match="full"):
            await run
    assert sink.events == ["open", "close"]


async def test_a_stream_that_fails_ends_the_run(venue: FakeVenue) -> None:
    sink = Memory()
    session = Session(venue=venue, sinks=[sink])
    async with running(venue, session) as (stream, run):
        stream.on_batch(batch_of(1))
        stream.break_off(ExchangeUnreachable("gone"))
        with pytest.raises(ExchangeUnreachable):
            await run
    assert sink.ids == [1]


async def test_a_reader_that_leaves_is_no_failure(venue: FakeVenue) -> None:
    sink = Memory(in_order=False)
    session = Session(venue=venue, sinks=[sink])
    async with running(venue, session) as (stream, run):
        stream.on_batch(batch_of(1, 5))
        session.fail(ReaderGone("left"))
        ledger = await run
    assert ledger.missing == 3
    assert venue.past.requests == []


async def test_a_stop_while_symbols_are_looked_up_is_heard() -> None:
    class Slow(FakeVenue):
        async def look_up(self) -> FakeSymbols:
            await asyncio.Event().wait()
            raise AssertionError

    session = Session(venue=Slow(), sinks=[Memory()])
    asyncio.get_running_loop().call_soon(session.stop)
    async with asyncio.timeout(20), session:
        ledger = await session.run()
    assert session.symbols is None
    assert ledger.trades == 0


async def test_a_resumed_sink_lets_missed_trades_be_fetched(venue: FakeVenue) -> None:
    venue.past.ids = set(range(1, 20))
    sink = Memory(resume_at={"BTCUSDT": 4})
    session = Session(venue=venue, sinks=[sink])
    async with running(venue, session) as (stream, run):
        stream.on_batch(batch_of(8))
        session.stop()
        await run
    assert sink.ids == [5, 6, 7, 8]


async def test_an_end_leaves_what_waits_to_the_next_run(
    venue: FakeVenue, tmp_path: Path
) -> None:
    venue.past.wait_seconds = 60.0
    journal = PendingJournal(tmp_path / "trades.jsonl")
    sink = Memory(journal=journal)
    session = Session(venue=venue, sinks=[sink])
    async with running(venue, session) as (stream, run):
        stream.on_batch(batch_of(1, 2, 5, 6))
        session.stop(hurry=True)
        ledger = await run
    assert sink.ids == [1, 2]
    assert (ledger.missing, ledger.pending, ledger.verdict) == (2, 2, "pending")
    assert sink.lost_ids == []
    journal.close()

    next_venue = FakeVenue()
    next_venue.past.ids = {3, 4}
    sink = Memory(
        resume_at={"BTCUSDT": 2}, journal=PendingJournal(tmp_path / "trades.jsonl")
    )
    session = Session(venue=next_venue, sinks=[sink])
    async with running(next_venue, session) as (stream, run):
        stream.on_batch(batch_of(7))
        session.stop()
        ledger = await run
    assert sink.ids == [3, 4, 5, 6, 7]
    assert (ledger.missing, ledger.pending, ledger.verdict) == (0, 0, "complete")


async def test_what_waits_without_a_journal_is_written_at_the_end(
    venue: FakeVenue,
) -> None:
    venue.past.wait_seconds = 60.0
    sink = Memory()
    session = Session(venue=venue, sinks=[sink])
    async with running(venue, session) as (stream, run):
        stream.on_batch(batch_of(1, 2, 5, 6))
        session.stop(hurry=True)
        ledger = await run
    assert sink.ids == [1, 2, 5, 6]
    assert sink.lost_ids == [("BTCUSDT", (3, 4))]
    assert (ledger.missing, ledger.pending) == (2, 0)


async def test_a_count_leaves_what_waits_beyond_it(
    venue: FakeVenue, tmp_path: Path
) -> None:
    venue.past.ids = {3}
    sink = Memory(journal=PendingJournal(tmp_path / "trades.jsonl"))
    session = Session(venue=venue, sinks=[sink])
    async with running(venue, session, count=4) as (stream, run):
        stream.on_batch(batch_of(1, 2, 4, 5, 6, 7))
        ledger = await run
    assert sink.ids == [1, 2, 3, 4]
    assert (ledger.trades, ledger.pending) == (7, 3)


async def test_a_refusal_proves_nothing(venue: FakeVenue) -> None:
    venue.past.errors = [
        RestrictedLocation("not from here"),
    ]
    sink = Memory()
    session = Session(venue=venue, sinks=[sink], max_backfill=10)
    async with running(venue, session) as (stream, _):
        stream.on_batch(batch_of(1, 5))
        await venue.past.asked.wait()
        assert sink.ids == [1]
        assert sink.lost_ids == []


async def test_a_snapshot_is_of_its_moment(venue: FakeVenue) -> None:
    venue.past.wait_seconds = 60.0
    session = Session(venue=venue, sinks=[Memory(in_order=False)])
    async with running(venue, session) as (stream, _):
        before = session.snapshot()
        stream.on_batch(batch_of(1, 5))
        after = session.snapshot()
        assert (before.trades, before.last_trade) == (0, None)
        assert (after.trades, after.gaps, after.repairing, after.lost) == (2, 1, 3, 0)
        assert after.last_trade is not None
        assert after.last_trade.source_sequence == 5
        assert after.health is not None
        assert after.health.live == 1


async def test_warnings_wait_for_a_connection(
    capsys: pytest.CaptureFixture[str],
) -> None:
    venue = FakeVenue(FakeSymbols(warnings=("XYZ is not trading",)))
    session = Session(venue=venue)
    async with session:
        assert "XYZ" not in "".join(capsys.readouterr())
        session.stop()
        run = asyncio.create_task(session.run())
        await run
    venue = FakeVenue(FakeSymbols(warnings=("XYZ is not trading",)))
    async with running(venue, Session(venue=venue)):
        pass
    assert "XYZ is not trading" in "".join(capsys.readouterr())
