"""Two connections for each symbol: either may be lost, and no trade with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from k2cli.completeness.ledger import Ledger
from k2cli.engine.session import Session
from k2cli.simulator import SimulatedExchange
from tests.engine.recording import Recorder, trades, until

SYMBOLS = ("BTCUSDT", "ETHUSDT")


class Relay:
    """Another way to an exchange, which can be slow.

    Attributes:
        port: Where it listens.
        accepted: Connections so far.
        passes: Set unless what comes from the exchange is to stay here for now.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.accepted = 0
        self.passes = asyncio.Event()
        self.passes.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.passes.set()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.accepted += 1
        far = await asyncio.open_connection("127.0.0.1", self._target_port)
        for source, sink in ((reader, far[1]), (far[0], writer)):
            task = asyncio.create_task(self._copy(source, sink, far[0]))
            self._tasks.add(task)

    async def _copy(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        held: asyncio.StreamReader,
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                if source is held:
                    await self.passes.wait()
                sink.write(data)
        sink.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("k2cli.binance.redundant.APART_SECONDS", 0.0)


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    async with SimulatedExchange() as exchange:
        yield exchange


@pytest.fixture
async def relay(exchange: SimulatedExchange) -> AsyncIterator[Relay]:
    async with Relay(exchange.port) as relay:
        yield relay


@pytest.fixture
def recorder(exchange: SimulatedExchange, tmp_path: Path, relay: Relay) -> Recorder:
    """Its second connection prefers the relay."""
    return Recorder(
        exchange,
        tmp_path,
        redundant=True,
        fallback_urls=[f"ws://localhost:{relay.port}/stream"],
    )


async def publish(exchange: SimulatedExchange, first_id: int, count: int) -> None:
    for symbol in SYMBOLS:
        await exchange.publish(trades(first_id, count, symbol))


async def live(session: Session, connections: int) -> None:
    """Wait until so many connections are live."""

    def is_so() -> bool:
        health = session.snapshot().health
        return health is not None and health.live == connections

    await until(is_so)


async def received(session: Session, last_id: int) -> None:
    await until(
        lambda: all(
            each.last_id == last_id for each in session.ledger.trackers.values()
        )
    )


async def ended(session: Session, run: asyncio.Task[Ledger]) -> Ledger:
    session.stop()
    return await run


def assert_whole(
    recorder: Recorder, ledger: Ledger, last_id: int, *, duplicates: int = 0
) -> None:
    for symbol in SYMBOLS:
        assert recorder.ids(symbol) == list(range(1, last_id + 1))
    assert (ledger.verdict, ledger.duplicates) == ("complete", duplicates)


async def test_eight_drops_of_one_after_the_other_lose_nothing(
    recorder: Recorder, exchange: SimulatedExchange
) -> None:
    async with recorder.run(*SYMBOLS) as (session, run):
        await publish(exchange, 1, 10)
        asked = exchange.api_connections_accepted
        for round_ in range(8):
            first_id = 11 + 30 * round_
            await live(session, 2)
            await publish(exchange, first_id, 10)
            exchange.add_fault("drop@0:oldest")
            await publish(exchange, first_id + 10, 10)
            await live(session, 1)
            await publish(exchange, first_id + 20, 10)
        await received(session, 250)
        assert session.snapshot().reconnects >= 7
        ledger = await ended(session, run)

    assert_whole(recorder, ledger, 250)
    assert (ledger.gaps, ledger.repaired) == (0, 0)
    assert exchange.api_connections_accepted == asked
    first_with = {name: n for (name, _), n in ledger.first_with.items()}
    assert sum(first_with.values()) == ledger.trades
    assert min(first_with["A"], first_with["B"]) > 0


async def test_a_gap_that_both_have_is_repaired(
    recorder: Recorder, exchange: SimulatedExchange
) -> None:
    async with recorder.run(*SYMBOLS) as (session, run):
        await live(session, 2)
        await publish(exchange, 1, 10)
        await received(session, 10)
        await exchange.disconnect()
        await live(session, 0)
        await publish(exchange, 11, 10)
        await live(session, 2)
        await publish(exchange, 21, 10)
        await until(lambda: session.ledger.repaired == 20 and not session.ledger.open)
        ledger = await ended(session, run)

    assert_whole(recorder, ledger, 30)
    assert ledger.gaps == 2


async def test_what_a_slow_connection_still_brings_is_waited_for(
    recorder: Recorder, exchange: SimulatedExchange, relay: Relay
) -> None:
    async with recorder.run(*SYMBOLS) as (session, run):
        await live(session, 2)
        asked = exchange.api_connections_accepted
        await publish(exchange, 1, 10)
        await received(session, 10)
        relay.passes.clear()
        await publish(exchange, 11, 10)
        await received(session, 20)
        exchange.add_fault("drop@0:oldest")
        await publish(exchange, 21, 10)
        await live(session, 2)
        await exchange.wait_subscribed(*SYMBOLS, listeners=2)
        await publish(exchange, 31, 10)
        # The quick one is back, and has brought 31 to 40.
        await until(lambda: sum(ledger_waits(session)) == 2 * 10)
        assert session.ledger.trades == 2 * 20
        relay.passes.set()
        await received(session, 40)
        ledger = await ended(session, run)

    assert_whole(recorder, ledger, 40)
    assert (ledger.gaps, ledger.repaired) == (0, 0)
    assert exchange.api_connections_accepted == asked


def ledger_waits(session: Session) -> list[int]:
    """Return how many trades wait, by group of symbols."""
    connections = session._stream._stream._connections  # type: ignore[union-attr]  # no other way to see it
    return [each._arbiter.waiting for each in connections]


async def test_nothing_is_waited_for_longer_than_a_moment(
    recorder: Recorder,
    exchange: SimulatedExchange,
    relay: Relay,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("k2cli.completeness.arbitration.WAIT_SECONDS", 0.05)
    async with recorder.run(*SYMBOLS) as (session, run):
        await live(session, 2)
        await publish(exchange, 1, 10)
        await received(session, 10)
        relay.passes.clear()
        exchange.add_fault("drop@0:oldest")
        await publish(exchange, 11, 10)
        await live(session, 2)
        await exchange.wait_subscribed(*SYMBOLS, listeners=2)
        await publish(exchange, 21, 10)
        await until(lambda: session.ledger.repaired == 20)
        relay.passes.set()
        await until(lambda: session.ledger.duplicates == 20)
        ledger = await ended(session, run)

    # What comes after the history has given it is a duplicate as any other.
    assert_whole(recorder, ledger, 30, duplicates=20)
    assert ledger.gaps == 2


async def test_each_connection_has_a_host_of_its_own(
    recorder: Recorder, exchange: SimulatedExchange, relay: Relay
) -> None:
    async with recorder.run(*SYMBOLS) as (session, run):
        await live(session, 2)
        await publish(exchange, 1, 10)
        await received(session, 10)
        ledger = await ended(session, run)

    assert exchange.connections_accepted == 2
    assert relay.accepted == 1
    hosts = [one["host"] for one in ledger.to_dict()["connections"]]
    assert hosts == [f"127.0.0.1:{exchange.port}", f"localhost:{relay.port}"]


async def test_connections_that_are_replaced_repeat_nothing(
    recorder: Recorder, exchange: SimulatedExchange
) -> None:
    async with recorder.run(*SYMBOLS) as (session, run):
        await live(session, 2)
        asked = exchange.api_connections_accepted
        for round_ in range(3):
            first_id = 1 + 20 * round_
            await publish(exchange, first_id, 10)
            session._stream.replace_connection("BTCUSDT", "a test wants it")  # type: ignore[union-attr]  # what the gap monitor does
            await exchange.wait_subscribed(*SYMBOLS, listeners=4)
            await publish(exchange, first_id + 10, 10)
            await until(lambda: len(exchange.stream_connections) == 2)
        await received(session, 60)
        ledger = await ended(session, run)

    assert_whole(recorder, ledger, 60)
    assert (ledger.gaps, ledger.repaired) == (0, 0)
    assert exchange.api_connections_accepted == asked
