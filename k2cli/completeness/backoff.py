"""When to try again."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Binance allows 300 connection attempts in five minutes per address, successful or not.
ATTEMPTS_PER_WINDOW = 300
WINDOW_SECONDS = 300.0


class Backoff:
    """How long to wait before the next attempt, and when to stop trying.

    The delays are ``first``, twice that, and so on up to ``cap``, each with ten percent
    of jitter, so that many clients do not reconnect at the same moment.

    Args:
        first_seconds: The first delay.
        cap_seconds: The longest delay, before jitter.
        max_failures: Consecutive failures after which to give up; 0 for never.
        random: Returns numbers in [0, 1).
    """

    def __init__(
        self,
        first_seconds: float,
        *,
        max_failures: int,
        random: Callable[[], float],
        cap_seconds: float = 60.0,
    ) -> None:
        self._first_seconds = first_seconds
        self._cap_seconds = cap_seconds
        self._max_failures = max_failures
        self._random = random
        self._delays_given = 0
        self.failures = 0

    @property
    def exhausted(self) -> bool:
        """Whether as many consecutive attempts have failed as are allowed."""
        return 0 < self._max_failures <= self.failures

    def failed(self) -> None:
        """Count a failed attempt, or a connection lost before it was ``proved``."""
        self.failures += 1

    def proved(self) -> None:
        """Start over: a connection has delivered data, or was stable for a while."""
        self.failures = 0
        self._delays_given = 0

    def next_delay_seconds(self, at_least_seconds: float = 0.0) -> float:
        """Return the time to wait before the next attempt.

        Args:
            at_least_seconds: What the exchange asked for, e.g. in ``Retry-After``.
        """
        # The exponent is bounded: a client may retry for months.
        doubled = self._first_seconds * 2.0 ** min(self._delays_given, 30)
        self._delays_given += 1
        jitter = 0.9 + 0.2 * self._random()
        return max(min(doubled, self._cap_seconds) * jitter, at_least_seconds)


class AttemptWindow:
    """Keeps the attempts of all connections together within the exchange's limit.

    Args:
        limit: Attempts allowed in a window.
        window_seconds: How long the window is.
    """

    def __init__(
        self, limit: int = ATTEMPTS_PER_WINDOW, window_seconds: float = WINDOW_SECONDS
    ) -> None:
        self._window_seconds = window_seconds
        self._attempts: deque[float] = deque(maxlen=limit)

    def reserve(self, now_seconds: float) -> float:
        """Reserve the next attempt.

        Args:
            now_seconds: The time now, by a monotonic clock.

        Returns:
            Seconds to wait before making the attempt.
        """
        at = now_seconds
        if len(self._attempts) == self._attempts.maxlen:
            at = max(at, self._attempts[0] + self._window_seconds)
        self._attempts.append(at)
        return at - now_seconds


class HostRotation:
    """Which of an exchange's addresses to connect to.

    Args:
        urls: The first one is preferred.
        well_seconds: After a connection of this length, the first one is tried again.
    """

    def __init__(self, urls: Sequence[str], well_seconds: float = 3600.0) -> None:
        self._urls = tuple(urls)
        self._well_seconds = well_seconds
        self._index = 0
        self._untried = len(self._urls)

    @property
    def url(self) -> str:
        """The address to connect to."""
        return self._urls[self._index]

    @property
    def all_failed(self) -> bool:
        """Whether every address has failed since one has worked."""
        return self._untried <= 0

    def failed(self) -> None:
        """Note that an attempt failed: the next address has its turn."""
        self._untried -= 1
        self._index = (self._index + 1) % len(self._urls)

    def ended(self, lived_seconds: float) -> None:
        """Note that a connection has ended."""
        self._untried = len(self._urls)
        if lived_seconds >= self._well_seconds:
            self._index = 0
