"""Publishing to Apache Kafka."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from k2cli.errors import LogRefused

from .conftest import K2, LONG, SYMBOLS, lines, publish_through_kills, running, until

# The broker takes its time to start.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 if LONG else 120)]


def topic() -> str:
    return f"trades-{uuid.uuid4().hex[:8]}"


def consumer(address: str, **options: Any) -> Any:
    import confluent_kafka

    return confluent_kafka.Consumer(
        {
            "bootstrap.servers": address,
            "group.id": uuid.uuid4().hex,
            "log_level": 0,
            **options,
        }
    )


class Watched:
    """How many messages a topic holds, committed or not."""

    def __init__(self, address: str, name: str) -> None:
        self._consumer = consumer(address)
        self._name = name

    def size(self) -> int:
        import confluent_kafka

        try:
            known = self._consumer.list_topics(timeout=5).topics
            return sum(
                self._consumer.get_watermark_offsets(
                    confluent_kafka.TopicPartition(self._name, number), 5
                )[1]
                for number in (
                    known[self._name].partitions if self._name in known else ()
                )
            )
        except confluent_kafka.KafkaException:
            return 0  # the broker is not there at the moment


def messages(address: str, name: str) -> list[Any]:
    """All messages that were committed, by a consumer that is not k2's."""
    import confluent_kafka

    reader = consumer(
        address,
        **{"isolation.level": "read_committed", "enable.partition.eof": True},
    )
    partitions = set(reader.list_topics(name, 10).topics[name].partitions)
    reader.assign(
        [
            confluent_kafka.TopicPartition(name, one, confluent_kafka.OFFSET_BEGINNING)
            for one in partitions
        ]
    )
    found = []
    while partitions:
        message = reader.poll(30)
        assert message is not None
        if message.error() is not None:
            partitions.discard(message.partition())
        else:
            found.append(message)
    reader.close()
    return found


def test_every_trade_once_with_key_and_time(k2: K2, kafka_address: str) -> None:
    name = topic()
    url = f"kafka://{kafka_address}/{name}"
    k2.append(3_000)
    status, _, err = k2.end(k2.publish(url, "--create", "--partitions", "4"))
    assert (status, err.splitlines()[-1]) == (
        0,
        (
            f"published: 3,000 trades of 3 symbols to {url}, nothing missing; "
            "acknowledged to number 3,000"
        ),
    )
    assert k2.proven(url)["trades"] == 3_000
    found = messages(kafka_address, name)
    assert sorted(
        (message.value() + b"\n" for message in found),
        key=lambda line: orjson.loads(line)["platform_sequence"],
    ) == k2.capture.read_bytes().splitlines(keepends=True)
    for message in found:
        trade = orjson.loads(message.value())
        assert message.key().decode() == trade["symbol"]
        assert message.timestamp()[1] == trade["timestamp"] // 1000
    # Where Java's clients put these keys, of four partitions.
    places = {message.key().decode(): message.partition() for message in found}
    assert places == {key: murmur2(key.encode()) % 4 for key in SYMBOLS}

    k2.append(500)
    assert k2.end(k2.publish(url))[0] == 0
    report = k2.proven(url)
    assert (report["verdict"], report["trades"]) == ("whole", 3_500)


