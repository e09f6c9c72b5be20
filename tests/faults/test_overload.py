"""A reader that does not read: back-pressure and repair, never growth or loss."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from k2cli.simulator import Market, Rules, SimulatedExchange, Trade

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="pipes cannot be polled there"
)
# More than the sockets between the two hold: 170 bytes each.
TRADES = 60_000


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


def following(exchange: SimulatedExchange) -> Trade:
    """Make the trade that comes after the last one."""
    last = exchange.log.trades("BTCUSDT")[-1]
    return replace(last, id=last.id + 1, trade_time_us=last.trade_time_us + 1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
async def test_a_reader_that_stops_reading_loses_nothing(tmp_path: Path) -> None:
    market = Market(seed=3, rate=20_000, symbols=["BTCUSDT"], trade_limit=TRADES)
    async with SimulatedExchange(
        market, start_when_subscribed=True, rules=Rules(outgoing_bytes=200_000)
    ) as exchange:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "k2cli", "record", "-o", "-", "BTCUSDT"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=1024,  # bytes that this side takes without being asked
            env=os.environ
            | {
                "HOME": str(tmp_path),
                "XDG_CACHE_HOME": str(tmp_path),
                "XDG_CONFIG_HOME": str(tmp_path),
                "K2_BINANCE_WEBSOCKET_URL": exchange.url,
                "K2_BINANCE_API_URL": exchange.api_url,
                "K2_BINANCE_RECONNECT_DELAY": "0.05",
            },
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(50):
                before_bytes = None
                await exchange.wait_published(TRADES // 10)
                before_bytes = resident_bytes(process.pid)
                await exchange.finished.wait()
                grown_bytes = resident_bytes(process.pid) - before_bytes

                ids: list[int] = []
                while len(ids) < TRADES:
                    try:
                        async with asyncio.timeout(0.3):
                            line = await process.stdout.readline()
                    except TimeoutError:
                        # Only a later trade shows what is missing before it.
                        await exchange.publish([following(exchange)])
                        continue
                    ids.append(json.loads(line)["source_sequence"])
                process.send_signal(signal.SIGTERM)
                await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    assert ids == exchange.log.ids("BTCUSDT")[:TRADES]
    # What waits is in the buffers of the sockets and the pipe, and with the exchange.
    assert grown_bytes < 8_000_000
    # The exchange had lost its patience, and what that cost was repaired.
    assert exchange.connections_accepted >= 2
