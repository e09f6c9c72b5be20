"""The fast path gives what the plain path gives, and leaves to it what is unusual."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha1
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from k2cli.binance.burst import Burst, cut, pieces_of
from k2cli.binance.convert import trade_from_event
from k2cli.binance.frames import StreamConnection
from k2cli.binance.leg import Leg
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from k2cli import BinanceWebSocketClient
from k2cli.binance.message_ids import MessageIds
from k2cli.binance.wire import TRADE, decode_frame
from k2cli.errors import MalformedMessage

PAIRS = {
    "BTCUSDT": ("BTC", "USDT"),
    "ETHBTC": ("ETH", "BTC"),
    "1INCHUSDT": ("1INCH", "USDT"),
    "币安人生USDT": ("币安人生", "USDT"),
}
RECEIVED_US = 1723161601439000
Messages = list[str]


def event(**changes: Any) -> dict[str, Any]:
    plain = {
        "e": "trade",
        "E": 1723161601438123,
        "s": "BTCUSDT",
        "t": 3735693016,
        "p": "61685.99000000",
        "q": "0.00017000",
        "T": 1723161601437111,
        "m": True,
        "M": True,
    }
    return plain | changes


def combined(data: dict[str, Any], **changes: Any) -> bytes:
    stream = f"{str(data.get('s', 'x')).lower()}@trade"
    layout: dict[str, Any] = {"separators": (",", ":"), "ensure_ascii": False}
    layout |= changes
    return json.dumps({"stream": stream, "data": data}, **layout).encode()


def frame(payload: bytes, opcode: int = 0x81, size_bytes: int | None = None) -> bytes:
    """Put a payload into a frame of a server, its length in as few bytes as asked."""
    size = len(payload)
    if size_bytes is None:
        size_bytes = 0 if size < 126 else 2 if size < 65536 else 8
    if not size_bytes:
        return bytes([opcode, size]) + payload
    code = {2: 126, 8: 127}[size_bytes]
    return bytes([opcode, code]) + size.to_bytes(size_bytes, "big") + payload


def blank(line: str) -> str:
    """Take the random id out of a record, having seen that it is one."""
    line, count = re.subn(r'^{"message_id":"[0-9a-f-]{36}"', "{", line)
    assert count == 1
    return line


def outcome(message: bytes) -> str:
    """Say what the plain path makes of a message."""
    try:
        data = decode_frame(message)
        if data.get("e") != TRADE:
            return "other"
        trade = trade_from_event(data, PAIRS, RECEIVED_US, "BINANCE")
    except MalformedMessage:
        return "malformed"
    return blank(trade.to_json_line().decode())


def accept(key: str) -> str:
    magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return b64encode(sha1((key + magic).encode()).digest()).decode()  # noqa: S324


def response_to(key: str) -> bytes:
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Accept: {accept(key)}\r\n\r\n"
    ).encode()


def by_the_package(data: bytes) -> Messages:
    """Receive with the package alone, message by message, by the plain path."""
    protocol = ClientProtocol(parse_uri("ws://h/"))
    request = protocol.connect()
    protocol.send_request(request)
    protocol.receive_data(response_to(request.headers["Sec-WebSocket-Key"]) + data)
    parts: list[bytes] = []
    outcomes = []
    for received in protocol.events_received()[1:]:
        assert isinstance(received, Frame)
        if received.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            parts.append(bytes(received.data))
            if received.fin:
                outcomes.append(outcome(b"".join(parts)))
                parts = []
    return [*outcomes, protocol.state.name]


class Wire(asyncio.Transport):
    """The other end of a connection, as far as it is needed."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def write(self, data: Any) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None: ...

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None: ...


