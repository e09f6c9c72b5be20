"""Making a capture whole after the fact: what it lacks, and new files with all of it.

The set of files of a capture is read once to find what is missing. What is fetched, and
what is pending, is merged into new files that take the place of the old ones. Files
before the first hole stay as they are.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson

from k2cli.capture.checksum import MarkedChecksum
from k2cli.capture.disk import DiskFile
from k2cli.capture.former_notes import read_former_notes
from k2cli.capture.manifest import Manifest
from k2cli.capture.merging import Merging, Outcome
from k2cli.capture.reader import BrokenOff, CaptureSource
from k2cli.capture.replacing import (
    discard_replacements,
    finish_replacing,
)
from k2cli.capture.report import Kind
from k2cli.capture.rotation import finished_files, growing_name
from k2cli.capture.spool import Spool
from k2cli.capture.verify import CaptureCheck
from k2cli.completeness.id_ranges import IdRange, IdRanges
from k2cli.completeness.repair_plan import Hole
from k2cli.errors import OutputError, SettingsError, printable
from k2cli.trade import MAX_ID, Instrument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from k2cli.capture.replacing import Replacement
    from k2cli.capture.report import Report
    from k2cli.trade import TradeBatch

_NUMBER = re.compile(rb'"platform_sequence":(?:[0-9]+|null)')
_ASSETS = re.compile(
    rb'"symbol":"([^"\\]+)"[^\n]*?"base_asset":"([^"\\]+)","quote_asset":"([^"\\]+)"'
)
_LINES_BETWEEN_CHECKS = 10_000


class CaptureRepair:
    """A capture that is to be made whole; locked while it is.

    Args:
        paths: One of its files, or all of them; those of its rotation that are beside
            them belong to it.

    Attributes:
        path: The file that a recorder writes.
        sources: Its files, in order.
        manifest: The capture's as it was found.
        report: What is wrong with it, once it was read.
        exchange: Its exchange, once it was read; empty if it has no record.
        wanted: Ids that are missing and not at hand, by symbol.
        instruments: Of the symbols that lack trades.
        given_up: Ids that earlier runs gave up, by symbol.
        left_in_journal: How many pending trades are of a count that the capture does
            not have yet, by symbol.

    Raises:
        SettingsError: If there is no such file, or they are of several captures.
        OutputError: If it is being written by another k2.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        # Says what is wrong with a name before a file of that name is made.
        for path in paths:
            CaptureSource(path)
        self.path = _growing_file(paths)
        self.name = printable(str(self.path))
        finish_replacing(self.path)
        self._lock = DiskFile(self.path, self.name)
        try:
            if not self._lock.is_regular:
                raise SettingsError(f"{self.name} is no regular file", "Name a capture")
            discard_replacements(self.path)
            files = [*finished_files(self.path), self.path]
            self.sources = [CaptureSource(file) for file in files]
            self._check = CaptureCheck(self.sources)
            self._spool = Spool(self.path)
        except BaseException:
            self._lock.close(remove_if_empty=self._lock.created)
            raise
        self._successor: Replacement | None = None
        self.exchange = ""
        self.manifest = self._check.manifest or Manifest()
        self.report: Report = self._check.verifier.report
        self.wanted: dict[str, IdRanges] = {}
        self.instruments: dict[str, Instrument] = {}
        self.given_up: dict[str, list[IdRange]] = {}
        self.left_in_journal: dict[str, int] = {}
        self._last_pending: dict[str, int] = {}
        self._holes: list[Hole] = []

    def close(self) -> None:
        """Let others have it."""
        try:
            self._spool.close()
        finally:
            self._lock.close(remove_if_empty=self._lock.created)
            if self._successor is not None:
                self._successor.close()

    def release(self) -> None:
        """Close what could not be replaced or removed while it is open."""
        self._spool.close()
        if sys.platform == "win32":
            self._lock.close()

    def keep_locked(self, successor: Replacement) -> None:
        """Keep what has taken the place of the locked file from others, likewise."""
        self._successor = successor

    @property
    def is_new(self) -> bool:
        """Whether there was no file that a recorder writes, only finished ones."""
        return self._lock.created

    @property
    def pending(self) -> int:
        """How many symbols have trades that wait for a gap before them."""
        return len(self._last_pending) + len(self.left_in_journal)

    @property
    def is_untouched(self) -> bool:
        """Whether nothing is to be filled, merged, cut away or noted."""
        torn = self.report.counts[Kind.TORN]
        return not (self._holes or self.pending or self.given_up or torn)

    @property
    def holes(self) -> list[Hole]:
        """What is missing and not at hand."""
        return [
            Hole(hole.symbol, *part, hole.since_us, hole.until_us)
            for hole in self._holes
            for part in self.wanted[hole.symbol].within(hole.first_id, hole.last_id)
        ]

    def scan(self, followed: Callable[[CaptureSource], Iterator[bytes]]) -> None:
        """Find what is missing, what is pending, and what was fetched earlier.

        Args:
            followed: Returns the chunks of a file; see ``CaptureSource.chunks``.

        Raises:
            SettingsError: If the capture is damaged, or was filtered.
            OutputError: If one of the files beside it is.
        """
        for source in self.sources:
            source.checksum = source.checksum or MarkedChecksum()
        self._check.run(followed)
        self._refuse()
        self.exchange = self.report.exchange
        self.given_up = read_former_notes(self.path)
        for symbol, state in self.manifest.symbols.items():
            if state.missing:
                lost = self.given_up.setdefault(symbol, [])
                lost += [IdRange(*ids) for ids in state.missing]
        for symbol, account in self.report.symbols.items():
            for first_id, last_id, _, since_us, until_us in account.holes:
                self._lack(Hole(symbol, first_id, last_id, since_us, until_us))
        self._take_in_pending(self._spool)
        is_of_use = False
        for trade in self._spool.fetched(self.exchange):
            symbol, trade_id = trade.symbols[0], int(trade.trade_ids[0])
            if self._want(symbol, trade_id):
                self._spool.keep(trade)
                is_of_use = True
        if not is_of_use:
            self._spool.discard_fetched()
        self._find_instruments()

    def add(self, batch: TradeBatch) -> int:
        """Keep those of some fetched trades that are wanted; return how many.

        Raises:
            OutputError: If they are of another exchange, or cannot be written.
        """
        if self.exchange and batch.exchange != self.exchange:
            raise OutputError(
                f"{self.name} holds trades of {printable(self.exchange)}, these are of "
                f"{printable(batch.exchange)}",
                "Ask the exchange that it was recorded from: --api-url",
            )
        chosen = [
            index
            for index, trade_id in enumerate(batch.trade_ids)
            if self._want(batch.symbols[index], int(trade_id))
        ]
        if chosen:
            self._spool.add(batch.select(chosen))
            self._spool.flush()
        return len(chosen)

    def apply(
        self,
        absent: Mapping[str, IdRanges],
        *,
        give_up: bool,
        check: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Write the capture anew with what is at hand, in the place of the old one.

        Args:
            absent: Ids that are proven not to be there, by symbol: trades that wait for
                them wait no longer.
            give_up: Whether no trade is to wait for any id.
            check: Called now and then; what it raises ends the repair, and the old
                files stay.

        Raises:
            OutputError: If the new files cannot be written.
        """
        merging = Merging(self, self._spool, absent, give_up=give_up, check=check)
        return merging.run()

    def prove(
        self,
        outcome: Outcome | None,
        followed: Callable[[CaptureSource], Iterator[bytes]],
    ) -> Report:
        """Return what ``k2 verify`` finds now, before it is closed.

        Args:
            outcome: What ``apply`` has returned, if it was called.
            followed: Returns the chunks of a file.
        """
        check = self._check
        if outcome is not None and outcome.files:
            files = [*finished_files(self.path), *([self.path] * self.path.exists())]
            check = CaptureCheck([CaptureSource(file) for file in files])
            check.run(followed)
        check.verifier.read_journal(self.path)
        return check.verifier.report

    def _refuse(self) -> None:
        """Raise if it cannot be said what the capture lacks."""
        if self.manifest.is_filtered:
            raise SettingsError(
                f"{self.name} was recorded with --side or --min-notional: what it "
                "lacks, k2 record alone can tell",
                "Record on with the same options, which fills what is missing",
            )
        for kind in (Kind.DAMAGED, Kind.SCHEMA, Kind.CHANGED):
            for problem in self.report.problems[kind]:
                name = self.report.files[problem.place.file].name
                raise SettingsError(
                    f"{name}, line {problem.place.line}: {problem.text}",
                    "k2 repair fills what is missing, and mends no damage; k2 verify "
                    "names all of it",
                )

    def _lack(self, hole: Hole) -> None:
        self._holes.append(hole)
        ids = self.wanted.setdefault(hole.symbol, IdRanges())
        ids.add(hole.first_id, hole.last_id)

    def _want(self, symbol: str, trade_id: int) -> bool:
        """Strike an id off the list, if it is on it."""
        wanted = self.wanted.get(symbol)
        return wanted is not None and bool(wanted.remove(trade_id, trade_id))

    def _take_in_pending(self, spool: Spool) -> None:
        for trade in spool.pending(self.exchange):
            self.exchange = self.exchange or trade.exchange
            symbol, trade_id = trade.symbols[0], int(trade.trade_ids[0])
            account = self.report.symbols.get(symbol)
            if account is None or trade_id > account.last_id:
                self._last_pending[symbol] = max(
                    trade_id, self._last_pending.get(symbol, -1)
                )
                spool.keep(trade)
            elif self._want(symbol, trade_id):
                spool.keep(trade)
            elif trade.timestamp_us(0) > account.last_time_us:
                # Made after the exchange had begun to count anew.
                left = self.left_in_journal
                left[symbol] = left.get(symbol, 0) + 1
        for symbol, last_id in self._last_pending.items():
            account = self.report.symbols.get(symbol)
            before = account.last_id if account is not None else None
            before_us = account.last_time_us if account is not None else 0
            first_id = account.next_id if account is not None else 0
            for trade_id, time_us in spool.ids(symbol, first_id, last_id):
                if before is not None and trade_id > before + 1:
                    self._lack(
                        Hole(symbol, before + 1, trade_id - 1, before_us, time_us)
                    )
                before, before_us = trade_id, time_us

    def _find_instruments(self) -> None:
        """Read base and quote asset where the capture has them."""
        looked_for = {symbol for symbol, ids in self.wanted.items() if ids}
        for source in self.sources:
            rest = b""
            with suppress(BrokenOff):
                for chunk in CaptureSource(source.path).chunks():
                    if not looked_for:
                        return
                    lines, newline, rest = (rest + chunk).rpartition(b"\n")
                    for found in _ASSETS.finditer(lines + newline):
                        self._learn(
                            looked_for, *(text.decode() for text in found.groups())
                        )
        for symbol in list(looked_for):
            for held in self._spool.trades(symbol, 0, MAX_ID):
                assets = orjson.loads(held.line)["vendor_data"]
                self._learn(
                    looked_for, symbol, assets["base_asset"], assets["quote_asset"]
                )
                break

    def _learn(self, looked_for: set[str], symbol: str, base: str, quote: str) -> None:
        if symbol in looked_for:
            looked_for.remove(symbol)
            self.instruments[symbol] = Instrument(symbol, self.exchange, base, quote)


def _growing_file(paths: Sequence[Path]) -> Path:
    """Return the file of a capture that a recorder writes, by one or more of its files.

    Raises:
        SettingsError: If they are not of one capture.
    """
    resolved = [path.resolve() if path.is_symlink() else path for path in paths]
    candidates = {path.with_name(growing_name(path.name)) for path in resolved}
    if len(candidates) > 1 or not candidates:
        raise SettingsError(
            "these are files of several captures",
            "Repair them one by one: a capture's finished files, and the one that is "
            "being written, have the same name but for a number",
        )
    return candidates.pop()
