"""Which address leads where: streams, WebSocket API, REST, or a refusal."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson
from websockets.datastructures import Headers
from websockets.http11 import Response

from k2cli.simulator.api import Api, ApiSession
from k2cli.simulator.api_methods import rate_limit
from k2cli.simulator.events import Form
from k2cli.simulator.messages import is_unserved, unserved_text
from k2cli.simulator.streams import Broadcast, StreamSession

if TYPE_CHECKING:
    from collections.abc import Mapping

    from websockets.http11 import Request

    from k2cli.simulator.connection import Connection
    from k2cli.simulator.limits import Rules

Service = Literal["streams", "api"]
SERVICES: tuple[Service, ...] = ("streams", "api")

_ATTEMPTS_WINDOW_SECONDS = 300.0
_UNITS = ("", "MILLISECOND", "millisecond", "MICROSECOND", "microsecond")
_REST_METHODS: Mapping[str, str] = {
    "/api/v3/ping": "ping",
    "/api/v3/time": "time",
    "/api/v3/exchangeInfo": "exchangeInfo",
    "/api/v3/trades": "trades.recent",
    "/api/v3/historicalTrades": "trades.historical",
    "/api/v3/aggTrades": "trades.aggregate",
    "/api/v3/ticker/24hr": "ticker.24hr",
}
_REST_NUMBERS = frozenset({"limit", "fromId", "startTime", "endTime"})
REFUSAL_STATUSES = (403, 404, 418, 429, 451, 500, 503, 504)
"""The HTTP statuses that a handshake can be refused with."""
_RESTRICTED = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in "
    "https://www.binance.com/en/terms. Please contact customer service if you believe "
    "you received this message in error."
)
_FIREWALL_PAGE = b"""<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01 Transitional//EN">
<HTML><HEAD><TITLE>ERROR: The request could not be satisfied</TITLE></HEAD>
<BODY><H1>403 ERROR</H1><H2>The request could not be satisfied.</H2>
Request blocked.</BODY></HTML>
"""


@dataclass(slots=True)
class Refusal:
    """Handshakes that are refused: so many, or until a time of the event loop.

    Without a status they are never answered.
    """

    status: int | None
    services: tuple[Service, ...]
    remaining: int | None
    until_seconds: float


class Router:
    """Answers handshakes and REST requests."""

    def __init__(self, broadcast: Broadcast, api: Api, rules: Rules) -> None:
        self.connections: dict[Connection, None] = {}
        self.attempts = 0
        self.refusals: list[Refusal] = []
        self._broadcast = broadcast
        self._api = api
        self._rules = rules
        self._attempted_at: deque[float] = deque()

    def connected(self, connection: Connection) -> bool:
        """Add a TCP connection; ``False`` if it may not stay."""
        self.connections[connection] = None
        return len(self.connections) <= self._rules.connections

    def disconnected(self, connection: Connection) -> None:
        """Remove a TCP connection."""
        self.connections.pop(connection, None)

    def recovered(self) -> None:
        """Note that a stalled connection works again."""
        self._broadcast.notify()

    def answer(self, request: Request) -> Response | StreamSession | ApiSession | None:
        """Answer a request with HTTP, with a session, or (``None``) never."""
        raw_path, _, query = request.path.partition("?")
        path = unquote(raw_path)
        if path == "/stream/":
            path = "/stream"
        if not all(map(_is_local, request.headers.get_all("Origin"))):
            # A page of somewhere else, in a browser on this machine.
            return _http(403, b"Requests of other sites are refused.")
        if path in _REST_METHODS:
            return self._rest(_REST_METHODS[path], query, request.headers)
        service: Service = "api" if path == "/ws-api/v3" else "streams"
        is_raw = path == "/ws" or path.startswith("/ws/")
        if service == "streams" and path != "/stream" and not is_raw:
            return _http(404, b"<html><body>404 Not Found</body></html>")
        self.attempts += 1
        refusal = self._refusal(service)
        if refusal is not None:
            return None if refusal.status is None else _refused(refusal.status)
        limited = self._over_limit()
        if limited is not None:
            return limited
        values = {
            unquote(name): unquote(value)
            for name, _, value in (part.partition("=") for part in query.split("&"))
        }
        unit = values.get("timeUnit", "")
        if unit not in _UNITS:
            return _http_error(
                400,
                -1194,
                "Invalid value for time unit; expected either MICROSECOND or "
                "MILLISECOND.",
            )
        if service == "api":
            return ApiSession(
                self._api,
                microseconds=unit.upper() == "MICROSECOND",
                with_rate_limits=values.get("returnRateLimits") != "false",
            )
        form = Form.MICROSECONDS if unit.upper() == "MICROSECOND" else Form(0)
        names = path.removeprefix("/ws").removeprefix("/")
        if not is_raw:
            form |= Form.COMBINED
            names = values.get("streams", "")
        streams = [name for name in names.split("/") if name]
        unserved = next((name for name in streams if is_unserved(name)), None)
        if unserved is not None:
            return _http_error(400, -1100, unserved_text(unserved))
        return StreamSession(self._broadcast, self._rules, streams, form)

    def _refusal(self, service: Service) -> Refusal | None:
        now = asyncio.get_running_loop().time()
        self.refusals = [
            each
            for each in self.refusals
            if each.remaining != 0 and each.until_seconds > now
        ]
        for refusal in self.refusals:
            if service in refusal.services:
                if refusal.remaining is not None:
                    refusal.remaining -= 1
                return refusal
        return None

    def _over_limit(self) -> Response | None:
        now_us = self._api.now_us()
        banned = self._api.weight.ban(now_us)
        if banned is not None:
            return _http_error(
                418,
                -1003,
                "Way too much request weight used; IP banned.",
                _retry_after(banned.retry_at_us, now_us),
            )
        limit = self._rules.connection_attempts
        if limit is None:
            return None
        now = asyncio.get_running_loop().time()
        times = self._attempted_at
        while times and now - times[0] > _ATTEMPTS_WINDOW_SECONDS:
            times.popleft()
        if len(times) >= limit:
            return _refused(429, int(times[0] + _ATTEMPTS_WINDOW_SECONDS - now) + 1)
        times.append(now)
        return None

    def _rest(self, method: str, query: str, headers: Headers) -> Response:
        unit = headers.get("X-MBX-TIME-UNIT", "MILLISECOND").upper()
        answer = self._api.answer(
            method, _rest_parameters(query), 1 if unit == "MICROSECOND" else 1_000
        )
        used = str(self._api.used_weight())
        extra = {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}
        extra |= _retry_after(answer.retry_at_us, self._api.now_us())
        if "error" in answer.body:
            error = answer.body["error"]
            return _http_error(answer.status, error["code"], error["msg"], extra)
        result = answer.body["result"]
        if method == "exchangeInfo":
            # Connections are counted by the WebSocket API only, plain requests here.
            result["rateLimits"][-1] = rate_limit("RAW_REQUESTS", 61_000, number=5)
        return _http(200, orjson.dumps(result), extra)


def _is_local(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname
    except ValueError:
        return False
    return host in ("localhost", "127.0.0.1", "::1")


def _rest_parameters(query: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        values[name] = text
        if name in _REST_NUMBERS and text.isascii() and text.isdigit():
            values[name] = int(text[:20])
        elif text in ("true", "false"):
            values[name] = text == "true"
        elif text.startswith("["):
            with suppress(orjson.JSONDecodeError):
                values[name] = orjson.loads(text)
    return values


# HTTP responses, after which the connection ends


def _refused(status: int, retry_after_seconds: int = 2) -> Response:
    if status == 451:
        return _http_error(451, 0, _RESTRICTED)
    if status == 403:
        headers = {"Server": "CloudFront", "X-Cache": "Error from cloudfront"}
        return _http(403, _FIREWALL_PAGE, headers, content_type="text/html")
    if status in (418, 429):
        message = (
            "Way too many requests; IP banned."
            if status == 418
            else "Too many requests; please use the websocket for live updates."
        )
        headers = {"Retry-After": str(retry_after_seconds)}
        return _http_error(status, -1003, message, headers)
    return _http(status, b"", content_type="text/html")


def _retry_after(retry_at_us: int | None, now_us: int) -> dict[str, str]:
    if retry_at_us is None:
        return {}
    return {"Retry-After": str(math.ceil(max(0, retry_at_us - now_us) / 1e6))}


def _http_error(
    status: int, code: int, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    return _http(status, orjson.dumps({"code": code, "msg": message}), headers)


def _http(
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    content_type: str = "application/json;charset=UTF-8",
) -> Response:
    fields = Headers()
    fields["Connection"] = "close"
    fields["Content-Length"] = str(len(body))
    fields["Content-Type"] = content_type
    for name, value in (headers or {}).items():
        fields[name] = value
    return Response(status, HTTPStatus(status).phrase, fields, body)
