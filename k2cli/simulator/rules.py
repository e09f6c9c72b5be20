"""How strictly, and in which dialect, the exchange deals with its clients."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """What Binance enforces, with its own numbers as defaults.

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
        control_text_bytes: A longer control message is swallowed without a reply.
        request_line_bytes: A longer request line is refused with 414.
        request_weight_per_minute: Of API and REST together.
        refusals_before_ban: A client that goes on in spite of so many 429 is banned.
        ban_seconds: For how long.
        outgoing_bytes: Most that waits for one reader; one that falls further behind a
            live market is disconnected, nothing is dropped from the middle.
        flat_errors: Whether stream errors have the documented shape, ``code`` and
            ``msg`` at the top, rather than the one that is seen in practice.
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
    flat_errors: bool = False
    catalog_padding_bytes: int = 0
