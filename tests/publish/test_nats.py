"""Publishing to NATS JetStream."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import K2, LONG, SYMBOLS, publish_through_kills, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600 if LONG else 120),
    # The client leaves a warning or two to the end of its loop.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture
def stream(nats_server: Any) -> str:
    """A server that holds nothing, and the name of a stream to be."""

    async def empty(jetstream: Any) -> None:
        for info in await jetstream.streams_info():
            await jetstream.delete_stream(info.config.name)

    ask(nats_server, empty)
    return f"T{uuid.uuid4().hex[:8]}"


def ask(server: Any, question: Callable[[Any], Any]) -> Any:
    """Ask the server as its own client does."""
    import nats

    async def asked() -> Any:
        connection = await nats.connect(f"nats://{server.address}")
        try:
            return await question(connection.jetstream())
        finally:
            await connection.close()

    return asyncio.run(asked())


def size(server: Any, name: str) -> int:
    import nats.errors
    import nats.js.errors

    async def messages(jetstream: Any) -> int:
        return int((await jetstream.stream_info(name)).state.messages)

    try:
        return int(ask(server, messages))
    except (nats.js.errors.NotFoundError, nats.errors.Error, OSError):
        return 0


def test_every_trade_once_on_its_subject(k2: K2, nats_server: Any, stream: str) -> None:
    url = f"nats://{nats_server.address}/{stream}"
    k2.append(3_000)
    status, _, err = k2.end(k2.publish(url))
    assert status == 4
    assert f"there is no stream {stream}. Make it: add --create" in err
    status, _, err = k2.end(k2.publish(url, "--create"))
    assert (status, err.splitlines()[-1]) == (
        0,
        (
            f"published: 3,000 trades of 3 symbols to {url}, nothing missing; "
            "acknowledged to number 3,000"
        ),
    )
    k2.append(30)
    status, _, err = k2.end(k2.publish(url))
    assert "published: 30 trades of 3 symbols" in err
    report = k2.proven(url)
    assert (report["verdict"], report["trades"]) == ("whole", 3_030)

    async def last(jetstream: Any) -> list[Any]:
        return [
            await jetstream.get_last_msg(stream, f"trades.BINANCE.{symbol}")
            for symbol in SYMBOLS
        ]

    found = ask(nats_server, last)
    made = k2.capture.read_bytes().splitlines()
    assert {message.data for message in found} == set(made[-3:])
    assert found[0].headers["Nats-Msg-Id"] == "BINANCE-BTCUSDT-1010"


def test_killed_publishers_and_a_killed_server_lose_and_double_nothing(
    k2: K2, nats_server: Any, stream: str
) -> None:
    url = f"nats://{nats_server.address}/{stream}"
    total = publish_through_kills(
        *(k2, url, nats_server, lambda: size(nats_server, stream)),
        100_000 if LONG else 8_000,
    )
    assert size(nats_server, stream) == total


def test_a_second_publisher_is_refused(k2: K2, nats_server: Any, stream: str) -> None:
    url = f"nats://{nats_server.address}/{stream}"
    k2.append(300)
    first = k2.publish(url, "--follow", "--create")
    until(lambda: size(nats_server, stream) == 300, while_alive=first)
    k2.append(1)
    until(lambda: size(nats_server, stream) == 301, while_alive=first)
    # Stopped, it does not see what a second one does meanwhile.
    first.send_signal(signal.SIGSTOP)
    k2.append(3)
    assert k2.end(k2.publish(url))[0] == 0
    first.send_signal(signal.SIGCONT)
    status, _, err = k2.end(first)
    assert status == 4, err
    assert "another publisher of these trades writes" in err.splitlines()[-1]
    report = k2.proven(url)
    assert (report["verdict"], report["trades"]) == ("whole", 304)


def test_two_captures_share_a_stream(k2: K2, nats_server: Any, stream: str) -> None:
    """Their sequences cannot be foretold then, which must not matter."""
    url = f"nats://{nats_server.address}/{stream}"
    k2.append(2_000)
    other = k2.folder / "other.jsonl"
    other.write_bytes(
        k2.capture.read_bytes()
        .replace(b"BTCUSDT", b"BTCEUR")
        .replace(b"ETHUSDT", b"ETHEUR")
        .replace(b"SOLUSDT", b"SOLEUR")
        .replace(b"4000-8000", b"4000-9000")
    )
    assert k2.end(k2.publish(url, "--create"))[0] == 0
    k2.append(1_000)
    both = [
        k2.publish(url),
        k2.start("publish", str(other), "--to", url),
    ]
    for process in both:
        status, _, err = k2.end(process)
        assert status == 0, err
    report = k2.proven(url)
    assert (report["verdict"], report["trades"]) == ("whole", 5_000)


@pytest.mark.parametrize("is_back", [False, True])
def test_a_stream_that_vanishes_ends_it(
    k2: K2, nats_server: Any, stream: str, is_back: bool
) -> None:
    """Also one that is there again: what was in it is not."""
    url = f"nats://{nats_server.address}/{stream}"
    k2.append(50)
    process = k2.publish(url, "--follow", "--create")
    until(lambda: size(nats_server, stream) == 50, while_alive=process)

    async def delete(jetstream: Any) -> None:
        await jetstream.delete_stream(stream)
        if is_back:
            await jetstream.add_stream(name=stream, subjects=["trades.>"])

    ask(nats_server, delete)
    k2.append(50)
    status, _, err = k2.end(process)
    assert status == 4, err
    assert ("Was the stream deleted?" if is_back else "there is no stream") in err


def test_a_stream_that_is_full_refuses(k2: K2, nats_server: Any, stream: str) -> None:
    async def make(jetstream: Any) -> None:
        from nats.js.api import DiscardPolicy

        await jetstream.add_stream(
            name=stream,
            subjects=["trades.>"],
            max_msgs=100,
            discard=DiscardPolicy.NEW,
        )

    ask(nats_server, make)
    url = f"nats://{nats_server.address}/{stream}"
    k2.append(300)
    status, _, err = k2.end(k2.publish(url))
    assert status == 4
    assert "refuses: maximum messages exceeded" in err
    report = k2.proven(url)
    assert (report["verdict"], report["trades"]) == ("whole", 100)

    async def delete(jetstream: Any) -> None:
        await jetstream.purge_stream(stream, seq=41)

    ask(nats_server, delete)
    status, out, _ = k2.run("verify", url)
    assert status == 0
    assert f"{url}: the log has deleted its beginning, 40 offsets" in out
