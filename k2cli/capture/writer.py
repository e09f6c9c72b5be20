"""The capture on disk: whole lines, numbered, by one writer at a time."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Self

from k2cli.capture.compression import compression_of
from k2cli.capture.disk import DiskFile, sync_folder
from k2cli.capture.replacing import finish_replacing
from k2cli.capture.resume import (
    CaptureStart,
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
from k2cli.errors import OutputError, printable

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path
    from types import TracebackType

    from k2cli.trade import TradeBatch

# Lines are handed to the system when they amount to this, and by flush().
BUFFER_BYTES = 64 * 1024
# The same if they are compressed: the more at once, the smaller the file.
COMPRESSED_BUFFER_BYTES = 256 * 1024
COMPRESSED_FLUSH_SECONDS = 1.0
# About as many lines as fill the buffer.
_LINES_AT_ONCE = 100
FSYNC_SECONDS = 5.0


class CaptureFile:
    """Appends trades to a file as TradeV2 lines.

    An existing file is resumed: a line cut short at its end is cut away, and the
    numbering continues. Opening changes nothing in it, ``begin`` does. Use it as a
    context manager.

    Args:
        path: The file; its folder must exist. One named .gz or .zst is compressed.
        overwrite: Replace an existing file instead.
        rotation: When to rename the file and continue in a new one; ``None``: never.
        fsync_seconds: How often ``sync_due`` asks for ``sync``. With 0, every
            ``flush`` syncs; with ``None``, nothing ever does.

    Attributes:
        end: Where the capture stopped when it was opened. If there is nothing in the
            file, its number and trades are those of the last finished one.
        platform_sequence: Of the record written last.
        trades_written: Records written since it was opened.
        size_bytes: Size of the file with what is still to be flushed.
        finished_files: How many files were finished since it was opened.
        finished_bytes: Their size.

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
        self._fsync_seconds = fsync_seconds
        self._buffer = bytearray()
        compressed = self._compression is not None
        self._buffer_bytes = COMPRESSED_BUFFER_BYTES if compressed else BUFFER_BYTES
        self._rotating: RotationState | None = None
        self._failure: OutputError | None = None
        self._unsynced = False
        self._synced_seconds: float | None = None
        finish_replacing(self._path)
        self._disk = DiskFile(self._path, self._name)
        try:
            found = self._read_state(rotation, overwrite=overwrite)
        except BaseException:
            self._disk.close(remove_if_empty=self._disk.created)
            raise
        self.end = found.end
        self._torn_finished = found.torn_finished
        if rotation is not None:
            start = found.start or CaptureStart(found.end.platform_sequence + 1, 0)
            self._rotating = RotationState(
                rotation, start.platform_sequence, start.ingestion_us
            )
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

    def last_trades(self, symbols: Collection[str]) -> LastTrades:
        """Find the last trades of symbols before ``begin``, from the end backwards.

        Symbols that have got no trade since are found later, too. Finished files are
        searched as well, but no more than 256 MiB of text.

        Returns:
            Last trade id and trade time (Unix microseconds) by symbol, of those found.

        Raises:
            OutputError: If a file cannot be read.
        """
        if not self.end.platform_sequence:
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

    def begin(self) -> None:
        """Make the file ready to be written: empty, or cut to its last whole line.

        Raises:
            OutputError: If it cannot be cut.
        """
        self._disk.cut(self.end.whole_bytes)
        if self._torn_finished is not None:
            cut_finished(*self._torn_finished)
        if self._disk.created and self._fsync_seconds is not None:
            sync_folder(self._path)

    def write(self, batch: TradeBatch) -> None:
        """Append trades; ``flush`` hands them to the system.

        Raises:
            OutputError: If the file cannot be written any more, or holds the trades of
                another exchange: made-up trades never go among real ones.
        """
        if not batch:
            return
        if batch.exchange != self.exchange:
            self._admit(batch.exchange)
        lines = batch.json_lines(self.platform_sequence + 1)
        # All at once would take fresh memory from the system each time. With rotation,
        # each line may be the first of a new file.
        at_once = _LINES_AT_ONCE if self._rotating is None else 1
        for start in range(0, len(lines), at_once):
            some = lines[start : start + at_once]
            text = "".join(some).encode()
            if self._rotating is not None:
                self._rotate_if_due(self._rotating, len(text), batch.received_us)
            self._buffer += text
            self.platform_sequence += len(some)
            self.trades_written += len(some)
            self.size_bytes += len(text)
            if len(self._buffer) >= self._buffer_bytes:
                self.flush()

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
        if self._fsync_seconds == 0:
            self.sync(0)

    def sync_due(self, now_seconds: float) -> bool:
        """Whether it is time to call ``sync``, by a monotonic clock."""
        if not self._fsync_seconds or not self._unsynced:
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
            with_start=rotation is not None,
        )

    def _admit(self, exchange: str) -> None:
        if self.exchange:
            raise OutputError(
                f"{self._name} holds trades of {printable(self.exchange)}, these are "
                f"of {exchange}",
                "Choose another name",
            )
        self.exchange = exchange

    def _rotate_if_due(
        self, rotating: RotationState, line_bytes: int, now_us: int
    ) -> None:
        if not rotating.due(self.size_bytes, line_bytes, now_us):
            return
        if self._failure is not None:
            raise self._failure
        self.flush()
        # Compressed, what was flushed may have got smaller.
        if not rotating.due(self.size_bytes, line_bytes, now_us):
            return
        name = finished_name(self._path.name, rotating.first_sequence)
        syncs = self._fsync_seconds is not None
        try:
            finish(self._disk, self._path, self._path.with_name(name), sync=syncs)
            self.finished_files += 1
            self.finished_bytes += self.size_bytes
            self._disk = begin_next(self._path, self._name, sync=syncs)
        except OutputError as exc:
            self._fail(exc)
            raise
        self.size_bytes = 0
        rotating.begin(self.platform_sequence + 1, now_us)

    def _fail(self, failure: OutputError) -> None:
        """Write nothing any more: what comes next would leave a hole."""
        self._failure = failure
        # So that every write() comes to flush(), which raises it.
        self._buffer_bytes = 0
