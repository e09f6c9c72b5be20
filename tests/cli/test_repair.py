"""What the stream loses, the history gives back: on disk is what was published."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from k2cli.simulator import SimulatedExchange, parse_fault

from .conftest import K2, Ended, trades

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


def repaired_ids(folder: Path) -> list[int]:
    return [
        record["source_sequence"]
        for record in records_in((folder / FILE).read_bytes())
        if record["vendor_data"].get("source") == "backfill"
    ]


async def said(process: asyncio.subprocess.Process, text: str) -> None:
    """Wait until a process has said something on stderr."""
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while text.encode() not in await process.stderr.readline():
            pass


async def recorded(
    k2: K2, exchange: SimulatedExchange, *faults: str, count: int = 300
) -> Ended:
    """Record trades 1 to 300, and end when so many are on disk."""
    strike(exchange, *faults)
    process = await k2.start("record", "-o", FILE, "BTCUSDT", "-n", str(count))
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 300))
    return await k2.end(process)


@pytest.mark.parametrize(
    ("faults", "repaired"),
    [
        (["skip@1:298"], range(2, 300)),
        (["skip@50:1", "duplicate@120:40", "skip@200:2"], [51, 201, 202]),
        (["duplicate@100:50", "reorder@150:20", "junk@200:5"], []),
        (["skip@100:5", "api-down@100:1s"], range(101, 106)),
        (["skip@100:5", "api-error@100:429"], range(101, 106)),
    ],
    ids=lambda value: "+".join(map(str, value)) if isinstance(value, list) else "",
)
async def test_the_file_is_whole_and_in_order_after(
    k2: K2, exchange: SimulatedExchange, faults: list[str], repaired: list[int]
) -> None:
    ended = await recorded(k2, exchange, *faults)

    assert ended.status == 0
    assert ids_on_disk(k2.folder) == list(range(1, 301))
    assert repaired_ids(k2.folder) == list(repaired)
    assert "nothing missing" in ended.err


async def test_very_many_small_gaps_cost_few_requests(
    k2: K2, exchange: SimulatedExchange
) -> None:
    # More than there are requests in a minute's budget.
    gaps = range(2, 300, 2)
    ended = await recorded(k2, exchange, *(f"skip@{i - 1}" for i in gaps))

    assert ended.status == 0
    assert ids_on_disk(k2.folder) == list(range(1, 301))
    assert repaired_ids(k2.folder) == list(gaps)


async def test_repaired_records_equal_those_of_the_stream(
    k2: K2, exchange: SimulatedExchange
) -> None:
    await recorded(k2, exchange, "skip@100:2")

    for record in records_in((k2.folder / FILE).read_bytes())[100:102]:
        sent = exchange.log.trades("BTCUSDT")[record["source_sequence"] - 1]
        assert record["exchange"] == "SIM"
        assert record["trade_id"] == f"SIM-{sent.id}"
        assert record["timestamp"] == sent.trade_time_us
        assert (record["price"], record["quantity"]) == (sent.price, sent.quantity)
        assert record["side"] == ("SELL" if sent.buyer_is_maker else "BUY")
        assert record["currency"] == "USDT"
        assert record["vendor_data"] == {
            "is_buyer_maker": "true" if sent.buyer_is_maker else "false",
            "is_best_match": "true",
            "event_type": "trade",
            "trade_time": str(sent.trade_time_us),
            "base_asset": "BTC",
            "quote_asset": "USDT",
            "source": "backfill",
        }


@pytest.mark.parametrize("how", ["drop", "close"])
async def test_trades_made_while_disconnected_are_repaired(
    k2: K2, exchange: SimulatedExchange, how: str
) -> None:
    process = await k2.start(
        "record", "-o", FILE, "BTCUSDT", "ETHUSDT", "-n", str(2 * 2600)
    )
    for first_id in (1, 1301):
        await exchange.wait_subscribed("BTCUSDT", "ETHUSDT")
        await exchange.publish(trades(first_id, 50))
        await exchange.publish(trades(first_id, 50, "ETHUSDT"))
        if how == "drop":
            await exchange.disconnect()
        else:
            await exchange.disconnect(1001)
        # More than a page.
        await exchange.publish(trades(first_id + 50, 1200))
        await exchange.publish(trades(first_id + 50, 1200, "ETHUSDT"))
        await exchange.wait_subscribed("BTCUSDT", "ETHUSDT")
        await exchange.publish(trades(first_id + 1250, 50))
        await exchange.publish(trades(first_id + 1250, 50, "ETHUSDT"))
    ended = await k2.end(process)

    assert ended.status == 0
    assert ids_on_disk(k2.folder) == list(range(1, 2601))
    assert ids_on_disk(k2.folder, "ETHUSDT") == list(range(1, 2601))


async def test_what_a_late_history_lacks_too_is_named(
    k2: K2, exchange: SimulatedExchange
) -> None:
    ended = await recorded(
        k2,
        exchange,
        "history-lag@0:1s",
        *("skip@100:6", "short-history@101:2", "short-history@104:1"),
        *("skip@200:1", "short-history@200:1"),
        count=296,
    )

    withheld = exchange.log.withheld_ids("BTCUSDT")
    assert withheld == [102, 103, 105, 201]
    assert ended.status == 6
    assert ids_on_disk(k2.folder) == [i for i in range(1, 301) if i not in withheld]
    assert repaired_ids(k2.folder) == [101, 104, 106]
    assert "BTCUSDT lacks 102-103, 105, 201\n" in ended.err
    assert "4 missing" in ended.err.splitlines()[-1]


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


async def test_a_kill_in_the_middle_of_a_repair_leaves_the_rest_to_the_next_run(
    k2: K2, exchange: SimulatedExchange
) -> None:
    strike(exchange, "skip@100:5", "history-lag@0:1h", "api-error@100:503")
    process = await k2.start("record", "-o", FILE, "BTCUSDT")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 200))
    await said(process, "Cannot read the history")
    process.kill()
    await k2.end(process)
    assert ids_on_disk(k2.folder) == list(range(1, 101))

    strike(exchange, "history-lag@0:0s")
    process = await k2.start("record", "-o", FILE, "BTCUSDT", "-n", "200")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(201, 100))
    ended = await k2.end(process)

    assert ended.status == 0
    assert ids_on_disk(k2.folder) == list(range(1, 301))


async def test_a_signal_in_the_middle_of_a_repair_ends_the_file_at_the_gap(
    k2: K2, exchange: SimulatedExchange
) -> None:
    strike(exchange, "skip@100:5", "api-down@100:5s")
    process = await k2.start("record", "-o", FILE, "BTCUSDT")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 300))
    await said(process, "Cannot read the history")
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        stopped = await k2.end(process)
    ids_when_stopped = ids_on_disk(k2.folder)
    # What was left out is repaired by the next run.
    process = await k2.start("record", "-o", FILE, "BTCUSDT", "-n", "201")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(301, 1))
    resumed = await k2.end(process)

    assert stopped.status == 0
    assert "the next run goes on before it" in stopped.err
    assert ids_when_stopped == [*range(1, 101)]
    assert resumed.status == 0
    assert ids_on_disk(k2.folder) == [*range(1, 302)]


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


async def test_what_is_held_is_written_when_the_exchange_is_lost(
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
    assert ids_on_disk(k2.folder) == [*range(1, 101), *range(106, 301)]
    assert account["symbols"]["BTCUSDT"]["missing_ranges"] == [[101, 105]]


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
    assert [file.name for file in k2.folder.glob(".*.missing")] == []