async def by_k2(chunks: list[bytes], *, fast: bool = True) -> tuple[Messages, int]:
    """Receive with a stream connection; also tell how much went the fast way."""
    messages: Messages = []
    bursts: list[Burst] = []

    def take(burst: Burst) -> None:
        bursts.append(burst)
        lines = burst.lines(0, len(burst), None)
        messages.extend(blank(line) for line in lines)
        # Both ways out of a burst say the same, ids included.
        records = [burst.trade(i).to_json_line().decode() for i in range(len(burst))]
        assert records == lines

    client = BinanceWebSocketClient(
        list(PAIRS),
        lambda trade: messages.append(blank(trade.to_json_line().decode())),
        "ws://h/stream",
        on_burst=take,
    )
    client.reception._assets = dict(PAIRS)

    def on_frame(message: bytes, received_us: int, leg: Leg) -> Any:
        before = len(messages), client.reception.malformed_messages
        kind = client.reception.frame(message, received_us, leg)
        if len(messages) == before[0]:
            bad = client.reception.malformed_messages > before[1]
            messages.append("malformed" if bad else "other")
        return kind

    protocol = ClientProtocol(parse_uri("ws://h/"))
    connection = StreamConnection(protocol, ping_interval=None, close_timeout=0.01)
    connection.connection_made(Wire())
    request = protocol.connect()
    protocol.send_request(request)
    response = response_to(request.headers["Sec-WebSocket-Key"])
    # The response and the first frames may come with one read.
    connection.data_received(response + chunks[0])
    leg = Leg(
        connection,
        client.reception.text if fast else lambda text, position, *_: (position, None),
        on_frame,
        ping_seconds=60,
        waits=False,
    )
    for chunk in chunks[1:]:
        connection.data_received(chunk)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    messages.append(protocol.state.name)
    connection.protocol.state = State.CLOSED
    connection.connection_lost_waiter.set_result(None)
    leg.over()
    await leg.ended
    return messages, sum(map(len, bursts))


@contextmanager
def stopped_clock() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("k2cli.binance.frames.now_us", lambda: RECEIVED_US)
        yield


def assert_same(chunks: list[bytes], *, fast_trades: int | None = None) -> None:
    with stopped_clock():
        messages, fast = asyncio.run(by_k2(chunks))
        assert messages == by_the_package(b"".join(chunks))
        if fast_trades is not None:
            assert fast == fast_trades
        assert asyncio.run(by_k2(chunks, fast=False)) == (messages, 0)


PLAIN = [frame(combined(event(t=i, s=s))) for i, s in enumerate(PAIRS, 1) if s < "a"]
# What the wire may carry beside plain trades, or in their place.
UNUSUAL: dict[str, bytes] = {
    "milliseconds": frame(combined(event(E=1723161601438, T=1723161601437))),
    "without M": frame(combined({k: v for k, v in event().items() if k != "M"})),
    "without E": frame(combined({k: v for k, v in event().items() if k != "E"})),
    "another order": frame(combined(dict(reversed(event().items())))),
    "spaces": frame(combined(event(), separators=(", ", ": "))),
    "escapes": frame(combined(event()).replace(b"BTCUSDT", rb"BTC\u0055SDT")),
    "order ids": frame(combined(event(b=1, a=2))),
    "a key twice": frame(combined(event()).replace(b'"t":', b'"t":7,"t":')),
    "raw": frame(json.dumps(event(), separators=(",", ":")).encode()),
    "no ASCII": frame(combined(event(s="币安人生USDT"))),
    "not asked for": frame(combined(event(s="XRPUSDT"))),
    "id 0": frame(combined(event(t=0))),
    "a large id": frame(combined(event(t=2**63))),
    "an id with a sign": frame(combined(event(t=-1))),
    "a leading zero": frame(combined(event()).replace(b'"t":', b'"t":0')),
    "an exponent": frame(combined(event(p="1e5"))),
    "no decimals": frame(combined(event(p="61685"))),
    "many digits": frame(combined(event(p="1" * 31 + ".0"))),
    "a number": frame(combined(event(p=61685.99))),
    "flags as texts": frame(combined(event(m="true"))),
    "another event": frame(combined(event(e="aggTrade"))),
    "a shutdown": frame(b'{"stream":"!serverShutdown","data":{"e":"serverShutdown"}}'),
    "a reply": frame(b'{"result":null,"id":1}'),
    "no JSON": frame(combined(event())[:-1] + b" junk that is long enough"),
    "no UTF-8": frame(combined(event()).replace(b"BTC", b"\xff\xfe\xfd")),
    "empty": frame(b""),
    "binary": frame(combined(event()), 0x82),
    "a long length": frame(combined(event()), size_bytes=8),
    "fragments": frame(combined(event())[:50], 0x01)
    + frame(b"ping", 0x89)
    + frame(combined(event())[50:60], 0x00)
    + frame(combined(event())[60:], 0x80),
    "a ping": frame(b"now", 0x89),
    "a pong": frame(b"then", 0x8A),
    "frames within a frame": frame(PLAIN[0][4:] + PLAIN[1]),
    "a header within a frame": frame(b"\x81\x7e\x00\xac" + PLAIN[0][4:]),
    "trailing spaces": frame(combined(event()) + b"   "),
}
# After these, nothing counts any more.
LAST: dict[str, bytes] = {
    "a close": frame(b"\x03\xe8bye", 0x88),
    "a masked frame": b"\x81\x85\x01\x02\x03\x04hello",
    "a reserved bit": frame(combined(event()), 0xC1),
    "an unknown opcode": frame(combined(event()), 0x83),
    "too short a length": PLAIN[0][:3] + bytes([PLAIN[0][3] - 1]) + PLAIN[0][4:],
    "a stray continuation": frame(combined(event()), 0x80),
    "text within a message": frame(combined(event())[:50], 0x01) + PLAIN[0],
    "a long ping": frame(b"x" * 126, 0x89),
}


