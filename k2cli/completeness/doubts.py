"""Trades beyond belief: set aside until the exchange confirms them.

One message with a stray id would otherwise make every real trade after it a duplicate,
or open a gap of millions. What is set aside leaves the others alone: the real trades go
on meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from k2cli.completeness.sequence import SequenceTracker
    from k2cli.trade import TradeBatch

MOST_AHEAD_IDS = 100_000
"""A trade whose id is further ahead of its symbol's last one is doubted."""

MOST_AHEAD_US = 60_000_000
"""So is one that was made so long after it was received, or later."""

CONSECUTIVE_IDS = 3
"""So many consecutive ids are believed where the exchange cannot be asked."""

# A server repeats some trades when it reconnects; whether more are a new count, the
# exchange is asked.
_DUPLICATES = 50
# Trades set aside of one symbol; of more, the first ones are dropped and counted.
_MOST_ASIDE = 10_000


@dataclass(slots=True)
class _Doubt:
    """The trades of one symbol that are set aside, each a batch of one."""

    trades: list[TradeBatch] = field(default_factory=list)
    # Whether the exchange may still answer.
    is_asked: bool = False
    is_run: bool = False
    """Whether it is a run of duplicates."""

    def is_restarted(
        self, newest_id: int, newest_us: int, tracker: SequenceTracker
    ) -> bool:
        """Say whether the exchange's newest trade is of a new count.

        It may be older than what has come since it was asked for, or the exchange's
        memory behind: a lower id alone proves nothing.
        """
        last_id, last_us = tracker.last_id, tracker.known_time_us
        if last_id is None or newest_id > last_id or not self.trades:
            return False
        if self.is_run:
            run_id = int(self.trades[-1].trade_ids[0])
            return abs(newest_id - run_id) < last_id - newest_id
        # Within a count, times rise with the ids.
        return last_us is not None and newest_us > last_us


