"""Pauses in reading: when they pay, and that nothing is lost or late by them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli import BinanceWebSocketClient
from k2cli.binance.pacing import PacedEventLoop, PauseRule, ReadPacer
from k2cli.simulator import SimulatedExchange
from k2cli.trade import TradeBatch

from .conftest import Connected, MakeTrades

PAUSE_SECONDS = 0.002


def paused_after(*times_seconds: float, trades: int = 1) -> list[bool]:
    """Return after which reads a pause pays."""
    rule = PauseRule(PAUSE_SECONDS)
    return [rule.pays(trades, 100.0 + seconds) for seconds in times_seconds]


def steady(per_second: float, seconds: float = 0.5) -> list[float]:
    return [number / per_second for number in range(int(per_second * seconds))]


@given(st.lists(st.floats(2 * PAUSE_SECONDS + 1e-6, 10), max_size=50))
def test_trades_that_stand_alone_are_not_followed_by_a_pause(
    gaps_seconds: list[float],
) -> None:
    times_seconds = [sum(gaps_seconds[:number]) for number in range(len(gaps_seconds))]
    assert not any(paused_after(*times_seconds))


@pytest.mark.parametrize("per_second", [200, 500])
def test_a_slow_flow_is_read_trade_by_trade(per_second: float) -> None:
    assert not any(paused_after(*steady(per_second)))


@pytest.mark.parametrize("per_second", [1_000, 5_000, 20_000])
def test_a_fast_flow_pauses_soon_and_goes_on_pausing(per_second: float) -> None:
    pauses = paused_after(*steady(per_second))
    assert not pauses[0]
    begun = pauses.index(True)
    assert begun / per_second < 0.05
    assert all(pauses[begun:])


def test_a_flow_that_is_read_in_steps_stays_one() -> None:
    pauses = paused_after(*steady(1 / PAUSE_SECONDS), trades=10)
    assert not pauses[0]
    assert all(pauses[2:])


def test_the_first_trade_after_a_while_is_no_flow() -> None:
    assert paused_after(0.0, 0.001, 0.002, 0.02, trades=100) == [
        False,
        True,
        True,
        False,
    ]


def test_a_paced_loop_reads_when_it_is_time_and_timers_go_on() -> None:
    happened: list[str] = []

    async def look(loop: PacedEventLoop) -> float:
        with ExitStack() as stack:
            ours, theirs = map(stack.enter_context, socket.socketpair())
            read = asyncio.Event()

            def take() -> None:
                happened.append(ours.recv(10).decode())
                read.set()

            loop.add_reader(ours, take)
            theirs.send(b"read")
            begun_seconds = loop.time()
            loop.read_after(begun_seconds + 0.05)
            loop.read_after(begun_seconds + 60)  # what waits already waits no longer
            loop.call_soon(happened.append, "soon")
            loop.call_later(0.02, happened.append, "timer")
            await read.wait()
            loop.remove_reader(ours)
            return loop.time() - begun_seconds

    loop = PacedEventLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(look(loop)) >= 0.05
    assert happened == ["soon", "timer", "read"]


class NotedLoop(PacedEventLoop):
    """Notes how long reading is to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_seconds: list[float] = []

    def read_after(self, seconds: float) -> None:
        self.waits_seconds.append(seconds - self.time())


@pytest.mark.parametrize(
    ("max_delay_seconds", "trades", "waits"),
    [(0.0, 50, False), (0.002, 500, False), (0.002, 50, True)],
)
def test_without_delay_or_with_full_reads_nothing_waits(
    max_delay_seconds: float, trades: int, *, waits: bool
) -> None:
    async def receive() -> None:
        pacer = ReadPacer(max_delay_seconds)
        pacer.begin()
        for _ in range(5):
            pacer.received(trades)

    loop = NotedLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(receive())
    assert bool(loop.waits_seconds) is waits
    assert all(0 < wait <= max_delay_seconds for wait in loop.waits_seconds)


async def test_on_another_loop_nothing_waits() -> None:
    pacer = ReadPacer(PAUSE_SECONDS)
    pacer.begin()
    for _ in range(5):
        pacer.received(50)


def client_of(
    exchange: SimulatedExchange, batches: list[TradeBatch], done: asyncio.Event
) -> BinanceWebSocketClient:
    def take(batch: TradeBatch) -> None:
        batches.append(batch)
        if sum(map(len, batches)) >= 2_000:
            done.set()

    return BinanceWebSocketClient(
        ["BTCUSDT"],
        url=exchange.url,
        on_batch=take,
        proxy=False,
        max_delay_seconds=0.005,
    )


def test_a_fast_flow_is_read_in_steps_whole_and_in_order(
    make_trades: MakeTrades, connected: Connected
) -> None:
    async def read() -> list[TradeBatch]:
        batches: list[TradeBatch] = []
        done = asyncio.Event()
        async with (
            SimulatedExchange() as exchange,
            connected(client_of(exchange, batches, done)),
        ):
            await exchange.wait_subscribed("BTCUSDT")
            for trade in make_trades(2_000):
                await exchange.publish([trade])
                await asyncio.sleep(0)
            await done.wait()
        return batches

    with asyncio.Runner(loop_factory=PacedEventLoop) as runner:
        batches = runner.run(read())
    ids = [int(trade_id) for batch in batches for trade_id in batch.trade_ids]
    assert ids == list(range(1, 2_001))
    assert len(batches) < 1_000
    received_us = [batch.received_us for batch in batches]
    assert all(one <= other for one, other in pairwise(received_us))
