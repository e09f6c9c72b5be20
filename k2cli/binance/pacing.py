"""Reading in steps: where trades come fast, the event loop sleeps before it reads.

What costs is not the trade but the turn of the event loop around each read. A short
sleep lets one turn take what has come on all connections meanwhile.
"""

from __future__ import annotations

import asyncio
import selectors
import time

MAX_DELAY_SECONDS = 0.002
"""How much later a trade may come out so that reading costs less, by default."""

# How far back the rate of trades is looked at.
_LOOK_BACK_SECONDS = 0.02
# A pause has a cost of its own: fewer trades are not worth it.
_LEAST_TRADES = 1.5
# With so many at once the turn hardly counts; the sender may be faster than we are.
_MOST_TRADES = 200


class _SleepySelector(selectors.DefaultSelector):
    """Sleeps until a given time before it looks for what is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.until_seconds = 0.0

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; nothing if a timer of the loop is due first."""
        if self.until_seconds:
            left_seconds = self.until_seconds - time.monotonic()
            if timeout is not None and timeout < left_seconds:
                if timeout > 0:
                    time.sleep(timeout)
                return []
            self.until_seconds = 0.0
            if left_seconds > 0:
                time.sleep(left_seconds)
                if timeout is not None:
                    timeout -= left_seconds
        return super().select(timeout)


class PacedEventLoop(asyncio.SelectorEventLoop):
    """An event loop that can read in steps."""

    def __init__(self) -> None:
        self._sleepy = _SleepySelector()
        super().__init__(self._sleepy)

    def read_after(self, seconds: float) -> None:
        """Read nothing until then, by the clock of ``time()``; timers go on."""
        if not self._sleepy.until_seconds:
            self._sleepy.until_seconds = seconds


class PauseRule:
    """Says whether a pause in reading pays.

    Args:
        pause_seconds: How long a pause is.
    """

    def __init__(self, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        self._rate = 0.0
        self._last_seconds = 0.0

    def pays(self, trades: int, now_seconds: float) -> bool:
        """Return whether to pause after a read.

        Args:
            trades: How many have come since the last call, or with this read.
            now_seconds: When, by a monotonic clock.
        """
        since_seconds = now_seconds - self._last_seconds
        self._last_seconds = now_seconds
        self._rate = (self._rate * _LOOK_BACK_SECONDS + trades) / (
            _LOOK_BACK_SECONDS + since_seconds
        )
        # After a while without trades, the first one is no flow yet.
        return (
            since_seconds <= 2 * self._pause_seconds
            and self._rate * self._pause_seconds >= _LEAST_TRADES
        )


class ReadPacer:
    """Has a paced event loop read in steps while that pays.

    A pause begins when a read's trades are handed on, and ends the longest delay after
    the turn began: nothing waits longer, and the first trade after a while not at all.
    On any other event loop each read is taken as it comes.

    Args:
        max_delay_seconds: How much later a trade may come out. 0 for no pauses.
    """

    def __init__(self, max_delay_seconds: float = MAX_DELAY_SECONDS) -> None:
        self._pause_seconds = max_delay_seconds
        self._rule = PauseRule(max_delay_seconds)
        # Asking for the running loop is a system call each time.
        self._loop: PacedEventLoop | None = None

    def begin(self) -> None:
        """Begin on the running event loop."""
        loop = asyncio.get_running_loop()
        if isinstance(loop, PacedEventLoop) and self._pause_seconds:
            self._loop = loop

    def received(self, trades: int) -> None:
        """Note that a read has brought trades."""
        if self._loop is None:
            return
        now_seconds = self._loop.time()
        if self._rule.pays(trades, now_seconds) and trades < _MOST_TRADES:
            self._loop.read_after(now_seconds + self._pause_seconds)
