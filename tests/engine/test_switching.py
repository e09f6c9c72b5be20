"""Symbols that change while a recording goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from k2cli.errors import ExchangeRefused, UnknownSymbol
from k2cli.simulator import SimulatedExchange
from tests.engine.recording import Recorder, trades, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("k2cli.engine.switching.OVERLAP_SECONDS", 0.1)


@pytest.fixture
async def recorder(tmp_path: Path) -> AsyncIterator[Recorder]:
    async with SimulatedExchange() as exchange:
        yield Recorder(exchange, tmp_path)


class Flow:
    """Publishes trades of a symbol, one after another, until it is stopped."""

    def __init__(self, exchange: SimulatedExchange, symbol: str) -> None:
        self.last = 0
        self._exchange = exchange
        self._symbol = symbol
        self._is_stopping = False
        self._task = asyncio.create_task(self._go_on())

    async def _go_on(self) -> None:
        while not self._is_stopping:
            await self._exchange.publish(trades(self.last + 1, 3, self._symbol))
            self.last += 3
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        self._is_stopping = True
        await self._task


async def test_symbols_come_and_go_without_a_gap_for_the_others(
    recorder: Recorder,
) -> None:
    async with recorder.run("BTCUSDT", "ETHUSDT") as (session, _):
        stays = Flow(recorder.exchange, "BTCUSDT")
        goes = Flow(recorder.exchange, "ETHUSDT")
        comes = Flow(recorder.exchange, "SOLUSDT")
        await until(lambda: session.ledger.trades > 100)
        change = session.change_symbols(recorder.venue("BTCUSDT", "SOLUSDT"))
        assert await change == (["SOLUSDT"], ["ETHUSDT"])
        gone_at = session.ledger.trackers["ETHUSDT"].last_id
        await until(lambda: session.ledger.trackers["SOLUSDT"].trades > 100)
        for flow in (stays, goes, comes):
            await flow.stop()
        await until(
            lambda: (
                session.ledger.trackers["BTCUSDT"].last_id == stays.last
                and session.ledger.trackers["SOLUSDT"].last_id == comes.last
            )
        )
        assert session.ledger.gaps == 0
        assert session.ledger.trackers["ETHUSDT"].last_id == gone_at
        assert goes.last > (gone_at or 0)
        # One that comes back goes on where it was.
        change = session.change_symbols(recorder.venue("BTCUSDT", "ETHUSDT"))
        assert await change == (["ETHUSDT"], ["SOLUSDT"])
        await recorder.exchange.publish(trades(goes.last + 1, 1, "ETHUSDT"))
        await until(lambda: session.ledger.repaired == goes.last - (gone_at or 0))
    assert recorder.ids() == [*range(1, stays.last + 1)]
    assert recorder.ids("ETHUSDT") == [*range(1, goes.last + 2)]
    assert recorder.ids("SOLUSDT")[-1] == comes.last


@pytest.mark.parametrize("rotation", [None, "20kB"])
async def test_a_symbol_of_an_earlier_run_is_resumed(
    recorder: Recorder, rotation: str | None
) -> None:
    await recorder.resume(5, "BTCUSDT", "ETHUSDT")
    await recorder.exchange.publish(trades(6, 4, "ETHUSDT"))
    async with recorder.run("BTCUSDT", rotation=rotation) as (session, _):
        await recorder.exchange.publish(trades(6, 100))
        await until(lambda: session.ledger.trades == 100)
        await session.change_symbols(recorder.venue("BTCUSDT", "ETHUSDT"))
        await recorder.exchange.publish(trades(10, 1, "ETHUSDT"))
        await until(lambda: session.ledger.trackers["ETHUSDT"].trades == 5)
        assert session.ledger.repaired == 4


async def test_what_cannot_change_stays(recorder: Recorder) -> None:
    async with recorder.run("BTCUSDT") as (session, _):
        with pytest.raises(UnknownSymbol):
            await session.change_symbols(recorder.venue("BTCUSDT", "NOSUCHUSDT"))
        assert await session.change_symbols(recorder.venue("BTCUSDT")) == ([], [])

        recorder.exchange.add_fault("refuse@0:451:streams")
        with pytest.raises(ExchangeRefused):
            await session.change_symbols(recorder.venue("BTCUSDT", "ETHUSDT"))
        await recorder.exchange.publish(trades(1, 3))
        await until(lambda: session.ledger.trades == 3)


async def test_a_run_that_ends_meanwhile_ends(recorder: Recorder) -> None:
    async with recorder.run("BTCUSDT") as (session, run):
        await recorder.exchange.publish(trades(1, 3))
        await until(lambda: session.ledger.trades == 3)
        changing = asyncio.create_task(
            session.change_symbols(recorder.venue("BTCUSDT", "ETHUSDT"))
        )
        await recorder.exchange.wait_subscribed("ETHUSDT")
        session.stop(hurry=True)
        assert (await run).trades == 3
        with pytest.raises(asyncio.CancelledError):
            await changing
