"""``k2 stream`` in a pipe."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import signal
from io import StringIO

import pytest

from k2cli.simulator import Market, SimulatedExchange, parse_fault

from .conftest import K2, PATIENCE_SECONDS, trades

RECORD_KEYS = [
    "message_id",
    "trade_id",
    "symbol",
    "exchange",
    "asset_class",
    "timestamp",
    "price",
    "quantity",
    "currency",
    "side",
    "trade_conditions",
    "source_sequence",
    "ingestion_timestamp",
    "platform_sequence",
    "vendor_data",
]


async def test_prints_exactly_as_many_json_lines_as_asked_for(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)

    ended = await k2(
        "stream", "--symbols", "BTCUSDT", "ETHUSDT", "--json", "-n", "1000"
    )

    records = [json.loads(line) for line in ended.lines]
    assert ended.status == 0
    assert len(records) == 1000
    assert all(list(record) == RECORD_KEYS for record in records)
    assert {record["symbol"] for record in records} == {"BTCUSDT", "ETHUSDT"}
    assert {record["platform_sequence"] for record in records} == {None}
    assert "complete: 1,000 trades" in ended.err


@pytest.mark.parametrize("delay", ["0", "2ms", "0.1s", "0.1"])
async def test_each_trade_comes_once_and_in_order_however_long_it_may_wait(
    k2: K2, market: SimulatedExchange, delay: str
) -> None:
    k2.use(market)

    ended = await k2("stream", "BTCUSDT", "--json", "-n", "200", "--max-delay", delay)

    ids = [json.loads(line)["source_sequence"] for line in ended.lines]
    assert ids == list(range(ids[0], ids[0] + 200))


async def test_stdout_holds_only_records_whatever_is_logged(
    k2: K2, exchange: SimulatedExchange
) -> None:
    k2.use(exchange)
    exchange.add_fault(parse_fault("junk@50:20"))
    process = await k2.start("stream", "BTCUSDT", "-n", "400", "--log-level", "debug")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 400))

    ended = await k2.end(process)

    assert len([json.loads(line)["trade_id"] for line in ended.lines]) == 400
    assert "websockets.client" in ended.err
    assert "Skipped a malformed message" in ended.err


async def test_each_trade_is_out_before_the_next_one_comes(
    k2: K2, exchange: SimulatedExchange
) -> None:
    k2.use(exchange)
    process = await k2.start("stream", "BTCUSDT", "-n", "3")
    assert process.stdout is not None
    await exchange.wait_subscribed("BTCUSDT")

    for trade in trades(7, 3):
        await exchange.publish([trade])
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        assert json.loads(line)["source_sequence"] == trade.id

    assert (await k2.end(process)).status == 0


async def test_a_reader_that_closes_the_pipe_ends_it_at_once_and_silently(
    k2: K2, exchange: SimulatedExchange
) -> None:
    k2.use(exchange)
    reading, writing = os.pipe()
    process = await k2.start("stream", "BTCUSDT", "--json", stdout=writing)
    os.close(writing)
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 1))
    assert await asyncio.to_thread(os.read, reading, 1)

    os.close(reading)  # and no trade comes that could fail to be written
    ended = await k2.end(process)

    assert ended.status == 0
    assert "complete" not in ended.err
    assert "rror" not in ended.err


async def test_a_pipe_that_nobody_reads_does_not_hold_up_a_second_signal(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)
    reading, writing = os.pipe()
    process = await k2.start("stream", "--all", stdout=writing)
    os.close(writing)
    assert await asyncio.to_thread(os.read, reading, 1)
    await asyncio.to_thread(_wait_until_full, reading)

    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    ended = await k2.end(process)
    os.close(reading)

    assert ended.status == 130


@pytest.mark.slow
async def test_a_pipe_that_nobody_reads_does_not_hold_up_the_end_for_long(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)
    reading, writing = os.pipe()
    process = await k2.start("stream", "--all", stdout=writing)
    os.close(writing)
    assert await asyncio.to_thread(os.read, reading, 1)
    await asyncio.to_thread(_wait_until_full, reading)

    process.send_signal(signal.SIGTERM)
    ended = await k2.end(process)

    # It says what it could not hand over, and leaves the reader whole lines.
    assert ended.status == 5
    assert "not all written" in ended.err
    assert re.search(r"[1-9]\d* of its records are left out", ended.err)
    text = b""
    while piece := os.read(reading, 65536):
        text += piece
    os.close(reading)
    assert text.endswith(b"\n")


def _wait_until_full(reading: int) -> None:
    """Wait until what lies in a pipe does not grow any more."""
    import array
    import fcntl
    import termios
    import time

    size = array.array("i", [0])
    before = -1
    while size[0] < 4096 or size[0] != before:
        before = size[0]
        time.sleep(0.05)
        fcntl.ioctl(reading, termios.FIONREAD, size)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--symbols", "BTCUSDT", "ETHUSDT"),
        ("--symbols", "btcusdt,eth/usdt"),
        ("-s", "BTC-USDT", "-s", "ethusdt"),
        ("BTCUSDT", "ETHUSDT"),
        ("BTCUSDT", "--symbols", "ETHUSDT"),
        (),
    ],
)
async def test_symbols_are_taken_as_people_write_them(
    k2: K2, exchange: SimulatedExchange, arguments: tuple[str, ...]
) -> None:
    k2.use(exchange)
    process = await k2.start("stream", *arguments, "--json", "-n", "2")
    await exchange.wait_subscribed("BTCUSDT", "ETHUSDT")
    await exchange.publish(trades(1, 1) + trades(1, 1, "ETHUSDT"))

    ended = await k2.end(process)

    symbols = [json.loads(line)["symbol"] for line in ended.lines]
    assert symbols == ["BTCUSDT", "ETHUSDT"]


async def test_quote_and_base_choose_from_the_catalog(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)

    by_quote = await k2("stream", "--quote", "usdt", "-n", "2000")
    by_both = await k2("stream", "--base", "ETH", "--quote", "BTC", "-n", "2")

    quotes = {json.loads(line)["currency"] for line in by_quote.lines}
    assert quotes == {"USDT"}
    assert len({json.loads(line)["symbol"] for line in by_quote.lines}) > 1
    assert {json.loads(line)["symbol"] for line in by_both.lines} == {"ETHBTC"}


async def test_filters_leave_trades_out_but_never_from_the_accounting(
    k2: K2, exchange: SimulatedExchange
) -> None:
    k2.use(exchange)
    process = await k2.start(
        "stream", "BTCUSDT", "--side", "sell", "--min-notional", "1,000", "-n", "2"
    )
    await exchange.wait_subscribed("BTCUSDT")
    small = trades(1, 4, price="1.00000000")
    await exchange.publish(small + trades(5, 4))  # even ids sell

    ended = await k2.end(process)

    ids = [json.loads(line)["source_sequence"] for line in ended.lines]
    assert ids == [6, 8]
    assert ended.status == 0
    assert "complete: 8 trades" in ended.err


async def test_repeated_trades_come_out_once(
    k2: K2, exchange: SimulatedExchange
) -> None:
    k2.use(exchange)
    process = await k2.start("stream", "BTCUSDT", "-n", "4")
    await exchange.wait_subscribed("BTCUSDT")
    exchange.add_fault(parse_fault("duplicate@3:2"))
    await exchange.publish(trades(1, 4))

    ended = await k2.end(process)

    ids = [json.loads(line)["source_sequence"] for line in ended.lines]
    assert ids == [1, 2, 3, 4]


async def test_missing_trades_are_named_and_lead_to_status_6(
    k2: K2, exchange: SimulatedExchange
) -> None:
    k2.use(exchange)
    process = await k2.start("stream", "BTCUSDT", "-n", "7")
    await exchange.wait_subscribed("BTCUSDT")
    exchange.add_fault(parse_fault("skip@2:3"))
    await exchange.publish(trades(101, 10))

    ended = await k2.end(process)

    ids = [json.loads(line)["source_sequence"] for line in ended.lines]
    assert ids == [101, 102, 106, 107, 108, 109, 110]
    assert ended.status == 6
    assert "BTCUSDT lacks 103-105" in ended.err
    assert ended.err.rstrip().endswith("incomplete: 7 trades, 3 missing")


async def test_csv_has_a_heading_and_the_same_records(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)

    ended = await k2("stream", "--format", "csv", "-n", "20")

    rows = list(csv.DictReader(StringIO(ended.out.decode())))
    assert len(rows) == 20
    assert {row["exchange"] for row in rows} == {"SIM"}
    assert all(row["quote_asset"] == row["currency"] for row in rows)


async def test_lines_are_for_people(k2: K2, market: SimulatedExchange) -> None:
    k2.use(market)

    ended = await k2("stream", "BTCUSDT", "--format", "lines", "-n", "20")

    assert len(ended.lines) == 20
    assert all(b"BTCUSDT" in line and b" USDT" in line for line in ended.lines)
    assert b"\x1b" not in ended.out


async def test_records_the_same_trades_while_they_are_watched(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)

    ended = await k2("stream", "--json", "-n", "300", "-o", "trades.jsonl")

    watched = [json.loads(line) for line in ended.lines]
    lines = (k2.folder / "trades.jsonl").read_bytes().splitlines()
    recorded = [json.loads(line) for line in lines]
    assert [record.pop("platform_sequence") for record in recorded] == list(
        range(1, 301)
    )
    assert [record.pop("platform_sequence") for record in watched] == [None] * 300
    assert recorded == watched


async def test_duration_ends_it(k2: K2, market: SimulatedExchange) -> None:
    k2.use(market)

    ended = await k2("stream", "--json", "--duration", "0.5s")

    assert ended.status == 0
    assert ended.lines


async def test_an_unknown_symbol_is_refused_with_a_suggestion(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)

    ended = await k2("stream", "BTCUSDT", "ETHUSTD")

    assert ended.status == 4
    assert ended.out == b""
    assert len(ended.err.splitlines()) == 1
    assert "ETHUSTD" in ended.err
    assert "Did you mean ETHUSDT" in ended.err


async def test_a_suspended_symbol_gets_a_warning_and_on_it_goes(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)
    suspended = next(
        info.symbol for info in market.symbols.values() if info.status == "BREAK"
    )

    ended = await k2("stream", "BTCUSDT", suspended, "-n", "3")

    assert ended.status == 0
    assert f"{suspended} is not trading" in ended.err


async def test_without_a_catalog_it_warns_and_goes_on(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)
    market.add_fault(parse_fault("refuse@0:503:api"))

    ended = await k2("stream", "BTCUSDT", "-n", "3")

    assert ended.status == 0
    assert json.loads(ended.lines[0])["vendor_data"]["base_asset"] == "BTC"
    assert "guessed from the ending" in ended.err
    assert ended.err.count("taken from the symbols' endings") == 1


async def test_junk_on_the_wire_never_ends_it(
    k2: K2, exchange: SimulatedExchange
) -> None:
    k2.use(exchange)
    exchange.add_fault(parse_fault("junk@5:60"))
    process = await k2.start("stream", "BTCUSDT", "-n", "10", "--log-format", "console")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 10))

    ended = await k2.end(process)

    ids = [json.loads(line)["source_sequence"] for line in ended.lines]
    assert ids == list(range(1, 11))
    assert ended.status == 0
    assert "Traceback" not in ended.err
    assert all(c == "\n" or c.isprintable() for c in ended.err)


async def test_trades_of_a_demo_never_pass_for_real_ones(k2: K2) -> None:
    ended = await k2("stream", "--demo", "-n", "3")

    records = [json.loads(line) for line in ended.lines]
    assert {record["exchange"] for record in records} == {"SIM"}
    assert all(record["trade_id"].startswith("SIM-") for record in records)


async def test_a_closed_connection_is_made_again(
    k2: K2, exchange: SimulatedExchange
) -> None:
    k2.use(exchange)
    process = await k2.start("stream", "BTCUSDT", K2_BINANCE_RECONNECT_DELAY="0.01")
    assert process.stdout is not None
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 2))
    await process.stdout.readline()
    await exchange.disconnect(1008, "Pong timeout")
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(3, 2))
    ids = [json.loads(await process.stdout.readline())["source_sequence"]]
    ids += [json.loads(await process.stdout.readline())["source_sequence"]]
    ids += [json.loads(await process.stdout.readline())["source_sequence"]]
    process.send_signal(signal.SIGINT)

    ended = await k2.end(process)

    assert ids == [2, 3, 4]
    assert ended.status == 0
    assert "code 1008 (Pong timeout)" in ended.err


async def test_waiting_for_the_catalog_is_not_silent(
    k2: K2, exchange: SimulatedExchange
) -> None:
    k2.use(exchange)
    exchange.add_fault(parse_fault("hang@0:9:api"))
    process = await k2.start("stream", "BTCUSDT")
    assert process.stderr is not None

    async with asyncio.timeout(PATIENCE_SECONDS):
        line = await process.stderr.readline()
    process.send_signal(signal.SIGTERM)

    assert b"Waiting for the exchange to tell its symbols" in line
    assert (await k2.end(process)).status == 0


async def test_the_last_minutes_come_first_and_are_marked(k2: K2) -> None:
    market = Market(seed=1, rate=1000)
    async with SimulatedExchange(market, history_seconds=4) as exchange:
        k2.use(exchange)
        ended = await k2("stream", "BTCUSDT", "--since", "3s", "-n", "1500")
    records = [json.loads(line) for line in ended.lines]
    ids = [record["source_sequence"] for record in records]
    marks = [record["vendor_data"].get("source") for record in records]
    assert ended.status == 0
    assert ids == list(range(ids[0], ids[0] + 1500))
    assert marks == ["backfill"] * marks.count("backfill") + [None] * marks.count(None)
    assert marks.count("backfill") > 500
    assert marks.count(None) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--replay", "x.jsonl"), "--since is for live trades"),
        (("-o", "x.jsonl"), "--since and --output do not go together"),
        (("--demo", "--since", "2d"), "'2d' is more than 24h"),
    ],
)
async def test_since_refuses_what_it_cannot_do(
    k2: K2, options: tuple[str, ...], message: str
) -> None:
    ended = await k2("stream", "--since", "1m", *options)
    assert ended.status == 2
    assert message in ended.err
