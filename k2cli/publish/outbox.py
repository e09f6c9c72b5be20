"""A capture as an outbox: its records in order, also while it grows and rotates."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from k2cli.capture.compression import BrokenBlock, compression_of
from k2cli.capture.manifest import foreign_manifest, read_manifest
from k2cli.capture.reader import BrokenOff, CaptureSource, in_order
from k2cli.capture.rotation import finished_files, finished_sequence
from k2cli.errors import OutputError, SettingsError, printable
from k2cli.publish.destination import BATCH_RECORDS, Capture, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

# What is read of a growing file at once; a block of a compressed one is far smaller.
_WINDOW_BYTES = 4 * 2**20
_TYPES = [bytes, str, str, int, int, int, int]
# A line as k2 writes it; the parts are those of Record.
_LINE = re.compile(
    rb'^(\{"message_id":"[0-9a-f-]+","trade_id":"[^"\\\n]*","symbol":"([^"\\\n]+)",'
    rb'"exchange":"([A-Z]+)","asset_class":"[a-z]+","timestamp":([0-9]+),'
    rb'"price":"[0-9.]+","quantity":"[0-9.]+","currency":"[^"\\\n]*",'
    rb'"side":"[A-Z_]+","trade_conditions":\[\],"source_sequence":([0-9]+),'
    rb'"ingestion_timestamp":([0-9]+),"platform_sequence":([0-9]+),'
    rb'"vendor_data":\{[^\n{}]*\}\})$',
    re.MULTILINE,
)


class Outbox:
    """Reads the records of a capture, each once.

    Args:
        paths: The capture's files. The finished files of a rotation are found by
            themselves beside the one that grows.
        follow: Whether to wait for more at the end.

    Attributes:
        next_number: ``platform_sequence`` of the next record to be read.
        finished: Whether the end was reached; never, if it is followed.

    Raises:
        SettingsError: If there is no such file, or it cannot be read.
    """

    def __init__(self, paths: list[Path], *, follow: bool = False) -> None:
        self._growing = _growing_of(paths)
        self._follow = follow
        self._finished = _finished_beside(self._growing, [*paths])
        self.next_number = 1
        self.finished = False
        self._done_bytes = 0
        self._source: CaptureSource | None = None
        self._position = 0
        self._blocks = self._read_all()
        self._waiting: list[Record] = []
        if not self._growing.exists() and not (follow and self._finished):
            CaptureSource(self._growing)  # says what is wrong with it
        if self._growing.exists() and not self._growing.is_file():
            raise SettingsError(
                f"{printable(str(self._growing))} is no regular file",
                "Record into one first, and publish that",
            )

    @property
    def behind_bytes(self) -> int:
        """What is still to be read, as it is on disk."""
        total = 0
        for path in {*self._finished, self._growing}:
            try:
                total += path.stat().st_size
            except OSError:  # it has been rotated this moment
                continue
        now = self._source.read_bytes if self._source is not None else self._position
        return max(total - self._done_bytes - now, 0)

    def capture(self) -> Capture | None:
        """Return which capture this is; ``None`` as long as it has no record.

        It is known by its first record. Where that is not here any more, the manifest
        still knows.

        Raises:
            SettingsError: If its first file is not here, and it has no manifest.
            OutputError: If its manifest cannot be used.
        """
        for path in [*self._finished, self._growing]:
            if not path.exists():
                continue
            block = next(_blocks_of(path), b"")
            if block:
                first = _record(block.partition(b"\n")[0], path)
                return self._stated_capture(first) or capture_of(first, path)
        return None

    def _stated_capture(self, first: Record) -> Capture | None:
        if first.number == 1 or foreign_manifest(self._growing):
            return None
        manifest = read_manifest(self._growing, own=False)
        if manifest is None or manifest.capture_id is None:
            return None
        return Capture(f"{first.exchange}-{manifest.capture_id}", first.exchange)

    def skip_to(self, number: int) -> None:
        """Pass over what comes before a ``platform_sequence``; before reading."""
        self.next_number = number

    def read(self) -> list[Record]:
        """Return the next records; none, if there are none now.

        Raises:
            SettingsError: If a line is no record, or records are missing here.
        """
        while len(self._waiting) < BATCH_RECORDS:
            block = next(self._blocks, None)
            if not block:
                self.finished = block is None and not self._waiting
                break
            self._waiting += self._records(block)
        batch = self._waiting[:BATCH_RECORDS]
        self._waiting = self._waiting[BATCH_RECORDS:]
        return batch

    def _records(self, block: bytes) -> list[Record]:
        last = block[block.rfind(b"\n", 0, -1) + 1 : -1]
        if _record(last, self._growing).number < self.next_number:
            return []
        records = _records_of(block, self._growing)
        if records[0].number < self.next_number:
            records = [one for one in records if one.number >= self.next_number]
        numbers = [record.number for record in records]
        after = self.next_number + len(records)
        if numbers != list(range(self.next_number, after)):
            before, number = next(
                pair
                for pair in pairwise([self.next_number - 1, *numbers])
                if pair[1] != pair[0] + 1
            )
            raise SettingsError(
                f"the capture goes from {before:,} to {number:,}, counted by "
                "platform_sequence",
                "Name all files of the capture; k2 verify says what is wrong",
            )
        self.next_number = after
        return records

    def _read_all(self) -> Iterator[bytes]:
        """Return whole lines; nothing, when there is nothing at the moment."""
        for path in self._finished:
            yield from self._read_finished(path)
        if not self._follow:
            yield from self._read_finished(self._growing)
            return
        while True:
            for path in self._finished_since():
                yield from self._read_finished(path)
            yield from self._read_growing()

    def _read_finished(self, path: Path, position: int = 0) -> Iterator[bytes]:
        if position:
            blocks = _growing_blocks(path, position)
        else:
            self._source = CaptureSource(path)
            blocks = _blocks_of(path, self._source)
        yield from filter(None, blocks)
        self._source = None
        self._done_bytes += path.stat().st_size
        if path != self._growing and path not in self._finished:
            self._finished.append(path)

    def _finished_since(self) -> list[Path]:
        """List files that were finished while another one was read."""
        found = _finished_beside(self._growing, [])
        return [
            path
            for path in found
            if (finished_sequence(path.name, self._growing.name) or 0)
            >= self.next_number
        ]

    def _read_growing(self) -> Iterator[bytes]:
        """Read the file that grows until it has been rotated."""
        file_id: int | None = None
        self._position = 0
        while True:
            # It is not kept open: Windows renames no file that is.
            try:
                with self._growing.open("rb") as file:
                    found = os.fstat(file.fileno())
                    if file_id is None:
                        file_id = found.st_ino
                        if self._finished_since():
                            return
                    if found.st_ino != file_id:
                        break
                    if found.st_size < self._position:
                        raise SettingsError(
                            f"{printable(str(self._growing))} has become shorter than "
                            "what was published of it",
                            "See what happened to it: k2 verify",
                        )
                    file.seek(self._position)
                    data = file.read(_WINDOW_BYTES)
            except FileNotFoundError:
                if file_id is not None:
                    break
                yield b""
                continue
            block, size_bytes = _whole_of(data, self._growing)
            self._position += size_bytes
            yield block
        position, self._position = self._position, 0
        for path in _finished_beside(self._growing, []):
            if path.stat().st_ino == file_id:
                yield from self._read_finished(path, position)
                return
        raise SettingsError(
            f"{printable(str(self._growing))} was replaced while it was followed",
            "Start again, if that is another capture",
        )


def capture_of(first: Record, path: Path) -> Capture:
    """Return which capture begins with a record.

    Raises:
        SettingsError: If it is not the first record of a capture.
    """
    if first.number != 1:
        raise SettingsError(
            f"{printable(str(path))} is not where the capture began: its first record "
            f"is number {first.number:,}",
            "Name the earlier files, too",
        )
    message_id = orjson.loads(first.line).get("message_id")
    return Capture(f"{first.exchange}-{message_id}", first.exchange)


def _growing_of(paths: list[Path]) -> Path:
    """Return the file that grows: the one of which the others are finished files."""
    if len(paths) == 1:
        return paths[0]
    for path in paths:
        others = [other for other in paths if other != path]
        if others and all(finished_sequence(one.name, path.name) for one in others):
            return path
    sources = in_order([CaptureSource(path) for path in paths])
    return Path(sources[-1].name)


def _finished_beside(growing: Path, paths: list[Path]) -> list[Path]:
    """Return the files of a capture that grow no more, in their order."""
    try:
        known = finished_files(growing)
    except OutputError:
        known = []  # whoever opens the capture says what is wrong
    resolved = {path.resolve() for path in [*known, growing]}
    others = [path for path in paths if path.resolve() not in resolved]
    if not others:
        return known
    sources = in_order([CaptureSource(path) for path in [*others, *known]])
    return [Path(source.name) for source in sources]


def _blocks_of(path: Path, source: CaptureSource | None = None) -> Iterator[bytes]:
    """Return the whole lines of a file; a torn end is left out."""
    rest = b""
    try:
        for chunk in (source or CaptureSource(path)).chunks():
            end = chunk.rfind(b"\n") + 1
            if end:
                yield rest + chunk[:end]
                rest = b""
            rest += chunk[end:]
    except BrokenOff as exc:
        if exc.damaged:
            shown = printable(str(path))
            raise SettingsError(
                f"{shown} {exc.message}", f"See what is whole: k2 verify {shown}"
            ) from exc


def _growing_blocks(path: Path, position: int = 0) -> Iterator[bytes]:
    """Return what is whole from a position on, as k2 has written it."""
    try:
        with path.open("rb") as file:
            while True:
                file.seek(position)
                block, size_bytes = _whole_of(file.read(_WINDOW_BYTES), path)
                if not block:
                    return
                position += size_bytes
                yield block
    except FileNotFoundError:
        return


def _whole_of(data: bytes, path: Path) -> tuple[bytes, int]:
    """Return the whole lines at the beginning of data, and their size on disk."""
    compression = compression_of(path.name)
    if compression is None:
        end = data.rfind(b"\n") + 1
        return data[:end], end
    texts: list[bytes] = []
    start = 0
    while (end_of_block := compression.end(data, start)) is not None:
        try:
            texts.append(compression.decode(data[start:end_of_block]))
        except BrokenBlock:
            break
        start = end_of_block
    if not texts and len(data) >= _WINDOW_BYTES:
        shown = printable(str(path))
        raise SettingsError(
            f"{shown} was not compressed by k2 record, and cannot be followed",
            "Leave --follow out",
        )
    return b"".join(texts), start


def _records_of(block: bytes, path: Path) -> list[Record]:
    """Read whole lines: as k2 writes them, or any other JSON."""
    found = _LINE.findall(block)
    if len(found) != block.count(b"\n"):
        return [_record(line, path) for line in block.split(b"\n")[:-1]]
    return [
        Record(
            line,
            symbol.decode(),
            exchange.decode(),
            int(time_us),
            int(trade_id),
            int(ingestion_us),
            int(number),
        )
        for line, symbol, exchange, time_us, trade_id, ingestion_us, number in found
    ]


def _record(line: bytes, path: Path) -> Record:
    """Read one line, whatever its layout."""
    try:
        trade = orjson.loads(line)
        record = Record(
            line,
            trade["symbol"],
            trade["exchange"],
            trade["timestamp"],
            trade["source_sequence"],
            trade["ingestion_timestamp"],
            trade["platform_sequence"],
        )
        is_right = [type(one) for one in record] == _TYPES
    except (orjson.JSONDecodeError, KeyError, TypeError):
        is_right = False
    if not is_right:
        shown = printable(str(path))
        raise SettingsError(
            f"the capture has a line that is no record: {printable(line, 40)}",
            f"See what is wrong: k2 verify {shown}",
        )
    return record
