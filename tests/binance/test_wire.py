from __future__ import annotations

import pytest

from k2cli.binance.wire import decode_message, excerpt, is_reply, unwrap
from k2cli.errors import MalformedMessage


def test_an_event_of_a_combined_connection_is_taken_out_of_its_wrapping() -> None:
    frame = b'{"stream":"btcusdt@trade","data":{"e":"trade","t":1}}'
    assert decode_message(frame) == {"e": "trade", "t": 1}


def test_a_raw_event_and_a_reply_are_given_as_received() -> None:
    assert decode_message('{"e":"trade","t":1}') == {"e": "trade", "t": 1}
    assert decode_message(b'{"result":null,"id":1}') == {"result": None, "id": 1}


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"\xff\xfe",
        b'{"stream":"btcusdt@trade"}',
        b'{"stream":"btcusdt@trade","data":[]}',
        b'{"stream":"btcusdt@trade","data":null}',
        b"[" * 100_000,
        b"[" * 1000 + b"]" * 1000,
    ],
    ids=lambda frame: repr(frame[:20]),
)
def test_what_is_no_json_object_is_malformed_and_said_in_a_line(frame: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode_message(frame)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


def test_an_object_that_is_no_message_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        unwrap(["e", "trade"])


def test_an_excerpt_is_short_and_printable_whatever_the_message_is() -> None:
    nested: list[object] = []
    for _ in range(5000):
        nested = [nested]
    for message in (nested, {"e": "\x1b[2J" * 999}, None, "\u202e"):
        assert excerpt(message).isprintable()
        assert len(excerpt(message)) < 2000


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"result": None, "id": 1}, True),
        ({"error": {"code": 2, "msg": "Invalid request"}, "id": 1}, True),
        ({"code": 2, "msg": "Invalid request"}, True),
        ({"e": "trade", "t": 1}, False),
        ({"e": "error", "code": 2}, False),
        ({}, False),
    ],
)
def test_replies_are_told_from_events(
    message: dict[str, object], expected: bool
) -> None:
    assert is_reply(message) is expected
