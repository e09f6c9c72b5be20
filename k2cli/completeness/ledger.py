"""The ledger of a run: what was received, and what is missing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from k2cli.completeness.sequence import SequenceTracker
from k2cli.completeness.trade_filter import TradeFilter

if TYPE_CHECKING:
    from collections.abc import Iterable


class Ledger:
    """Follows every symbol's sequence and sums them up.

    Args:
        symbols: The symbols to follow, in order; each is in the ledger even if it
            never trades.
        trade_filter: Which of the trades go to the sinks; all by default.

    Attributes:
        trackers: By symbol.
        trade_filter: As given.
        first_with: Trades that each of two redundant connections was first with, by its
            name and host.
    """

    def __init__(
        self, symbols: Iterable[str], trade_filter: TradeFilter | None = None
    ) -> None:
        self.trackers = {symbol: SequenceTracker() for symbol in symbols}
        self.trade_filter = trade_filter or TradeFilter()
        self.first_with: Counter[tuple[str, str]] = Counter()

    def has(self, symbol: str, trade_id: int) -> bool:
        """Return whether a trade was received, or is too old for this ledger."""
        tracker = self.trackers[symbol]
        last_id = tracker.last_id
        return last_id is not None and (
            trade_id <= last_id and trade_id not in tracker.open
        )

    @property
    def trades(self) -> int:
        """Trades accepted, of all symbols."""
        return sum(tracker.trades for tracker in self.trackers.values())

    @property
    def gaps(self) -> int:
        """Jumps in trade ids, of all symbols."""
        return sum(tracker.gaps for tracker in self.trackers.values())

    @property
    def repaired(self) -> int:
        """Trades that came from the history, of all symbols."""
        return sum(tracker.repaired for tracker in self.trackers.values())

    @property
    def open(self) -> int:
        """Missing ids that may still come, of all symbols."""
        return sum(tracker.open.ids for tracker in self.trackers.values())

    @property
    def missing(self) -> int:
        """Ids missing, of all symbols."""
        return sum(tracker.missing for tracker in self.trackers.values())

    @property
    def pending(self) -> int:
        """Of the trades accepted, those that wait for missing ones, of all symbols."""
        return sum(tracker.pending for tracker in self.trackers.values())

    @property
    def duplicates(self) -> int:
        """Trades dropped because they had come before, of all symbols."""
        return sum(tracker.duplicates for tracker in self.trackers.values())

    @property
    def verdict(self) -> str:
        """``complete``, ``pending`` (received trades wait) or ``incomplete``."""
        if self.pending:
            return "pending"
        return "incomplete" if self.missing else "complete"

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict, the sums, and every symbol's numbers."""
        times = [
            (one.first_time_us, one.last_time_us)
            for one in self.trackers.values()
            if one.first_time_us is not None and one.last_time_us is not None
        ]
        return {
            "verdict": self.verdict,
            "trades": self.trades,
            "gaps": self.gaps,
            "repaired": self.repaired,
            "missing": self.missing,
            "pending": self.pending,
            "duplicates": self.duplicates,
            "first_trade_us": min((first for first, _ in times), default=None),
            "last_trade_us": max((last for _, last in times), default=None),
            "connections": [
                {"connection": name, "host": host, "first_with": trades}
                for (name, host), trades in sorted(self.first_with.items())
            ],
            "symbols": {
                symbol: {
                    "trades": tracker.trades,
                    "first_id": tracker.first_id,
                    "last_id": None if tracker.first_id is None else tracker.last_id,
                    "gaps": tracker.gaps,
                    "repaired": tracker.repaired,
                    "missing": tracker.missing,
                    "pending": tracker.pending,
                    "missing_ranges": [list(ids) for ids in tracker.missing_ranges],
                    "missing_unnamed": tracker.unnamed,
                    "duplicates": tracker.duplicates,
                    "resets": tracker.resets,
                    "strays": tracker.strays,
                    "first_trade_us": tracker.first_time_us,
                    "last_trade_us": tracker.last_time_us,
                }
                for symbol, tracker in self.trackers.items()
            },
        }
