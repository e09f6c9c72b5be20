"""What was found in a capture, and whether that makes it whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from k2cli.completeness.id_ranges import IdRanges
from k2cli.completeness.sequence import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from k2cli.completeness.id_ranges import IdRange

MOST_RANGES = 100_000
"""Missing ranges that are kept for one symbol; further ones are only counted."""


class Place(NamedTuple):
    """Where in a capture something is.

    Attributes:
        file: The file's position in the capture, from 0 on.
        line: Its line, from 1 on.
    """

    file: int
    line: int


class MissingRange(NamedTuple):
    """Ids that a capture lacks.

    Attributes:
        first_id: The first one.
        last_id: The last one, included.
        place: The trade that jumped over them.
    """

    first_id: int
    last_id: int
    place: Place


class TimedRange(NamedTuple):
    """Ids that a capture lacks, and when their trades were made.

    Attributes:
        first_id: The first one.
        last_id: The last one, included.
        place: The trade that jumped over them.
        since_us: When the trade before them was made, Unix microseconds.
        until_us: When that one was made that jumped over them.
    """

    first_id: int
    last_id: int
    place: Place
    since_us: int
    until_us: int


class _Jump(NamedTuple):
    place: Place
    since_us: int
    until_us: int


def digits_of(time_us: int) -> str:
    """Write a time so that it compares as a text."""
    return f"{time_us:016}"


class SymbolAccount:
    """Follows the ids of one symbol through a capture that is written already.

    Unlike ``SequenceTracker``, which decides what to write, it tells a trade in the
    wrong place from one that is there twice, wherever both are: what is there is always
    from the lowest id to the highest, without the missing ranges.

    Args:
        trade_id: Of the first trade.
        time_us: When that was made, Unix microseconds.

    Attributes:
        first_id: The first trade's id; a lower one if it comes later.
        next_id: One more than the highest id.
        last_time: When the trade with the highest id was made, Unix microseconds: 16
            digits, which compare as texts.
        left_out: Ids of trades that a filter has left out.
        repaired: Trades that came from the history.
        gaps: Jumps in the ids, whether or not their trades come later.
        duplicates: Trades that are there once more.
        disorders: Trades behind one with a higher id.
        resets: Times the exchange began to count anew, as test networks do monthly.
        reset_places: The first trades of the new counts.
        unnamed_ranges: Missing ranges that are not kept.
    """

    __slots__ = (
        "_former_missing",
        "_former_ranges",
        "_former_trades",
        "_jumps",
        "_left_out",
        "_low_id",
        "_missing",
        "_unnamed_from",
        "_unnamed_ids",
        "disorders",
        "duplicates",
        "first_id",
        "gaps",
        "last_time",
        "left_out",
        "next_id",
        "repaired",
        "reset_places",
        "resets",
        "unnamed_ranges",
    )

    def __init__(self, trade_id: int, time_us: int) -> None:
        self.first_id = trade_id
        self.repaired = 0
        self.gaps = 0
        self.duplicates = 0
        self.disorders = 0
        self.resets = 0
        self.reset_places: list[Place] = []
        self.unnamed_ranges = 0
        self.left_out = 0
        self._former_ranges: list[MissingRange] = []
        self._former_missing = 0
        self._former_trades = 0
        self._begin_count(trade_id, time_us)

    def _begin_count(self, trade_id: int, time_us: int) -> None:
        self._low_id = trade_id
        self.next_id = trade_id + 1
        self._left_out = 0
        self.last_time = digits_of(time_us)
        self._missing = IdRanges()
        # How each of these ranges was noticed, by its first id.
        self._jumps: dict[int, _Jump] = {}
        # Missing, too, but in ranges that are not kept.
        self._unnamed_ids = 0
        self._unnamed_from: int | None = None

    @property
    def last_id(self) -> int:
        """The highest id, of the last count if there are several."""
        return self.next_id - 1

    @property
    def last_time_us(self) -> int:
        """When the trade with the highest id was made, Unix microseconds."""
        return int(self.last_time)

    @property
    def trades(self) -> int:
        """Trades that are there, each counted once."""
        return self._former_trades + self._present

    @property
    def missing(self) -> int:
        """How many ids are missing."""
        return self._former_missing + self._missing_now

    @property
    def missing_ranges(self) -> list[MissingRange]:
        """What is missing, as far as it is kept, ascending by id within a count."""
        return [*self._former_ranges, *self._ranges_now]

    @property
    def _ranges_now(self) -> Iterator[MissingRange]:
        return (
            MissingRange(hole.first_id, hole.last_id, hole.place) for hole in self.holes
        )

    @property
    def holes(self) -> Iterator[TimedRange]:
        """What is missing of the present count, as far as it is kept, ascending."""
        for first_id, last_id in self._missing:
            place, since_us, until_us = self._jumps[first_id]
            yield TimedRange(first_id, last_id, place, since_us, until_us)

    @property
    def _missing_now(self) -> int:
        return self._missing.ids + self._unnamed_ids

    @property
    def _present(self) -> int:
        return self.next_id - self._low_id - self._missing_now - self._left_out

    def observe(self, trade_id: int, time_us: int, place: Place) -> Verdict:
        """Record a trade other than the first.

        Where so many ranges are missing that not all are kept, a trade that may be out
        of order or there twice counts as out of order.

        Args:
            trade_id: Its id.
            time_us: When it was made, Unix microseconds; tells a duplicate from the
                first trades after a reset.
            place: Where it is.

        Returns:
            ``NEXT``, ``GAP``, ``LATE`` (out of order), ``DUPLICATE`` or ``RESET``.
        """
        if trade_id >= self.next_id:
            jumped = trade_id > self.next_id
            if jumped:
                self.gaps += 1
                jump = _Jump(place, self.last_time_us, time_us)
                self._lack(self.next_id, trade_id - 1, jump)
            self.next_id = trade_id + 1
            self.last_time = digits_of(time_us)
            return Verdict.GAP if jumped else Verdict.NEXT
        if self._fill(trade_id):
            return Verdict.LATE
        if time_us > self.last_time_us:
            # A repeated trade keeps its time: a lower id made later is a new count.
            self._begin_anew(trade_id, time_us)
            self.reset_places.append(place)
            return Verdict.RESET
        if trade_id < self._low_id:
            self._extend_down(trade_id, _Jump(place, time_us, time_us))
            return Verdict.LATE
        if self._unnamed_from is not None and trade_id >= self._unnamed_from:
            self.disorders += 1
            return Verdict.LATE
        self.duplicates += 1
        return Verdict.DUPLICATE

    def leave_out(
        self, last_id: int, missing: Iterable[IdRange], place: Place, time_us: int
    ) -> None:
        """Record that the next ids were left out by a filter.

        Args:
            last_id: The last of them.
            missing: Those of them that are missing all the same, as they never came.
            place: The trade that jumped over them.
            time_us: When that was made.
        """
        jump = _Jump(place, self.last_time_us, time_us)
        left_out = last_id + 1 - self.next_id
        for ids in missing:
            self.gaps += 1
            self._lack(*ids, jump)
            left_out -= ids.ids
        self._left_out += left_out
        self.left_out += left_out
        self.next_id = last_id + 1

    def _lack(self, first_id: int, last_id: int, jump: _Jump) -> None:
        if len(self._former_ranges) + len(self._missing) < MOST_RANGES:
            self._missing.add(first_id, last_id)
            self._jumps[first_id] = jump
        else:
            self._leave_unnamed(first_id, last_id)

    def _leave_unnamed(self, first_id: int, last_id: int) -> None:
        self.unnamed_ranges += 1
        self._unnamed_ids += last_id - first_id + 1
        if self._unnamed_from is None or first_id < self._unnamed_from:
            self._unnamed_from = first_id

    def _fill(self, trade_id: int) -> bool:
        ids = self._missing.find(trade_id)
        if ids is None:
            return False
        jump = self._jumps[ids.first_id]
        self._missing.remove(trade_id, trade_id)
        if trade_id == ids.first_id:
            del self._jumps[trade_id]
        above = trade_id + 1
        if len(self._former_ranges) + len(self._missing) > MOST_RANGES:
            # It was split, and there is no room for both parts.
            self._missing.remove(above, ids.last_id)
            self._leave_unnamed(above, ids.last_id)
        elif trade_id < ids.last_id:
            self._jumps[above] = jump
        self.disorders += 1
        return True

    def _extend_down(self, trade_id: int, jump: _Jump) -> None:
        """Record a trade before the first one: what lies between is missing."""
        self.disorders += 1
        if trade_id + 1 < self._low_id:
            self.gaps += 1
            self._lack(trade_id + 1, self._low_id - 1, jump)
        if self.first_id == self._low_id:
            self.first_id = trade_id
        self._low_id = trade_id

    def _begin_anew(self, trade_id: int, time_us: int) -> None:
        self._former_trades += self._present
        self._former_missing += self._missing_now
        self._former_ranges += self._ranges_now
        self._begin_count(trade_id, time_us)
        self.resets += 1


class Kind(StrEnum):
    """What can be wrong with a capture, besides ids that it lacks."""

    DUPLICATE = "duplicate"
    DISORDER = "disorder"
    TIME = "time"
    RESET = "reset"
    SCHEMA = "schema"
    NUMBERING = "numbering"
    FILES = "files"
    CHANGED = "changed"
    PENDING = "pending"
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
        deleted: Of a log's partition: offsets before the first one that are gone.
    """

    name: str
    lines: int = 0
    size_bytes: int = 0
    deleted: int = 0


