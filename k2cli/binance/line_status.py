"""How connections to the exchange are doing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class LineState(Enum):
    """What a line is doing."""

    CONNECTING = "connecting"
    LIVE = "live"
    WAITING = "waiting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class LineStatus:
    """A line's state and, while it waits, why and how long.

    Attributes:
        state: What it is doing.
        reason: Why the last connection or attempt ended; fit for printing.
        retry_in_seconds: Time until the next attempt.
        failures: Consecutive attempts that failed.
    """

    state: LineState
    reason: str = ""
    retry_in_seconds: float = 0.0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """How several lines are, all together.

    Attributes:
        live: How many are connected.
        lines: How many there are.
        waiting: The status of the one that waits longest, if any waits.
        retry_in_seconds: Time until its next attempt.
    """

    live: int
    lines: int
    waiting: LineStatus | None
    retry_in_seconds: float
