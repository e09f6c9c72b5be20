"""What Binance enforces: the limits, and the request weight of a minute."""

from __future__ import annotations

from dataclasses import dataclass

_MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Rules:
    """What the exchange enforces, with Binance's own numbers as defaults.

    ``None`` lifts a limit that may be ``None``.

    Attributes:
        ping_interval_seconds: Between two pings of the server; ``None``: no pings.
        pong_timeout_seconds: How long a ping may stay unanswered.
        lifetime_seconds: When a connection is ended whatever it does.
        lifetime_close_code: The code it is ended with; ``None``: TCP just ends.
        client_frames_per_second: Frames that a client may send to the streams, pings
            and pongs included.
        connection_attempts: Handshakes in any 5 minutes.
        connections: Sockets at once; one more is closed without a word.
        streams_per_connection: Subscriptions of one connection.
        control_text_bytes: A longer control message is ignored.
        request_line_bytes: A longer request line is refused with 414.
        request_weight_per_minute: Of API and REST together.
        refusals_before_ban: A client that continues after so many 429 is banned.
        ban_seconds: For how long.
        outgoing_bytes: Most that waits for one reader; one that falls further behind a
            live market is disconnected, nothing is dropped from the middle.
        history_limit: Trades kept per symbol; the oldest go first.
        flat_errors: Whether stream errors have the documented shape, ``code`` and
            ``msg`` at the top, instead of the one that is seen in practice.
        catalog_padding_bytes: Make a full ``exchangeInfo`` at least so long.
    """

    ping_interval_seconds: float | None = 20.0
    pong_timeout_seconds: float = 60.0
    lifetime_seconds: float | None = 86_400.0
    lifetime_close_code: int | None = None
    client_frames_per_second: int | None = 5
    connection_attempts: int | None = 300
    connections: int = 1_000
    streams_per_connection: int = 1_024
    control_text_bytes: int | None = 4_096
    request_line_bytes: int = 8_004
    request_weight_per_minute: int = 6_000
    refusals_before_ban: int = 100
    ban_seconds: float = 120.0
    outgoing_bytes: int = 16 * 1_048_576
    history_limit: int = 100_000
    flat_errors: bool = False
    catalog_padding_bytes: int = 0


@dataclass(frozen=True, slots=True)
class OverLimit:
    """A request that is not allowed: 429, or 418 for a banned client."""

    status: int
    retry_at_us: int


class RequestWeight:
    """The weight used in this minute by all clients: they share an address."""

    def __init__(self, rules: Rules) -> None:
        self.limit = rules.request_weight_per_minute
        self._refusals_before_ban = rules.refusals_before_ban
        self._ban_us = int(rules.ban_seconds * 1e6)
        self._minute = 0
        self._used = 0
        self._refusals = 0
        self._banned_until_us = 0

    def charge(self, weight: int, now_us: int) -> OverLimit | None:
        """Charge a request; ``None`` if it may be served."""
        banned = self.ban(now_us)
        if banned is not None:
            return banned
        if self.used(now_us) + weight <= self.limit:
            self._used += weight
            return None
        self._refusals += 1
        if self._refusals > self._refusals_before_ban:
            self._banned_until_us = now_us + self._ban_us
            return self.ban(now_us)
        return OverLimit(429, (self._minute + 1) * _MINUTE_US)

    def ban(self, now_us: int) -> OverLimit | None:
        """Return the ban, if the client is banned now."""
        if now_us < self._banned_until_us:
            return OverLimit(418, self._banned_until_us)
        return None

    def add(self, weight: int, now_us: int) -> None:
        """Count a weight that is never refused, such as that of connecting."""
        self._used = self.used(now_us) + weight

    def used(self, now_us: int) -> int:
        """Return the weight used in this minute."""
        minute = now_us // _MINUTE_US
        if minute != self._minute:
            self._minute, self._used, self._refusals = minute, 0, 0
        return self._used
