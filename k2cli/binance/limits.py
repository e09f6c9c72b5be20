"""How much may be asked of the API: half of what the exchange allows, by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from k2cli.binance.wire import RateLimit

# The limit is on the address, shared with everything else the user runs there.
SHARE = 0.5
WINDOW_SECONDS = 60.0


class WeightBudget:
    """Follows the request weight that replies report.

    The exchange counts per calendar minute (UTC), all clients of an address together.

    Args:
        limit: Weight per minute until a reply tells.
        share: How much of it may be used.
    """

    def __init__(self, limit: int = 6000, *, share: float = SHARE) -> None:
        self._share = share
        self._limit = limit
        self._used = 0
        self._minute = -1
        # Reserved, and without a reply yet.
        self._under_way = 0

    @property
    def per_minute(self) -> float:
        """How much weight may be used in a minute."""
        return self._limit * self._share

    @property
    def remaining(self) -> tuple[int, int]:
        """What is left in the minute of the last reply, and the exchange's limit."""
        return self._limit - self._used, self._limit

    def note(
        self,
        rate_limits: Iterable[RateLimit | None] | None,
        now_seconds: float,
        reserved: int = 0,
    ) -> None:
        """Take note of the ``rateLimits`` of a reply.

        Args:
            rate_limits: Of the reply; ``None`` stands for what does not make sense.
            now_seconds: The time now, Unix seconds.
            reserved: What was reserved for the request.
        """
        self._under_way = max(self._under_way - reserved, 0)
        for each in rate_limits or ():
            if each is not None and (each.kind, each.interval, each.interval_count) == (
                "REQUEST_WEIGHT",
                "MINUTE",
                1,
            ):
                # Replies may not count yet what is under way.
                self._limit, self._used = each.limit, each.count + self._under_way
                self._minute = int(now_seconds // WINDOW_SECONDS)

    def reserve(self, weight: int, now_seconds: float) -> float:
        """Take the weight of a request; ``note`` its reply, or that there was none.

        Args:
            weight: Of the request.
            now_seconds: The time now, Unix seconds.

        Returns:
            0 if it may be sent now; else the seconds until the next minute, and nothing
            is taken.
        """
        minute = int(now_seconds // WINDOW_SECONDS)
        if minute != self._minute:
            self._minute, self._used = minute, 0
        if self._used + weight > self.per_minute:
            return (minute + 1) * WINDOW_SECONDS - now_seconds
        self._used += weight
        self._under_way += weight
        return 0.0
