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
    is_restart: bool = False


class Doubts:
    """Sets trades beyond belief aside, and gives back those that are confirmed.

    Args:
        on_doubt: Called with a symbol whose newest id is to be asked for; returns
            whether it will be. ``settle`` takes the answer.
    """

    def __init__(self, on_doubt: Callable[[str], bool]) -> None:
        self._on_doubt = on_doubt
        self._doubts: dict[str, _Doubt] = {}
        # The latest run of duplicates with rising ids, by symbol.
        self._duplicates: dict[str, list[TradeBatch]] = {}

    def is_beyond(self, batch: TradeBatch) -> bool:
        """Return whether a plain batch has a trade from the future."""
        # Times of 16 digits compare as texts.
        return max(batch.trade_times) > str(batch.received_us + MOST_AHEAD_US)

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
        latest_us = max(trade.received_us, last_time_us or 0)
        if time_us > latest_us + MOST_AHEAD_US:
            return self._set_aside(symbol, tracker, trade, asks=False)
        if last_id is None or trade_id in tracker.open:
            return None
        if trade_id > last_id + MOST_AHEAD_IDS:
            return self._set_aside(symbol, tracker, trade, asks=True)
        if trade_id <= last_id and last_time_us is not None and time_us > last_time_us:
            return self._set_aside(symbol, tracker, trade, asks=True)
        return None

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
            doubt.is_restart = True
            doubt.is_asked = self._on_doubt(symbol)

    def forget_duplicates(self, symbol: str) -> None:
        """Note that a trade has come that is none."""
        if self._duplicates:
            self._duplicates.pop(symbol, None)

    def settle(
        self, symbol: str, tracker: SequenceTracker, newest_id: int | None
    ) -> list[TradeBatch]:
        """Take the exchange's answer.

        Args:
            symbol: Which was asked about.
            tracker: Its tracker; begins a new count if the exchange has begun one.
            newest_id: Of the exchange's newest trade; ``None`` if it cannot be asked:
                then consecutive ids decide.

        Returns:
            The trades to be observed. The others were stray, and are counted.
        """
        doubt = self._doubts.get(symbol)
        if doubt is None:
            return []
        if newest_id is None:
            doubt.is_asked = False
            return self._believe_consecutive(symbol, tracker, doubt)
        del self._doubts[symbol]
        last_id = tracker.last_id
        is_restart = last_id is not None and newest_id < last_id
        believed = [
            trade
            for trade in doubt.trades
            if (is_restart or last_id is None or int(trade.trade_ids[0]) > last_id)
            and int(trade.trade_ids[0]) <= newest_id + MOST_AHEAD_IDS
        ]
        if is_restart and believed:
            tracker.begin_anew()
        if not doubt.is_restart:
            tracker.strays += len(doubt.trades) - len(believed)
        return believed

    def symbols(self) -> list[str]:
        """Return the symbols with trades set aside."""
        return list(self._doubts)

    def drop(self, symbol: str, tracker: SequenceTracker) -> None:
        """Count what is still set aside as stray: the run ends."""
        doubt = self._doubts.pop(symbol, None)
        if doubt is not None and not doubt.is_restart:
            tracker.strays += len(doubt.trades)

    def _set_aside(
        self, symbol: str, tracker: SequenceTracker, trade: TradeBatch, *, asks: bool
    ) -> list[TradeBatch]:
        doubt = self._doubts.get(symbol)
        if doubt is None:
            doubt = self._doubts[symbol] = _Doubt()
        doubt.trades.append(trade)
        del doubt.trades[:-_MOST_ASIDE]
        if asks and not doubt.is_asked:
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
        tracker.strays += start
        return doubt.trades[start:]