def test_plain_trades_go_the_fast_way() -> None:
    assert len(PLAIN) == 3
    assert_same([b"".join(PLAIN)], fast_trades=3)
    assert_same([b"", *PLAIN], fast_trades=3)


@pytest.mark.parametrize("name", sorted(UNUSUAL | LAST))
def test_what_is_unusual_comes_in_its_place_by_the_plain_way(name: str) -> None:
    unusual = (UNUSUAL | LAST)[name]
    after = len(PLAIN) if name in UNUSUAL else 0
    data = b"".join([*PLAIN, unusual, *PLAIN])
    # A longer form of the length is the package's business, the frame being usual.
    assert_same([data], fast_trades=len(PLAIN) + after)
    assert_same([unusual, *PLAIN], fast_trades=after)
    assert_same([unusual * 3])


@pytest.mark.parametrize("name", ["plain", "a ping", "fragments", "spaces", "a close"])
def test_a_read_may_end_anywhere(name: str) -> None:
    unusual = {"plain": b"", **UNUSUAL, **LAST}[name]
    data = PLAIN[0] + unusual + PLAIN[1]
    for end in range(len(data) + 1):
        assert_same([data[:end], data[end:]])


def test_every_byte_may_come_alone() -> None:
    data = b"".join([*PLAIN, *UNUSUAL.values(), *PLAIN])
    assert_same([data[i : i + 1] for i in range(len(data))])


