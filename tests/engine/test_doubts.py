"""Stray ids and times: set aside, and the real trades go on."""

from __future__ import annotations

from structlog.testing import capture_logs

from k2cli.completeness.ledger import Ledger
from k2cli.engine.session import Session
from k2cli.trade import TradeBatch
from tests.engine.fakes import FIRST_US, FakeVenue, Memory, batch_of
from tests.engine.test_session import running


def at(batch: TradeBatch, time_us: int) -> TradeBatch:
    """Give every trade of a batch another time."""
    batch.trade_times = [str(time_us)] * len(batch)
    return batch


async def run_of(
    venue: FakeVenue, *batches: TradeBatch, max_backfill: int = 1_000_000
) -> tuple[Memory, Ledger]:
    sink = Memory(in_order=False)
    session = Session(venue=venue, sinks=[sink], max_backfill=max_backfill)
    async with running(venue, session) as (stream, run):
        for batch in batches:
            stream.on_batch(batch)
            await stream.settled()
        session.stop()
        ledger = await run
    return sink, ledger


async def test_a_stray_id_far_ahead_leaves_the_real_trades_alone(
    venue: FakeVenue,
) -> None:
    venue.past.ids = {1, 2, 3, 4}
    sink, ledger = await run_of(venue, batch_of(1, 2), batch_of(10**12), batch_of(3, 4))
    assert sink.ids == [1, 2, 3, 4]
    tracker = ledger.trackers["BTCUSDT"]
    assert (ledger.missing, ledger.duplicates, tracker.strays) == (0, 0, 1)


async def test_a_stray_id_within_one_read_does_so_too(venue: FakeVenue) -> None:
    venue.past.ids = {1, 2, 3, 4}
    sink, ledger = await run_of(venue, batch_of(1, 2, 2**63 - 1, 3, 4))
    assert sink.ids == [1, 2, 3, 4]
    assert ledger.missing == 0


async def test_a_jump_that_the_exchange_confirms_is_a_gap(venue: FakeVenue) -> None:
    venue.past.ids = set(range(1, 300_010))
    sink, ledger = await run_of(
        venue, batch_of(1, 2), batch_of(300_001, 300_002), max_backfill=10
    )
    assert sink.ids == [1, 2, 300_001, 300_002]
    assert ledger.trackers["BTCUSDT"].missing_ranges == [(3, 300_000)]


async def test_without_an_api_three_consecutive_ids_decide(venue: FakeVenue) -> None:
    sink, ledger = await run_of(
        venue,
        batch_of(1, 2),
        batch_of(900_000),
        batch_of(500_001),
        batch_of(3),
        batch_of(500_002, 500_003, 500_004),
        max_backfill=0,
    )
    assert sink.ids == [1, 2, 3, 500_001, 500_002, 500_003, 500_004]
    assert ledger.trackers["BTCUSDT"].missing_ranges == [(4, 500_000)]


async def test_a_next_id_from_the_future_waits_for_the_real_one(
    venue: FakeVenue,
) -> None:
    venue.past.ids = {1, 2, 3}
    forged = at(batch_of(2), FIRST_US + 10**15)
    sink, ledger = await run_of(venue, batch_of(1), forged, batch_of(2, 3))
    assert sink.ids == [1, 2, 3]
    assert ledger.trackers["BTCUSDT"].strays == 1
    assert (ledger.missing, ledger.duplicates) == (0, 0)


async def test_a_clock_that_is_behind_stops_nothing(venue: FakeVenue) -> None:
    late = FIRST_US + 3_600_000_000
    trades = [at(batch_of(each), late + each) for each in range(1, 7)]
    sink, ledger = await run_of(venue, *trades)
    assert sink.ids == [1, 2, 3, 4, 5, 6]
    assert ledger.missing == 0


