"""The levers of the exchange: what faults, and tests, can do to it at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from k2cli.simulator.door import Door, Refusal, Side
from k2cli.simulator.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable

    from k2cli.simulator.api import Api, ApiSession
    from k2cli.simulator.broadcast import Broadcast
    from k2cli.simulator.connection import Connection
    from k2cli.simulator.stream_session import StreamSession
    from k2cli.simulator.trade_log import TradeLog


class Levers:
    """What can be done to the exchange.

    Args:
        broadcast: The way to the listeners; its own faults are pulled there.
        api: The API; its own faults are pulled there.
        door: Where handshakes are refused.
        log: The trade log; its own faults are pulled there.
    """

    def __init__(
        self, broadcast: Broadcast, api: Api, door: Door, log: TradeLog
    ) -> None:
        self.broadcast = broadcast
        self.api = api
        self.door = door
        self.log = log
        self._timers = Timers()
        self._timer_count = 0

    @property
    def stream_connections(self) -> list[Connection]:
        """The open stream connections, oldest first."""
        return [session.connection for session in self.broadcast.sessions]

    @property
    def api_connections(self) -> list[Connection]:
        """The open API connections, oldest first."""
        return [session.connection for session in self.api.sessions]

    def reset_streams(self) -> None:
        """End all stream connections with a TCP reset."""
        for connection in self.stream_connections:
            connection.reset()

    def cut_streams(self) -> None:
        """End all stream connections in the middle of a frame."""
        for connection in self.stream_connections:
            connection.send_cut_frame()

    def close_streams(self, code: int, reason: str = "") -> None:
        """End all stream connections with a close frame."""
        for connection in self.stream_connections:
            connection.close(code, reason)

    def stall_streams(self, seconds: float | None) -> None:
        """Let all stream connections that are open now play dead."""
        for connection in self.stream_connections:
            connection.stall(seconds)

    def announce_shutdown(self, lead_seconds: float | None) -> None:
        """Announce a shutdown on all connections, and end those of now with 1001.

        Args:
            lead_seconds: Time between the two; ``None``: they are not ended.
        """
        event_time_us = self.api.now_us()
        sessions: list[StreamSession | ApiSession] = []
        sessions += self.broadcast.sessions
        sessions += self.api.sessions
        for session in sessions:
            session.announce_shutdown(event_time_us)
        announced = [session.connection for session in sessions]

        def go_away() -> None:
            for connection in announced:
                connection.close(1001, "Going away")

        if lead_seconds is not None:
            self._later(lead_seconds, go_away)

    def refuse(
        self,
        status: int | None,
        *,
        sides: tuple[Side, ...] = ("streams", "api"),
        count: int | None = None,
        seconds: float | None = None,
    ) -> None:
        """Turn handshakes away; see ``Refusal``."""
        until = float("inf")
        if seconds is not None:
            until = asyncio.get_running_loop().time() + seconds
        self.door.refuse(Refusal(status, sides, count, until))

    def take_api_down(self, seconds: float | None) -> None:
        """End all API connections with a TCP reset and refuse new ones with 503."""
        for connection in self.api_connections:
            connection.reset()
        self.refuse(503, sides=("api",), seconds=seconds)

    def lag_history(self, lag_seconds: float) -> None:
        """Let the history trail what was published."""
        self.log.lag_seconds = lag_seconds

    def skew_clock(self, seconds: float) -> None:
        """Let the server's clock be wrong: its time and that of its events."""
        skew_us = int(seconds * 1e6)
        self.api.skew_us = skew_us
        self.broadcast.reshape(skew_us=skew_us, without_best_match=False)

    def stop(self) -> None:
        """Cancel what is still to come."""
        self._timers.cancel_all()

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self._timer_count += 1
        self._timers.start(f"{self._timer_count}", seconds, call)