DIGITS = st.from_regex(r"[0-9]{1,12}(\.[0-9]{1,12})?", fullmatch=True)
TIMES = st.one_of(
    st.integers(10**15, 10**16 - 1), st.integers(10**12, 10**13), st.integers(0, 2**64)
)
EVENTS = st.fixed_dictionaries(
    {
        "e": st.sampled_from(["trade", "trade", "trade", "kline"]),
        "E": TIMES,
        "s": st.sampled_from([*PAIRS, "XRPUSDT", "a\u2028b", '"\\']),
        "t": st.integers(-1, 2**64),
        "p": DIGITS,
        "q": DIGITS,
        "T": TIMES,
        "m": st.booleans(),
        "M": st.booleans(),
    },
    optional={"x": st.one_of(st.none(), st.text(), st.lists(st.integers()))},
)
LAYOUTS = st.fixed_dictionaries(
    {},
    optional={
        "ensure_ascii": st.booleans(),
        "separators": st.sampled_from([(",", ":"), (", ", ": "), (",", ": ")]),
        "sort_keys": st.booleans(),
    },
)
USUAL_EVENTS = st.builds(
    event,
    s=st.sampled_from(sorted(PAIRS)),
    t=st.integers(1, 10**18 - 1),
    p=st.from_regex(r"[0-9]{1,12}\.[0-9]{1,12}", fullmatch=True),
    q=st.from_regex(r"[0-9]{1,12}\.[0-9]{1,12}", fullmatch=True),
    E=st.integers(10**15, 10**16 - 1),
    T=st.integers(10**15, 10**16 - 1),
    m=st.booleans(),
    M=st.booleans(),
)
FRAMES = st.one_of(
    st.builds(combined, USUAL_EVENTS).map(frame),
    st.builds(lambda data, layout: frame(combined(data, **layout)), EVENTS, LAYOUTS),
    st.sampled_from(sorted(UNUSUAL.values())),
    st.binary(max_size=150).map(frame),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FRAMES, max_size=12), st.data())
def test_any_frames_read_in_any_pieces_give_what_the_package_gives(
    frames: list[bytes], data: st.DataObject
) -> None:
    wire = b"".join(frames)
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=8).map(sorted))
    ends = [*cuts, len(wire)]
    assert_same([wire[a:b] for a, b in zip([0, *ends], ends, strict=False)])


@given(st.binary(max_size=400), st.integers(0, 3))
def test_any_bytes_give_what_the_package_gives(junk: bytes, plain: int) -> None:
    assert_same([b"".join(PLAIN[:plain]) + junk])


def burst_of(count: int, exchange: str = "BINANCE") -> Burst:
    text = b"".join(
        frame(combined(event(t=100 + i, m=i % 2 == 0, M=i % 3 > 0)))
        for i in range(count)
    ).decode("latin-1")
    pieces = pieces_of(PAIRS, exchange)
    trades, end = cut(text, 0, pieces)
    assert (len(trades), end) == (count, len(text))
    return Burst(trades, RECEIVED_US, pieces, MessageIds())


def test_lines_are_numbered_from_where_they_are_asked_for() -> None:
    burst = burst_of(5)
    numbered = [
        burst.trade(i).to_json_line(platform_sequence=40 + i).decode()
        for i in range(1, 4)
    ]
    assert burst.lines(1, 4, 41) == numbered


def test_a_display_is_told_the_facts_of_the_records() -> None:
    burst = burst_of(5)
    records = [burst.trade(i) for i in range(1, 4)]
    assert list(burst.facts(1, 4)) == [
        (t.symbol, t.price, t.quantity, t.side, t.source_sequence, t.timestamp, False)
        for t in records
    ]


def test_made_up_trades_say_so_on_the_fast_way_too() -> None:
    burst = burst_of(1, "SIM")
    assert burst.exchange == "SIM"
    record = json.loads(burst.lines(0, 1, None)[0])
    assert (record["exchange"], record["trade_id"]) == ("SIM", "SIM-100")


def test_symbols_that_need_escapes_are_left_to_the_plain_way() -> None:
    pairs = {**PAIRS, 'A"B': ("A", "B"), "ABC": ("A\x7f", "BC"), "DE": ("D", "é")}
    assert set(pieces_of(pairs, "BINANCE")) == {"BTCUSDT", "ETHBTC", "1INCHUSDT"}


def test_trades_up_to_a_strange_symbol_are_taken() -> None:
    text = "".join(f.decode("latin-1") for f in PLAIN)
    known: Callable[..., dict[str, Any]] = dict.fromkeys
    trades, end = cut(text, 0, known(["BTCUSDT", "1INCHUSDT"]))
    assert [trade[2] for trade in trades] == ["BTCUSDT"]
    assert end == len(PLAIN[0])
    assert cut(text, end, known(["BTCUSDT"])) == ([], end)
