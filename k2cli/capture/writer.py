"""The capture on disk: whole lines, numbered, by one writer at a time."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Self

import structlog

from k2cli.capture.catch_up import take_up
from k2cli.capture.compression import compression_of
from k2cli.capture.disk import DiskFile, output_error, sync_folder
from k2cli.capture.former_notes import former_notes_path
from k2cli.capture.inventory import Inventory
from k2cli.capture.manifest import Manifest, SymbolState, manifest_path
from k2cli.capture.replacing import finish_replacing
from k2cli.capture.resume import (
    LastTrades,
    find_last_trades,
    texts_backwards,
)
from k2cli.capture.rotation import (
    CaptureState,
    Rotation,
    RotationState,
    begin_next,
    cut_finished,
    finish,
    finished_name,
    read_state,
    refuse_finished,
    texts_of_finished,
)
from k2cli.capture.stated_files import StatedFiles
from k2cli.completeness.id_ranges import IdRanges
from k2cli.errors import OutputError, printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path
    from types import TracebackType

    from structlog.typing import FilteringBoundLogger

    from k2cli.capture.catch_up import Lost
    from k2cli.completeness.id_ranges import IdRange
    from k2cli.trade import TradeBatch

# Lines are handed to the system when they amount to this, and by flush().
BUFFER_BYTES = 64 * 1024
# The same if they are compressed: the more at once, the smaller the file.
COMPRESSED_BUFFER_BYTES = 256 * 1024
COMPRESSED_FLUSH_SECONDS = 1.0
# About as many lines as fill the buffer.
_LINES_AT_ONCE = 100
FSYNC_SECONDS = 5.0


log: FilteringBoundLogger = structlog.get_logger()


def _clock_us() -> int:
    return time.time_ns() // 1000


class CaptureFile:
    """Appends trades to a file as TradeV2 lines.

    An existing file is resumed: a line cut short at its end is cut away, and the
    numbering continues. Opening changes nothing in it, ``begin`` does. Use it as a
    context manager.

    Args:
        path: The file; its folder must exist. One named .gz or .zst is compressed.
        overwrite: Replace an existing file instead.
        rotation: When to rename the file and continue in a new one; ``None``: never.
        fsync_seconds: How often ``sync_due`` asks for ``sync``; with ``None``, never.

    Attributes:
        end: Where the capture stopped when it was opened. If there is nothing in the
            file, its number and trades are those of the last finished one.
        platform_sequence: Of the record written last.
        trades_written: Records written since it was opened.
        size_bytes: Size of the file with what is still to be flushed.
        finished_files: How many files were finished since it was opened.
        finished_bytes: Their size.
        inventory: What is in the capture, for its manifest.

    Raises:
        SettingsError: If its name asks for a compression that is not installed.
        OutputError: If the file cannot be written, is not a capture, or is being
            written by another k2.
    """

    def __init__(
        self,
        path: Path,
        *,
        overwrite: bool = False,
        rotation: Rotation | None = None,
        fsync_seconds: float | None = FSYNC_SECONDS,
    ) -> None:
        self._name = printable(str(path))
        self._compression = compression_of(path.name)
        # A rotated file stays beside its successor, wherever a link leads.
        self._path = path.resolve() if path.is_symlink() else path
        if path.exists() and not self._path.exists():
            # A link like /dev/stdout, to what has no name.
            self._path = path
        self._fsync_seconds = fsync_seconds
        self._buffer = bytearray()
        compressed = self._compression is not None
        self._buffer_bytes = COMPRESSED_BUFFER_BYTES if compressed else BUFFER_BYTES
        self._rotating: RotationState | None = None
        self._failure: OutputError | None = None
        self._unsynced = False
        self._synced_seconds: float | None = None
        self._lost: Lost = {}
        manifest = Manifest()
        finish_replacing(self._path)
        self._disk = DiskFile(self._path, self._name)
        try:
            found = self._read_state(rotation, overwrite=overwrite)
            if self._disk.is_regular and not overwrite:
                manifest, self._lost = take_up(
                    self._path, self._disk, found, self._compression
                )
        except BaseException:
            self._disk.close(remove_if_empty=self._disk.created)
            raise
        # What a power cut has left may be less than was stated.
        number = manifest.platform_sequence if manifest.files else 0
        self.end = replace(
            found.end,
            platform_sequence=found.end.platform_sequence or number,
            exchange=found.end.exchange or manifest.exchange,
        )
        self._torn_finished = found.torn_finished
        self.inventory = Inventory(manifest)
        self._files = StatedFiles(self._path, manifest)
        if rotation is not None:
            begun_us = found.start.ingestion_us if found.start is not None else 0
            self._rotating = RotationState(rotation, begun_us, _clock_us)
        self.exchange = self.end.exchange
        self.platform_sequence = self.end.platform_sequence
        self.trades_written = 0
        self.size_bytes = self.end.whole_bytes
        self.finished_files = 0
        self.finished_bytes = 0

    @property
    def name(self) -> str:
        """The file's name, fit for printing."""
        return self._name

    @property
    def path(self) -> Path | None:
        """Where it is; ``None`` for a pipe or a device."""
        return self._path if self._disk.is_regular else None

    @property
    def is_writable(self) -> bool:
        """Whether it is open and nothing has failed."""
        return self._failure is None and not self._disk.closed

    @property
    def is_stated_anew(self) -> bool:
        """Whether there is a manifest that is wrong once anything is written."""
        found = self.inventory.manifest
        return (
            found.since_sequence == self.end.platform_sequence + 1
            and self.end.platform_sequence > 0
            and manifest_path(self._path).exists()
        )

    @property
    def flush_after_seconds(self) -> float:
        """How long after a ``write`` to call ``flush`` at the latest."""
        return 0.0 if self._compression is None else COMPRESSED_FLUSH_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def last_trades(
        self, symbols: Collection[str]
    ) -> dict[str, tuple[int, int | None]]:
        """Find the last trades of symbols before ``begin``, from the end backwards.

        What the manifest does not know is searched for, in finished files as well, but
        in no more than 256 MiB of text. Symbols
        that have got no trade since are found later, too.

        Returns:
            Last trade id and trade time (Unix microseconds) by symbol, of those found.

        Raises:
            OutputError: If a file cannot be read.
        """
        manifest = self.inventory.manifest
        known = manifest.symbols
        # A time that is not known is that of a symbol with trades in the journal.
        unknown = {
            symbol
            for symbol in symbols
            if symbol in known and known[symbol].last_time_us is None
        }
        if manifest.since_sequence > 1:
            unknown |= {*symbols, *self._lost} - known.keys()
        for symbol, last in self._search(unknown).items():
            if symbol not in known:
                known[symbol] = SymbolState(None, *last)
            elif known[symbol].last_id == last[0]:
                known[symbol].last_time_us = last[1]
        for symbol in self._lost.keys() & known.keys():
            self._take_over(known[symbol], self._lost.pop(symbol))
        return {
            symbol: (known[symbol].last_id, known[symbol].last_time_us)
            for symbol in symbols
            if symbol in known
        }

    def _search(self, symbols: Collection[str]) -> LastTrades:
        if not symbols or not self.end.platform_sequence:
            return {}
        finished = texts_of_finished(self._path, self._compression)
        try:
            if self.finished_files:  # what was the file then is one of them now
                return find_last_trades(finished, symbols)
            with self._disk.reader() as file:
                texts = chain(
                    texts_backwards(file, self.end.whole_bytes, self._compression),
                    finished,
                )
                return find_last_trades(texts, symbols)
        except OSError as exc:
            raise self._disk.error(exc) from exc

    @staticmethod
    def _take_over(state: SymbolState, lost: Iterable[IdRange]) -> None:
        """Take over what an earlier version of k2 has noted."""
        named = IdRanges(state.missing)
        for ids in lost:
            if ids.last_id <= state.last_id:
                named.add(*ids)
        state.missing = [(ids.first_id, ids.last_id) for ids in named]

    def begin(self) -> None:
        """Make the file ready to be written: empty, or cut to its last whole line.

        Raises:
            OutputError: If it cannot be cut.
        """
        if not self._disk.has_lock:
            log.warning(
                "The file system has no locks: nothing keeps a second recorder out",
                file=self._name,
            )
        if self._disk.is_regular and not self.end.platform_sequence:
            self._forget(manifest_path(self._path))
            self._forget(former_notes_path(self._path))
        self._disk.cut(self.end.whole_bytes)
        if self._torn_finished is not None:
            cut_finished(*self._torn_finished)
        if self._disk.created and self._fsync_seconds is not None:
            sync_folder(self._path)

    def write(self, batch: TradeBatch) -> None:
        """Append trades, and rotate where that is due; ``flush`` hands them on.

        Raises:
            OutputError: If the file cannot be written any more, or holds the trades of
                another exchange: made-up trades never go among real ones.
        """
        start = 0
        while (start := self.append(batch, start)) < len(batch):
            self.rotate()

    def append(self, batch: TradeBatch, start: int = 0) -> int:
        """Append trades, up to the first that belongs in the next file.

        Args:
            batch: The trades.
            start: Index of the first one to append.

        Returns:
            The index of the first one that was not; if there is one, ``rotate`` is due.

        Raises:
            OutputError: As for ``write``.
        """
        if start:
            batch = batch.part(start, len(batch))
        if not batch:
            return start
        if batch.exchange != self.exchange:
            self._admit(batch.exchange)
        if not self.platform_sequence:
            self.inventory.manifest.capture_id = batch.message_ids[0]
        lines = batch.json_lines(self.platform_sequence + 1)
        # All at once would take fresh memory from the system each time. With rotation,
        # each line may be the first of a new file.
        at_once = _LINES_AT_ONCE if self._rotating is None else 1
        for done in range(0, len(lines), at_once):
            some = lines[done : done + at_once]
            text = "".join(some).encode()
            if self._rotates_before(text, batch.received_us):
                self.inventory.wrote(batch.part(0, done))
                return start + done
            self._buffer += text
            self.platform_sequence += len(some)
            self.trades_written += len(some)
            self.size_bytes += len(text)
            if len(self._buffer) >= self._buffer_bytes:
                self.flush()
        self.inventory.wrote(batch)
        return start + len(lines)

    def rotate(self) -> None:
        """Finish the file, and begin the next one; in any thread, while nobody writes.

        Raises:
            OutputError: If that is not possible.
        """
        if self._failure is not None:
            raise self._failure
        name = finished_name(self._path.name, self._files.first_sequence)
        syncs = self._fsync_seconds is not None
        try:
            self._files.finish(self._disk, name, self.platform_sequence)
            finish(self._disk, self._path, self._path.with_name(name), sync=syncs)
            self.finished_files += 1
            self.finished_bytes += self.size_bytes
            self._disk = begin_next(self._path, self._name, sync=syncs)
        except OutputError as exc:
            self._fail(exc)
            raise
        self.size_bytes = 0
        self._unsynced = False

    def flush(self) -> None:
        """Hand what was written to the system.

        Raises:
            OutputError: If it does not take it; the file then ends on a whole line,
                and is not written any more.
        """
        if not self._buffer:
            return
        text = bytes(self._buffer)
        self._buffer.clear()
        before_bytes = self._disk.size_bytes
        self._unsynced = True
        try:
            if self._failure is not None:
                raise self._failure
            if self._compression is None:
                self._disk.append(text, line_wise=True)
            else:
                self._disk.append(self._compression.encode(text), line_wise=False)
        except OutputError as exc:
            whole_bytes = self._disk.size_bytes - before_bytes
            lost = text.count(b"\n", whole_bytes)
            self.platform_sequence -= lost
            self.trades_written -= lost
            self._fail(exc)
            raise
        finally:
            self.size_bytes = self._disk.size_bytes

    def sync_due(self, now_seconds: float) -> bool:
        """Whether it is time to call ``sync``, by a monotonic clock."""
        if self._fsync_seconds is None or not self._unsynced:
            return False
        since = self._synced_seconds
        return since is None or now_seconds - since >= self._fsync_seconds

    def sync(self, now_seconds: float) -> None:
        """Wait until what was flushed would survive a power cut.

        May be called in another thread while trades are written.

        Raises:
            OutputError: If the disk failed.
        """
        self._synced_seconds = now_seconds
        self._unsynced = False
        try:
            self._disk.sync()
        except OutputError as exc:
            self._fail(exc)
            raise

    def prove(self) -> None:
        """Check that the file is as its manifest states; in any thread.

        To be called before ``state`` and ``rotate``, whatever is written meanwhile.

        Raises:
            OutputError: If it is not, or cannot be read.
        """
        if not self._disk.is_regular:
            return
        try:
            self._files.prove(self._disk, self.end.whole_bytes)
        except OutputError as exc:
            self._fail(exc)
            raise

    @property
    def is_stating(self) -> bool:
        """Whether ``go_on_stating`` is to be called, rather than ``state``."""
        return self._files.is_stating

    def state(self, size_bytes: int, number: int, *, at_once: bool = True) -> None:
        """Write the manifest, up to date with ``inventory``; in any thread.

        Args:
            size_bytes: Size of the file when that was updated, all flushed.
            number: ``platform_sequence`` then.
            at_once: Whether to take whatever time that needs. Else it is written when
                ``go_on_stating`` was called often enough; until then, ``inventory`` is
                not to be updated, unless for a new beginning.

        Raises:
            OutputError: If the file cannot be read.
        """
        if self._failure is not None or not self._disk.is_regular or not number:
            return
        self.inventory.manifest.exchange = self.exchange
        try:
            self._files.state(self._disk, size_bytes, number, at_once=at_once)
        except OutputError as exc:
            self._fail(exc)
            raise
        if not self._lost and not self._files.is_stating:
            with suppress(OSError):
                former_notes_path(self._path).unlink(missing_ok=True)

    def go_on_stating(self) -> None:
        """Go on with what ``state`` has begun; in any thread.

        Raises:
            OutputError: If the file cannot be read.
        """
        if self._failure is None:
            self._files.go_on(self._disk)

    def hurry(self) -> None:
        """Let nobody wait for checksums: the end is near."""
        self._files.stop()

    def check(self) -> None:
        """Check that the file is still there, and as it was written.

        To be called every second or so, once it has begun.

        Raises:
            OutputError: If somebody removed, replaced or changed it.
        """
        if self._failure is not None:
            return
        try:
            self._disk.check()
        except OutputError as exc:
            self._fail(exc)
            raise

    def close(self) -> None:
        """Flush and close; a file created here that got no trade is removed.

        Raises:
            OutputError: If the last lines could not be written.
        """
        if self._disk.closed:
            return
        try:
            if self._failure is None:
                self.flush()
                if self._fsync_seconds is not None and self._unsynced:
                    self.sync(0)
        finally:
            self._disk.close(remove_if_empty=self._disk.created)

    def _read_state(
        self, rotation: Rotation | None, *, overwrite: bool
    ) -> CaptureState:
        if not self._disk.is_regular:
            if rotation is not None:
                raise OutputError(
                    f"{self._name} is no regular file and cannot be rotated",
                    "Choose another name, or leave --rotate out",
                )
            return CaptureState()
        if overwrite:
            refuse_finished(self._path, self._name)
            return CaptureState()
        return read_state(
            self._disk,
            self._path,
            self._name,
            self._compression,
        )

    def _admit(self, exchange: str) -> None:
        if self.exchange:
            raise OutputError(
                f"{self._name} holds trades of {printable(self.exchange)}, these are "
                f"of {exchange}",
                "Choose another name",
            )
        self.exchange = exchange

    def _rotates_before(self, text: bytes, now_us: int) -> bool:
        """Return whether a line belongs in the next file; all before it is flushed."""
        rotating = self._rotating
        if rotating is None or not rotating.due(self.size_bytes, len(text), now_us):
            return False
        self.flush()
        # Compressed, what was flushed may have got smaller.
        return rotating.due(self.size_bytes, len(text), now_us)

    def _forget(self, path: Path) -> None:
        """Remove what is known of an earlier capture of this name."""
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise output_error(path, printable(str(path)), exc) from exc

    def _fail(self, failure: OutputError) -> None:
        """Write nothing any more: what comes next would leave a hole."""
        self._failure = failure
        # So that every write() comes to flush(), which raises it.
        self._buffer_bytes = 0
