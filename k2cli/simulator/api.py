"""The API: one set of answers, on WebSocket sessions and as REST."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from k2cli.simulator.api_methods import METHODS, ApiError, Parameters, rate_limit
from k2cli.simulator.limits import OverLimit, RequestWeight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from k2cli.simulator.connection import Connection
    from k2cli.simulator.limits import Rules
    from k2cli.simulator.trades import SymbolInfo, Trade, TradeLog

_CONNECTING_WEIGHT = 2
_FAILURES: Mapping[int, tuple[int, str]] = {
    403: (-1002, "Forbidden by the firewall."),
    418: (-1003, "Way too much request weight used; IP banned until {until}."),
    429: (
        -1003,
        (
            "Too much request weight used; current limit is {limit} request weight per "
            "1 MINUTE. Please use WebSocket Streams for live updates to avoid polling "
            "the API."
        ),
    ),
    500: (-1001, "Internal error; unable to process your request. Please try again."),
    503: (-1008, "Server is currently overloaded with other requests."),
    504: (-1007, "Timeout waiting for response from backend server."),
}
FAILURE_STATUSES = tuple(_FAILURES)
"""The statuses that ``api-error`` can have."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply: a status as in HTTP, and ``result`` or ``error``."""

    status: int
    body: dict[str, Any]
    retry_at_us: int | None = None


def _error(code: int, message: str) -> Answer:
    return Answer(400, {"error": {"code": code, "msg": message}})


class Api:
    """Answers requests from one trade log and one request weight.

    Attributes:
        accepted: API connections accepted so far.
        skew_us: How far the server's clock is wrong.
        mute_next: How many of the next requests get no reply.
    """

    def __init__(
        self,
        log: TradeLog,
        catalog: Mapping[str, SymbolInfo],
        rules: Rules,
        wall_clock_us: Callable[[], int],
    ) -> None:
        self.log = log
        self.catalog = catalog
        self.rules = rules
        self.weight = RequestWeight(rules)
        self.sessions: dict[ApiSession, None] = {}
        self.accepted = 0
        self.skew_us = 0
        self.mute_next = 0
        self._failures: list[int] = []
        self._wall_clock_us = wall_clock_us

    def now_us(self) -> int:
        """Return the server's time."""
        return self._wall_clock_us() + self.skew_us

    def page(self, symbol: str, from_id: int | None, count: int) -> list[Trade]:
        """Return trades of the history as it is now; see ``TradeLog.page``."""
        return self.log.page(symbol, from_id, count, time.monotonic())

    def fail_next(self, status: int, count: int) -> None:
        """Answer the next requests with an error."""
        self._failures += [status] * count

    def connected(self, session: ApiSession) -> None:
        """Add a session and charge its weight."""
        self.accepted += 1
        self.sessions[session] = None
        self.weight.add(_CONNECTING_WEIGHT, self._wall_clock_us())

    def answer(self, method: str, values: Mapping[str, Any], unit: int) -> Answer:
        """Answer a request; times are divided by ``unit``, 1 or 1,000."""
        known = METHODS.get(method.removeprefix("v3/"))
        weight = known.weight(values) if known else 1
        over = self.weight.charge(weight, self._wall_clock_us())
        if over is not None:
            return self._failure(over)
        if self._failures:
            status = self._failures.pop(0)
            wait_us = 120_000_000 if status == 418 else 1_000_000
            return self._failure(OverLimit(status, self._wall_clock_us() + wait_us))
        if known is None:
            return _error(-1000, f"An unknown method was called: {method[:80]}.")
        parameters = Parameters(values)
        try:
            result = known.answer(self, parameters, unit)
            parameters.check_all_read()
        except ApiError as error:
            return _error(error.code, error.message)
        return Answer(200, {"result": result})

    def _failure(self, over: OverLimit) -> Answer:
        code, message = _FAILURES[over.status]
        until_ms = over.retry_at_us // 1_000
        message = message.format(until=until_ms, limit=self.weight.limit)
        error: dict[str, Any] = {"code": code, "msg": message}
        if over.status not in (418, 429):
            return Answer(over.status, {"error": error})
        error["data"] = {"serverTime": self.now_us() // 1_000, "retryAfter": until_ms}
        return Answer(over.status, {"error": error}, over.retry_at_us)

    def used_weight(self) -> int:
        """Return the request weight used in this minute."""
        return self.weight.used(self._wall_clock_us())


class ApiSession:
    """One open connection to the WebSocket API."""

    is_stream = False

    def __init__(self, api: Api, *, microseconds: bool, with_rate_limits: bool) -> None:
        self._api = api
        self._unit = 1 if microseconds else 1_000
        self._with_rate_limits = with_rate_limits
        self.connection: Connection

    def opened(self, connection: Connection) -> None:
        """Begin: the handshake is done."""
        self.connection = connection
        self._api.connected(self)

    def closed(self) -> None:
        """End: the connection is gone."""
        self._api.sessions.pop(self, None)

    def announce_shutdown(self, event_time_us: int) -> None:
        """Send the notice that the connection is about to be ended."""
        event = {"e": "serverShutdown", "E": event_time_us // self._unit}
        self.connection.send(orjson.dumps({"event": event}))

    def received(self, text: bytes) -> None:
        """Answer a request."""
        if self._api.mute_next:
            self._api.mute_next -= 1
            return
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            request = None
        values = request.get("params") if isinstance(request, dict) else None
        asked = values.get("returnRateLimits") if isinstance(values, dict) else None
        answer = self._answer(request)
        request_id = request.get("id") if isinstance(request, dict) else None
        if not _is_id(request_id):
            request_id = None
        reply = {"id": request_id, "status": answer.status, **answer.body}
        if asked if isinstance(asked, bool) else self._with_rate_limits:
            limit = rate_limit("REQUEST_WEIGHT", self._api.weight.limit)
            reply["rateLimits"] = [{**limit, "count": self._api.used_weight()}]
        self.connection.send(orjson.dumps(reply))
        if answer.status == 418:
            self.connection.close(1008, "IP banned")

    def _answer(self, request: object) -> Answer:
        if not isinstance(request, dict):
            return _error(-1135, "Invalid JSON Request")
        method, values = request.get("method"), request.get("params")
        for name, is_valid, expected in (
            (
                "id",
                "id" in request and _is_id(request["id"]),
                "an integer, a string or null",
            ),
            ("method", isinstance(method, str), "a string"),
            ("params", values is None or isinstance(values, dict), "an object"),
        ):
            if not is_valid:
                return _error(
                    -1135, f"Invalid '{name}' in JSON request; expected {expected}."
                )
        return self._api.answer(str(method), values or {}, self._unit)


def _is_id(value: object) -> bool:
    return value is None or (
        isinstance(value, int | str) and not isinstance(value, bool)
    )
