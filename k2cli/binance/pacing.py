"""Reading in steps: where trades come fast, connections pause and resume together.

What costs is not the trade but the turn of the event loop around each read. A short
pause lets one turn take what has come on all connections meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

MAX_DELAY_SECONDS = 0.002
"""How much later a trade may come out so that reading costs less, by default."""

# How far back the rate of trades is looked at.
_LOOK_BACK_SECONDS = 0.02
# A pause has a cost of its own: fewer trades are not worth it. A core that hardly
# sleeps between trades wakes for each of some at less than what a short pause costs.
_LEAST_TRADES = 1.5
_SHORT_SECONDS, _LEAST_IN_SHORT = 0.002, 6.0
# With so many at once the turn hardly counts; the sender may be faster than we are.
_MOST_TRADES = 200


class PausableReader(Protocol):
    """A connection that can stop to read for a moment."""

    def hold(self) -> None:
        """Pause reading, whoever else has paused it."""

    def release(self) -> None:
        """Resume, unless somebody else has paused it."""


class PauseRule:
    """Says whether a pause in reading pays.

    Args:
        pause_seconds: How long a pause is.
    """

    def __init__(self, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        is_short = pause_seconds < _SHORT_SECONDS
        self._least_trades = _LEAST_IN_SHORT if is_short else _LEAST_TRADES
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
            and self._rate * self._pause_seconds >= self._least_trades
        )


class ReadPacer:
    """Has the connections of a client pause and resume together while it pays.

    A pause begins when a turn's trades are handed on, and ends the longest delay after
    the turn began: nothing waits longer, and the first trade after a while not at all.

    Args:
        max_delay_seconds: How much later a trade may come out; only whole milliseconds
            count, as event loops wait no less. 0 for no pauses.
    """

    def __init__(self, max_delay_seconds: float = MAX_DELAY_SECONDS) -> None:
        self._pause_seconds = int(max_delay_seconds * 1000 + 1e-6) / 1000
        self._rule = PauseRule(self._pause_seconds)
        # Asking for the running loop is a system call each time.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._readers: dict[PausableReader, None] = {}
        self._trades = 0
        self._changing: asyncio.Handle | None = None
        self._is_holding = False

    def add(self, reader: PausableReader) -> None:
        """Let a connection take part."""
        self._loop = asyncio.get_running_loop()
        self._readers[reader] = None
        if self._is_holding:
            reader.hold()

    def remove(self, reader: PausableReader) -> None:
        """Let it read on by itself."""
        if self._readers.pop(reader, self) is None and self._is_holding:
            reader.release()

    def received(self, trades: int) -> None:
        """Note that a read has brought trades."""
        loop = self._loop
        if loop is None or not self._pause_seconds:
            return
        self._trades += trades
        if self._changing is not None:
            return
        now_seconds = loop.time()
        pays, self._trades = self._rule.pays(self._trades, now_seconds), 0
        if not pays or trades >= _MOST_TRADES:
            return
        until_seconds = now_seconds + self._pause_seconds
        if len(self._readers) == 1:
            self._pause(loop, until_seconds)
        else:
            # What else is ready in this turn is read first.
            self._changing = loop.call_soon(self._pause, loop, until_seconds)

    def _pause(self, loop: asyncio.AbstractEventLoop, until_seconds: float) -> None:
        if loop.time() >= until_seconds:
            self._changing = None
            return
        self._is_holding = True
        self._changing = loop.call_at(until_seconds, self._resume)
        for reader in self._readers:
            reader.hold()

    def _resume(self) -> None:
        self._is_holding = False
        self._changing = None
        for reader in list(self._readers):
            reader.release()
