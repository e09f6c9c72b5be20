"""The fast path gives what the plain path gives, and leaves to it what is unusual."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from k2cli.binance.connection import Connection
from k2cli.binance.decoder import MessageDecoder, Skipped
from k2cli.binance.fast_path import (
    SYMBOLS,
    TRADE_IDS,
    cut_plain_trades,
    skim_plain_trades,
)
from k2cli.binance.pacing import ReadPacer
from k2cli.binance.transport import StreamConnection
from k2cli.trade import TradeBatch

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


def said(decoded: TradeBatch | Skipped) -> Messages:
    """Say what a decoder has made of something, without what is random."""
    if isinstance(decoded, Skipped):
        return ["malformed" if decoded is Skipped.MALFORMED else "other"]
    # Both ways out of a batch say the same, ids included.
    lines = decoded.json_lines()
    assert lines == [trade.to_json_line().decode() for trade in decoded.trades()]
    return [blank(line) for line in lines]


def outcome(message: bytes) -> str:
    """Say what the plain path makes of a message."""
    decoded = MessageDecoder(PAIRS).decode_message(message, RECEIVED_US, "BINANCE")
    return said(decoded)[0]


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

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None: ...


class Decoder(MessageDecoder):
    """A decoder that keeps what it has made, and may be without the fast path."""

    def __init__(self, *, fast: bool) -> None:
        super().__init__(PAIRS)
        self.messages: Messages = []
        self.fast_trades = 0
        self._fast = fast

    def decode_frames(
        self, text: str, position: int, received_us: int, exchange: str
    ) -> tuple[TradeBatch | None, int]:
        if not self._fast:
            return None, position
        batch, end = super().decode_frames(text, position, received_us, exchange)
        if batch is not None:
            assert batch.is_plain
            self.fast_trades += len(batch)
            self.messages += said(batch)
        return batch, end

    def decode_message(
        self, message: bytes, received_us: int, exchange: str
    ) -> TradeBatch | Skipped:
        decoded = super().decode_message(message, received_us, exchange)
        self.messages += said(decoded)
        return decoded


async def by_k2(chunks: list[bytes], *, fast: bool = True) -> tuple[Messages, int]:
    """Receive with a stream connection; also tell how much went the fast way."""
    decoder = Decoder(fast=fast)
    handed_on: Messages = []

    def take(batch: TradeBatch) -> None:
        handed_on.extend(said(batch))

    protocol = ClientProtocol(parse_uri("ws://h/"))
    transport = StreamConnection(protocol)
    transport.connection_made(Wire())
    opening = asyncio.create_task(transport.handshake())
    await asyncio.sleep(0)
    # The response and the first frames may come with one read.
    transport.data_received(response_to(protocol.key) + chunks[0])
    await opening
    connection = Connection(
        transport, decoder, take, pacer=ReadPacer(), ping_seconds=60, waits=False
    )
    for chunk in chunks[1:]:
        transport.data_received(chunk)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    state = protocol.state.name
    transport.connection_lost(None)
    await connection.ended
    assert handed_on == [m for m in decoder.messages if m.startswith("{")]
    return [*decoder.messages, state], decoder.fast_trades


@contextmanager
def stopped_clock() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("k2cli.binance.transport.now_us", lambda: RECEIVED_US)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "a ping",
        "fragments",
        "spaces",
        "a close",
        "a reserved bit",
        "a long ping",
    ],
)
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


def batch_of(count: int, exchange: str = "BINANCE") -> TradeBatch:
    text = b"".join(
        frame(combined(event(t=100 + i, m=i % 2 == 0, M=i % 3 > 0)))
        for i in range(count)
    ).decode("latin-1")
    batch, end = MessageDecoder(PAIRS).decode_frames(text, 0, RECEIVED_US, exchange)
    assert batch is not None
    assert (len(batch), end) == (count, len(text))
    return batch


def test_lines_are_numbered_from_where_they_are_asked_for() -> None:
    batch = batch_of(5).part(1, 4)
    numbered = [
        trade.to_json_line(platform_sequence=41 + i).decode()
        for i, trade in enumerate(batch.trades())
    ]
    assert batch.json_lines(41) == numbered


def test_made_up_trades_say_so_on_the_fast_way_too() -> None:
    batch = batch_of(1, "SIM")
    assert batch.exchange == "SIM"
    record = json.loads(batch.json_lines()[0])
    assert (record["exchange"], record["trade_id"]) == ("SIM", "SIM-100")


def test_one_decoder_may_serve_several_exchanges() -> None:
    decoder = MessageDecoder(PAIRS)
    text = PLAIN[0].decode("latin-1")
    for exchange in ("SIM", "BINANCE", "SIM"):
        batch, _ = decoder.decode_frames(text, 0, RECEIVED_US, exchange)
        assert batch is not None
        assert batch.exchange == exchange


@pytest.mark.parametrize("pair", [("A", "B\x7f"), ("é", "DE"), ('A"', "B")])
def test_symbols_that_need_escapes_are_left_to_the_plain_way(
    pair: tuple[str, str],
) -> None:
    decoder = MessageDecoder({**PAIRS, "BTCUSDT": pair})
    text = PLAIN[0].decode("latin-1")
    assert decoder.decode_frames(text, 0, RECEIVED_US, "BINANCE") == (None, 0)
    batch = decoder.decode_message(PLAIN[0][4:], RECEIVED_US, "BINANCE")
    assert isinstance(batch, TradeBatch)
    (line,) = batch.json_lines()
    assert json.loads(line)["vendor_data"]["base_asset"] == pair[0]


def test_trades_up_to_a_strange_symbol_are_taken() -> None:
    text = "".join(f.decode("latin-1") for f in PLAIN)
    columns, end = cut_plain_trades(text, 0, frozenset(["BTCUSDT", "1INCHUSDT"]))
    assert columns is not None
    assert columns[1] == ["BTCUSDT"]
    assert end == len(PLAIN[0])
    assert cut_plain_trades(text, end, frozenset(["BTCUSDT"])) == (None, end)


def test_a_long_read_is_taken_in_parts() -> None:
    text = "".join(f.decode("latin-1") for f in PLAIN) * 1000
    position, counts = 0, []
    while position < len(text):
        columns, end = cut_plain_trades(text, position, frozenset(PAIRS))
        assert columns is not None
        assert end - position <= 2**16
        counts.append(len(columns[0]))
        assert {len(column) for column in columns} == {counts[-1]}
        position = end
    assert sum(counts) == 3000


def test_skimming_finds_what_cutting_finds() -> None:
    text = "".join(f.decode("latin-1") for f in PLAIN) * 1000
    position = 0
    while position < len(text):
        columns, end = cut_plain_trades(text, position, frozenset(PAIRS))
        assert columns is not None
        symbols, trade_ids, lengths = skim_plain_trades(text, position)
        assert (symbols, trade_ids) == (columns[SYMBOLS], columns[TRADE_IDS])
        assert position + sum(lengths) == end
        position = end


def test_skimming_stops_at_what_is_no_plain_trade() -> None:
    plain, junk = (
        PLAIN[0].decode("latin-1"),
        frame(b'{"result":null}').decode("latin-1"),
    )
    assert skim_plain_trades(plain + junk, 0)[2] == [len(plain)]
    assert skim_plain_trades(plain + plain[:-1], 0)[2] == [len(plain)]
    assert skim_plain_trades(junk, 0)[2] == []
    # One frame that says it is another one, too, passes for neither.
    liar = plain[:3] + chr(ord(plain[3]) + 1) + plain[4:]
    assert skim_plain_trades(plain + liar + plain, 0)[2] == []
