"""What was found in a capture, and whether that makes it whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from k2cli.capture.account import Place, SymbolAccount


class Kind(StrEnum):
    """What can be wrong with a capture, besides ids that it lacks."""

    DUPLICATE = "duplicate"
    DISORDER = "disorder"
    SCHEMA = "schema"
    NUMBERING = "numbering"
    TORN = "torn"
    DAMAGED = "damaged"


class Conclusion(StrEnum):
    """What a capture is proven to be."""

    WHOLE = "whole"
    NOT_WHOLE = "not whole"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong at one place.

    Attributes:
        kind: What.
        place: Where.
        text: In words that are fit for printing.
    """

    kind: Kind
    place: Place
    text: str


@dataclass(slots=True)
class FileFigures:
    """One file of a capture.

    Attributes:
        name: Fit for printing.
        lines: Whole lines in it.
        size_bytes: What was read of it, unpacked.
    """

    name: str
    lines: int = 0
    size_bytes: int = 0


@dataclass(slots=True)
class Report:
    """What was found in a capture.

    Attributes:
        files: In the order in which they were read.
        symbols: Accounts by symbol.
        problems: The first ones of every kind, in the order in which they were found.
        counts: How many there are of every kind, kept or not.
        exchange: That of the first record; empty if there is none.
    """

    files: list[FileFigures] = field(default_factory=list)
    symbols: dict[str, SymbolAccount] = field(default_factory=dict)
    problems: dict[Kind, list[Problem]] = field(
        default_factory=lambda: {kind: [] for kind in Kind}
    )
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    exchange: str = ""

    @property
    def trades(self) -> int:
        """Trades that are there, each counted once, of all symbols."""
        return sum(account.trades for account in self.symbols.values())

    @property
    def missing(self) -> int:
        """Ids that are missing, of all symbols."""
        return sum(account.missing for account in self.symbols.values())

    @property
    def findings(self) -> int:
        """Everything that is wrong: jumps over ids, and problems, kept or not."""
        gaps = sum(account.gaps for account in self.symbols.values())
        return gaps + sum(self.counts.values())

    @property
    def conclusion(self) -> Conclusion:
        """What is proven; a capture without a record proves nothing."""
        if self.missing or any(self.counts.values()):
            return Conclusion.NOT_WHOLE
        return Conclusion.WHOLE if self.symbols else Conclusion.EMPTY

    def to_dict(self) -> dict[str, Any]:
        """Give everything as ``k2 verify --json`` prints it."""
        return {
            "verdict": self.conclusion.value,
            "exchange": self.exchange or None,
            "trades": self.trades,
            "missing": self.missing,
            "counts": {kind.value: count for kind, count in self.counts.items()},
            "files": [
                {"file": one.name, "lines": one.lines, "bytes": one.size_bytes}
                for one in self.files
            ],
            "symbols": [
                self._symbol(name, account)
                for name, account in sorted(self.symbols.items())
            ],
            "problems": [
                {"kind": one.kind.value, **self._where(one.place), "text": one.text}
                for problems in self.problems.values()
                for one in problems
            ],
        }

    def _symbol(self, name: str, account: SymbolAccount) -> dict[str, Any]:
        return {
            "symbol": name,
            "trades": account.trades,
            "first_id": account.first_id,
            "last_id": account.last_id,
            "gaps": account.gaps,
            "repaired": account.repaired,
            "missing": account.missing,
            "duplicates": account.duplicates,
            "disorders": account.disorders,
            "resets": account.resets,
            "missing_ranges": [
                {
                    "first_id": ids.first_id,
                    "last_id": ids.last_id,
                    **self._where(ids.place),
                }
                for ids in account.missing_ranges
            ],
            "unnamed_ranges": account.unnamed_ranges,
        }

    def _where(self, place: Place) -> dict[str, Any]:
        return {"file": self.files[place.file].name, "line": place.line}