def murmur2(data: bytes) -> int:
    """Kafka's hash of a key, as its Java client has it, without the sign."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    value = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        value = (value * m & mask) ^ k
    if rest := data[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * m & mask
    value = (value ^ value >> 13) * m & mask
    return (value ^ value >> 15) & 0x7FFFFFFF


def test_a_missing_topic_is_named_with_the_command(k2: K2, kafka_address: str) -> None:
    k2.append(1)
    status, _, err = k2.end(k2.publish(f"kafka://{kafka_address}/nowhere"))
    assert status == 4
    assert "there is no topic nowhere. Make it: add --create" in err
    assert k2.run("verify", f"kafka://{kafka_address}/nowhere")[0] == 4


def test_killed_publishers_and_a_killed_broker_lose_and_double_nothing(
    k2: K2, own_kafka: Any
) -> None:
    name = topic()
    url = f"kafka://{own_kafka.address}/{name}"
    watched = Watched(own_kafka.address, name)
    total = publish_through_kills(
        *(k2, url, own_kafka, watched.size),
        *(100_000 if LONG else 10_000, "--partitions", "4"),
    )
    assert len(messages(own_kafka.address, name)) == total


def test_a_second_publisher_shuts_the_first_one_out(k2: K2, kafka_address: str) -> None:
    name = topic()
    url = f"kafka://{kafka_address}/{name}"
    k2.append(100)
    watched = Watched(kafka_address, name)
    first = k2.publish(url, "--follow", "--create", "--partitions", "2")
    until(lambda: watched.size() >= 100, while_alive=first)
    assert k2.end(k2.publish(url))[0] == 0
    k2.append(100)
    status, _, err = k2.end(first)
    assert status == 4, err
    assert "another publisher of this capture has taken over" in err.splitlines()[-1]
    assert k2.end(k2.publish(url))[0] == 0
    report = k2.proven(url)
    assert (report["verdict"], report["trades"]) == ("whole", 200)


def test_a_publisher_that_stood_still_is_told_from_one_that_was_replaced() -> None:
    """A broker ends a transaction after a minute, as it does for another publisher."""
    confluent_kafka = pytest.importorskip("confluent_kafka")
    from k2cli.publish.destination import target_of
    from k2cli.publish.kafka import _Errors

    errors = _Errors(target_of("kafka://h:1/t"), confluent_kafka)
    fenced = confluent_kafka.KafkaException(
        confluent_kafka.KafkaError(confluent_kafka.KafkaError._FENCED)
    )
    errors.transaction_seconds = time.time()
    with pytest.raises(LogRefused, match="another publisher of this capture has"):
        raise errors._of(fenced)
    errors.transaction_seconds -= 90
    with pytest.raises(LogRefused, match="stood still for 90 s"):
        raise errors._of(fenced)


def make_topic(address: str, name: str, **config: str) -> Any:
    """Make a topic of one partition; return who administers it."""
    from confluent_kafka.admin import AdminClient, NewTopic

    administrator = AdminClient({"bootstrap.servers": address})
    settings = {key.replace("_", "."): value for key, value in config.items()}
    topic = NewTopic(name, num_partitions=1, replication_factor=1, config=settings)
    administrator.create_topics([topic])[name].result(30)
    return administrator


def test_a_log_that_deletes_is_named_before_and_after(
    k2: K2, kafka_address: str
) -> None:
    from confluent_kafka import TopicPartition

    name = topic()
    url = f"kafka://{kafka_address}/{name}"
    administrator = make_topic(kafka_address, name, retention_ms="600000")
    k2.append(300)
    status, _, err = k2.end(k2.publish(url))
    assert status == 0, err
    warnings = [line for line in err.splitlines() if "retention.ms" in line]
    assert len(warnings) == 1
    assert "deletes what is older than 0:10:00, and the next trade is 1:" in warnings[0]

    gone = TopicPartition(name, 0, 100)
    administrator.delete_records([gone])[gone].result(30)
    status, out, _ = k2.run("verify", url)
    assert status == 0
    assert f"{url}[0]: the log has deleted its beginning, 100 offsets" in out
    report = k2.proven(url)
    assert (report["trades"], report["files"][0]["deleted"]) == (200, 100)


def test_a_topic_that_takes_no_such_message_refuses(k2: K2, kafka_address: str) -> None:
    name = topic()
    url = f"kafka://{kafka_address}/{name}"
    make_topic(kafka_address, name, max_message_bytes="100")
    k2.append(10)
    status, _, err = k2.end(k2.publish(url))
    assert status == 4, err
    assert "refuses: " in err
    assert "Message size too large" in err
    assert k2.proven(url)["trades"] == 0


@pytest.mark.skipif(not LONG, reason="takes long: set K2_TEST_LONG")
def test_a_topic_that_vanishes_ends_it(k2: K2, kafka_address: str) -> None:
    from confluent_kafka.admin import AdminClient

    name = topic()
    url = f"kafka://{kafka_address}/{name}"
    k2.append(50)
    watched = Watched(kafka_address, name)
    process = k2.publish(url, "--follow", "--create", "--partitions", "1")
    until(lambda: watched.size() >= 50, while_alive=process)
    administrator = AdminClient({"bootstrap.servers": kafka_address})
    administrator.delete_topics([name])[name].result(30)
    k2.append(50)
    status, _, err = k2.end(process)
    assert status == 4, err
    # Which of both it sees first is chance.
    assert f"there is no topic {name}" in err or "Was the topic deleted?" in err


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that is soon full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "none", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S607


@pytest.mark.skipif(not LONG, reason="takes long: set K2_TEST_LONG")
def test_a_broker_whose_disk_is_full_loses_nothing(
    k2: K2, tiny_disk: Path, tmp_path: Path
) -> None:
    """Kafka ends itself then; it goes on when there is room, and so does k2."""
    folder = tmp_path / "broker"
    folder.mkdir()
    k2.append(150_000)
    name = topic()
    for broker in running("Kafka", folder, data=tiny_disk):
        url = f"kafka://{broker.address}/{name}"
        options = ("--create", "--partitions", "1", "--retry-for", "10s")
        status, _, err = k2.end(k2.publish(f"{url}?compression.type=none", *options))
        assert status == 3, err
        assert "Nothing is lost" in err
        broker.end(signal.SIGKILL)
        size = ["mount", "-o", "remount,size=400m", str(tiny_disk)]
        subprocess.run(size, check=True)
        broker.start()
        status, _, err = k2.end(k2.publish(url))
        assert status == 0, err
        report = k2.proven(url)
        assert (report["verdict"], report["trades"]) == ("whole", 150_000)


TRADE_V2 = {
    "type": "record",
    "name": "TradeV2",
    "namespace": "com.k2.marketdata",
    "fields": [
        *({"name": name, "type": "string"} for name in ("message_id", "trade_id")),
        *({"name": name, "type": "string"} for name in ("symbol", "exchange")),
        {
            "name": "asset_class",
            "type": {
                "type": "enum",
                "name": "AssetClass",
                "symbols": ["equities", "crypto", "futures", "options"],
            },
        },
        {
            "name": "timestamp",
            "type": {"type": "long", "logicalType": "timestamp-micros"},
        },
        *(
            {
                "name": name,
                "type": {
                    "type": "bytes",
                    "logicalType": "decimal",
                    "precision": 18,
                    "scale": 8,
                },
            }
            for name in ("price", "quantity")
        ),
        {"name": "currency", "type": "string"},
        {
            "name": "side",
            "type": {
                "type": "enum",
                "name": "TradeSide",
                "symbols": ["BUY", "SELL", "SELL_SHORT", "UNKNOWN"],
            },
        },
        {"name": "trade_conditions", "type": {"type": "array", "items": "string"}},
        {"name": "source_sequence", "type": ["null", "long"], "default": None},
        {
            "name": "ingestion_timestamp",
            "type": {"type": "long", "logicalType": "timestamp-micros"},
        },
        {"name": "platform_sequence", "type": ["null", "long"], "default": None},
        {
            "name": "vendor_data",
            "type": ["null", {"type": "map", "values": "string"}],
            "default": None,
        },
    ],
}


@contextmanager
def registry() -> Iterator[str]:
    """A schema registry that has one schema; it refuses to be told anything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers = {
                "/subjects/market.crypto.trades-value/versions/latest": {
                    "id": 77,
                    "schema": json.dumps(TRADE_V2),
                },
                "/schemas/ids/77": {"schema": json.dumps(TRADE_V2)},
            }
            answer = answers.get(self.path)
            self.send_response(200 if answer else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answer or {}).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_avro_is_that_of_the_registry_and_refuses_what_does_not_fit(
    k2: K2, kafka_address: str
) -> None:
    fastavro = pytest.importorskip("fastavro", reason="needs k2cli[kafka]")
    import io

    name = topic()
    url = f"kafka://{kafka_address}/{name}"
    made = lines(9)
    made[4] = made[4].replace(b"0.02000000", b"10000000000.5")
    k2.capture.write_bytes(b"".join(made))
    with registry() as address:
        options = ("--format", "avro", "--registry", address, "--create")
        status, _, err = k2.end(k2.publish(url, *options))
        assert status == 4
        assert f"has no subjects/{name}-value" in err
        subject = ("--subject", "market.crypto.trades-value")
        status, _, err = k2.end(k2.publish(url, *options, *subject))
        assert status == 6
        assert "quantity 10000000000.5 does not fit decimal(18,8)" in err
        assert err.splitlines()[-1].startswith("published: 8 trades of 3 symbols")
        assert "nothing missing, 1 refused" in err.splitlines()[-1]
        status, out, _ = k2.run("verify", "--json", url, "--registry", address)
    assert (status, orjson.loads(out)["missing"]) == (6, 1)
    schema = fastavro.parse_schema(TRADE_V2)
    found = [message.value() for message in messages(kafka_address, name)]
    assert {value[:5] for value in found} == {b"\0\0\0\0\x4d"}
    trades = [
        fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
        for value in found
    ]
    assert sorted(trade["platform_sequence"] for trade in trades) == [
        *(1, 2, 3, 4, 6, 7, 8, 9)
    ]
    assert {str(trade["price"]) for trade in trades} == {"61837.63000000"}


def test_a_rotating_capture_is_followed(k2: K2, kafka_address: str) -> None:
    name = topic()
    url = f"kafka://{kafka_address}/{name}"
    watched = Watched(kafka_address, name)
    k2.append(300)
    process = k2.publish(url, "--follow", "--create", "--partitions", "2")
    until(lambda: watched.size() >= 300, while_alive=process)
    for first in (1, 501, 701):
        k2.append(200)
        k2.capture.rename(k2.folder / f"t.{first:012}.jsonl")
    k2.append(50)
    # Transactions have end marks, which count as well.
    until(lambda: watched.size() >= 950, while_alive=process)
    process.send_signal(signal.SIGINT)
    assert k2.end(process)[0] == 0
    assert k2.end(k2.publish(url))[0] == 0
    report = k2.proven(url)
    assert (report["verdict"], report["trades"]) == ("whole", 950)
