"""Control messages of the stream connections, their answers, and junk."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from k2cli.simulator.streams import StreamSession

# Control messages

_stream_syntax = re.compile(r"![^\s@]+(@[^\s@]+)*|[^\s@!]+@\S+")
# What Binance documents and is not made up here.
_unserved = re.compile(
    r".*@(miniTicker|ticker|ticker_\w+|kline_\S+|depth\S*|avgPrice|blockTrade"
    r"|referencePrice)(@\S+)?|!(ticker|miniTicker|bookTicker)\S*"
)

_METHODS = (
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "LIST_SUBSCRIPTIONS",
    "SET_PROPERTY",
    "GET_PROPERTY",
)


class _Refusal(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.error = {"code": code, "msg": message}


def _invalid(why: str) -> _Refusal:
    return _Refusal(2, f"Invalid request: {why}")


def is_unserved(stream: str) -> bool:
    """Return whether Binance has such streams, and this exchange has not."""
    return _unserved.fullmatch(stream) is not None


def unserved_text(stream: str) -> str:
    """Return what a client is told that asks for such a stream."""
    return (
        f"{stream[:80]} is not served here: the simulated exchange has @trade, "
        "@aggTrade and @bookTicker"
    )


def answer_control(text: bytes, session: StreamSession, *, flat: bool) -> bytes:
    """Do what a control message asks for, and return the reply.

    Errors have ``code`` and ``msg`` at the top of the reply if ``flat``.
    """
    reply: dict[str, Any] = {}
    try:
        request = _Request(text)
        method = request.method()
        reply["id"] = request.id()
        result = request.act(method, session)
    except _Refusal as refusal:
        error = refusal.error if flat else {"error": refusal.error}
        return orjson.dumps({**error, **reply})
    return orjson.dumps({"result": result, **reply})


class _Request:
    """A control message, checked step by step in Binance's order."""

    def __init__(self, text: bytes) -> None:
        self._size = len(text)
        try:
            values = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            where = f"line {error.lineno} column {error.colno}"
            raise _Refusal(3, f"Invalid JSON: expected value at {where}") from None
        self._values = values if isinstance(values, dict) else {}

    def _value(self, field: str) -> Any:
        if field not in self._values:
            raise _invalid(f"missing field `{field}` at line 1 column {self._size}")
        return self._values[field]

    def method(self) -> str:
        method = self._value("method")
        if method not in _METHODS:
            expected = ", ".join(f"`{name}`" for name in _METHODS)
            raise _invalid(
                f"unknown variant {method}, expected one of {expected} "
                "at line 1 column 28"
            )
        return str(method)

    def id(self) -> int | str | None:
        value = self._values.get("id", False)
        if value is None or (type(value) is int and -(2**63) <= value < 2**63):
            return value
        # Whether "alphanumeric" has room for the dashes of a UUID is not known; the
        # clients that send one are served.
        if isinstance(value, str) and re.fullmatch(r"[0-9A-Za-z_-]{1,36}", value):
            return value
        raise _invalid("request ID must be an unsigned integer")

    def act(self, method: str, session: StreamSession) -> list[str] | bool | None:
        match method:
            case "SUBSCRIBE":
                if not session.subscribe(self._streams()):
                    raise _Refusal(4, "Too many subscriptions")
            case "UNSUBSCRIBE":
                session.unsubscribe(self._streams())
            case "LIST_SUBSCRIPTIONS":
                if self._values.get("params"):
                    raise _invalid("too many parameters")
                return list(session.streams)
            case "SET_PROPERTY":
                parameters = self._combined_property(most=2)
                if len(parameters) < 2 or not isinstance(parameters[1], bool):
                    raise _Refusal(1, "Invalid value type: expected Boolean")
                session.combined = parameters[1]
            case "GET_PROPERTY":
                self._combined_property(most=1)
                return session.combined
        return None

    def _parameters(self) -> list[Any]:
        value = self._value("params")
        if not isinstance(value, list):
            raise _invalid("invalid type: expected a sequence")
        return value

    def _streams(self) -> list[str]:
        names = self._parameters()
        for name in names:
            if not isinstance(name, str) or not _stream_syntax.fullmatch(name):
                raise _invalid("invalid stream")
            if is_unserved(name):
                raise _invalid(unserved_text(name))
        return names

    def _combined_property(self, most: int) -> list[Any]:
        parameters = self._parameters()
        if len(parameters) > most:
            raise _invalid("too many parameters")
        if not parameters or not isinstance(parameters[0], str):
            raise _invalid("property name must be a string")
        if parameters[0] != "combined":
            raise _Refusal(0, "Unknown property")
        return parameters


# Junk: what no exchange should send, for clients that must survive it

_TIME = '"E":1723161601438'
_JUNK: tuple[str | bytes, ...] = (
    # Broken off in the middle.
    '{"stream":"btcusdt@trade","data":{"e":"trade","E":17231616',
    # Wrong types everywhere.
    '{"e":"trade","E":"soon","s":7,"t":"12x","p":61685.99,"q":null,"T":[],"m":"no"}',
    # An event type that nobody has documented.
    f'{{"e":"auction",{_TIME},"s":"BTCUSDT","x":{{"y":[1,2,3]}}}}',
    # A trade of a stream that nobody has subscribed to.
    f'{{"e":"trade",{_TIME},"s":"JUNKUSDT","t":1,"p":"1","q":"1","T":1,"m":true}}',
    # Binary.
    b"\x00\x01\xff\xfe{}\x1b[2J",
    # Numbers that no machine word holds.
    (
        f'{{"e":"trade",{_TIME},"s":"BTCUSDT","t":{"1234567890" * 3},"p":"1e999999",'
        f'"q":"-0","T":{"9" * 20},"m":false}}'
    ),
    # What would clear a screen and set a title, if it were printed.
    (
        f'{{"e":"\\u001b[2J\\u001b]0;owned\\u0007",{_TIME},"s":"BTC\\u202eUSDT\\u0000",'
        '"t":2,"p":"\\u001b[31m1.00","q":"1","T":1,"m":true}'
    ),
    # The same without the courtesy of JSON.
    "\x1b[2J\x1b[Hupstream connect error\x07",
    # A trade without half of its fields.
    f'{{"e":"trade",{_TIME},"s":"BTCUSDT"}}',
    "[]",
    "null",
    # A reply to a request that nobody has made.
    '{"result":null,"id":987654321}',
    "",
)


def junk_message(number: int, *, combined: bool) -> str | bytes:
    """Return a malformed message by its number: a text, or bytes for a binary one."""
    message = _JUNK[number % len(_JUNK)]
    if isinstance(message, bytes) or not combined or not message.startswith('{"e":'):
        return message
    stream = "junkusdt@trade" if "JUNKUSDT" in message else "btcusdt@trade"
    return f'{{"stream":"{stream}","data":{message}}}'
