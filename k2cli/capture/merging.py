"""Writing a capture anew, with trades that it lacked, in the place of the old one."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from k2cli.capture.compression import GzipBlocks, ZstdBlocks, compression_of
from k2cli.capture.former_notes import former_notes_path
from k2cli.capture.manifest import (
    FinishedFile,
    GrowingFile,
    Manifest,
    SymbolState,
    manifest_bytes,
    manifest_path,
)
from k2cli.capture.pending import journal_path
from k2cli.capture.reader import BrokenOff, CaptureSource
from k2cli.capture.replacing import Replacement, discard_replacements, replace_files
from k2cli.capture.report import Kind, Place
from k2cli.capture.rotation import finished_name
from k2cli.completeness.id_ranges import IdRange, IdRanges
from k2cli.errors import SettingsError, printable
from k2cli.trade import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from k2cli.capture.checksum import MarkedChecksum
    from k2cli.capture.compression import Compression
    from k2cli.capture.repair import CaptureRepair
    from k2cli.capture.spool import Spool

_NUMBER = re.compile(rb'"platform_sequence":(?:[0-9]+|null)')
_LINES_BETWEEN_CHECKS = 10_000


@dataclass(slots=True)
class Outcome:
    """What a repair has done.

    Attributes:
        filled: Trades that went into the capture and were not pending, by symbol.
        merged: Pending trades that went into it.
        still_pending: Trades that wait on, by symbol.
        missing: What cannot be had or was not had, by symbol.
        files: How many files were written anew.
        renumbered_from: The first ``platform_sequence`` that another trade has now;
            0 if none changed.
    """

    filled: dict[str, int] = field(default_factory=dict)
    merged: dict[str, int] = field(default_factory=dict)
    still_pending: dict[str, int] = field(default_factory=dict)
    missing: dict[str, IdRanges] = field(default_factory=dict)
    files: int = 0
    renumbered_from: int = 0


class Merging:
    """Writes the files of a capture anew.

    Args:
        repair: The capture, scanned.
        spool: What is to go into it.
        absent: Ids that are proven not to be there, by symbol: trades that wait for
            them wait no longer.
        give_up: Whether no trade is to wait for any id.
        check: Called now and then; what it raises ends it, and the old files stay.
    """

    def __init__(
        self,
        repair: CaptureRepair,
        spool: Spool,
        absent: Mapping[str, IdRanges],
        *,
        give_up: bool,
        check: Callable[[], None],
    ) -> None:
        self._repair = repair
        self._report = repair.report
        self._path = repair.path
        self._spool = spool
        self._absent = absent
        self._gives_up = give_up
        self._check = check
        self._outcome = Outcome()
        self._renames: dict[Path, Path] = {}
        self._open: list[Replacement] = []
        # Where pending trades of a symbol wait on from.
        self._waits_from: dict[str, int] = {}
        self._number = self._first_number = 1
        self._manifest = Manifest(
            capture_id=repair.manifest.capture_id,
            exchange=self._report.exchange,
            since_sequence=repair.manifest.since_sequence,
        )
        unconfirmed = {one.place for one in self._report.problems[Kind.RESET]}
        self._reset_places = {
            place: symbol
            for symbol, account in self._report.symbols.items()
            for place in account.reset_places
            if place not in unconfirmed
        }
        self._resets: dict[str, list[int]] = {}

    def run(self) -> Outcome:
        """Replace the capture.

        Raises:
            OutputError: If the new files cannot be written.
        """
        try:
            return self._run()
        finally:
            for replacement in self._open:
                replacement.close()
            discard_replacements(self._path)

    def _run(self) -> Outcome:
        outcome, sources = self._outcome, self._repair.sources
        inserts = self._inserts()
        ends = self._ends()
        first = self._first_file(inserts, appends=bool(ends))
        removals = [self._spool.path, former_notes_path(self._path)]
        self._number = self._first_number = sources[0].first_number() or 1
        for index in range(len(sources) if first is None else first):
            self._pass_over(index)
        if first is not None:
            for index in range(first, len(sources)):
                removals += self._write_file(index, inserts, ends)
            outcome.files = len(sources) - first
        removals += self._write_journal()
        self._name_missing()
        self._write_manifest(ends)
        self._check()
        for replacement in self._open:
            replacement.finish()
        self._repair.release()
        replace_files(self._path, self._renames, removals)
        for replacement in self._open:
            if self._renames.get(replacement.path) == self._path:
                self._open.remove(replacement)
                self._repair.keep_locked(replacement)
                break
        return outcome

    def _pass_over(self, index: int) -> None:
        """Note a file that stays as it is."""
        source = self._repair.sources[index]
        assert source.checksum is not None  # noqa: S101 - for the type checker
        first_number = self._number
        for place, symbol in self._reset_places.items():
            if place.file == index:
                number = first_number + place.line - 1
                self._resets.setdefault(symbol, []).append(number)
        self._number += self._report.files[index].lines
        self._note_file(source.path, first_number, source.checksum)

    def _note_file(
        self, path: Path, first_number: int, checksum: MarkedChecksum
    ) -> None:
        size_bytes, sha256 = checksum.size_bytes, checksum.digest()
        last_number = self._number - 1
        if path == self._path:
            self._manifest.growing = GrowingFile(
                first_number, last_number if size_bytes else 0, size_bytes, sha256
            )
        elif size_bytes:
            name = finished_name(self._path.name, first_number)
            self._manifest.files.append(
                FinishedFile(name, first_number, last_number, size_bytes, sha256)
            )

    def _inserts(self) -> dict[Place, list[tuple[str, IdRange]]]:
        """Find which holes can be filled, at least in part, and where they are."""
        found: dict[Place, list[tuple[str, IdRange]]] = {}
        for symbol, account in self._report.symbols.items():
            for hole in account.holes:
                ids = IdRange(hole.first_id, hole.last_id)
                if next(self._spool.ids(symbol, *ids), None) is not None:
                    found.setdefault(hole.place, []).append((symbol, ids))
        return found

    def _ends(self) -> dict[str, IdRange]:
        """Find which trades follow the last one of each symbol."""
        ends: dict[str, IdRange] = {}
        for symbol in self._spool.symbols():
            account = self._report.symbols.get(symbol)
            bridges = IdRanges(self._absent.get(symbol, ()))
            for ids in self._repair.given_up.get(symbol, ()):
                bridges.add(*ids)
            before = account.last_id if account is not None else None
            begin = account.next_id if account is not None else 0
            first_id = last_id = None
            for trade_id, _ in self._spool.ids(symbol, begin, MAX_ID):
                if before is not None and trade_id > before + 1:
                    gap = IdRange(before + 1, trade_id - 1)
                    bridged = sum(part.ids for part in bridges.within(*gap)) == gap.ids
                    if not (bridged or self._gives_up):
                        self._waits_from[symbol] = trade_id
                        break
                    self._lacks(symbol, gap)
                first_id = trade_id if first_id is None else first_id
                before = last_id = trade_id
            if first_id is not None and last_id is not None:
                ends[symbol] = IdRange(first_id, last_id)
        return ends

    def _first_file(
        self, inserts: Mapping[Place, object], *, appends: bool
    ) -> int | None:
        """Return which file changes first; ``None`` if none does."""
        changed = {place.file for place in inserts}
        changed |= {problem.place.file for problem in self._report.problems[Kind.TORN]}
        if appends:
            changed.add(len(self._repair.sources) - 1)
        if changed:
            numbering = self._report.problems[Kind.NUMBERING]
            # A capture whose first files were moved away begins with a higher number.
            if any(problem.place != Place(0, 1) for problem in numbering):
                return 0
        return min(changed, default=None)

    def _write_file(
        self,
        index: int,
        inserts: Mapping[Place, list[tuple[str, IdRange]]],
        ends: Mapping[str, IdRange],
    ) -> list[Path]:
        """Write one file anew; return what is to be removed for it."""
        source = self._repair.sources[index]
        path = source.path
        replacement = Replacement(path, _compression(path))
        self._open.append(replacement)
        first_number = self._number
        torn = {problem.place for problem in self._report.problems[Kind.TORN]}
        for line_number, line in enumerate(_whole_lines(source), 1):
            if line_number % _LINES_BETWEEN_CHECKS == 0:
                self._check()
            place = Place(index, line_number)
            for symbol, ids in inserts.get(place, ()):
                self._insert(replacement, symbol, ids)
            if place in self._reset_places:
                symbol = self._reset_places[place]
                self._resets.setdefault(symbol, []).append(self._number)
            if place not in torn:
                self._write(replacement, line)
        if path == self._path:
            for symbol, ids in ends.items():
                self._insert(replacement, symbol, ids)
            replacement.flush()
            self._note_file(path, first_number, replacement.checksum)
            if replacement.size_bytes or not self._repair.is_new:
                self._renames[replacement.path] = path
            return []
        replacement.flush()
        self._note_file(path, first_number, replacement.checksum)
        finished = path.with_name(finished_name(self._path.name, first_number))
        self._renames[replacement.path] = finished
        return [path]

    def _insert(self, replacement: Replacement, symbol: str, ids: IdRange) -> None:
        outcome = self._outcome
        if not outcome.renumbered_from:
            outcome.renumbered_from = self._number
        for count, held in enumerate(self._spool.trades(symbol, *ids), 1):
            if count % _LINES_BETWEEN_CHECKS == 0:
                self._check()
            self._write(replacement, held.line)
            counts = outcome.merged if held.is_pending else outcome.filled
            counts[symbol] = counts.get(symbol, 0) + 1

    def _write(self, replacement: Replacement, line: bytes) -> None:
        number = b'"platform_sequence":%d' % self._number
        text, found = _NUMBER.subn(number, line, count=1)
        if not found:
            record = orjson.loads(line)
            record["platform_sequence"] = self._number
            text = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        replacement.write(text)
        self._number += 1

    def _write_journal(self) -> list[Path]:
        """Write what waits on; return the journal if nothing does."""
        journal = journal_path(self._path)
        left = self._repair.left_in_journal
        if not (self._waits_from or left):
            return [journal]
        replacement = Replacement(journal)
        self._open.append(replacement)
        self._renames[replacement.path] = journal
        waiting = self._outcome.still_pending
        for symbol, first_id in self._waits_from.items():
            for held in self._spool.trades(symbol, first_id, MAX_ID):
                replacement.write(held.line)
                waiting[symbol] = waiting.get(symbol, 0) + 1
        if left:
            for trade in self._spool.pending(self._report.exchange):
                account = self._report.symbols.get(trade.symbols[0])
                if (
                    account is not None
                    and int(trade.trade_ids[0]) <= account.last_id
                    and trade.timestamp_us(0) > account.last_time_us
                ):
                    replacement.write(trade.json_lines()[0].encode())
        for symbol, count in left.items():
            waiting[symbol] = waiting.get(symbol, 0) + count
        return []

    def _name_missing(self) -> None:
        """Name what is missing still."""
        for symbol, given_up in self._repair.given_up.items():
            account = self._report.symbols.get(symbol)
            # Which count of several the ids are of is not known.
            if account is None or account.resets:
                for ids in given_up:
                    self._lacks(symbol, ids)
        for symbol, account in self._report.symbols.items():
            for hole in account.holes:
                due = hole.first_id
                for trade_id, _ in self._spool.ids(symbol, due, hole.last_id):
                    if trade_id > due:
                        self._lacks(symbol, IdRange(due, trade_id - 1))
                    due = trade_id + 1
                if due <= hole.last_id:
                    self._lacks(symbol, IdRange(due, hole.last_id))

    def _write_manifest(self, ends: Mapping[str, IdRange]) -> None:
        """State the capture as it will be."""
        start = self._first_number
        manifest, former = self._manifest, self._repair.manifest
        if start == 1:
            first = self._repair.sources[0].first_record() or {}
            manifest.capture_id = first.get("message_id", former.capture_id)
            manifest.since_sequence = 1
        else:
            # Files that were moved away are still part of it.
            manifest.files[:0] = [f for f in former.files if f.last_sequence < start]
            manifest.symbols |= former.symbols
            if not former.symbols:
                manifest.since_sequence = start
        for symbol in {*self._report.symbols, *ends}:
            state = self._symbol_state(symbol, ends.get(symbol), is_all=start == 1)
            manifest.symbols[symbol] = state
        replacement = Replacement(manifest_path(self._path))
        self._open.append(replacement)
        replacement.write(manifest_bytes(manifest))
        self._renames[replacement.path] = manifest_path(self._path)

    def _symbol_state(
        self, symbol: str, end: IdRange | None, *, is_all: bool
    ) -> SymbolState:
        """Return what the capture will have of a symbol; ``is_all`` if all is here."""
        outcome = self._outcome
        account = self._report.symbols.get(symbol)
        inserted = outcome.filled.get(symbol, 0) + outcome.merged.get(symbol, 0)
        if end is not None:
            last_id = end.last_id
            last_time_us = next(self._spool.ids(symbol, last_id, last_id))[1]
        else:
            assert account is not None  # noqa: S101 - for the type checker
            last_id, last_time_us = account.last_id, account.last_time_us
        state = SymbolState(None, last_id, last_time_us)
        former = self._repair.manifest.symbols.get(symbol)
        if is_all and account is not None:
            state.first_id, state.trades = account.first_id, account.trades + inserted
        elif is_all and end is not None:
            state.first_id, state.trades = end.first_id, inserted
        elif former is not None:
            state.first_id = former.first_id
            state.resets = [n for n in former.resets if n < self._first_number]
        state.resets += self._resets.get(symbol, [])
        missing = outcome.missing.get(symbol, IdRanges())
        state.missing = [(ids.first_id, ids.last_id) for ids in missing]
        if symbol in self._waits_from:
            pending = IdRanges()
            for trade_id, _ in self._spool.ids(symbol, last_id + 1, MAX_ID):
                pending.add(trade_id, trade_id)
            awaited = IdRanges([(last_id + 1, pending.last_id or last_id + 1)])
            for ids in pending:
                awaited.remove(*ids)
            state.pending = [(ids.first_id, ids.last_id) for ids in pending]
            state.awaited = [(ids.first_id, ids.last_id) for ids in awaited]
        return state

    def _lacks(self, symbol: str, ids: IdRange) -> None:
        self._outcome.missing.setdefault(symbol, IdRanges()).add(*ids)


def _compression(path: Path) -> Compression | None:
    """Return how a file is compressed, by what is in it; by its name if it is empty."""
    try:
        with path.open("rb") as file:
            beginning = file.read(4)
    except OSError as exc:
        raise SettingsError(
            f"{printable(str(path))} cannot be read: "
            f"{printable(exc.strerror or str(exc))}",
            "See to it, or copy it first",
        ) from exc
    if not beginning:
        return compression_of(path.name)
    if beginning.startswith(GzipBlocks.beginning[:2]):
        return GzipBlocks()
    return ZstdBlocks() if beginning == ZstdBlocks.beginning else None


def _whole_lines(source: CaptureSource) -> Iterator[bytes]:
    """Return the lines of a file, each with its end; a torn last one is left out."""
    rest = b""
    with suppress(BrokenOff):
        for chunk in CaptureSource(source.path).chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line + b"\n"
