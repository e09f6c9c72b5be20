"""The way of the trades of a run: past the filters, to the file and to the output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from k2cli.binance.burst import Burst
    from k2cli.capture.delivery import Deliver
    from k2cli.capture.sequence import IdRange
    from k2cli.cli.options import TailOptions
    from k2cli.cli.recorder import Recorder
    from k2cli.cli.tail import Tail
    from k2cli.cli.wholeness import Wholeness
    from k2cli.trade import TradeV2


class Output(Protocol):
    """Where the trades of a run go, beside the capture file."""

    def start(self, tail: Tail) -> None:
        """Begin: the symbols are known, the connection is about to be made."""

    def write(self, trade: TradeV2) -> Awaitable[None] | None:
        """Take a trade; give an awaitable to hold the connection back."""

    def write_burst(
        self, burst: Burst, start: int, stop: int
    ) -> Awaitable[None] | None:
        """Take some of the trades of a burst, as ``write`` would one by one."""

    def waits_seconds(self) -> float:
        """Tell for how long what was written has waited for a reader; 0 if not."""

    def finish(self) -> None:
        """Let go of readers that hold up the end."""

    def close(self) -> None:
        """End, whatever happened; harmless if it never began."""


class Flow:
    """Hands the trades of a run on.

    They come from the client, one by one or many at once, go past the sequence
    accounting, and come back from there in order or at once.

    Args:
        options: What the user asked for: filters, count.
        output: Where the trades go.
        recorder: Writes the capture file, if there is one; always in order.
        on_full: Called when as many trades have gone out as were asked for.
        in_order: Whether the output, too, gets the trades of a symbol in order, rather
            than at once.

    Attributes:
        passed: Trades that passed the filters and went out.
        at_once: Takes trades as they come, if anybody does.
        in_order: Takes those of a symbol in the order of their ids, if anybody does.
        on_burst: Takes many at once from the client; ``None`` if each has to be looked
            at.
    """

    _wholeness: Wholeness

    def __init__(
        self,
        options: TailOptions,
        output: Output,
        recorder: Recorder | None,
        on_full: Callable[[], None],
        *,
        in_order: bool,
    ) -> None:
        self.passed = 0
        self._count = options.count
        self._output = output
        self._recorder = recorder
        self._on_full = on_full
        self._conditions = _conditions(options)
        self._last: tuple[Burst, int] | TradeV2 | None = None
        self._writes_what_goes_out = in_order
        record = self._record if recorder is not None else None
        self.at_once: Deliver | None = None if in_order else self._emit
        self.in_order: Deliver | None = self._emit if in_order else record
        self.on_burst = None if self._conditions else self._take_burst

    def begin(self, wholeness: Wholeness) -> None:
        """Take trades from now on.

        Args:
            wholeness: Follows the sequence of each symbol.
        """
        self._wholeness = wholeness

    @property
    def is_full(self) -> bool:
        """Whether as many trades have gone out as were asked for."""
        return self._count is not None and self.passed >= self._count

    @property
    def last_trade(self) -> TradeV2 | None:
        """The newest trade received."""
        if isinstance(self._last, tuple):
            burst, index = self._last
            self._last = burst.trade(index)
        return self._last

    def on_trade(self, trade: TradeV2) -> Awaitable[None] | None:
        """Take a trade from the client."""
        if self.is_full:
            return None
        self._last = trade
        return self._wholeness.arrived(trade)

    def lost(self, symbol: str, ids: IdRange) -> None:
        """Note ids that were given up."""
        if self._recorder is not None:
            self._recorder.lost(symbol, ids)

    def _take_burst(self, burst: Burst) -> Awaitable[None] | None:
        """Take trades that came together: all at once, but for the unusual ones."""
        start = 0
        while start < len(burst):
            start, held_back = self._take(burst, start)
            if held_back is not None:
                return self._take_rest(burst, start, held_back)
        return None

    async def _take_rest(
        self, burst: Burst, start: int, held_back: Awaitable[None] | None
    ) -> None:
        while held_back is not None or start < len(burst):
            if held_back is not None:
                await held_back
            start, held_back = self._take(burst, start)

    def _take(self, burst: Burst, start: int) -> tuple[int, Awaitable[None] | None]:
        """Take as many trades as go the same way; tell where the next one is."""
        stop = start + self._left(len(burst) - start)
        if start == stop:
            return len(burst), None
        end = self._wholeness.pass_over(burst.trades, start, stop)
        if end == start:
            return start + 1, self.on_trade(burst.trade(start))
        self._last = (burst, end - 1)
        return end, self._emit_burst(burst, start, end)

    def _emit_burst(
        self, burst: Burst, start: int, stop: int
    ) -> Awaitable[None] | None:
        """Hand trades that may go anywhere to the file and to the output."""
        self.passed += stop - start
        if self.is_full:
            self._on_full()
        if self._recorder is not None:
            self._recorder.write_burst(burst, start, stop)
        return self._output.write_burst(burst, start, stop)

    def _left(self, most: int) -> int:
        """Tell how many more trades are wanted."""
        count = self._count
        return most if count is None else min(most, count - self.passed)

    def _passes(self, trade: TradeV2) -> bool:
        return all(condition(trade) for condition in self._conditions)

    def _emit(self, trade: TradeV2) -> Awaitable[None] | None:
        """Hand a trade to the output, and to the file if that gets the same ones."""
        if self.is_full or not self._passes(trade):
            return None
        self.passed += 1
        if self.is_full:
            self._on_full()
        if self._writes_what_goes_out and self._recorder is not None:
            self._recorder.write(trade)
        return self._output.write(trade)

    def _record(self, trade: TradeV2) -> None:
        if self._recorder is not None and self._passes(trade):
            self._recorder.write(trade)


def _conditions(options: TailOptions) -> Sequence[Callable[[TradeV2], bool]]:
    """Make a test of each condition; they never touch the sequence accounting."""
    side = options.side.name if options.side else None
    least = options.min_notional
    return [
        *([lambda trade: trade.side == side] if side else []),
        *([lambda trade: trade.notional >= least] if least is not None else []),
    ]
