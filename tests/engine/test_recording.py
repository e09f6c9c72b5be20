"""What the stream loses, the history gives back; what has come stays on disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import k2cli
from k2cli.errors import ExchangeUnreachable, OutputError
from k2cli.simulator import SimulatedExchange
from tests.engine.recording import Recorder, trades, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Nobody has to wait for a history that does not answer, or not with everything.
    monkeypatch.setattr("k2cli.completeness.backfill.RETRY_SECONDS", (0.02,) * 4)
    monkeypatch.setattr("k2cli.completeness.backfill.REFUSED_SECONDS", 0.01)
    monkeypatch.setattr("k2cli.completeness.backfill.MOST_REFUSED_SECONDS", 0.05)


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    """An exchange that publishes what a test tells it to."""
    async with SimulatedExchange() as exchange:
        yield exchange


@pytest.fixture
def recorder(exchange: SimulatedExchange, tmp_path: Path) -> Recorder:
    return Recorder(exchange, tmp_path)


def strike(exchange: SimulatedExchange, *faults: str) -> None:
    for fault in faults:
        exchange.add_fault(fault)


@pytest.mark.parametrize(
    ("faults", "repaired"),
    [
        (["skip@1:298"], range(2, 300)),
        (["skip@50:1", "duplicate@120:40", "skip@200:2"], [51, 201, 202]),
        (["duplicate@100:50", "reorder@150:20", "junk@200:5"], []),
        (["skip@100:5", "api-down@100:1s"], range(101, 106)),
        (["skip@100:5", "api-error@100:429"], range(101, 106)),
        # More than there are requests in a minute's budget.
        ([f"skip@{i - 1}" for i in range(2, 300, 2)], range(2, 300, 2)),
    ],
    ids=lambda value: "+".join(map(str, value[:3])),
)
async def test_the_file_is_whole_and_in_order_after(
    recorder: Recorder, faults: list[str], repaired: Sequence[int]
) -> None:
    strike(recorder.exchange, *faults)
    async with recorder.run(count=300) as (_, run):
        await recorder.exchange.publish(trades(1, 300))
        ledger = await run

    assert recorder.ids() == list(range(1, 301))
    assert recorder.repaired_ids() == list(repaired)
    assert (ledger.verdict, ledger.repaired) == ("complete", len(repaired))
    assert not recorder.has_journal


async def test_repaired_records_equal_those_of_the_stream(recorder: Recorder) -> None:
    strike(recorder.exchange, "skip@100:2")
    async with recorder.run(count=103) as (_, run):
        await recorder.exchange.publish(trades(1, 103))
        await run

    for record in list(k2cli.read(recorder.file))[100:102]:
        assert record.source_sequence is not None
        sent = recorder.exchange.log.trades("BTCUSDT")[record.source_sequence - 1]
        assert record.exchange == "SIM"
        assert record.trade_id == f"SIM-{sent.id}"
        assert record.timestamp == sent.trade_time_us
        assert (record.price, record.quantity) == (sent.price, sent.quantity)
        assert record.side == ("SELL" if sent.buyer_is_maker else "BUY")
        assert record.currency == "USDT"
        assert record.vendor_data == {
            "is_buyer_maker": "true" if sent.buyer_is_maker else "false",
            "is_best_match": "true",
            "event_type": "trade",
            "trade_time": str(sent.trade_time_us),
            "base_asset": "BTC",
            "quote_asset": "USDT",
            "source": "backfill",
        }


@pytest.mark.parametrize("code", [None, 1001])
async def test_trades_made_while_disconnected_are_repaired(
    recorder: Recorder, code: int | None
) -> None:
    symbols, exchange = ("BTCUSDT", "ETHUSDT"), recorder.exchange
    async with recorder.run(*symbols, count=2 * 2600) as (_, run):
        for first_id in (1, 1301):
            await exchange.wait_subscribed(*symbols)
            for symbol in symbols:
                await exchange.publish(trades(first_id, 50, symbol))
            await exchange.disconnect(code)
            for symbol in symbols:
                # More than a page.
                await exchange.publish(trades(first_id + 50, 1200, symbol))
            await exchange.wait_subscribed(*symbols)
            for symbol in symbols:
                await exchange.publish(trades(first_id + 1250, 50, symbol))
        ledger = await run

    assert ledger.verdict == "complete"
    for symbol in symbols:
        assert recorder.ids(symbol) == list(range(1, 2601))


async def test_what_a_late_history_lacks_too_is_named(recorder: Recorder) -> None:
    strike(
        recorder.exchange,
        "history-lag@0:1s",
        *("skip@100:6", "short-history@101:2", "short-history@104:1"),
        *("skip@200:1", "short-history@200:1"),
    )
    async with recorder.run(count=296) as (_, run):
        await recorder.exchange.publish(trades(1, 300))
        ledger = await run

    withheld = recorder.exchange.log.withheld_ids("BTCUSDT")
    assert withheld == [102, 103, 105, 201]
    assert recorder.ids() == [i for i in range(1, 301) if i not in withheld]
    assert recorder.repaired_ids() == [101, 104, 106]
    ranges = ledger.trackers["BTCUSDT"].missing_ranges
    assert ranges == [(102, 103), (105, 105), (201, 201)]
    assert ledger.verdict == "incomplete"
    assert not recorder.has_journal


async def test_the_time_between_two_runs_is_repaired(recorder: Recorder) -> None:
    async with recorder.run(count=100) as (_, run):
        await recorder.exchange.publish(trades(1, 100))
        await run
    await recorder.exchange.publish(trades(101, 1500))
    ledger = await recorder.resume(1601)

    assert recorder.ids() == list(range(1, 1602))
    tracker = ledger.trackers["BTCUSDT"]
    assert (ledger.trades, ledger.repaired) == (1501, 1500)
    assert (tracker.first_id, tracker.last_id) == (101, 1601)


@pytest.mark.parametrize("name", ["trades.jsonl", "trades.jsonl.gz"])
@pytest.mark.parametrize("how", ["signal", "stop", "duration", "exchange gone"])
async def test_however_a_run_ends_with_a_gap_open_what_has_come_stays(
    exchange: SimulatedExchange,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    name: str,
) -> None:
    monkeypatch.setattr("k2cli.engine.session.END_BACKFILL_SECONDS", 0.01)
    recorder = Recorder(exchange, tmp_path, name)
    strike(exchange, "history-lag@0:1h", "skip@100:5")
    duration = 0.5 if how == "duration" else None
    async with recorder.run(duration_seconds=duration) as (session, run):
        await exchange.publish(trades(1, 300))
        await until(lambda: session.ledger.trades == 295)
        if how == "exchange gone":
            strike(exchange, "refuse@0:503:1h:streams")
            await exchange.disconnect()
            with pytest.raises(ExchangeUnreachable):
                await run
        else:
            if how != "duration":
                session.stop(hurry=how == "signal")
            await run
        ledger = session.ledger

    assert recorder.ids() == [*range(1, 101)]
    assert recorder.pending() == [*range(106, 301)]
    assert (ledger.missing, ledger.pending) == (5, 195)
    assert ledger.verdict == "pending"
    assert ledger.trackers["BTCUSDT"].missing_ranges == [(101, 105)]
    report = k2cli.verify(recorder.file)
    assert not report.whole

    strike(exchange, "history-lag@0:0s")
    async with asyncio.timeout(20):
        if how == "exchange gone":
            await exchange.stop()
    if how == "exchange gone":
        return
    ledger = await recorder.resume(301)
    assert ledger.verdict == "complete"
    assert recorder.ids() == [*range(1, 302)]
    assert recorder.repaired_ids() == [*range(101, 106)]
    assert k2cli.verify(recorder.file).whole
    assert not recorder.has_journal


async def test_a_count_that_is_not_reached_is_reached_by_what_waited(
    recorder: Recorder,
) -> None:
    strike(recorder.exchange, "history-lag@0:1h", "skip@100:5")
    async with recorder.run(count=200) as (session, run):
        await recorder.exchange.publish(trades(1, 300))
        await until(lambda: session.ledger.trades == 295)
        assert not run.done()
        strike(recorder.exchange, "history-lag@0:0s")
        await run
    # What was received beyond the count is not thrown away.
    assert recorder.ids() == [*range(1, 201)]
    assert recorder.pending()[-100:] == [*range(201, 301)]

    # Nothing need come from the exchange for what is there already.
    strike(recorder.exchange, "history-lag@0:1h")
    async with recorder.run(count=30) as (_, run):
        await run
    assert recorder.ids() == [*range(1, 231)]
    assert set(recorder.pending()) >= set(range(231, 301))
    ledger = await recorder.resume(301)
    assert recorder.ids() == [*range(1, 302)]
    assert ledger.repaired == 0
    assert not recorder.has_journal


@pytest.mark.parametrize("fault", ["500:8", "503:3", "504:3", "429:1"])
async def test_a_history_that_refuses_proves_nothing(
    recorder: Recorder, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k2cli.engine.backfiller._RETRY_SECONDS", 0.01)
    monkeypatch.setattr("k2cli.engine.backfiller._MOST_RETRY_SECONDS", 0.05)
    strike(recorder.exchange, f"api-error@100:{fault}", "skip@100:5")
    async with recorder.run(count=300) as (_, run):
        await recorder.exchange.publish(trades(1, 300))
        ledger = await run
    assert recorder.ids() == [*range(1, 301)]
    assert ledger.verdict == "complete"


async def test_when_the_journal_is_full_the_oldest_gap_is_given_up(
    recorder: Recorder,
) -> None:
    strike(recorder.exchange, "history-lag@0:1h", "skip@100:5", "skip@200:1")
    async with recorder.run(max_pending_bytes=100_000) as (session, run):
        await recorder.exchange.publish(trades(1, 300))
        await until(lambda: session.ledger.trades == 294)
        session.stop(hurry=True)
        ledger = await run
    assert recorder.ids() == [*range(1, 101), *range(106, 201)]
    assert set(recorder.pending()) >= set(range(202, 301))
    assert ledger.trackers["BTCUSDT"].missing_ranges == [(101, 105), (201, 201)]
    assert (ledger.open, ledger.pending) == (1, 99)

    # What was given up stays named.
    strike(recorder.exchange, "history-lag@0:0s")
    async with recorder.run() as (session, run):
        await recorder.exchange.publish(trades(301, 1))
        await until(lambda: not session.ledger.open and session.ledger.trades > 100)
        session.stop()
        ledger = await run
    assert recorder.ids() == [*range(1, 101), *range(106, 302)]
    assert ledger.trackers["BTCUSDT"].missing_ranges == [(101, 105)]
    assert ledger.verdict == "incomplete"


async def test_no_backfill_writes_what_waited_over_the_gap(recorder: Recorder) -> None:
    strike(recorder.exchange, "history-lag@0:1h", "skip@100:5")
    async with recorder.run() as (session, _):
        await recorder.exchange.publish(trades(1, 300))
        await until(lambda: session.ledger.trades == 295)
    async with recorder.run(max_backfill=0) as (session, run):
        session.stop()
        ledger = await run
    assert recorder.ids() == [*range(1, 101), *range(106, 301)]
    assert ledger.trackers["BTCUSDT"].missing_ranges == [(101, 105)]
    assert not recorder.has_journal


async def test_trades_that_wait_survive_runs_without_their_symbol(
    recorder: Recorder,
) -> None:
    exchange = recorder.exchange
    strike(exchange, "history-lag@0:1h", "skip@100:5:ETHUSDT")
    async with recorder.run("BTCUSDT", "ETHUSDT") as (session, _):
        await exchange.publish(trades(1, 100, "ETHUSDT"))
        await exchange.publish(trades(1, 100))
        await exchange.publish(trades(101, 100, "ETHUSDT"))
        await until(lambda: session.ledger.trades == 295)
    assert recorder.pending("ETHUSDT") == [*range(106, 201)]

    strike(exchange, "history-lag@0:0s")
    await recorder.resume(101)
    assert recorder.pending("ETHUSDT") == [*range(106, 201)]
    ledger = await recorder.resume(201, "ETHUSDT")
    assert ledger.verdict == "complete"
    assert recorder.ids("ETHUSDT") == [*range(1, 202)]
    assert recorder.ids() == [*range(1, 102)]
    assert not recorder.has_journal


async def test_what_waits_goes_through_a_rotation(
    exchange: SimulatedExchange, tmp_path: Path
) -> None:
    recorder = Recorder(exchange, tmp_path)
    strike(exchange, "history-lag@0:1h", "skip@100:5")
    async with recorder.run(rotation="30KB") as (session, _):
        await exchange.publish(trades(1, 300))
        await until(lambda: session.ledger.trades == 295)
    strike(exchange, "history-lag@0:0s")
    async with recorder.run(rotation="30KB") as (session, run):
        await exchange.publish(trades(301, 1))
        await until(lambda: not session.ledger.missing and session.ledger.trades > 200)
        session.stop()
        await run
    files = sorted(await asyncio.to_thread(lambda: [*tmp_path.glob("trades*.jsonl")]))
    assert len(files) > 4
    report = k2cli.verify(files)
    assert report.whole
    assert report.trades == 301
    assert not recorder.has_journal


async def test_a_capture_that_is_overwritten_forgets_what_waited(
    recorder: Recorder,
) -> None:
    strike(recorder.exchange, "history-lag@0:1h", "skip@100:5")
    async with recorder.run() as (session, _):
        await recorder.exchange.publish(trades(1, 300))
        await until(lambda: session.ledger.trades == 295)
    async with recorder.run(overwrite=True, count=1) as (_, run):
        await recorder.exchange.publish(trades(301, 1))
        ledger = await run
    assert recorder.ids() == [301]
    assert (ledger.verdict, recorder.has_journal) == ("complete", False)


async def test_a_journal_without_its_capture_begins_another_one(
    recorder: Recorder,
) -> None:
    exchange = recorder.exchange
    strike(exchange, "history-lag@0:1h", "skip@100:5", "reorder@105:5", "skip@200:5")
    async with recorder.run() as (session, _):
        await exchange.publish(trades(1, 300))
        await until(lambda: session.ledger.trades == 290)
    assert recorder.pending()[0] == 110
    recorder.file.unlink()

    strike(exchange, "history-lag@0:0s")
    ledger = await recorder.resume(301)
    assert recorder.ids() == [*range(106, 302)]
    assert (ledger.verdict, ledger.duplicates) == ("complete", 0)
    assert not recorder.has_journal


async def test_a_damaged_journal_ends_the_run_and_stays(recorder: Recorder) -> None:
    strike(recorder.exchange, "history-lag@0:1h", "skip@100:5")
    async with recorder.run() as (session, _):
        await recorder.exchange.publish(trades(1, 300))
        await until(lambda: session.ledger.trades == 295)
    journal = recorder.file.with_name(f".{recorder.file.name}.pending")
    damaged = journal.read_bytes().replace(b"trade_id", b"\xff", 1)
    journal.write_bytes(damaged)
    sinks = [k2cli.CaptureSink(recorder.file)]
    async with k2cli.Session(venue=recorder.venue(), sinks=sinks) as session:
        with pytest.raises(OutputError, match="damaged"):
            await session.run()
    assert journal.read_bytes() == damaged
    assert recorder.ids() == [*range(1, 101)]


async def test_where_the_api_refuses_this_place_recording_goes_on(
    recorder: Recorder,
) -> None:
    exchange = recorder.exchange
    with capture_logs() as logs:
        async with recorder.run() as (session, run):
            strike(exchange, "refuse@0:451:api", "skip@10:5")
            await exchange.publish(trades(1, 10))
            await exchange.publish(trades(11, 20))
            await until(lambda: any(e["event"].startswith("Cannot read") for e in logs))
            await exchange.publish(trades(31, 10))
            await until(lambda: session.ledger.trades == 35)
            session.stop(hurry=True)
            ledger = await run

    (said, *_) = (e for e in logs if e["event"].startswith("Cannot read"))
    assert "HTTP 451" in said["reason"]
    assert "Gaps cannot be filled from here and stay open" in said["reason"]
    assert (ledger.verdict, ledger.missing, ledger.pending) == ("pending", 5, 25)