@dataclass(slots=True)
class Report:
    """What was found in a capture.

    Attributes:
        files: In the order in which they were read.
        symbols: Accounts by symbol.
        problems: The first ones of every kind, in the order in which they were found.
        counts: How many there are of every kind, kept or not.
        exchange: That of the first record; empty if there is none.
        is_stream: Whether it is what ``k2 stream`` prints, and no capture: its records
            have no numbers, and need not be in order.
        is_log: Whether it is a log that captures were published to.
        stated_sequence: ``platform_sequence`` up to which its manifest states it;
            ``None`` if there is no manifest to be used.
        manifest_refused: Why its manifest was not used, if there is one.
    """

    files: list[FileFigures] = field(default_factory=list)
    symbols: dict[str, SymbolAccount] = field(default_factory=dict)
    problems: dict[Kind, list[Problem]] = field(
        default_factory=lambda: {kind: [] for kind in Kind}
    )
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    exchange: str = ""
    is_stream: bool = False
    is_log: bool = False
    stated_sequence: int | None = None
    manifest_refused: str = ""

    @property
    def left_out(self) -> int:
        """Ids of trades that a filter has left out, of all symbols."""
        return sum(account.left_out for account in self.symbols.values())

    @property
    def resets(self) -> int:
        """How often an exchange began to count anew, of all symbols."""
        return sum(account.resets for account in self.symbols.values())

    @property
    def trades(self) -> int:
        """Trades that are there, each counted once, of all symbols."""
        return sum(account.trades for account in self.symbols.values())

    @property
    def missing(self) -> int:
        """Ids that are missing, of all symbols."""
        return sum(account.missing for account in self.symbols.values())

    @property
    def whole(self) -> bool:
        """Whether the capture is proven whole."""
        return self.conclusion is Conclusion.WHOLE

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
        """Return everything as ``k2 verify --json`` prints it."""
        return {
            "verdict": self.conclusion.value,
            "kind": "stream" if self.is_stream else "log" if self.is_log else "capture",
            "exchange": self.exchange or None,
            "trades": self.trades,
            "missing": self.missing,
            "left_out": self.left_out,
            "resets": self.resets,
            "stated_sequence": self.stated_sequence,
            "manifest_refused": self.manifest_refused or None,
            "counts": {kind.value: count for kind, count in self.counts.items()},
            "files": [
                {
                    "file": one.name,
                    "lines": one.lines,
                    "bytes": one.size_bytes,
                    **({"deleted": one.deleted} if one.deleted else {}),
                }
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
            "left_out": account.left_out,
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
