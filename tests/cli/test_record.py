"""``k2 record``: the file is what was sent, whatever ends the run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from k2cli.simulator import Recording, SimulatedExchange, Trade, parse_fault

from .conftest import K2, PATIENCE_SECONDS, trades

RECORDING = (
    Path(__file__).parents[3] / "shared/data/binance_spot_trades_20240808.txt.gz"
)


def read(file: Path) -> list[dict[str, Any]]:
    content = file.read_bytes()
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


async def on_disk(file: Path) -> None:
    """Wait until a file has content."""
    async with asyncio.timeout(20):
        # Another process writes it, and has no event to wait for.
        while not file.stat().st_size:  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)


def expected(trade: Trade, exchange: str) -> dict[str, Any]:
    """Give a record as the contract says, less what is made at ingestion."""
    base, quote = trade.symbol[:-4], trade.symbol[-4:]
    return {
        "trade_id": f"{exchange}-{trade.id}",
        "symbol": trade.symbol,
        "exchange": exchange,
        "asset_class": "crypto",
        "timestamp": trade.trade_time_us,
        "price": trade.price,
        "quantity": trade.quantity,
        "currency": quote,
        "side": "SELL" if trade.buyer_is_maker else "BUY",
        "trade_conditions": [],
        "source_sequence": trade.id,
        "vendor_data": {
            "is_buyer_maker": "true" if trade.buyer_is_maker else "false",
            "is_best_match": "true",
            "event_type": "trade",
            "event_time": str(trade.event_time_us),
            "trade_time": str(trade.trade_time_us),
            "base_asset": base,
            "quote_asset": quote,
        },
    }


async def test_the_file_is_what_was_sent(k2: K2, exchange: SimulatedExchange) -> None:
    k2.use(exchange)
    sent = trades(1, 3000) + trades(9_000_000, 2000, "ETHUSDT", "2683.80000000")
    process = await k2.start(
        "record", "-o", "t.jsonl", "BTCUSDT", "ETHUSDT", "-n", "5000"
    )
    await exchange.wait_subscribed("BTCUSDT", "ETHUSDT")
    await exchange.publish(sent)

    ended = await k2.end(process)

    records = read(k2.folder / "t.jsonl")
    assert ended.status == 0
    assert ended.out == b""
    assert [r.pop("platform_sequence") for r in records] == list(range(1, 5001))
    assert len({r.pop("message_id") for r in records}) == 5000
    received = [r.pop("ingestion_timestamp") for r in records]
    assert received == sorted(received)
    assert records == [expected(trade, "SIM") for trade in sent]
    assert "t.jsonl: 5,000 trades written" in ended.err


@pytest.mark.skipif(not RECORDING.exists(), reason="the real recording is not here")
async def test_a_replay_of_real_trades_is_recorded_whole(k2: K2) -> None:
    tape = Recording(RECORDING)
    played = [trade for _, trade in tape.timeline(0)]

    ended = await k2(
        "record", "-o", "t.jsonl", "--replay", str(RECORDING), "--speed", "0"
    )

    records = read(k2.folder / "t.jsonl")
    for record in records:
        for key in ("platform_sequence", "message_id", "ingestion_timestamp"):
            del record[key]
    assert ended.status == 0
    assert records == [expected(trade, "BINANCE") for trade in played]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_with_everything_received_on_disk(
    k2: K2, exchange: SimulatedExchange, number: signal.Signals
) -> None:
    k2.use(exchange)
    process = await k2.start("record", "-o", "t.jsonl", "BTCUSDT")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 500))
    await on_disk(k2.folder / "t.jsonl")
    process.send_signal(number)

    ended = await k2.end(process)

    assert ended.status == 0
    assert [r["source_sequence"] for r in read(k2.folder / "t.jsonl")] == list(
        range(1, 501)
    )
    assert ended.err.rstrip().endswith("complete: 500 trades, nothing missing")


async def test_a_lone_trade_is_on_disk_without_delay(
    k2: K2, exchange: SimulatedExchange
) -> None:
    k2.use(exchange)
    process = await k2.start("record", "-o", "t.jsonl", "BTCUSDT")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 1))
    await on_disk(k2.folder / "t.jsonl")

    assert len(read(k2.folder / "t.jsonl")) == 1
    process.send_signal(signal.SIGINT)
    assert (await k2.end(process)).status == 0


@pytest.mark.slow
async def test_a_second_run_goes_on_with_the_file(
    k2: K2, exchange: SimulatedExchange
) -> None:
    k2.use(exchange)
    file = k2.folder / "t.jsonl"
    for sent in (trades(1, 3), trades(3, 3)):  # the one in the middle comes twice
        count = "3" if sent[0].id == 1 else "2"
        process = await k2.start("record", "-o", "t.jsonl", "BTCUSDT", "-n", count)
        await exchange.wait_subscribed("BTCUSDT")
        await exchange.publish(sent)
        assert (await k2.end(process)).status == 0
        with file.open("ab") as end:
            end.write(b'{"message_id":"cut short by a crash')

    process = await k2.start("record", "-o", "t.jsonl", "BTCUSDT", "-n", "1")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(8, 1))
    ended = await k2.end(process)

    records = read(file)
    assert [r["source_sequence"] for r in records] == [1, 2, 3, 4, 5, 8]
    assert [r["platform_sequence"] for r in records] == [1, 2, 3, 4, 5, 6]
    assert ended.status == 6
    assert "BTCUSDT lacks 6-7" in ended.err


async def test_overwrite_starts_anew(k2: K2, market: SimulatedExchange) -> None:
    k2.use(market)
    (k2.folder / "t.jsonl").write_text("something else\n")

    ended = await k2("record", "-o", "t.jsonl", "--overwrite", "-n", "5")

    assert ended.status == 0
    assert [r["platform_sequence"] for r in read(k2.folder / "t.jsonl")] == [
        1,
        2,
        3,
        4,
        5,
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"), [("t.jsonl", "40kB"), ("t.jsonl.gz", "5kB"), ("t.zst", "5kB")]
)
async def test_rotated_files_are_one_capture(
    k2: K2, market: SimulatedExchange, name: str, size: str
) -> None:
    if name.endswith("zst"):
        pytest.importorskip("zstandard")
    k2.use(market)
    # A quiet one: every new file is waited for.
    options = ("record", "-o", name, "--rotate", size, "--fsync", "0", "SOLUSDT")

    first = await k2(*options, "-n", "300")
    # With a count, it would end with trades pending behind what was missed meanwhile.
    second = await k2(*options, "--duration", "1s")
    files = sorted(file.name for file in k2.folder.glob("t.*"))
    verified = await k2("verify", *files)

    assert first.status == second.status == 0
    assert re.search(r" in \d+ files", first.err)
    assert len(files) > 2
    assert f"t.000000000001.{name.partition('.')[2]}" in files
    assert name in files
    assert verified.status == 0, verified.out.decode()


async def test_a_file_that_is_taken_away_is_noticed(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)
    process = await k2.start("record", "-o", "t.jsonl", "BTCUSDT")
    await market.wait_subscribed("BTCUSDT")
    await on_disk(k2.folder / "t.jsonl")

    (k2.folder / "t.jsonl").unlink()
    ended = await k2.end(process)

    assert ended.status == 5
    assert ended.err.splitlines()[-1].startswith("k2: error: t.jsonl ")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [("--rotate", "weekly", "weekly"), ("--fsync", "often", "often")],
)
async def test_a_wrong_way_to_write_is_one_line(
    k2: K2, option: str, value: str, says: str
) -> None:
    ended = await k2("record", "-o", "t.jsonl", "--demo", option, value)

    assert ended.status == 2
    assert says in one_line(ended.err)


async def test_stdout_can_be_the_file(k2: K2, market: SimulatedExchange) -> None:
    k2.use(market)

    ended = await k2("record", "-o", "-", "-n", "5")

    sequence = [json.loads(line)["platform_sequence"] for line in ended.lines]
    assert sequence == [1, 2, 3, 4, 5]
    assert "complete: 5 trades" in ended.err


async def test_only_one_recorder_writes_a_file(
    k2: K2, exchange: SimulatedExchange
) -> None:
    k2.use(exchange)
    first = await k2.start("record", "-o", "t.jsonl", "BTCUSDT")
    await exchange.wait_subscribed("BTCUSDT")

    second = await k2("record", "-o", "t.jsonl", "BTCUSDT")

    assert second.status == 5
    assert "t.jsonl is being written by another k2" in second.err
    first.send_signal(signal.SIGINT)
    assert (await k2.end(first)).status == 0


def one_line(err: str) -> str:
    (line,) = err.splitlines()
    assert line.startswith("k2: error: ")
    return line


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (".", "is a folder"),
        ("nowhere/t.jsonl", "there is no folder nowhere"),
        ("notes.txt", "notes.txt exists and is no capture"),
    ],
)
async def test_an_output_that_cannot_be_is_one_line(
    k2: K2, market: SimulatedExchange, output: str, says: str
) -> None:
    k2.use(market)
    (k2.folder / "notes.txt").write_text("milk, bread\n")

    ended = await k2("record", "-o", output)

    assert ended.status == 5
    assert says in one_line(ended.err)
    assert (k2.folder / "notes.txt").read_text() == "milk, bread\n"


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere"
)
async def test_a_folder_that_may_not_be_written_is_one_line(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)
    closed = k2.folder / "closed"
    closed.mkdir(mode=0o500)

    ended = await k2("record", "-o", str(closed / "t.jsonl"))

    assert ended.status == 5
    assert "Permission denied" in one_line(ended.err)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
async def test_a_full_disk_ends_it_with_status_5(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)

    ended = await k2("record", "-o", "/dev/full", "--log-level", "error")

    assert ended.status == 5
    assert "/dev/full cannot be written: No space left" in ended.err
    # The account is made of what was received and of what was written.
    found = re.search(r"not all written: (\d+) trades? received, (\d+) of", ended.err)
    assert found is not None
    assert found[1] == found[2]
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        ("refuse@0:451", 4, "does not serve this location (HTTP 451)"),
        ("refuse@0:403", 4, "the firewall of"),
        ("refuse@0:418", 4, "has banned this address"),
        ("refuse@0:404", 3, "answered HTTP 404"),
    ],
)
async def test_a_refusal_that_time_does_not_heal_is_one_line_at_once(
    k2: K2, market: SimulatedExchange, fault: str, status: int, says: str
) -> None:
    k2.use(market)
    market.add_fault(parse_fault(fault))

    ended = await k2("record", "-o", "t.jsonl", "BTCUSDT")

    assert ended.status == status
    assert says in one_line(ended.err)
    assert not (k2.folder / "t.jsonl").exists()


async def test_a_server_that_is_down_is_tried_as_often_as_allowed(
    k2: K2, unused_port: int
) -> None:
    address = f"ws://127.0.0.1:{unused_port}"

    ended = await k2(
        *("record", "-o", "t.jsonl", "BTCUSDT", "--url", address),
        *("--api-url", address),
        K2_BINANCE_RECONNECT_DELAY="0.01",
        K2_BINANCE_MAX_RECONNECT_ATTEMPTS="3",
    )

    assert ended.status == 3
    assert "gave up after 3 failed attempts" in ended.err
    assert ended.err.splitlines()[-1].startswith("k2: error: ")


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["typer", "structlog", "websockets"])
async def test_a_signal_while_it_is_starting_ends_it_quietly(
    k2: K2, market: SimulatedExchange, number: signal.Signals, module: str
) -> None:
    k2.use(market)
    process = await k2.start_anew(
        "record", "-o", "t.jsonl", "BTCUSDT", PYTHONPROFILEIMPORTTIME="1"
    )
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        imported = b""
        while not imported.endswith(f" {module}\n".encode()):
            imported = await process.stderr.readline()
            assert imported, "it ended before"
    process.send_signal(number)

    ended = await k2.end(process)

    assert "Traceback" not in ended.err
    assert ended.status == 0


async def test_a_host_that_does_not_exist_is_one_line(k2: K2) -> None:
    ended = await k2(
        *("record", "-o", "t.jsonl", "BTCUSDT"),
        *("--url", "wss://k2.invalid", "--api-url", "wss://k2.invalid"),
    )

    assert ended.status == 3
    assert "cannot be resolved" in one_line(ended.err)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no SIGUSR1")
async def test_the_account_so_far_is_given_on_request(
    k2: K2, exchange: SimulatedExchange
) -> None:
    k2.use(exchange)
    process = await k2.start(
        "record", "-o", "t.jsonl", "BTCUSDT", "--summary", "s.json"
    )
    assert process.stderr is not None
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 10))
    await on_disk(k2.folder / "t.jsonl")

    process.send_signal(signal.SIGUSR1)
    async with asyncio.timeout(20):
        while b"complete: 10 trades" not in await process.stderr.readline():
            pass
    so_far = json.loads((k2.folder / "s.json").read_bytes())
    await exchange.publish(trades(11, 5))
    process.send_signal(signal.SIGINT)
    ended = await k2.end(process)

    at_the_end = json.loads((k2.folder / "s.json").read_bytes())
    assert ended.status == 0
    assert so_far["symbols"]["BTCUSDT"]["last_id"] == 10
    assert so_far["verdict"] == at_the_end["verdict"] == "complete"
    assert at_the_end["trades"] >= so_far["trades"]
    assert at_the_end["file"] == "t.jsonl"


async def test_the_account_tells_which_connection_was_first(
    k2: K2, exchange: SimulatedExchange
) -> None:
    k2.use(exchange)
    process = await k2.start(
        "record", "-o", "t.jsonl", "BTCUSDT", "--redundant", "--summary", "s.json"
    )
    await exchange.wait_subscribed("BTCUSDT", listeners=2)
    await exchange.publish(trades(1, 10))
    await on_disk(k2.folder / "t.jsonl")
    process.send_signal(signal.SIGINT)
    ended = await k2.end(process)

    summary = json.loads((k2.folder / "s.json").read_bytes())
    host = f"127.0.0.1:{exchange.port}"
    assert sum(one["first_with"] for one in summary["connections"]) == 10
    assert {(one["connection"], one["host"]) for one in summary["connections"]} == {
        ("A", host),
        ("B", host),
    }
    assert f"first with a trade: connection A ({host}) " in ended.err
    assert ended.status == 0
