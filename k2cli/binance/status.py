"""How connections to the exchange are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


class ConnectionState(Enum):
    """What a reconnecting connection is doing."""

    CONNECTING = "connecting"
    LIVE = "live"
    WAITING = "waiting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """A connection's state and, while it waits, why and how long.

    Attributes:
        state: What it is doing.
        reason: Why the last connection or attempt ended; fit for printing.
        retry_in_seconds: Time until the next attempt.
        failures: Consecutive attempts that failed.
    """

    state: ConnectionState
    reason: str = ""
    retry_in_seconds: float = 0.0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """How several connections are, all together.

    Attributes:
        live: How many are connected.
        connections: How many there should be.
        retry_in_seconds: Time until the next attempt of the one that waits longest, if
            one waits.
        failures: Consecutive attempts of that one that failed.
    """

    live: int
    connections: int
    retry_in_seconds: float | None = None
    failures: int = 0


def health_of(
    statuses: Collection[tuple[ConnectionStatus, float]],
    connections: int,
    now_seconds: float,
) -> StreamHealth:
    """Sum up how connections are.

    Args:
        statuses: The last status of each, and when it was reported.
        connections: How many there should be.
        now_seconds: The time now, by the same clock.
    """
    live = sum(status.state is ConnectionState.LIVE for status, _ in statuses)
    waiting = [
        (max(reported + status.retry_in_seconds - now_seconds, 0.0), status.failures)
        for status, reported in statuses
        if status.state is ConnectionState.WAITING
    ]
    if not waiting:
        return StreamHealth(live, connections)
    retry_in_seconds, failures = max(waiting, key=lambda each: each[0])
    return StreamHealth(live, connections, retry_in_seconds, failures)
