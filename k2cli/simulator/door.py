"""The door: which address leads where, and who is turned away at the handshake."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from k2cli.simulator.api import Answer, Api, ApiSession
from k2cli.simulator.rest import (
    answer_rest,
    error_response,
    http_response,
    is_rest,
    retry_after,
)
from k2cli.simulator.stream_session import StreamSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.http11 import Request, Response

    from k2cli.simulator.broadcast import Broadcast
    from k2cli.simulator.connection import Connection
    from k2cli.simulator.connection_roles import Session
    from k2cli.simulator.rules import Rules

EXCHANGE_HEADER = "X-K2-Exchange"
"""Response header of every handshake: ``SIM``, or the exchange of a recording."""

Side = Literal["streams", "api"]

_ATTEMPTS_WINDOW_SECONDS = 300.0
_UNITS = {
    "": False,
    "MILLISECOND": False,
    "millisecond": False,
    "MICROSECOND": True,
    "microsecond": True,
}
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
REFUSAL_STATUSES = (403, 404, 418, 429, 451, 500, 503, 504)
"""The HTTP statuses that a handshake can be refused with."""


@dataclass(slots=True)
class Refusal:
    """Handshakes that are turned away.

    Attributes:
        status: One of ``REFUSAL_STATUSES``; ``None``: no answer at all, ever.
        sides: Which services.
        remaining: How many handshakes; ``None``: no limit.
        until_seconds: When it ends, on the clock of the event loop.
    """

    status: int | None
    sides: tuple[Side, ...] = ("streams", "api")
    remaining: int | None = None
    until_seconds: float = field(default=float("inf"))


class Door:
    """Answers handshakes and REST requests; see ``Gate``.

    Args:
        broadcast: Where stream sessions subscribe.
        api: Answers API sessions and REST.
        rules: The limits.
        on_recovery: Called when a stalled connection works again.
    """

    def __init__(
        self,
        broadcast: Broadcast,
        api: Api,
        rules: Rules,
        on_recovery: Callable[[], None],
    ) -> None:
        self._broadcast = broadcast
        self._api = api
        self._rules = rules
        self._on_recovery = on_recovery
        self._attempted_at: deque[float] = deque()
        self._refusals: list[Refusal] = []
        self.connections: dict[Connection, None] = {}
        """Every TCP connection, oldest first."""
        self.attempts = 0
        """WebSocket handshakes asked for."""
        self.stream_handshakes = 0
        """Stream handshakes completed."""
        self.api_handshakes = 0
        """API handshakes completed."""

    def refuse(self, refusal: Refusal) -> None:
        """Turn handshakes away from now on."""
        self._refusals.append(refusal)

    # As the gate of connections

    def connected(self, connection: Connection) -> bool:
        """See ``Gate``."""
        self.connections[connection] = None
        return len(self.connections) <= self._rules.connections

    def disconnected(self, connection: Connection) -> None:
        """See ``Gate``."""
        self.connections.pop(connection, None)

    def recovered(self) -> None:
        """See ``Gate``."""
        self._on_recovery()

    def accepted(self, connection: Connection) -> None:
        """See ``Gate``."""
        if isinstance(connection.session, StreamSession):
            self.stream_handshakes += 1
        else:
            self.api_handshakes += 1
            self._api.connected()

    def answer(self, request: Request) -> Response | Session | None:
        """See ``Gate``."""
        raw_path, _, query = request.path.partition("?")
        path = unquote(raw_path)
        if is_rest(path):
            return answer_rest(self._api, path, query, request.headers)
        side: Side = "api" if path == "/ws-api/v3" else "streams"
        if side == "streams" and path != "/stream" and not _is_raw(path):
            return http_response(404, b"<html><body>404 Not Found</body></html>")
        self.attempts += 1
        refusal = self._refusal(side)
        if refusal is not None:
            return None if refusal.status is None else refused(refusal.status)
        limited = self._over_limit()
        if limited is not None:
            return limited
        values = _query(query)
        unit = values.get("timeUnit", "")
        if unit not in _UNITS:
            return error_response(
                400,
                -1194,
                "Invalid value for time unit; expected either MICROSECOND or "
                "MILLISECOND.",
            )
        microseconds = _UNITS[unit]
        if side == "api":
            return ApiSession(
                self._api,
                microseconds=microseconds,
                with_rate_limits=values.get("returnRateLimits") != "false",
            )
        combined = path == "/stream"
        names = values.get("streams", "") if combined else path[len("/ws/") :]
        return StreamSession(
            self._broadcast,
            self._rules,
            [name for name in names.split("/") if name],
            combined=combined,
            microseconds=microseconds,
        )

    # Reasons to say no

    def _refusal(self, side: Side) -> Refusal | None:
        now = asyncio.get_running_loop().time()
        self._refusals = [
            each
            for each in self._refusals
            if each.remaining != 0 and each.until_seconds > now
        ]
        for refusal in self._refusals:
            if side in refusal.sides:
                if refusal.remaining is not None:
                    refusal.remaining -= 1
                return refusal
        return None

    def _over_limit(self) -> Response | None:
        banned = self._api.ledger.ban(self._api.now_us())
        if banned is not None:
            answer = Answer(418, {}, banned.retry_at_us)
            return error_response(
                418,
                -1003,
                "Way too much request weight used; IP banned.",
                retry_after(answer, self._api.now_us()),
            )
        limit = self._rules.connection_attempts
        if limit is None:
            return None
        now = asyncio.get_running_loop().time()
        times = self._attempted_at
        while times and now - times[0] > _ATTEMPTS_WINDOW_SECONDS:
            times.popleft()
        if len(times) >= limit:
            wait_seconds = times[0] + _ATTEMPTS_WINDOW_SECONDS - now
            return refused(429, retry_after_seconds=int(wait_seconds) + 1)
        times.append(now)
        return None


def refused(status: int, retry_after_seconds: int = 2) -> Response:
    """Make the HTTP response that a handshake is refused with.

    Args:
        status: One of ``REFUSAL_STATUSES``.
        retry_after_seconds: What 429 and 418 say about when to come again.
    """
    if status == 451:
        return error_response(451, 0, _RESTRICTED)
    if status == 403:
        return http_response(
            403,
            _FIREWALL_PAGE,
            content_type="text/html",
            headers={"Server": "CloudFront", "X-Cache": "Error from cloudfront"},
        )
    if status in (418, 429):
        message = (
            "Way too many requests; IP banned."
            if status == 418
            else "Too many requests; please use the websocket for live updates."
        )
        headers = {"Retry-After": str(retry_after_seconds)}
        return error_response(status, -1003, message, headers)
    return http_response(status, b"", content_type="text/html")


def _is_raw(path: str) -> bool:
    return path == "/ws" or path.startswith("/ws/")


def _query(query: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        values[unquote(name)] = unquote(value)
    return values
