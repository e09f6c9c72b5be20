"""The server's pings, and what becomes of a client that does not answer them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from k2cli.simulator.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable

    from k2cli.simulator.rules import Rules


class Heartbeat:
    """Pings with a payload that differs each time, and waits for its echo.

    Args:
        rules: How often, and how long an answer may take.
        send_ping: Sends a ping with a payload, or does nothing if it cannot.
        may_wait: Whether a missing answer is to be put up with for now.
        give_up: Called when an answer is overdue.
    """

    def __init__(
        self,
        rules: Rules,
        send_ping: Callable[[bytes], None],
        may_wait: Callable[[], bool],
        give_up: Callable[[], None],
    ) -> None:
        self._interval_seconds = rules.ping_interval_seconds
        self._timeout_seconds = rules.pong_timeout_seconds
        self._send_ping = send_ping
        self._may_wait = may_wait
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._timers = Timers()
        self._sent_count = 0
        self._sent_at: dict[bytes, float] = {}

    def start(self) -> None:
        """Ping from now on."""
        self._sent_at.clear()
        if self._interval_seconds is not None:
            self._timers.start("ping", self._interval_seconds, self._ping)

    def stop(self) -> None:
        """Ping no more, and wait for no answer."""
        self._timers.cancel_all()

    def pong(self, payload: bytes) -> None:
        """Take an answer; one that echoes no ping of ours counts for nothing."""
        if payload not in self._sent_at:
            return
        # A client may answer only the latest of several pings: RFC 6455, 5.5.3.
        for earlier in list(self._sent_at):
            del self._sent_at[earlier]
            if earlier == payload:
                break
        self._timers.cancel("pong")
        if self._sent_at:
            oldest = next(iter(self._sent_at.values()))
            self._await_pong(oldest + self._timeout_seconds - self._loop.time())

    def _ping(self) -> None:
        now = self._loop.time()
        self._sent_count += 1
        payload = b"%d" % (int(now * 1_000) + self._sent_count)
        self._sent_at[payload] = now
        self._send_ping(payload)
        if self._interval_seconds is not None:
            self._timers.start("ping", self._interval_seconds, self._ping)
        if "pong" not in self._timers:
            self._await_pong(self._timeout_seconds)

    def _await_pong(self, seconds: float) -> None:
        self._timers.start("pong", seconds, self._miss_pong)

    def _miss_pong(self) -> None:
        if self._may_wait():
            self._await_pong(self._timeout_seconds)
        else:
            self._give_up()
