"""Recordings: both kinds of recordings, exactly, and clear words for what is none."""

from __future__ import annotations

import asyncio
import gzip
import socket
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from k2cli.errors import SettingsError
from k2cli.simulator import Recording, SimulatedExchange, SymbolInfo
from k2cli.simulator.recording import MAX_LINE_BYTES

RECORDING = (
    Path(__file__).parents[3]
    / "shared"
    / "data"
    / "binance_spot_trades_20240808.txt.gz"
)


def record(**changes: Any) -> dict[str, Any]:
    vendor = {
        "is_buyer_maker": "true",
        "is_best_match": "true",
        "event_type": "trade",
        "event_time": "1723161601438456",
        "trade_time": "1723161601437123",
        "base_asset": "BTC",
        "quote_asset": "USDT",
        **changes.pop("vendor", {}),
    }
    return {
        "message_id": "2b1c8a5e-3b1d-4c8e-9a55-0d7e2a1f7b11",
        "trade_id": "BINANCE-7",
        "symbol": "BTCUSDT",
        "exchange": "BINANCE",
        "asset_class": "crypto",
        "timestamp": 1723161601437123,
        "price": "61685.99000000",
        "quantity": "0.00017000",
        "currency": "USDT",
        "side": "SELL",
        "trade_conditions": [],
        "source_sequence": 7,
        "ingestion_timestamp": 1723161601500000,
        "platform_sequence": None,
        "vendor_data": {k: v for k, v in vendor.items() if v is not None},
        **changes,
    }


def lines(*values: dict[str, Any] | str) -> bytes:
    return b"".join(
        (value.encode() if isinstance(value, str) else orjson.dumps(value)) + b"\n"
        for value in values
    )


FRAME = (
    '1723161600000000123 {"stream":"btcusdt@trade","data":{"e":"trade",'
    '"E":1723161601438,"s":"BTCUSDT","t":9,"p":"61685.99000000","q":"0.00017000",'
    '"T":1723161601437,"m":true,"M":true}}'
)
RAW_FRAME = (
    '1723161600500000123 {"e":"trade","E":1723161601438456,"s":"ETHFDUSD","t":5,'
    '"p":"2683.8","q":"12","T":1723161601437123,"m":false}'
)


def test_a_capture_is_played_digit_for_digit(tmp_path: Path) -> None:
    path = tmp_path / "trades.jsonl"
    path.write_bytes(
        lines(
            record(),
            record(
                symbol="X2YZ",
                source_sequence=8,
                price="0.1",
                quantity="12345678901234.5",
                ingestion_timestamp=1723161602500000,
                vendor={
                    "base_asset": "X2Y",
                    "quote_asset": "Z",
                    "event_time": "1723161601438",
                    "is_best_match": None,
                    "is_buyer_maker": "false",
                },
            ),
            record(source_sequence=6, vendor={"event_time": None}),
        )
    )
    recording = Recording(path, speed=2)
    first, second, third = recording.timeline(0)
    assert [due for due, _ in (first, second, third)] == [0, 500_000, 0]
    assert first[1].price == "61685.99000000"
    assert first[1].event_time_us == 1723161601438456
    assert first[1].buyer_is_maker is True
    assert second[1].quantity == "12345678901234.5"
    assert second[1].event_time_us == 1723161601438000
    assert second[1].best_match is None
    assert third[1].event_time_us == third[1].trade_time_us == 1723161601437123
    assert recording.symbols["X2YZ"].base == "X2Y"
    assert recording.symbols["BTCUSDT"] == SymbolInfo(
        "BTCUSDT", "BTC", "USDT", "TRADING", "0.01000000", "0.00001000"
    )
    assert (recording.trade_count, recording.exchange_name, recording.damage) == (
        3,
        "BINANCE",
        None,
    )


def test_a_capture_of_the_made_up_market_stays_made_up(tmp_path: Path) -> None:
    path = tmp_path / "trades.jsonl"
    path.write_bytes(lines(record(exchange="SIM")))
    assert Recording(path).exchange_name == "SIM"


def test_frames_are_played_and_what_is_no_trade_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "frames.txt"
    reply = '1723161600000000200 {"result":null,"id":1}'
    path.write_bytes(lines(FRAME, reply, "", RAW_FRAME))
    recording = Recording(path)
    (_, first), (due_us, second) = recording.timeline(0)
    assert first.trade_time_us == 1723161601437000
    assert second.trade_time_us == 1723161601437123
    assert second.best_match is None
    assert due_us == 500_000
    assert recording.skipped_count == 1
    assert recording.symbols["ETHFDUSD"].quote == "FDUSD"


@pytest.mark.parametrize("name", ["trades.jsonl.gz", "trades.jsonl"])
def test_gzip_is_known_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(lines(record())))
    assert Recording(path).trade_count == 1


def test_a_torn_last_line_is_left_out_and_said_so(tmp_path: Path) -> None:
    path = tmp_path / "trades.jsonl"
    path.write_bytes(lines(record()) + orjson.dumps(record())[:-20])
    recording = Recording(path)
    assert len(list(recording.timeline(0))) == recording.trade_count == 1
    assert recording.damage == "line 2 is torn and was left out"


def test_a_torn_gzip_file_is_played_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "trades.jsonl.gz"
    many = [record(source_sequence=number) for number in range(2_000)]
    path.write_bytes(gzip.compress(lines(*many))[:-2_000])
    recording = Recording(path)
    assert 0 < recording.trade_count < 2_000
    assert recording.damage is not None
    assert recording.damage.startswith(
        "the compressed data end before they are complete"
    )
    assert len(list(recording.timeline(0))) == recording.trade_count


