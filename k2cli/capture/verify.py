"""Proving a capture whole, or naming what is wrong with it, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from k2cli.capture.pending import journal_path, pending_ids
from k2cli.capture.reader import MAX_LINE_BYTES, BrokenOff, sources_of
from k2cli.capture.report import (
    FileFigures,
    Kind,
    Place,
    Problem,
    Report,
    SymbolAccount,
)
from k2cli.capture.schema import (
    BACKFILL,
    EXCHANGES,
    canonical_lines,
    violations,
)
from k2cli.completeness.sequence import Verdict
from k2cli.errors import printable
from k2cli.trade import MAX_ID

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable
    from pathlib import Path

    from k2cli.capture.reader import AnyPath

MOST_PROBLEMS = 10_000
"""Problems of one kind that are kept; further ones are only counted."""

MOST_SYMBOLS = 100_000
"""Symbols that are followed; a file with more is no capture."""


def verify(paths: AnyPath | Iterable[AnyPath]) -> Report:
    """Read a capture from start to end, and say whether it is whole.

    Args:
        paths: The capture: one file, or the files of its rotation in any order.
            Plain, gzip or Zstandard, told by content.

    Returns:
        What was found; ``whole`` and ``missing`` sum it up.

    Raises:
        SettingsError: If a file cannot be read.
    """
    verifier = Verifier()
    sources = sources_of(paths)
    verifier.read((one.name, one.chunks()) for one in sources)
    for source in sources:
        verifier.read_journal(source.path)
    return verifier.report


class Verifier:
    """Takes a capture in chunks and notes what is wrong with it.

    Whatever it is fed, it keeps one account per symbol, a bounded number of missing
    ranges and problems, and the rest of one line.

    Attributes:
        report: What was found so far.
    """

    def __init__(self) -> None:
        self.report = Report()
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
        return self.report

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

    def begin_file(self, name: str) -> None:
        """Begin a file; what it holds continues the one before."""
        self._file += 1
        self._former_lines += self._lines
        self._lines = self._size_bytes = 0
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
                account.next_id = trade_id + 1
                account.last_time_us = time
                if repaired:
                    account.repaired += 1
            else:
                self._observe(symbol, trade_id, int(time), bool(repaired), line)
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
        if type(time_us) is not int:
            time_us = 0  # nothing is later than any other trade by it
        self._observe(symbol, trade_id, time_us, source == BACKFILL, self._lines)

    def _check_number(self, number: int, line: int) -> None:
        """Compare a platform_sequence with the one that is due."""
        if number != self._next_number:
            text = f"platform_sequence is {number:,}, not {self._next_number:,}"
            if not self._is_numbered:
                text += ": this is not where the capture began"
            self._problem(Kind.NUMBERING, line, text)
        self._is_numbered = True

    def _observe(
        self, symbol: str, trade_id: int, time_us: int, repaired: bool, line: int
    ) -> None:
        """Follow a symbol's ids."""
        account = self.report.symbols.get(symbol)
        if account is None:
            self.report.symbols[symbol] = account = SymbolAccount(trade_id, time_us)
            account.repaired += repaired
            return
        highest = account.last_id
        verdict = account.observe(trade_id, time_us, Place(self._file, line))
        shown = printable(symbol, 40)
        if verdict is Verdict.DUPLICATE:
            self._problem(Kind.DUPLICATE, line, f"{shown} {trade_id} once more")
            return
        account.repaired += repaired
        # A stream hands on at once what came, and the repaired trades later.
        if verdict is Verdict.LATE and not self.report.is_stream:
            text = f"{shown} {trade_id} behind {highest}"
            self._problem(Kind.DISORDER, line, text)

    def _settle_not_json(self, line: int) -> None:
        if self._not_json:
            self._problem(Kind.SCHEMA, line, self._not_json)
            self._not_json = ""

    def _problem(self, kind: Kind, line: int, text: str, count: int = 1) -> None:
        self.report.counts[kind] += count
        kept = self.report.problems[kind]
        if len(kept) < MOST_PROBLEMS:
            kept.append(Problem(kind, Place(self._file, line), text))
