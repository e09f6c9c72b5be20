"""The few REST addresses that Binance clients ask before they stream."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson
from websockets.datastructures import Headers
from websockets.http11 import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k2cli.simulator.api import Answer, Api

_METHODS: Mapping[str, str] = {
    "/api/v3/ping": "ping",
    "/api/v3/time": "time",
    "/api/v3/exchangeInfo": "exchangeInfo",
    "/api/v3/trades": "trades.recent",
    "/api/v3/historicalTrades": "trades.historical",
    "/api/v3/aggTrades": "trades.aggregate",
    "/api/v3/ticker/24hr": "ticker.24hr",
}
_NUMBERS = frozenset({"limit", "fromId", "startTime", "endTime"})
_REASONS: Mapping[int, str] = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    418: "I'm a teapot",
    429: "Too Many Requests",
    451: "Unavailable For Legal Reasons",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def http_response(
    status: int,
    body: bytes,
    *,
    content_type: str = "application/json;charset=UTF-8",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make an HTTP response, after which the connection ends.

    Args:
        status: E.g. 451.
        body: The whole body.
        content_type: Its media type.
        headers: More headers.
    """
    fields = Headers()
    fields["Connection"] = "close"
    fields["Content-Length"] = str(len(body))
    fields["Content-Type"] = content_type
    for name, value in (headers or {}).items():
        fields[name] = value
    return Response(status, _REASONS.get(status, "Error"), fields, body)


def error_response(
    status: int, code: int, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Make an HTTP response with Binance's error body."""
    body = orjson.dumps({"code": code, "msg": message})
    return http_response(status, body, headers=headers)


def is_rest(path: str) -> bool:
    """Whether a path is one of the REST addresses."""
    return path in _METHODS


def answer_rest(api: Api, path: str, query: str, headers: Headers) -> Response:
    """Answer a REST request.

    Args:
        api: Has the answers.
        path: One of the REST addresses.
        query: What follows the question mark, still percent-encoded.
        headers: Of the request.
    """
    unit = headers.get("X-MBX-TIME-UNIT", "MILLISECOND").upper()
    answer = api.answer(
        _METHODS[path], _values(query), 1 if unit == "MICROSECOND" else 1_000
    )
    used = str(api.rate_limits()[0]["count"])
    extra = {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}
    extra |= retry_after(answer, api.now_us())
    if "error" in answer.body:
        error = answer.body["error"]
        return error_response(answer.status, error["code"], error["msg"], extra)
    return http_response(200, orjson.dumps(answer.body["result"]), headers=extra)


def retry_after(answer: Answer, now_us: int) -> dict[str, str]:
    """Give the header that says when to come again, if there is such a time."""
    if answer.retry_at_us is None:
        return {}
    seconds = math.ceil(max(0, answer.retry_at_us - now_us) / 1e6)
    return {"Retry-After": str(seconds)}


def _values(query: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in _NUMBERS and text.isascii() and text.isdigit():
            values[name] = int(text[:20])
        elif text in ("true", "false"):
            values[name] = text == "true"
        elif text.startswith("["):
            try:
                values[name] = orjson.loads(text)
            except orjson.JSONDecodeError:
                values[name] = text
        else:
            values[name] = text
    return values