def test_zstandard_is_read_as_k2_writes_it(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    many = [record(source_sequence=number) for number in range(2_000)]
    packed = zstandard.ZstdCompressor().compress(lines(*many))
    path = tmp_path / "trades.jsonl.zst"
    path.write_bytes(packed)
    assert Recording(path).damage is None
    assert Recording(path).trade_count == 2_000
    path.write_bytes(packed + packed[: len(packed) // 2])
    torn = Recording(path)
    assert torn.damage is not None
    assert 2_000 <= torn.trade_count < 4_000
    assert len(list(torn.timeline(0))) == torn.trade_count


def test_a_line_without_an_end_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "endless.gz"
    path.write_bytes(gzip.compress(lines(record()) + b"x" * (MAX_LINE_BYTES * 8)))
    with pytest.raises(SettingsError, match="line 2: longer than 1048576 bytes"):
        Recording(path)


async def test_a_damaged_end_is_said_once_when_all_was_played(
    tmp_path: Path, listen: Any, ids: Any
) -> None:
    path = tmp_path / "trades.jsonl"
    path.write_bytes(lines(record(), record(source_sequence=8)) + b'{"broken')
    with capture_logs() as logs:
        async with SimulatedExchange(Recording(path, 0)) as exchange:
            client = await listen(exchange, "BTCUSDT")
            assert await ids(client, 2) == [7, 8]
            await exchange.finished.wait()
    assert logs == [
        {
            "log_level": "warning",
            "event": "The recording is not complete",
            "file": str(path),
            "reason": "line 3 is torn and was left out",
        }
    ]


@pytest.mark.parametrize(
    "bad",
    [
        "hello",
        "{}",
        '{"vendor_data":{}}',
        "1723161600000000123 nonsense",
        "123 [1]",
        FRAME.replace('"61685.99000000"', "61685.99"),
        FRAME.replace("61685.99000000", "6e4"),
        FRAME.replace('"t":9', '"t":"9"'),
        orjson.dumps(record(vendor={"is_buyer_maker": "yes"})).decode(),
        orjson.dumps(record(source_sequence=None)).decode(),
        orjson.dumps(record(price="")).decode(),
        orjson.dumps(record(exchange="A\r\nB: C")).decode(),
    ],
)
def test_a_line_that_is_no_recording_is_named(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "trades.jsonl"
    path.write_bytes(lines(record(), bad, record()))
    with pytest.raises(SettingsError, match=r"trades\.jsonl, line 2: "):
        Recording(path)


def test_what_is_no_recording_at_all_is_refused_in_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    broken = tmp_path / "broken.gz"
    broken.write_bytes(b"\x1f\x8bnot gzip at all, whatever it says")
    silent = tmp_path / "silent"
    silent.write_bytes(b'1 {"result":null,"id":1}\n')
    packed = tmp_path / "packed.zst"
    packed.write_bytes(b"\x28\xb5\x2f\xfd0123")
    for path in (tmp_path / "none", tmp_path, empty, broken, silent, packed):
        with pytest.raises(SettingsError) as caught:
            Recording(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("speed", [-1.0, float("nan"), float("inf")])
def test_an_impossible_speed_is_refused(tmp_path: Path, speed: float) -> None:
    with pytest.raises(SettingsError, match="speed"):
        Recording(tmp_path / "none", speed)


@pytest.mark.skipif(not RECORDING.exists(), reason="the recording is not here")
async def test_the_real_recording_arrives_as_it_was_received(
    listen: Any, all_of: Any
) -> None:
    with gzip.open(RECORDING) as file:
        recorded = [line.split(b" ", 1)[1].strip() for line in file]
    recording = Recording(RECORDING, speed=0)
    assert recording.trade_count == len(recorded) == 15_863
    async with SimulatedExchange(recording) as exchange:
        client = await listen(exchange, "BTCUSDT", "ETHUSDT")
        received = [message.encode() for message in await all_of(exchange, client)]
        assert client.response.headers["X-K2-Exchange"] == "BINANCE"
        assert client.close_code == 1000
        assert received == recorded
        assert exchange.published_count == len(recorded)
        btc = exchange.log.ids("BTCUSDT")
        assert btc == list(range(btc[0], btc[0] + len(btc)))


@pytest.mark.slow
async def test_a_slow_reader_of_a_recording_loses_nothing(
    tmp_path: Path, listen: Any, ids: Any
) -> None:
    path = tmp_path / "frames.txt"
    count = 60_000
    path.write_text(
        "".join(
            FRAME.replace('"t":9', f'"t":{number}') + "\n" for number in range(count)
        )
    )
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    async with SimulatedExchange(Recording(path, 0)) as exchange:
        narrow.connect(("127.0.0.1", exchange.port))
        client = await listen(exchange, "BTCUSDT", max_queue=4, sock=narrow)
        # The reader does not read; the recording must wait for it rather than be over.
        connection = exchange.stream_connections[0]
        turns = 0
        while connection.readable.is_set():
            await asyncio.sleep(0)
            turns += 1
            assert turns < 100_000
        published_count = exchange.published_count
        for _ in range(20):
            await asyncio.sleep(0)
        assert exchange.published_count == published_count < count
        assert await ids(client, count) == list(range(count))
        await exchange.finished.wait()


async def test_a_recording_begins_with_the_first_listener(
    tmp_path: Path, listen: Any, ids: Any
) -> None:
    path = tmp_path / "trades.jsonl"
    path.write_bytes(lines(record(), record(source_sequence=8)))
    async with SimulatedExchange(Recording(path, 0)) as exchange:
        other = await listen(exchange, "XRPUSDT")
        await (await other.ping())
        assert exchange.published_count == 0
        client = await listen(exchange, "BTCUSDT")
        assert await ids(client, 2) == [7, 8]
        await exchange.finished.wait()
