"""The account of a run: what came, what is missing, and the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from k2cli.capture.sequence import SequenceTracker, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

# Ranges of missing ids that are named per symbol; the count is always of all.
_MOST_RANGES_NAMED = 20
_HEADINGS = (
    "symbol",
    "trades",
    "first id",
    "last id",
    "gaps",
    "repaired",
    "missing",
    "duplicates",
)


class Ledger:
    """Follows every symbol's sequence and sums it up.

    Args:
        symbols: The symbols to account for, in order; each has its line even if it
            never trades.
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self.trackers = {symbol: SequenceTracker() for symbol in symbols}

    def observe(self, symbol: str, trade_id: int, trade_time_us: int) -> Verdict:
        """Take note of a trade; see ``SequenceTracker.observe``."""
        return self.trackers[symbol].observe(trade_id, trade_time_us)

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
    def missing(self) -> int:
        """Ids missing, of all symbols."""
        return sum(tracker.missing for tracker in self.trackers.values())

    @property
    def duplicates(self) -> int:
        """Trades left out because they had come before."""
        return sum(tracker.duplicates for tracker in self.trackers.values())

    def verdict(self) -> str:
        """Give the run's result in one line."""
        account = _counted(self.trades, "trade")
        if self.repaired:
            account += f", {self.repaired:,} of them repaired"
        if not self.missing:
            return f"complete: {account}, nothing missing"
        return f"incomplete: {account}, {self.missing:,} missing"

    def to_dict(self) -> dict[str, Any]:
        """Give the account as data: the verdict, and every symbol's figures."""
        return {
            "verdict": "incomplete" if self.missing else "complete",
            "trades": self.trades,
            "gaps": self.gaps,
            "repaired": self.repaired,
            "missing": self.missing,
            "duplicates": self.duplicates,
            "symbols": {
                symbol: {
                    "trades": tracker.trades,
                    "first_id": tracker.first_id,
                    "last_id": None if tracker.first_id is None else tracker.last_id,
                    "gaps": tracker.gaps,
                    "repaired": tracker.repaired,
                    "missing": tracker.missing,
                    "missing_ranges": tracker.missing_ranges,
                    "duplicates": tracker.duplicates,
                    "resets": tracker.resets,
                }
                for symbol, tracker in self.trackers.items()
            },
        }

    def lines(self) -> list[str]:
        """Give a table with a line per symbol, the missing ids, and the verdict."""
        rows = [_HEADINGS, *(_row(*item) for item in self.trackers.items())]
        widths = [max(_cells(row[i]) for row in rows) for i in range(len(_HEADINGS))]
        table = [
            row[0]
            + " " * (widths[0] - _cells(row[0]))
            + "".join(
                f"  {cell:>{width}}"
                for cell, width in zip(row[1:], widths[1:], strict=True)
            )
            for row in rows
        ]
        named = [
            f"{symbol} lacks {_named(tracker.missing_ranges)}"
            for symbol, tracker in self.trackers.items()
            if tracker.missing
        ]
        restarted = [
            f"{symbol} began to count anew: {_counted(tracker.resets, 'time')}"
            for symbol, tracker in self.trackers.items()
            if tracker.resets
        ]
        return [*table, *named, *restarted, self.verdict()]


def _row(symbol: str, tracker: SequenceTracker) -> tuple[str, ...]:
    return (
        symbol,
        f"{tracker.trades:,}",
        "-" if tracker.first_id is None else str(tracker.first_id),
        "-" if tracker.first_id is None else str(tracker.last_id),
        f"{tracker.gaps:,}",
        f"{tracker.repaired:,}",
        f"{tracker.missing:,}",
        f"{tracker.duplicates:,}",
    )


def _cells(text: str) -> int:
    """Give the width on a terminal, where East Asian characters take two cells."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _named(ranges: list[tuple[int, int]]) -> str:
    shown = [
        str(first) if first == last else f"{first}-{last}"
        for first, last in ranges[:_MOST_RANGES_NAMED]
    ]
    if len(ranges) > _MOST_RANGES_NAMED:
        shown.append(f"and {len(ranges) - _MOST_RANGES_NAMED:,} more ranges")
    return ", ".join(shown)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
