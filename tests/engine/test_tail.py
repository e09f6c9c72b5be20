from __future__ import annotations

import asyncio

import pytest

from k2cli.engine.tail import tail
from k2cli.errors import ExchangeUnreachable
from tests.engine.fakes import FakeVenue, batch_of


async def test_it_yields_late_trades_marked(venue: FakeVenue) -> None:
    venue.past.ids = {2, 3}
    found: list[tuple[int | None, str | None]] = []
    async with asyncio.timeout(20):
        trades = tail(venue=venue)
        first = asyncio.ensure_future(anext(trades))
        (await venue.streaming).on_batch(batch_of(1, 4))
        trade = await first
        while True:
            found.append((trade.source_sequence, trade.vendor_data.get("source")))
            if len(found) == 4:
                break
            trade = await anext(trades)
        await trades.aclose()
    assert found == [(1, None), (4, None), (2, "backfill"), (3, "backfill")]


async def test_a_slow_caller_holds_the_stream_back(venue: FakeVenue) -> None:
    async with asyncio.timeout(20):
        trades = tail(venue=venue)
        first = asyncio.ensure_future(anext(trades))
        stream = await venue.streaming
        held_back = None
        number = 0
        while held_back is None:
            number += 1
            held_back = stream.on_batch(batch_of(number))
        waiting = asyncio.ensure_future(held_back)
        assert (await first).source_sequence == 1
        ids = [(await anext(trades)).source_sequence for _ in range(number - 1)]
        await waiting
        await trades.aclose()
    assert ids == list(range(2, number + 1))
    assert number < 1000


async def test_a_failure_comes_after_what_was_received(venue: FakeVenue) -> None:
    async with asyncio.timeout(20):
        trades = tail(venue=venue)
        first = asyncio.ensure_future(anext(trades))
        stream = await venue.streaming
        stream.on_batch(batch_of(1, 2))
        stream.break_off(ExchangeUnreachable("gone"))
        assert (await first).source_sequence == 1
        assert (await anext(trades)).source_sequence == 2
        with pytest.raises(ExchangeUnreachable):
            await anext(trades)
