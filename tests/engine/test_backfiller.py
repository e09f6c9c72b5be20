"""When the history is asked, and what its answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from k2cli.completeness.backfill import PAGE_TRADES
from k2cli.completeness.id_ranges import IdRange
from k2cli.completeness.ledger import Ledger
from k2cli.engine.backfiller import MOST_AT_ONCE, Backfiller
from k2cli.errors import (
    AccessBlocked,
    AddressBanned,
    ApiError,
    ConnectFailed,
    ExchangeRefused,
    MalformedMessage,
    TooManyRequests,
)
from k2cli.trade import TradeBatch
from tests.engine.fakes import FIRST_US, FakeHistory, batch_of

GAP = IdRange(2, 4)


class Given:
    """A backfiller of a symbol with ids 2 to 4 open, and what it hands on."""

    def __init__(self) -> None:
        self.history = FakeHistory()
        self.ledger = Ledger(["BTCUSDT"])
        self.tracker = self.ledger.trackers["BTCUSDT"]
        self.tracker.observe(1, FIRST_US)
        self.tracker.observe(5, FIRST_US + 5)
        self.absent: list[IdRange] = []
        self.backfiller = Backfiller(
            self.history, self.ledger, self._take, self._give_up
        )

    def _take(self, batch: TradeBatch) -> None:
        for trade in batch.trades():
            trade_id = trade.source_sequence or 0
            if trade_id in self.tracker.open:
                self.tracker.observe(trade_id, trade.timestamp)

    def _give_up(self, _: str, ids: IdRange) -> None:
        self.absent.append(ids)
        self.tracker.give_up(*ids)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.backfiller.run())
        self.backfiller.request("BTCUSDT", GAP)
        try:
            async with asyncio.timeout(20):
                yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_gap_is_asked_for_and_filled() -> None:
    given = Given()
    given.history.ids = set(range(1, 10))
    async with given.running():
        await given.backfiller.until_idle(20)
    assert given.history.requests == [("BTCUSDT", 2, 3)]
    assert (given.tracker.missing, given.absent) == (0, [])
    assert given.history.closed


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (TooManyRequests("slow down", retry_after_seconds=77), 77),
        (AddressBanned("banned", retry_after_seconds=300), 300),
        (AddressBanned("banned"), 120),
        (AccessBlocked("blocked"), 120),
    ],
)
async def test_a_refusal_lets_all_requests_wait(
    error: ExchangeRefused, seconds: float
) -> None:
    given = Given()
    given.history.errors = [error]
    with capture_logs() as logs:
        async with given.running():
            await given.history.asked.wait()
            await asyncio.sleep(0)
            assert await given.backfiller.newest("BTCUSDT") is None
    (line,) = [one for one in logs if one["event"] == "Cannot read the history"]
    assert line["retry_in_seconds"] == seconds
    assert (given.tracker.open.ids, given.absent) == (3, [])


@pytest.mark.parametrize(
    "error",
    [
        *(ApiError("no", status=each, code=None) for each in (400, 403, 408, 451)),
        ConnectFailed("gone", permanent=False),
        MalformedMessage("no list"),
    ],
)
async def test_no_failure_proves_that_ids_are_not_there(
    error: ApiError | ConnectFailed | MalformedMessage,
) -> None:
    given = Given()
    given.history.ids = set(range(1, 10))
    given.history.errors = [error]
    async with given.running():
        await given.backfiller.until_idle(20)
    assert len(given.history.requests) == 2
    assert (given.tracker.missing, given.absent) == (0, [])


async def test_an_empty_answer_proves_nothing_either() -> None:
    given = Given()
    async with given.running():
        await given.history.asked.wait()
        await asyncio.sleep(0)
        given.history.ids = set(range(1, 10))
        await given.backfiller.until_idle(20)
    assert (given.tracker.missing, given.absent) == (0, [])


async def test_requests_are_made_side_by_side_up_to_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = Given()
    last = 20 * PAGE_TRADES + 1
    given.tracker.observe(last + 1, FIRST_US + 6)
    under_way: list[int] = []
    all_asked = asyncio.Event()
    answers = asyncio.Event()

    async def page(symbol: str, first_id: int, most: int) -> TradeBatch:
        under_way.append(first_id)
        if len(under_way) == MOST_AT_ONCE:
            all_asked.set()
        await answers.wait()
        under_way.remove(first_id)
        return batch_of(*range(first_id, first_id + most), is_backfill=True)

    monkeypatch.setattr(given.history, "page", page)
    async with given.running():
        given.backfiller.request("BTCUSDT", IdRange(6, last))
        await all_asked.wait()
        assert len(set(under_way)) == MOST_AT_ONCE
        left_seconds = given.backfiller.left_seconds
        # 21 requests, 120 a minute.
        assert left_seconds is not None
        assert left_seconds == pytest.approx(10.5, abs=1)
        answers.set()
        await given.backfiller.until_idle(20)
        assert given.backfiller.left_seconds == 0
    assert (given.tracker.missing, under_way) == (0, [])


async def test_requests_that_fail_together_count_as_one_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("k2cli.engine.backfiller._RETRY_SECONDS", 0.05)
    given = Given()
    given.history.ids = set(range(1, 10 * PAGE_TRADES))
    given.history.errors = [ConnectFailed("gone", permanent=False)] * MOST_AT_ONCE
    given.tracker.observe(8 * PAGE_TRADES, FIRST_US + 6)
    with capture_logs() as logs:
        async with given.running():
            given.backfiller.request("BTCUSDT", IdRange(6, 8 * PAGE_TRADES - 1))
            await given.backfiller.until_idle(20)
    waits = [one["retry_in_seconds"] for one in logs if "retry_in_seconds" in one]
    assert waits
    assert max(waits) <= 0.1
    assert given.tracker.missing == 0


async def test_without_budget_nothing_is_asked() -> None:
    given = Given()
    given.history.wait_seconds = 30.0
    with capture_logs() as logs:
        async with given.running():
            await given.backfiller.until_idle(0.5)
    assert given.history.requests == []
    assert [one["seconds"] for one in logs if "budget" in one["event"]] == [30.0]


async def test_nobody_waits_for_a_backfiller_that_has_ended() -> None:
    given = Given()
    given.history.wait_seconds = 30.0
    async with given.running():
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await given.backfiller.until_idle(60)
