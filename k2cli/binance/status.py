"""How connections to the exchange are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    # The last status of a connection, and when it was reported, by a monotonic clock.
    Reported = tuple["ConnectionStatus", float]


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
        is_redundant: Whether there should be two for every symbol.
        delivers: Whether there is at least one for every symbol.
    """

    live: int
    connections: int
    retry_in_seconds: float | None = None
    failures: int = 0
    is_redundant: bool = False
    delivers: bool = False


def health_of(
    groups: Collection[Sequence[Reported]], now_seconds: float, *, is_redundant: bool
) -> StreamHealth:
    """Sum up how connections are.

    Args:
        groups: Of each group of symbols, what has been reported of its connections.
        now_seconds: The time now, by the same clock.
        is_redundant: Whether each group should have two.
    """
    statuses = [reported for group in groups for reported in group]
    health = StreamHealth(
        live=sum(map(_is_live, statuses)),
        connections=len(groups) * (2 if is_redundant else 1),
        is_redundant=is_redundant,
        delivers=bool(groups) and all(any(map(_is_live, group)) for group in groups),
    )
    waiting = [
        (max(reported + status.retry_in_seconds - now_seconds, 0.0), status.failures)
        for status, reported in statuses
        if status.state is ConnectionState.WAITING
    ]
    if not waiting:
        return health
    retry_in_seconds, failures = max(waiting, key=lambda each: each[0])
    return replace(health, retry_in_seconds=retry_in_seconds, failures=failures)


def _is_live(reported: Reported) -> bool:
    return reported[0].state is ConnectionState.LIVE