class Doubts:
    """Sets trades beyond belief aside, and gives back those that are confirmed.

    Args:
        on_doubt: Called with a symbol whose newest trade is to be asked for; returns
            whether it will be. ``settle`` takes the answer.
        on_stray: Called with trades that are not believed.
    """

    def __init__(
        self,
        on_doubt: Callable[[str], bool],
        on_stray: Callable[[str, list[TradeBatch]], None] = lambda *_: None,
    ) -> None:
        self._on_doubt = on_doubt
        self._on_stray = on_stray
        self._doubts: dict[str, _Doubt] = {}
        # How far our own clock is behind, by trades that were from its future and were
        # confirmed: all others are from there, too.
        self._clock_behind_us = 0
        # The latest run of duplicates with rising ids, by symbol.
        self._duplicates: dict[str, list[TradeBatch]] = {}

    def is_beyond(self, batch: TradeBatch) -> bool:
        """Return whether a plain batch has a trade from the future."""
        # Times of 16 digits compare as texts.
        return max(batch.trade_times) > str(self._latest_us(batch))

    def take(
        self, symbol: str, tracker: SequenceTracker, trade: TradeBatch
    ) -> list[TradeBatch] | None:
        """Decide about a trade of the stream.

        Returns:
            ``None`` if it is believable. Otherwise what is believed by now of the
            trades set aside, which are to be observed: often nothing.
        """
        trade_id, time_us = int(trade.trade_ids[0]), trade.timestamp_us(0)
        last_id, last_time_us = tracker.last_id, tracker.known_time_us
        if time_us > max(self._latest_us(trade), (last_time_us or 0) + MOST_AHEAD_US):
            return self._set_aside(symbol, tracker, trade)
        if last_id is None or trade_id in tracker.open:
            return self._with_explained(symbol, trade)
        if trade_id > last_id + MOST_AHEAD_IDS:
            return self._set_aside(symbol, tracker, trade)
        if trade_id <= last_id and last_time_us is not None and time_us > last_time_us:
            return self._set_aside(symbol, tracker, trade)
        return self._with_explained(symbol, trade)

    def note_duplicate(self, symbol: str, trade: TradeBatch) -> None:
        """Take note of a duplicate: a long run with rising ids may be a new count."""
        run = self._duplicates.setdefault(symbol, [])
        if run and int(run[-1].trade_ids[0]) + 1 != int(trade.trade_ids[0]):
            run.clear()
        run.append(trade)
        doubt = self._doubts.get(symbol)
        if len(run) >= _DUPLICATES and (doubt is None or not doubt.is_asked):
            doubt = self._doubts.setdefault(symbol, _Doubt())
            doubt.trades += run
            run.clear()
            doubt.is_run = True
            doubt.is_asked = self._on_doubt(symbol)

    def forget_duplicates(self, symbol: str) -> None:
        """Note that a trade has come that is none."""
        if self._duplicates:
            self._duplicates.pop(symbol, None)

    def settle(
        self, symbol: str, tracker: SequenceTracker, newest: TradeBatch | None
    ) -> list[TradeBatch]:
        """Take the exchange's answer.

        Args:
            symbol: Which was asked about.
            tracker: Its tracker; begins a new count if the exchange has begun one.
            newest: The exchange's newest trade; ``None`` if it cannot be asked: then
                consecutive ids decide.

        Returns:
            The trades to be observed. The others were stray, and are counted.
        """
        doubt = self._doubts.get(symbol)
        if doubt is None:
            return []
        if newest is None:
            doubt.is_asked = False
            explained = self._explained(symbol)
            return explained + self._believe_consecutive(symbol, tracker, doubt)
        del self._doubts[symbol]
        newest_id, newest_us = int(newest.trade_ids[-1]), newest.timestamp_us(-1)
        last_id = tracker.last_id
        is_restart = doubt.is_restarted(newest_id, newest_us, tracker)
        believed: list[TradeBatch] = []
        strays: list[TradeBatch] = []
        for trade in doubt.trades:
            trade_id = int(trade.trade_ids[0])
            is_believed = (
                (is_restart or last_id is None or trade_id > last_id)
                and trade_id <= newest_id + MOST_AHEAD_IDS
                and trade.timestamp_us(0) <= newest_us + MOST_AHEAD_US
            )
            (believed if is_believed else strays).append(trade)
        if is_restart and believed:
            tracker.begin_anew()
        self._reject(symbol, tracker, doubt, strays)
        self._learn_clock(believed)
        return believed

    def symbols(self) -> list[str]:
        """Return the symbols with trades set aside."""
        return list(self._doubts)

    def drop(self, symbol: str, tracker: SequenceTracker) -> None:
        """Count what is still set aside as stray: the run ends."""
        doubt = self._doubts.pop(symbol, None)
        if doubt is not None:
            self._reject(symbol, tracker, doubt, doubt.trades)

    def _reject(
        self,
        symbol: str,
        tracker: SequenceTracker,
        doubt: _Doubt,
        trades: list[TradeBatch],
    ) -> None:
        """Count trades as strays; those of a run of duplicates had come before."""
        if trades and not doubt.is_run:
            tracker.strays += len(trades)
            self._on_stray(symbol, trades)

    def _set_aside(
        self, symbol: str, tracker: SequenceTracker, trade: TradeBatch
    ) -> list[TradeBatch]:
        doubt = self._doubts.get(symbol)
        if doubt is None:
            doubt = self._doubts[symbol] = _Doubt()
        doubt.trades.append(trade)
        self._reject(symbol, tracker, doubt, doubt.trades[:-_MOST_ASIDE])
        del doubt.trades[:-_MOST_ASIDE]
        if not doubt.is_asked:
            doubt.is_asked = self._on_doubt(symbol)
        return (
            [] if doubt.is_asked else self._believe_consecutive(symbol, tracker, doubt)
        )

    def _believe_consecutive(
        self, symbol: str, tracker: SequenceTracker, doubt: _Doubt
    ) -> list[TradeBatch]:
        ids = [int(trade.trade_ids[0]) for trade in doubt.trades[-CONSECUTIVE_IDS:]]
        if len(ids) < CONSECUTIVE_IDS or ids[-1] - ids[0] != CONSECUTIVE_IDS - 1:
            return []
        del self._doubts[symbol]
        # What is in front of the run was stray.
        start = len(doubt.trades) - CONSECUTIVE_IDS
        while start and int(doubt.trades[start - 1].trade_ids[0]) + 1 == int(
            doubt.trades[start].trade_ids[0]
        ):
            start -= 1
        self._reject(symbol, tracker, doubt, doubt.trades[:start])
        self._learn_clock(doubt.trades[start:])
        return doubt.trades[start:]

    def _latest_us(self, batch: TradeBatch) -> int:
        """Return when the trades of a batch can have been made at the latest."""
        return batch.received_us + self._clock_behind_us + MOST_AHEAD_US

    def _learn_clock(self, believed: list[TradeBatch]) -> None:
        for trade in believed:
            behind_us = trade.timestamp_us(0) - trade.received_us
            if behind_us > MOST_AHEAD_US:
                self._clock_behind_us = max(self._clock_behind_us, behind_us)

    def _with_explained(
        self, symbol: str, trade: TradeBatch
    ) -> list[TradeBatch] | None:
        explained = self._explained(symbol) if self._clock_behind_us else []
        return [*explained, trade] if explained else None

    def _explained(self, symbol: str) -> list[TradeBatch]:
        """Take out trades that were set aside because our clock is behind."""
        doubt = self._doubts.get(symbol)
        if doubt is None or doubt.is_asked:
            return []
        explained: list[TradeBatch] = []
        others: list[TradeBatch] = []
        for trade in doubt.trades:
            was_ahead = trade.timestamp_us(0) > trade.received_us + MOST_AHEAD_US
            is_explained = was_ahead and trade.timestamp_us(0) <= self._latest_us(trade)
            (explained if is_explained else others).append(trade)
        doubt.trades = others
        if not others:
            del self._doubts[symbol]
        return explained
