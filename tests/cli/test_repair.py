"""What the stream loses, the history gives back: on disk is what was published."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from k2cli.simulator import SimulatedExchange, parse_fault
from tests.forks import ForkedProcess

from .conftest import K2, trades

FILE = "t.jsonl"


@pytest.fixture(autouse=True)
def quick_to_reconnect(k2: K2, exchange: SimulatedExchange) -> None:
    k2.use(exchange)
    k2.environment["K2_BINANCE_RECONNECT_DELAY"] = "0.05"


def strike(exchange: SimulatedExchange, *faults: str) -> None:
    for fault in faults:
        exchange.add_fault(parse_fault(fault))


def records_in(content: bytes) -> list[dict[str, Any]]:
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


def ids_on_disk(folder: Path, symbol: str = "BTCUSDT") -> list[int]:
    """Read a capture whose records are numbered from 1 on."""
    records = records_in((folder / FILE).read_bytes())
    numbers = [record["platform_sequence"] for record in records]
    assert numbers == list(range(1, len(records) + 1))
    return [r["source_sequence"] for r in records if r["symbol"] == symbol]


def pending_ids(folder: Path) -> list[int]:
    """Read what waits beside the capture; a line that is being written is left out."""
    journal = folder / f".{FILE}.pending"
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    return [json.loads(line)["source_sequence"] for line in lines]


async def said(process: ForkedProcess, text: str) -> None:
    """Wait until a process has said something on stderr."""
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while text.encode() not in await process.stderr.readline():
            pass


@pytest.mark.parametrize(
    ("option", "lacking"),
    [
        ("--no-backfill", [51, 52, *range(101, 106)]),
        ("--max-backfill=4", range(101, 106)),
    ],
)
async def test_what_is_not_to_be_repaired_is_reported(
    k2: K2, exchange: SimulatedExchange, option: str, lacking: list[int]
) -> None:
    strike(exchange, "skip@50:2", "skip@100:5")
    expected = [i for i in range(1, 301) if i not in lacking]
    process = await k2.start(
        "record", "-o", FILE, "BTCUSDT", option, "-n", str(len(expected))
    )
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 300))
    ended = await k2.end(process)

    assert ended.status == 6
    assert ids_on_disk(k2.folder) == expected
    assert re.search(r"BTCUSDT lacks (51-52, )?101-105\n", ended.err)
    assert f"{len(lacking)} missing" in ended.err.splitlines()[-1]


async def test_the_time_between_two_runs_is_repaired(
    k2: K2, exchange: SimulatedExchange
) -> None:
    process = await k2.start("record", "-o", FILE, "BTCUSDT", "-n", "100")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 100))
    assert (await k2.end(process)).status == 0
    await exchange.publish(trades(101, 1500))

    process = await k2.start("record", "-o", FILE, "BTCUSDT", "-n", "1600")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1601, 100))
    ended = await k2.end(process)

    assert ended.status == 0
    assert ids_on_disk(k2.folder) == list(range(1, 1701))
    assert "1,600 trades, 1,500 of them repaired, nothing missing" in ended.err
    assert re.search(r"BTCUSDT +1,600 +101 +1700 ", ended.err)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
@pytest.mark.parametrize(
    "number",
    [
        "SIGINT",
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in ("SIGTERM", "SIGHUP", "SIGKILL")
        ),
    ],
)
async def test_a_signal_in_the_middle_of_a_repair_leaves_what_has_come_to_the_next_run(
    k2: K2, exchange: SimulatedExchange, number: str
) -> None:
    strike(exchange, "skip@100:5", "history-lag@0:1h")
    process = await k2.start("record", "-o", FILE, "BTCUSDT")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 300))
    async with asyncio.timeout(20):
        # Another process writes it, and has no event to wait for.
        while len(pending_ids(k2.folder)) < 195:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    process.send_signal(signal.Signals[number])
    stopped = await k2.end(process)
    ids_when_stopped = ids_on_disk(k2.folder), pending_ids(k2.folder)
    verified = await k2("verify", FILE)

    strike(exchange, "history-lag@0:0s")
    process = await k2.start("record", "-o", FILE, "BTCUSDT", "-n", "201")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(301, 1))
    resumed = await k2.end(process)

    if number == "SIGKILL":
        assert stopped.status == -signal.SIGKILL
    else:
        assert stopped.status == 6
        assert "BTCUSDT lacks 101-105\n" in stopped.err
        assert "pending: 295 trades, 195 trades waiting behind 5" in stopped.err
    assert ids_when_stopped == ([*range(1, 101)], [*range(106, 301)])
    assert verified.status == 6
    assert resumed.status == 0
    assert ids_on_disk(k2.folder) == [*range(1, 302)]
    assert (await k2("verify", FILE)).status == 0
    assert list(k2.folder.glob(".*.pending")) == []


@pytest.mark.slow
async def test_repairs_may_take_longer_than_a_slow_reader_is_waited_for(
    k2: K2, exchange: SimulatedExchange
) -> None:
    strike(exchange, "skip@100:5", "history-lag@0:4s")
    process = await k2.start("record", "-o", "-", "BTCUSDT", "--duration", "2s")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 300))
    ended = await k2.end(process)

    ids = [record["source_sequence"] for record in records_in(ended.out)]
    assert ids == [*range(1, 301)]
    assert ended.status == 0


@pytest.mark.slow
async def test_what_waits_for_a_pipe_is_written_at_the_end_and_the_gap_is_named(
    k2: K2, exchange: SimulatedExchange
) -> None:
    strike(exchange, "skip@100:5", "history-lag@0:1h")
    process = await k2.start("record", "-o", "-", "BTCUSDT", "--summary", "s.json")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 300))
    await said(process, "Sequence gap")
    process.send_signal(signal.SIGTERM)
    ended = await k2.end(process)

    account = json.loads((k2.folder / "s.json").read_bytes())
    ids = [record["source_sequence"] for record in records_in(ended.out)]
    assert ids == [i for i in range(1, ids[-1] + 1) if i not in range(101, 106)]
    assert account["trades"] == len(ids)
    assert ended.status == 6
    assert "BTCUSDT lacks 101-105\n" in ended.err
    assert account["verdict"] == "incomplete"


@pytest.mark.slow
async def test_what_waits_stays_when_the_exchange_is_lost(
    k2: K2, exchange: SimulatedExchange
) -> None:
    strike(exchange, "skip@100:5", "history-lag@0:1h")
    process = await k2.start(
        *("record", "-o", FILE, "BTCUSDT", "--summary", "s.json"),
        K2_BINANCE_MAX_RECONNECT_ATTEMPTS="2",
    )
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 300))
    await said(process, "Sequence gap")
    await exchange.stop()
    ended = await k2.end(process)

    account = json.loads((k2.folder / "s.json").read_bytes())
    assert ended.status == 3
    assert ids_on_disk(k2.folder) == [*range(1, 101)]
    assert pending_ids(k2.folder) == [*range(106, 301)]
    assert account["symbols"]["BTCUSDT"]["missing_ranges"] == [[101, 105]]
    assert (account["verdict"], account["pending"]) == ("pending", 195)


async def test_a_stream_shows_trades_at_once_and_repaired_ones_late(
    k2: K2, exchange: SimulatedExchange
) -> None:
    strike(exchange, "skip@100:5", "duplicate@200:20")
    process = await k2.start("stream", "--json", "BTCUSDT", "-n", "300")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 300))
    ended = await k2.end(process)

    records = records_in(ended.out)
    ids = [record["source_sequence"] for record in records]
    marked = [r for r in records if r["vendor_data"].get("source") == "backfill"]
    assert ended.status == 0
    assert ids == [*range(1, 101), *range(106, 301), *range(101, 106)]
    assert [record["source_sequence"] for record in marked] == [*range(101, 106)]


async def test_a_stream_that_is_not_repaired_says_what_it_lacks(
    k2: K2, exchange: SimulatedExchange
) -> None:
    strike(exchange, "skip@100:5")
    process = await k2.start(
        "stream", "--json", "BTCUSDT", "--no-backfill", "-n", "295"
    )
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 300))
    ended = await k2.end(process)

    assert ended.status == 6
    assert len(ended.lines) == 295
    assert "BTCUSDT lacks 101-105\n" in ended.err


@pytest.mark.slow
async def test_no_later_run_forgets_what_an_earlier_one_gave_up(
    k2: K2, exchange: SimulatedExchange
) -> None:
    strike(exchange, "skip@100:5", "short-history@100:5")
    process = await k2.start("record", "-o", FILE, "BTCUSDT")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 300))
    await said(process, "Trades are missing")
    async with asyncio.timeout(20):
        # Another process writes it, and has no event to wait for.
        while len(ids_on_disk(k2.folder)) < 295:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    process.kill()
    await k2.end(process)

    for last in (301, 302):
        process = await k2.start(
            *("record", "-o", FILE, "BTCUSDT", "-n", "1", "--summary", "s.json")
        )
        await exchange.wait_subscribed("BTCUSDT")
        await exchange.publish(trades(last, 1))
        ended = await k2.end(process)
        account = json.loads((k2.folder / "s.json").read_bytes())
        assert ended.status == 6
        assert "BTCUSDT lacks 101-105\n" in ended.err
        assert account["symbols"]["BTCUSDT"]["missing_ranges"] == [[101, 105]]

    process = await k2.start(
        *("record", "-o", FILE, "BTCUSDT", "-n", "1", "--overwrite")
    )
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(303, 1))
    anew = await k2.end(process)
    assert anew.status == 0
    manifest = json.loads((k2.folder / f".{FILE}.manifest").read_bytes())
    assert manifest["symbols"]["BTCUSDT"]["missing"] == []
