"""Control messages on a stream connection: SUBSCRIBE and the rest, and their errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_stream_syntax = re.compile(r"![^\s@]+(@[^\s@]+)*|[^\s@!]+@\S+")
_METHODS = (
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "LIST_SUBSCRIPTIONS",
    "SET_PROPERTY",
    "GET_PROPERTY",
)


class Subscriber(Protocol):
    """What control messages act on."""

    combined: bool

    @property
    def streams(self) -> Iterable[str]:
        """The subscriptions."""

    def subscribe(self, streams: list[str]) -> bool:
        """Add subscriptions; ``False``, and no change, if that makes too many."""

    def unsubscribe(self, streams: list[str]) -> None:
        """Take subscriptions away."""


class _Refusal(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def answer_control(text: bytes, subscriber: Subscriber, *, flat: bool) -> bytes:
    """Do what a control message asks for.

    Args:
        text: The message as received.
        subscriber: The connection's subscriptions and properties; changed in place.
        flat: Whether errors have ``code`` and ``msg`` at the top of the reply.

    Returns:
        The reply, which is never wrapped.
    """
    reply: dict[str, Any] = {}
    try:
        request = _parsed(text)
        method = _method(request, len(text))
        reply["id"] = _request_id(request)
        result = _ACTIONS[method](request, subscriber, len(text))
    except _Refusal as refusal:
        error = {"code": refusal.code, "msg": refusal.message}
        return orjson.dumps({**error, **reply} if flat else {"error": error, **reply})
    return orjson.dumps({"result": result, **reply})


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        request = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _Refusal(
            3,
            f"Invalid JSON: expected value at line {error.lineno} column {error.colno}",
        ) from None
    if not isinstance(request, dict):
        raise _missing("method", len(text))
    return request


def _missing(field: str, size: int) -> _Refusal:
    return _Refusal(
        2, f"Invalid request: missing field `{field}` at line 1 column {size}"
    )


def _method(request: dict[str, Any], size: int) -> str:
    if "method" not in request:
        raise _missing("method", size)
    method = request["method"]
    if method not in _METHODS:
        expected = ", ".join(f"`{name}`" for name in _METHODS)
        raise _Refusal(
            2,
            f"Invalid request: unknown variant {method}, expected one of {expected} "
            "at line 1 column 28",
        )
    return str(method)


def _request_id(request: dict[str, Any]) -> int | str | None:
    value = request.get("id", False)
    if value is None:
        return None
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    # Whether "alphanumeric" has room for the dashes of a UUID is not known; the
    # clients that send one are served.
    if isinstance(value, str) and re.fullmatch(r"[0-9A-Za-z_-]{1,36}", value):
        return value
    raise _Refusal(2, "Invalid request: request ID must be an unsigned integer")


def _parameters(request: dict[str, Any], size: int) -> list[Any]:
    if "params" not in request:
        raise _missing("params", size)
    parameters = request["params"]
    if not isinstance(parameters, list):
        raise _Refusal(2, "Invalid request: invalid type: expected a sequence")
    return parameters


def _streams(request: dict[str, Any], size: int) -> list[str]:
    names = _parameters(request, size)
    for name in names:
        if not isinstance(name, str) or not _stream_syntax.fullmatch(name):
            raise _Refusal(2, "Invalid request: invalid stream")
    return names


def _subscribe(request: dict[str, Any], subscriber: Subscriber, size: int) -> None:
    if not subscriber.subscribe(_streams(request, size)):
        raise _Refusal(4, "Too many subscriptions")


def _unsubscribe(request: dict[str, Any], subscriber: Subscriber, size: int) -> None:
    subscriber.unsubscribe(_streams(request, size))


def _list(request: dict[str, Any], subscriber: Subscriber, _: int) -> list[str]:
    if request.get("params"):
        raise _Refusal(2, "Invalid request: too many parameters")
    return list(subscriber.streams)


def _property(parameters: list[Any]) -> None:
    if not parameters or not isinstance(parameters[0], str):
        raise _Refusal(2, "Invalid request: property name must be a string")
    if parameters[0] != "combined":
        raise _Refusal(0, "Unknown property")


def _set_property(request: dict[str, Any], subscriber: Subscriber, size: int) -> None:
    parameters = _parameters(request, size)
    if len(parameters) > 2:
        raise _Refusal(2, "Invalid request: too many parameters")
    _property(parameters)
    if len(parameters) < 2 or not isinstance(parameters[1], bool):
        raise _Refusal(1, "Invalid value type: expected Boolean")
    subscriber.combined = parameters[1]


def _get_property(request: dict[str, Any], subscriber: Subscriber, size: int) -> bool:
    parameters = _parameters(request, size)
    if len(parameters) > 1:
        raise _Refusal(2, "Invalid request: too many parameters")
    _property(parameters)
    return subscriber.combined


_ACTIONS: Mapping[str, Callable[[dict[str, Any], Subscriber, int], Any]] = {
    "SUBSCRIBE": _subscribe,
    "UNSUBSCRIBE": _unsubscribe,
    "LIST_SUBSCRIPTIONS": _list,
    "SET_PROPERTY": _set_property,
    "GET_PROPERTY": _get_property,
}
