"""The whole market over many connections, several of which fail meanwhile."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from k2cli.simulator import Market, Rules, SimulatedExchange, parse_fault
from tests.forks import Forks

from .conftest import PATIENCE_SECONDS, NewestIds, Siege

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="SIGTERM is not to be had there"
)

SIZE = 3_000
TRADES = 12_000


def ids_by_symbol(file: Path) -> dict[str, list[int]]:
    """Give the ids on disk, in their order; a line that is being written is left."""
    ids = defaultdict(list)
    for line in file.read_bytes().split(b"\n")[:-1]:
        record = json.loads(line)
        ids[record["symbol"]].append(record["source_sequence"])
    return ids


@pytest.mark.slow
async def test_connections_that_fail_and_rotate_leave_the_capture_whole(
    tmp_path: Path, forks: Forks
) -> None:
    market = Market(seed=5, size=SIZE, rate=3_000, trade_limit=TRADES)
    names = [n for n, info in market.symbols.items() if info.status == "TRADING"]
    async with SimulatedExchange(
        market,
        start_when_subscribed=True,
        faults=[parse_fault("skip@7000:200")],
        # Hundreds of symbols have a gap at once here: within the real limit, their
        # repair would take minutes.
        rules=Rules(request_weight_per_minute=1_000_000),
    ) as exchange:
        siege = Siege(exchange, tmp_path, forks)
        try:
            # Every connection is replaced about twice, too.
            await siege.start("--all", "--max-connection-age", "2s")
            async with asyncio.timeout(PATIENCE_SECONDS):
                await exchange.wait_subscribed(*names)
                await exchange.wait_published(5_000)
                for connection in exchange.stream_connections[::3]:
                    connection.reset()
                await exchange.wait_published(9_000)
                for connection in exchange.stream_connections[1::3]:
                    connection.close(1001)
                await exchange.finished.wait()

                # Only a later trade shows what is missing at the end.
                await exchange.wait_subscribed(*names)
                last = [exchange.log.trades(n)[-1:] for n in ids_by_symbol(siege.file)]
                await exchange.publish(
                    [replace(trade, id=trade.id + 1) for [trade] in last]
                )
                awaited = {trade.symbol: trade.id + 1 for [trade] in last}
                newest = NewestIds(siege.file)
                while awaited:
                    newest.read()
                    awaited = {n: i for n, i in awaited.items() if newest[n] != i}
                    # The file has no event that could be waited for.
                    await asyncio.sleep(0.1)
                status = await siege.stop()
        finally:
            await siege.clean_up()

        assert status == 0, siege.errors.decode()
        on_disk = ids_by_symbol(siege.file)
        for name, ids in on_disk.items():
            published = exchange.log.ids(name)
            assert ids == [i for i in published if i >= ids[0]], name
        recorded = sum(len(ids) for ids in on_disk.values())
        # What was published before the last connection stood is all that is not there.
        assert recorded > TRADES - 3_000
        account = json.loads(siege.summary.read_bytes())
        assert account["verdict"] == "complete"
        assert account["repaired"] >= 200
        # Seven connections at first, five that failed, and those that replaced others.
        assert exchange.connections_accepted > 7 + 5 + 7
