"""The judgement of a capture, line by line: of ``k2 verify``, and of a resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from k2cli.capture.pending import journal_path, pending_ids
from k2cli.capture.reader import MAX_LINE_BYTES, BrokenOff
from k2cli.capture.report import (
    FileFigures,
    Kind,
    Place,
    Problem,
    Report,
    SymbolAccount,
    digits_of,
)
from k2cli.capture.schema import (
    BACKFILL,
    EXCHANGES,
    canonical_lines,
    violations,
)
from k2cli.completeness.id_ranges import IdRanges
from k2cli.completeness.sequence import Verdict
from k2cli.errors import printable
from k2cli.trade import MAX_ID

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable
    from pathlib import Path

    from k2cli.capture.manifest import Manifest

MOST_PROBLEMS = 10_000
"""Problems of one kind that are kept; further ones are only counted."""

MOST_SYMBOLS = 100_000
"""Symbols that are followed; a file with more is no capture."""


class Verifier:
    """Takes a capture in chunks and notes what is wrong with it.

    Whatever it is fed, it keeps one account per symbol, a bounded number of missing
    ranges and problems, and the rest of one line.

    Args:
        manifest: The capture's. By it, trades that a filter has left out are not
            missing, and a reset is one only where the exchange has confirmed it.

    Attributes:
        report: What was found so far.
    """

    def __init__(self, manifest: Manifest | None = None) -> None:
        self.report = Report()
        self._manifest = manifest
        self._is_filtered = manifest is not None and manifest.is_filtered
        self._file = -1
        # Whole lines of the present file so far, and of those before it.
        self._lines = self._former_lines = 0
        self._size_bytes = 0
        self._rest = b""
        self._in_long_line = False
        # A last line that is no JSON is a torn one; which it is, the next line tells.
        self._not_json = ""
        self._next_number = 1
        self._is_numbered = False
        self._pattern: re.Pattern[str] | None = None

    @property
    def lines(self) -> int:
        """Whole lines read so far, of all files."""
        return self._former_lines + self._lines

    @property
    def next_number(self) -> int:
        """The ``platform_sequence`` that is due next."""
        return self._next_number

    def read(self, files: Iterable[tuple[str, Iterable[bytes]]]) -> Report:
        """Read a capture from start to end.

        Args:
            files: Its files in order: name, and content in chunks that may be cut
                anywhere. A chunk iterator may raise ``BrokenOff``.
        """
        for name, chunks in files:
            self.begin_file(name)
            broken_off = None
            try:
                for chunk in chunks:
                    self.feed(chunk)
            except BrokenOff as exc:
                broken_off = exc
            self.end_file(broken_off)
        self._add_what_never_came()
        return self.report

    def note(self, kind: Kind, file: int, text: str) -> None:
        """Note something that is wrong with a whole file, by its position."""
        self._problem(kind, Place(file, 1), text)

    def begin_behind(self, number: int) -> None:
        """Begin in the middle of a capture, behind what its manifest states, if any.

        Args:
            number: ``platform_sequence`` of the first record.
        """
        self._next_number = number
        self._is_numbered = True
        if self._manifest is None:
            return
        if self._manifest.exchange in EXCHANGES:
            self.report.exchange = self._manifest.exchange
            self._pattern = canonical_lines(self.report.exchange)
        for symbol, state in self._manifest.symbols.items():
            self.report.symbols[symbol] = SymbolAccount(
                state.last_id, state.last_time_us or 0
            )

    def read_journal(self, path: Path) -> None:
        """Take note of trades that wait beside a capture, all of which was read.

        Args:
            path: The capture's file.
        """
        for symbol, ids in pending_ids(path).items():
            account = self.report.symbols.get(symbol)
            written_to = account.last_id if account is not None else -1
            waiting = sorted({each for each in ids if each > written_to})
            if not waiting:
                continue
            missing = waiting[-1] - written_to - len(waiting)
            behind = f" behind {missing:,} missing" if account is not None else ""
            self._problem(
                Kind.PENDING,
                self._lines,
                f"{printable(symbol, 40)} {waiting[0]}-{waiting[-1]}, "
                f"{len(waiting):,} trades wait{behind} in "
                f"{printable(journal_path(path).name)}",
                count=len(waiting),
            )

    def begin_file(self, name: str, lines_before: int = 0) -> None:
        """Begin a file; what it holds continues the one before.

        Args:
            name: As people know it.
            lines_before: How many of its lines are not read.
        """
        self._file += 1
        self._former_lines += self._lines
        self._lines, self._size_bytes = lines_before, 0
        self.report.files.append(FileFigures(printable(name)))

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file, cut anywhere."""
        self._size_bytes += len(chunk)
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._keep(self._rest + chunk)
            return
        start = 0
        if self._in_long_line:
            start = chunk.index(b"\n") + 1
            self._lines += 1
            self._in_long_line = False
        if start < end:
            self._take(self._rest + chunk[start:end])
        self._keep(chunk[end:])

    def end_file(self, broken_off: BrokenOff | None = None) -> None:
        """End the file; ``broken_off`` says why it could not be read to its end."""
        if broken_off is not None:
            kind = Kind.DAMAGED if broken_off.damaged else Kind.TORN
            self._problem(kind, self._lines + 1, broken_off.message)
        elif self._rest or self._in_long_line:
            shown = printable(self._rest, 40) or "a long one"
            self._problem(
                Kind.TORN, self._lines + 1, f"the last line has no end: {shown}"
            )
        elif self._not_json:
            self._problem(Kind.TORN, self._lines, self._not_json)
            self._not_json = ""
        self._settle_not_json(self._lines)
        self._rest = b""
        self._in_long_line = False
        figures = self.report.files[-1]
        figures.lines, figures.size_bytes = self._lines, self._size_bytes

    def _keep(self, rest: bytes) -> None:
        if self._in_long_line:
            return
        self._rest = rest
        if len(rest) > MAX_LINE_BYTES:
            self._settle_not_json(self._lines)
            self._problem(
                Kind.SCHEMA, self._lines + 1, f"longer than {MAX_LINE_BYTES:,} bytes"
            )
            self._rest = b""
            self._in_long_line = True

    def _take(self, block: bytes) -> None:
        """Check whole lines."""
        self._settle_not_json(self._lines)
        # Each match is one line from start to end: as many matches as lines means that
        # all lines match.
        records = self._canonical(block)
        if len(records) == block.count(b"\n"):
            self._check_canonical(records)
            return
        for line in block.split(b"\n")[:-1]:
            self._check_line(line)

    def _canonical(self, block: bytes) -> list[tuple[str, ...]]:
        """Find the lines that are beyond doubt."""
        if self._pattern is None:
            return []
        try:
            return self._pattern.findall(block.decode())
        except UnicodeDecodeError:
            return []

    def _check_canonical(self, records: list[tuple[str, ...]]) -> None:
        """Check the sequence of records whose lines are beyond doubt."""
        accounts = self.report.symbols
        number = self._next_number
        first_line = self._lines + 1
        for line, (id_text, symbol, time, _, _, number_text, _, repaired) in enumerate(
            records, first_line
        ):
            if int(number_text) != number:
                self._next_number = number
                self._check_number(int(number_text), line)
                number = int(number_text)
            number += 1
            trade_id = int(id_text)
            account = accounts.get(symbol)
            if account is not None and trade_id == account.next_id:
                if time < account.last_time:
                    self._check_time(symbol, account, trade_id, time, line)
                account.next_id = trade_id + 1
                account.last_time = time
                if repaired:
                    account.repaired += 1
            else:
                self._observe(
                    symbol, trade_id, int(time), bool(repaired), line, number - 1
                )
        self._next_number = number
        self._is_numbered = True
        self._lines += len(records)

    def _check_line(self, line: bytes) -> None:
        """Check one line in full."""
        self._settle_not_json(self._lines)
        if records := self._canonical(line + b"\n"):
            self._check_canonical(records)
            return
        self._lines += 1
        if len(line) > MAX_LINE_BYTES:
            text = f"longer than {MAX_LINE_BYTES:,} bytes"
            self._problem(Kind.SCHEMA, self._lines, text)
            return
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            self._not_json = f"no JSON: {printable(line, 40)}"
            return
        if isinstance(record, dict) and self._is_of_stream(record):
            record["platform_sequence"] = self._next_number
        found = violations(record)
        if isinstance(record, dict):
            self._check_sequence(record, found)
        if found:
            self._problem(Kind.SCHEMA, self._lines, "; ".join(found))

    def _is_of_stream(self, record: dict[str, Any]) -> bool:
        """Return whether a record has no number, as all of a stream's have none."""
        unnumbered = record.get("platform_sequence", 0) is None
        if unnumbered and not self.report.exchange and not self.report.symbols:
            self.report.is_stream = True
        return unnumbered and self.report.is_stream

    def _check_sequence(self, record: dict[str, Any], found: list[str]) -> None:
        """Follow the sequence by what is sound in a record; add what is not."""
        number = record.get("platform_sequence")
        if type(number) is int and 1 <= number <= MAX_ID:
            self._check_number(number, self._lines)
        else:
            # Wrong in itself: no reason to complain about the next one too.
            number = self._next_number
        self._next_number = number + 1
        exchange = record.get("exchange")
        if self._pattern is None and exchange in EXCHANGES:
            self.report.exchange = exchange
            self._pattern = canonical_lines(exchange)
        if exchange != self.report.exchange:
            if exchange in EXCHANGES:
                found.append(
                    f"exchange is {exchange}, where the capture began with "
                    f"{self.report.exchange}"
                )
            return
        symbol, trade_id = record.get("symbol"), record.get("source_sequence")
        time_us, vendor_data = record.get("timestamp"), record.get("vendor_data")
        if not (
            type(symbol) is str
            and symbol
            and type(trade_id) is int
            and 0 <= trade_id <= MAX_ID
        ):
            return
        if symbol not in self.report.symbols and (
            len(self.report.symbols) >= MOST_SYMBOLS
        ):
            found.append(f"symbol is one more than {MOST_SYMBOLS:,}")
            return
        source = vendor_data.get("source") if isinstance(vendor_data, dict) else None
        is_backfill = source == BACKFILL
        if type(time_us) is not int or time_us < 0:
            time_us = 0  # nothing is later than any other trade by it
        self._observe(symbol, trade_id, time_us, is_backfill, self._lines, number)

    def _check_number(self, number: int, line: int) -> None:
        """Compare a platform_sequence with the one that is due."""
        if number != self._next_number:
            text = f"platform_sequence is {number:,}, not {self._next_number:,}"
            if not self._is_numbered:
                text += ": this is not where the capture began"
            self._problem(Kind.NUMBERING, line, text)
        self._is_numbered = True

    def _observe(
        self,
        symbol: str,
        trade_id: int,
        time_us: int,
        repaired: bool,
        line: int,
        number: int,
    ) -> None:
        """Follow a symbol's ids."""
        account = self.report.symbols.get(symbol)
        if account is None:
            self.report.symbols[symbol] = account = SymbolAccount(trade_id, time_us)
            account.repaired += repaired
            return
        place = Place(self._file, line)
        if trade_id >= account.next_id:
            self._check_time(symbol, account, trade_id, digits_of(time_us), line)
            if self._is_filtered:
                self._leave_out(symbol, account, trade_id, time_us, place, number)
        highest = account.last_id
        verdict = account.observe(trade_id, time_us, place)
        shown = printable(symbol, 40)
        if verdict is Verdict.DUPLICATE:
            self._problem(Kind.DUPLICATE, line, f"{shown} {trade_id} once more")
            return
        account.repaired += repaired
        # A stream hands on at once what came, and the repaired trades later.
        if verdict is Verdict.LATE and not self.report.is_stream:
            text = f"{shown} {trade_id} behind {highest}"
            self._problem(Kind.DISORDER, line, text)
        if verdict is Verdict.RESET and not self._is_confirmed(symbol, number):
            text = f"{shown} {trade_id} behind {highest}, made later"
            self._problem(Kind.RESET, line, text)

    def _check_time(
        self, symbol: str, account: SymbolAccount, trade_id: int, time: str, line: int
    ) -> None:
        """Compare a trade's time with that of the trade before it."""
        last_time = account.last_time
        # To the millisecond: not every server tells more.
        if time[:-3] < last_time[:-3] and int(time) and len(time) == len(last_time):
            shown = printable(symbol, 40)
            self._problem(
                Kind.TIME,
                line,
                f"{shown} {trade_id} was made at {time}, the trade before it at "
                f"{last_time}",
            )

    def _leave_out(
        self,
        symbol: str,
        account: SymbolAccount,
        trade_id: int,
        time_us: int,
        place: Place,
        number: int,
    ) -> None:
        """Pass over ids before a trade that a filter has left out."""
        assert self._manifest is not None  # noqa: S101 - for the type checker
        selection = self._manifest.selection_at(number)
        last_id = trade_id - 1
        if selection.takes_all:
            last_id = min(selection.behind_ids.get(symbol, -1), last_id)
        if last_id >= account.next_id:
            missing = self._given_up(symbol).within(account.next_id, last_id)
            account.leave_out(last_id, missing, place, time_us)

    def _given_up(self, symbol: str) -> IdRanges:
        """Return what a capture's recorder knew to be missing."""
        state = self._manifest.symbols.get(symbol) if self._manifest else None
        return IdRanges(state.missing if state is not None else ())

    def _is_confirmed(self, symbol: str, number: int) -> bool:
        """Return whether the exchange has confirmed a reset, as far as is known."""
        if self._manifest is None or number < self._manifest.since_sequence:
            return True
        state = self._manifest.symbols.get(symbol)
        return state is not None and number in state.resets

    def _add_what_never_came(self) -> None:
        """Add ids that were given up, and have no trade behind them."""
        if self._manifest is None:
            return
        for symbol, state in self._manifest.symbols.items():
            account = self.report.symbols.get(symbol)
            if account is None or account.next_id > state.last_id:
                continue
            missing = self._given_up(symbol).within(account.next_id, state.last_id)
            if self._is_filtered or missing:
                place = Place(self._file, self._lines)
                account.leave_out(state.last_id, missing, place, account.last_time_us)

    def _settle_not_json(self, line: int) -> None:
        if self._not_json:
            self._problem(Kind.SCHEMA, line, self._not_json)
            self._not_json = ""

    def _problem(
        self, kind: Kind, where: int | Place, text: str, count: int = 1
    ) -> None:
        place = where if isinstance(where, Place) else Place(self._file, where)
        self.report.counts[kind] += count
        kept = self.report.problems[kind]
        if len(kept) < MOST_PROBLEMS:
            kept.append(Problem(kind, place, text))