async def test_two_trades_prove_a_clock_that_is_behind_if_the_exchange_knows_them(
    venue: FakeVenue,
) -> None:
    late = FIRST_US + 3_600_000_000
    venue.past.ids, venue.past.newest_us = {1, 2}, late + 3
    trades = [at(batch_of(each), late + each) for each in (1, 2)]
    # When the clock is known to be behind, others need not be asked about.
    sink, ledger = await run_of(
        venue, *trades, at(batch_of(1, symbol="ETHUSDT"), late + 3)
    )
    assert sink.ids == [1, 2, 1]
    assert ledger.trackers["BTCUSDT"].strays == 0


async def test_a_time_that_the_exchange_has_not_reached_is_stray_and_named(
    venue: FakeVenue,
) -> None:
    venue.past.ids = {1, 2, 3, 4}
    late = FIRST_US + 3_600_000_000
    with capture_logs() as logs:
        sink, ledger = await run_of(
            venue,
            batch_of(1),
            *(at(batch_of(each), late + each) for each in (2, 3, 4)),
            batch_of(2, 3, 4),
        )
    assert sink.ids == [1, 2, 3, 4]
    assert ledger.trackers["BTCUSDT"].strays == 3
    named = [one["first_id"] for one in logs if "stray" in one["event"]]
    assert named[0] == 2


async def test_a_lower_id_with_a_newer_time_is_a_reset_only_if_confirmed(
    venue: FakeVenue,
) -> None:
    venue.past.ids = set(range(1, 1001))
    forged = at(batch_of(500), FIRST_US + 5_000_000)
    sink, ledger = await run_of(venue, batch_of(999, 1000), forged, batch_of(1001))
    assert sink.ids == [999, 1000, 1001]
    assert ledger.trackers["BTCUSDT"].resets == 0


async def test_an_answer_that_is_older_than_what_has_come_since_proves_no_reset(
    venue: FakeVenue,
) -> None:
    venue.past.ids = set(range(1, 1001))
    forged = [at(batch_of(each), FIRST_US + 5_000_000) for each in (500, 501, 1000)]
    # All of it comes before the exchange's answer is read.
    together = [batch_of(999, 1000), *forged, batch_of(*range(1001, 1010))]
    sink = Memory(in_order=False)
    session = Session(venue=venue, sinks=[sink])
    async with running(venue, session) as (stream, run):
        for batch in together:
            stream.on_batch(batch)
        await stream.settled()
        session.stop()
        ledger = await run
    assert sink.ids == [*range(999, 1010)]
    tracker = ledger.trackers["BTCUSDT"]
    assert (tracker.resets, tracker.strays, ledger.missing) == (0, 3, 0)


async def test_trades_repeated_after_a_reconnect_are_no_reset(venue: FakeVenue) -> None:
    venue.past.ids = set(range(1, 199))
    sink, ledger = await run_of(
        venue, batch_of(*range(1, 201)), batch_of(*range(120, 201)), batch_of(201)
    )
    assert sink.ids == [*range(1, 202)]
    assert ledger.trackers["BTCUSDT"].resets == 0


async def test_a_reset_that_the_exchange_confirms_is_one(venue: FakeVenue) -> None:
    venue.past.ids, venue.past.newest_us = {1, 2, 3}, FIRST_US + 5_000_001
    sink, ledger = await run_of(
        venue,
        batch_of(999, 1000),
        at(batch_of(2), FIRST_US + 5_000_000),
        at(batch_of(3), FIRST_US + 5_000_001),
    )
    assert sink.ids == [999, 1000, 2, 3]
    assert ledger.trackers["BTCUSDT"].resets == 1


async def test_a_rising_run_of_duplicates_is_a_reset_if_confirmed(
    venue: FakeVenue,
) -> None:
    venue.past.ids = set(range(1, 101))
    old = [at(batch_of(each), FIRST_US) for each in range(1, 101)]
    sink, ledger = await run_of(venue, batch_of(1000), *old)
    assert sink.ids == [1000, *range(1, 101)]
    assert ledger.trackers["BTCUSDT"].resets == 1
