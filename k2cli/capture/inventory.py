"""What a recording adds to a capture, kept for its manifest."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from k2cli.capture.manifest import Manifest, Selection, SymbolState
from k2cli.completeness.id_ranges import IdRanges

if TYPE_CHECKING:
    from collections.abc import Iterable

    from k2cli.capture.pending import PendingJournal
    from k2cli.completeness.id_ranges import IdRange
    from k2cli.completeness.ledger import Ledger
    from k2cli.completeness.sequence import SequenceTracker
    from k2cli.completeness.trade_filter import TradeFilter
    from k2cli.trade import TradeBatch

# Ranges of one symbol in the manifest; ids of more are only counted.
_MOST_RANGES = 10_000


class Inventory:
    """Counts what is written, and brings the manifest up to date with it.

    Args:
        manifest: Of the capture as it was found.

    Attributes:
        manifest: Changed by ``update`` alone, so that another thread may write it in
            the meantime.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._is_filtered = False
        # What was written of a filtered run, and what of it is in the manifest.
        self._passed: Counter[str] = Counter()
        self._counted: dict[str, int] = {}
        self._resets: dict[str, list[int]] = {}

    def begin(self, trade_filter: TradeFilter, number: int) -> None:
        """Note which trades are written from a record on."""
        least = trade_filter.min_notional
        selection = Selection(
            number, trade_filter.side, None if least is None else str(least)
        )
        self._is_filtered = not selection.takes_all
        filters = self.manifest.filters
        now = filters[-1] if filters else Selection()
        if (now.side, now.min_notional) == (selection.side, selection.min_notional):
            return
        symbols = self.manifest.symbols.items()
        selection.behind_ids = {symbol: state.last_id for symbol, state in symbols}
        filters.append(selection)

    def wrote(self, batch: TradeBatch) -> None:
        """Count trades that were written; of the others, the ledger knows how many."""
        if self._is_filtered:
            self._passed.update(batch.symbols)

    def note_resets(self, batch: TradeBatch, ledger: Ledger, number: int) -> bool:
        """Note where the exchange has begun a new count; return whether it has.

        Args:
            batch: What is about to be written.
            ledger: Of the run.
            number: ``platform_sequence`` of its first trade.
        """
        # The first trade of a new count comes alone, unless others were left out.
        some = batch.symbols if self._is_filtered else batch.symbols[:1]
        is_new = False
        for index, symbol in enumerate(some):
            resets = ledger.trackers[symbol].resets
            if resets and resets > len(noted := self._resets.setdefault(symbol, [])):
                noted += [number + index] * (resets - len(noted))
                is_new = True
        return is_new

    def update(
        self,
        ledger: Ledger,
        journal: PendingJournal | None,
        queue: Iterable[TradeBatch] = (),
    ) -> None:
        """Bring the manifest up to date with what was written so far.

        Args:
            ledger: Of the run.
            journal: Where trades wait for others.
            queue: Trades that are to be written next.
        """
        symbols = self.manifest.symbols
        queued: dict[str, list[int]] = {}
        for batch in queue:
            for symbol, trade_id in zip(batch.symbols, batch.trade_ids, strict=True):
                queued.setdefault(symbol, []).append(int(trade_id))
        for symbol, tracker in ledger.trackers.items():
            state = symbols.get(symbol)
            if state is None:
                if tracker.first_id is None:
                    continue
                state = SymbolState(tracker.first_id, -1, trades=0)
            first = journal.first(symbol) if journal is not None else None
            self._update(symbol, state, tracker, first, queued.get(symbol, []))
            if state.last_id >= 0:
                symbols[symbol] = state

    def _update(
        self,
        symbol: str,
        state: SymbolState,
        tracker: SequenceTracker,
        first_pending: tuple[int, int] | None,
        queued: list[int],
    ) -> None:
        if self._is_filtered:
            written = self._passed[symbol]
        else:
            written = tracker.trades - tracker.pending - len(queued)
        if state.trades is not None:
            state.trades += written - self._counted.get(symbol, 0)
        self._counted[symbol] = written
        pending_id = first_pending[1] if first_pending is not None else None
        _see(state, tracker, (tracker.open.first_id, pending_id, *queued[:1]))
        if new_resets := self._resets.get(symbol):
            known = state.resets
            state.resets = [*known, *(n for n in new_resets if n not in known)]
        lost = _plain(tracker.given_up)
        excess = max(len(lost) - _MOST_RANGES, 0)
        state.missing = lost[excess:]
        state.missing_unnamed = tracker.unnamed + sum(
            last - first + 1 for first, last in lost[:excess]
        )
        state.awaited, state.pending = [], []
        if tracker.open or first_pending is not None:
            awaited = tracker.open.within(state.last_id + 1, tracker.last_id or 0)
            state.awaited = _plain(awaited)[:_MOST_RANGES]
            if first_pending is not None and tracker.last_id is not None:
                pending = IdRanges([(first_pending[1], tracker.last_id)])
                for ids in tracker.open:
                    pending.remove(*ids)
                state.pending = _plain(pending)[:_MOST_RANGES]


def _see(
    state: SymbolState, tracker: SequenceTracker, to_come: Iterable[int | None]
) -> None:
    """Note how far a symbol is in the capture, or left out by a filter.

    Args:
        state: Of the symbol.
        tracker: Likewise.
        to_come: Ids from which on all is still to come.
    """
    if tracker.last_id is None:
        return
    last_id = min(
        [tracker.last_id, *(each - 1 for each in to_come if each is not None)]
    )
    # What was given up and has nothing behind it is asked for again.
    for ids in reversed(tracker.given_up):
        if ids.first_id <= last_id <= ids.last_id:
            last_id = ids.first_id - 1
    if last_id != state.last_id:
        is_all = last_id == tracker.last_id
        state.last_id = last_id
        state.last_time_us = tracker.known_time_us if is_all else None


def _plain(ranges: Iterable[IdRange]) -> list[tuple[int, int]]:
    """Return ranges as JSON has them."""
    return [(ids.first_id, ids.last_id) for ids in ranges]
