"""How much may be asked of the API: half of what the exchange allows."""

from __future__ import annotations

from typing import Any

# The limit is on the address, shared with everything else the user runs there.
SHARE = 0.5
WINDOW_SECONDS = 60.0


class WeightBudget:
    """Follows the request weight that replies report.

    The exchange counts per calendar minute (UTC), all clients of an address together.

    Args:
        limit: Weight per minute until a reply tells.
    """

    def __init__(self, limit: int = 6000) -> None:
        self._limit = limit
        self._used = 0
        self._minute = -1

    def note(self, rate_limits: object, now_seconds: float) -> None:
        """Take note of the ``rateLimits`` of a reply.

        Args:
            rate_limits: As received; what does not make sense is passed over.
            now_seconds: The time now, Unix seconds.
        """
        if not isinstance(rate_limits, list):
            return
        for entry in rate_limits:
            if isinstance(entry, dict) and _is_weight_per_minute(entry):
                limit, count = entry.get("limit"), entry.get("count")
                if not (isinstance(limit, int) and isinstance(count, int)):
                    continue
                if limit > 0 and count >= 0:
                    self._limit, self._used = limit, count
                    self._minute = int(now_seconds // WINDOW_SECONDS)

    def reserve(self, weight: int, now_seconds: float) -> float:
        """Take the weight of a request.

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
        if self._used + weight > self._limit * SHARE:
            return (minute + 1) * WINDOW_SECONDS - now_seconds
        self._used += weight
        return 0.0


def _is_weight_per_minute(entry: dict[str, Any]) -> bool:
    return (
        entry.get("rateLimitType") == "REQUEST_WEIGHT"
        and entry.get("interval") == "MINUTE"
        and entry.get("intervalNum") == 1
    )
