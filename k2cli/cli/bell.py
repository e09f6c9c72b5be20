"""The terminal's bell, for those who listen rather than look."""

from __future__ import annotations

import os
import select
import sys
import time
from typing import TYPE_CHECKING

from k2cli.cli.redrawn import REDRAWS_PER_SECOND, Redrawn
from k2cli.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from k2cli.binance.burst import Burst
    from k2cli.cli.flow import Output
    from k2cli.cli.tail import Tail
    from k2cli.trade import TradeV2

SILENT_SECONDS = 2.0
"""How long the bell is silent after a ring, however many trades come."""

_BELL = b"\a"
_STDOUT, _STDERR = 1, 2


class Bell(Redrawn):
    """Rings when trades come out of an output.

    Args:
        output: Where the trades go.

    Raises:
        SettingsError: If there is no terminal that could ring.
    """

    def __init__(self, output: Output) -> None:
        ringing = [fd for fd in (_STDERR, _STDOUT) if os.isatty(fd)]
        if not ringing:
            raise SettingsError(
                "--bell needs a terminal to ring", "Leave it out, or run k2 in one"
            )
        self._fd = ringing[0]
        self._output = output
        self._tail: Tail | None = None
        self._heard = 0
        self._next_seconds = 0.0

    def start(self, tail: Tail) -> None:
        """Listen."""
        self._tail = tail
        self._output.start(tail)
        self.start_drawing(tail, 1 / REDRAWS_PER_SECOND)

    def write(self, trade: TradeV2) -> Awaitable[None] | None:
        """Hand a trade on: what comes out is counted, not looked at."""
        return self._output.write(trade)

    def write_burst(
        self, burst: Burst, start: int, stop: int
    ) -> Awaitable[None] | None:
        """Hand trades on."""
        return self._output.write_burst(burst, start, stop)

    def waits_seconds(self) -> float:
        """Tell for how long the output has waited for a reader."""
        return self._output.waits_seconds()

    def finish(self) -> None:
        """Let go of what holds up the end."""
        self._output.finish()

    def close(self) -> None:
        """Listen no more."""
        self.stop_drawing()
        self._output.close()

    def draw(self) -> None:
        """Ring, if trades came out since the last ring and that is long enough ago."""
        now_seconds = time.monotonic()
        if (
            self._tail is None
            or self._tail.flow.passed == self._heard
            or now_seconds < self._next_seconds
        ):
            return
        # A terminal that is held with Ctrl-S takes nothing: skip, do not wait.
        if sys.platform != "win32" and not select.select((), (self._fd,), (), 0)[1]:
            return
        self._heard = self._tail.flow.passed
        self._next_seconds = now_seconds + SILENT_SECONDS
        os.write(self._fd, _BELL)
