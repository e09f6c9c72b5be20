"""The WebSocket API: the envelope around requests and replies, and its sessions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from k2cli.simulator.api_methods import METHODS
from k2cli.simulator.api_parameters import ApiRefusal, Parameters
from k2cli.simulator.weight import CONNECTING_WEIGHT, Overdrawn, WeightLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from k2cli.simulator.connection import Connection
    from k2cli.simulator.rules import Rules
    from k2cli.simulator.trade_log import TradeLog
    from k2cli.simulator.trades import SymbolInfo

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
    """A reply.

    Attributes:
        status: As in HTTP.
        body: ``result`` or ``error``.
        retry_at_us: When to come again, after 429 and 418.
    """

    status: int
    body: dict[str, Any]
    retry_at_us: int | None = None

    @property
    def bans(self) -> bool:
        """Whether the client is thrown out after this."""
        return self.status == 418


class Api:
    """Answers requests of the WebSocket API and of REST from one log and one ledger.

    Args:
        log: All trades.
        catalog: Gives all symbols, at the time of the question.
        rules: The limits.
        wall_clock_us: Unix microseconds UTC.
    """

    def __init__(
        self,
        log: TradeLog,
        catalog: Callable[[], Mapping[str, SymbolInfo]],
        rules: Rules,
        wall_clock_us: Callable[[], int],
    ) -> None:
        self.log = log
        self.rules = rules
        self.ledger = WeightLedger(rules)
        self.skew_us = 0
        """How far the server's clock is wrong."""
        self.mute_next = 0
        """How many requests get no reply."""
        self._failures: list[int] = []
        self._catalog = catalog
        self._wall_clock_us = wall_clock_us
        self.sessions: dict[ApiSession, None] = {}
        """The open API connections."""

    @property
    def catalog(self) -> Mapping[str, SymbolInfo]:
        """See ``Desk``."""
        return self._catalog()

    def now_us(self) -> int:
        """See ``Desk``."""
        return self._wall_clock_us() + self.skew_us

    def monotonic_seconds(self) -> float:
        """See ``Desk``."""
        return time.monotonic()

    def fail_next(self, status: int, count: int) -> None:
        """Answer the next requests with an error."""
        self._failures += [status] * count

    def answer(self, method: str, values: Mapping[str, Any], unit: int) -> Answer:
        """Answer a request.

        Args:
            method: E.g. ``"trades.historical"``; a prefix ``v3/`` is allowed.
            values: The parameters.
            unit: What times in microseconds are divided by: 1 or 1,000.
        """
        known = METHODS.get(method.removeprefix("v3/"))
        weight = known.weight(values) if known else 1
        overdrawn = self.ledger.charge(weight, self._wall_clock_us())
        if overdrawn is not None:
            return self._failure(overdrawn)
        if self._failures:
            status = self._failures.pop(0)
            wait_us = 120_000_000 if status == 418 else 1_000_000
            return self._failure(Overdrawn(status, self._wall_clock_us() + wait_us))
        if known is None:
            return _error(-1000, f"An unknown method was called: {method[:80]}.")
        parameters = Parameters(values)
        try:
            result = known.answer(self, parameters, unit)
            parameters.all_read()
        except ApiRefusal as refusal:
            return _error(refusal.code, refusal.message)
        return Answer(200, {"result": result})

    def _failure(self, overdrawn: Overdrawn) -> Answer:
        code, message = _FAILURES[overdrawn.status]
        until = overdrawn.retry_at_us // 1_000
        error: dict[str, Any] = {
            "code": code,
            "msg": message.format(until=until, limit=self.ledger.limit),
        }
        if overdrawn.status not in (418, 429):
            return Answer(overdrawn.status, {"error": error})
        error["data"] = {"serverTime": self.now_us() // 1_000, "retryAfter": until}
        return Answer(overdrawn.status, {"error": error}, overdrawn.retry_at_us)

    def rate_limits(self) -> list[dict[str, Any]]:
        """Give the live count that accompanies replies."""
        return [
            {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": self.ledger.limit,
                "count": self.ledger.used(self._wall_clock_us()),
            }
        ]

    def connected(self) -> None:
        """Charge a connection."""
        self.ledger.note(CONNECTING_WEIGHT, self._wall_clock_us())


def _error(code: int, message: str) -> Answer:
    return Answer(400, {"error": {"code": code, "msg": message}})


class ApiSession:
    """One open connection to the WebSocket API.

    Args:
        api: Answers the requests.
        microseconds: Whether times are in microseconds.
        with_rate_limits: Whether replies carry the rate limits, unless asked otherwise.
    """

    limits_frames = False

    def __init__(self, api: Api, *, microseconds: bool, with_rate_limits: bool) -> None:
        self._api = api
        self._unit = 1 if microseconds else 1_000
        self._with_rate_limits = with_rate_limits
        self.connection: Connection

    def opened(self, connection: Connection) -> None:
        """See ``Session``."""
        self.connection = connection
        self._api.sessions[self] = None

    def closed(self) -> None:
        """See ``Session``."""
        self._api.sessions.pop(self, None)

    def announce_shutdown(self, event_time_us: int) -> None:
        """Say that the connection is about to be ended."""
        event = {"e": "serverShutdown", "E": event_time_us // self._unit}
        self.connection.send(orjson.dumps({"event": event}))

    def received(self, text: bytes) -> None:
        """See ``Session``."""
        if self._api.mute_next:
            self._api.mute_next -= 1
            return
        request_id, answer, with_rate_limits = self._answered(text)
        reply = {"id": request_id, "status": answer.status, **answer.body}
        if with_rate_limits:
            reply["rateLimits"] = self._api.rate_limits()
        self.connection.send(orjson.dumps(reply))
        if answer.bans:
            self.connection.close(1008, "IP banned")

    def _answered(self, text: bytes) -> tuple[Any, Answer, bool]:
        with_rate_limits = self._with_rate_limits
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None, _error(-1135, "Invalid JSON Request"), with_rate_limits
        if not isinstance(request, dict):
            return None, _error(-1135, "Invalid JSON Request"), with_rate_limits
        request_id = request.get("id")
        if isinstance(request_id, bool) or not isinstance(
            request_id, int | str | type(None)
        ):
            return (
                None,
                _error(
                    -1135,
                    "Invalid 'id' in JSON request; expected an integer or a string.",
                ),
                with_rate_limits,
            )
        method, values = request.get("method"), request.get("params")
        if not isinstance(method, str):
            answer = _error(
                -1135, "Invalid 'method' in JSON request; expected a string."
            )
            return request_id, answer, with_rate_limits
        if values is None:
            values = {}
        if not isinstance(values, dict):
            answer = _error(
                -1135, "Invalid 'params' in JSON request; expected an object."
            )
            return request_id, answer, with_rate_limits
        asked = values.get("returnRateLimits")
        if isinstance(asked, bool):
            with_rate_limits = asked
        return (
            request_id,
            self._api.answer(method, values, self._unit),
            with_rate_limits,
        )
