"""Gaps and stalls: what is noticed, and that the log says enough, and no more."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from k2cli.completeness.id_ranges import IdRange
from k2cli.engine.gap_log import LogThrottle, RangeLog
from k2cli.engine.session import Session
from tests.engine.fakes import FakeHistory, FakeSymbols, FakeVenue, Memory, batch_of
from tests.engine.recording import until
from tests.engine.test_session import running


def test_of_many_lines_of_a_kind_the_first_of_each_minute_are_worth_it() -> None:
    lines = LogThrottle(most=2, seconds=60.0)
    times = (5.0, 5.5, 6.0, 64.9, 65.0, 66.0, 67.0)
    assert [now for now in times if lines.allows(now)] == [5.0, 5.5, 65.0, 66.0]


def test_gaps_of_thousands_of_symbols_are_summed_up_in_one_line() -> None:
    gaps = RangeLog("Sequence gap", "info", most=2, pause_seconds=10.0)
    with capture_logs() as logs:
        for number in range(3000):
            gaps.note(f"S{number}USDT", IdRange(5, 9), 100.0, repairing=True)
        gaps.sum_up(100.0)
        gaps.note("BTCUSDT", IdRange(1, 1), 101.0, repairing=True)
        gaps.sum_up(109.9)
        gaps.sum_up(110.0)
        gaps.sum_up(120.0)
    assert [one for one in logs if one["log_level"] == "info"] == [
        *(
            {
                "event": "Sequence gap",
                "log_level": "info",
                "symbol": symbol,
                "first_id": 5,
                "last_id": 9,
                "trades": 5,
                "repairing": True,
            }
            for symbol in ("S0USDT", "S1USDT")
        ),
        *(
            {
                "event": "Sequence gap: more of them",
                "log_level": "info",
                "ranges": ranges,
                "symbols": ranges,
                "trades": trades,
            }
            for ranges, trades in ((2998, 14990), (1, 1))
        ),
    ]


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("engine.gap_monitor._LOOK_EVERY_SECONDS", 0.01),
        ("engine.gap_monitor.LATE_SECONDS", 0.01),
        ("completeness.stalls.LEAST_SILENCE_SECONDS", 0.03),
        ("completeness.stalls.FEW_PAUSE_SECONDS", 0.0),
    ):
        monkeypatch.setattr(f"k2cli.{name}", value)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("first", [[1], []])
@pytest.mark.parametrize("has_tickers", [True, False])
async def test_a_stall_is_noticed_after_one_trade_and_before_the_first(
    monkeypatch: pytest.MonkeyPatch, first: list[int], *, has_tickers: bool
) -> None:
    venue = FakeVenue(FakeSymbols(("BTCUSDT",)))
    if not has_tickers:

        async def none(*_: object) -> None:
            venue.past.looks.append(())

        monkeypatch.setattr(FakeHistory, "newest_ids", none)
    venue.past.ids = {1}
    sink = Memory()
    async with running(venue, Session(venue=venue, sinks=[sink])) as (stream, run):
        if first:
            stream.on_batch(batch_of(*first))
        await until(lambda: len(venue.past.looks) > 1)
        assert stream.replaced == []
        venue.past.ids = {1, 2, 3}
        await until(lambda: sink.ids == [*first, 2, 3])
        assert stream.replaced
        assert not run.done()


@pytest.mark.usefixtures("_impatient")
async def test_newest_ids_that_no_trade_confirms_are_no_stall(
    venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(*_: object) -> dict[str, int]:
        venue.past.looks.append(())
        return {"BTCUSDT": 28_460}

    monkeypatch.setattr(FakeHistory, "newest_ids", wrong)
    venue.past.ids = {1}
    session = Session(venue=venue, sinks=[Memory()])
    async with running(venue, session) as (stream, _):
        stream.on_batch(batch_of(1))
        await until(lambda: len(venue.past.looks) > 2)
        assert stream.replaced == []
        assert session.ledger.missing == 0


@pytest.mark.usefixtures("_impatient")
async def test_what_a_capture_missed_before_the_connection_is_no_stall(
    venue: FakeVenue,
) -> None:
    venue.past.ids = {7, 8, 9}
    sink = Memory(resume_at={"BTCUSDT": 6, "ETHUSDT": 9})
    async with running(venue, Session(venue=venue, sinks=[sink])) as (stream, _):
        await until(lambda: len(venue.past.looks) > 2)
        assert (stream.replaced, sink.ids) == ([], [])
        venue.past.ids.add(10)
        await until(lambda: sink.ids[-1:] == [10])
        assert len(stream.replaced) == 2
