"""Request weight: what each request costs, and what happens when it is used up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k2cli.simulator.rules import Rules

CONNECTING_WEIGHT = 2
_MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Overdrawn:
    """A request that the limit does not allow.

    Attributes:
        status: 429, or 418 for a banned client.
        retry_at_us: When to try again, Unix microseconds UTC.
    """

    status: int
    retry_at_us: int


class WeightLedger:
    """The weight used in this calendar minute, by API and REST together.

    There is one ledger for all clients: they come from the same machine.

    Args:
        rules: The limits.
    """

    def __init__(self, rules: Rules) -> None:
        self._limit = rules.request_weight_per_minute
        self._refusals_before_ban = rules.refusals_before_ban
        self._ban_us = int(rules.ban_seconds * 1e6)
        self._minute = 0
        self._used = 0
        self._refusals = 0
        self._banned_until_us = 0

    def charge(self, weight: int, now_us: int) -> Overdrawn | None:
        """Charge a request.

        Args:
            weight: What it costs.
            now_us: Unix microseconds UTC.

        Returns:
            ``None`` if it may be served.
        """
        if now_us < self._banned_until_us:
            return Overdrawn(418, self._banned_until_us)
        self._turn(now_us)
        if self._used + weight <= self._limit:
            self._used += weight
            return None
        self._refusals += 1
        if self._refusals > self._refusals_before_ban:
            self._banned_until_us = now_us + self._ban_us
            return Overdrawn(418, self._banned_until_us)
        return Overdrawn(429, (self._minute + 1) * _MINUTE_US)

    def ban(self, now_us: int) -> Overdrawn | None:
        """Tell whether the client is banned now."""
        if now_us < self._banned_until_us:
            return Overdrawn(418, self._banned_until_us)
        return None

    def note(self, weight: int, now_us: int) -> None:
        """Count a weight that is not refused, such as that of connecting."""
        self._turn(now_us)
        self._used += weight

    def used(self, now_us: int) -> int:
        """Give the weight used in this minute."""
        self._turn(now_us)
        return self._used

    @property
    def limit(self) -> int:
        """The weight that a minute allows."""
        return self._limit

    def _turn(self, now_us: int) -> None:
        minute = now_us // _MINUTE_US
        if minute != self._minute:
            self._minute, self._used, self._refusals = minute, 0, 0
