"""The capture on disk: whole lines, numbered, by one writer at a time."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from k2cli.capture.resume import CaptureEnd, read_end
from k2cli.errors import OutputError, printable

if TYPE_CHECKING:
    from types import TracebackType

    from k2cli.trade import TradeV2

# Lines are handed to the system when they amount to this, and whenever flush() is
# called.
BUFFER_BYTES = 64 * 1024


class CaptureFile:
    """Appends trades to a file as TradeV2 lines.

    A file that exists is gone on with: a line cut short at its end is cut away, and the
    numbering continues. Opening changes nothing in it, ``begin`` does. Use it as a
    context manager.

    Args:
        path: The file; its folder must exist.
        overwrite: Start anew instead.

    Attributes:
        end: Where the file stopped when it was opened.
        platform_sequence: Of the record written last.
        trades_written: Records written since it was opened.
        size_bytes: Size of the file with what is still to be flushed.

    Raises:
        OutputError: If the file cannot be written, is not a capture, or is being
            written by another k2.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self._name = printable(str(path))
        self._path = path
        self._buffer = bytearray()
        self._created = not path.exists()
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._fd = os.open(path, flags, 0o666)
        except OSError as exc:
            raise self._error(exc) from exc
        self.end = CaptureEnd()
        self._is_regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        try:
            if self._is_regular:
                self._lock()
                if not overwrite:
                    self.end = self._read_end()
        except BaseException:
            os.close(self._fd)
            raise
        self._exchange = self.end.exchange
        self.platform_sequence = self.end.platform_sequence
        self.trades_written = 0
        self.size_bytes = self.end.whole_bytes

    @property
    def name(self) -> str:
        """The file's name, fit for printing."""
        return self._name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def begin(self) -> None:
        """Make the file ready to be written: empty, or cut to its last whole line.

        Raises:
            OutputError: If it cannot be cut.
        """
        try:
            size_bytes = os.fstat(self._fd).st_size if self._is_regular else 0
            if size_bytes > self.end.whole_bytes:
                os.ftruncate(self._fd, self.end.whole_bytes)
        except OSError as exc:
            raise self._error(exc) from exc

    def write(self, trade: TradeV2) -> None:
        """Append a trade; it is on its way to the disk with the next ``flush``.

        Raises:
            OutputError: If the file cannot be written any more, or holds the trades of
                another exchange: made-up trades never go among real ones.
        """
        if trade.exchange != self._exchange:
            if self._exchange:
                raise OutputError(
                    f"{self._name} holds trades of {printable(self._exchange)}, these "
                    f"are of {trade.exchange}",
                    "Choose another name",
                )
            self._exchange = trade.exchange
        line = trade.to_json_line(self.platform_sequence + 1)
        self._buffer += line
        self.platform_sequence += 1
        self.trades_written += 1
        self.size_bytes += len(line)
        if len(self._buffer) >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what was written to the system.

        Raises:
            OutputError: If it does not take it; the file then ends on a whole line.
        """
        if not self._buffer:
            return
        pending = bytes(self._buffer)
        self._buffer.clear()
        written = 0
        try:
            while written < len(pending):
                written += os.write(self._fd, pending[written:])
        except OSError as exc:
            torn = written - (pending.rfind(b"\n", 0, written) + 1)
            if torn and self._is_regular:
                with suppress(OSError):
                    os.ftruncate(self._fd, os.fstat(self._fd).st_size - torn)
            raise self._error(exc) from exc

    def close(self) -> None:
        """Flush and close; a file created here that got no trade is taken away.

        Raises:
            OutputError: If the last lines could not be written.
        """
        if self._fd < 0:
            return
        try:
            self.flush()
        finally:
            empty = self._is_regular and os.fstat(self._fd).st_size == 0
            os.close(self._fd)
            self._fd = -1
            if self._created and empty:
                with suppress(OSError):
                    self._path.unlink()

    def _lock(self) -> None:
        try:
            if sys.platform == "win32":
                import msvcrt

                # Locks are mandatory there: one byte far behind the end hinders nobody
                # who reads.
                os.lseek(self._fd, 2**62, os.SEEK_SET)
                msvcrt.locking(self._fd, msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                return  # some network file systems have no locks
            raise OutputError(
                f"{self._name} is being written by another k2",
                "Stop that one, or choose another name",
            ) from exc

    def _read_end(self) -> CaptureEnd:
        size_bytes = os.fstat(self._fd).st_size
        with open(self._fd, "rb", closefd=False) as file:
            return read_end(file, size_bytes, self._name)

    def _error(self, exc: OSError) -> OutputError:
        if isinstance(exc, IsADirectoryError) or self._path.is_dir():
            return OutputError(
                f"{self._name} is a folder", "Name a file, like trades.jsonl"
            )
        if isinstance(exc, FileNotFoundError):
            folder = printable(str(Path(self._path).parent))
            return OutputError(
                f"{self._name} cannot be written: there is no folder {folder}",
                f"Make it first: mkdir -p {folder}",
            )
        reason = printable(exc.strerror or str(exc))
        hints = {
            errno.ENOSPC: "Make room and start again: k2 goes on where it stopped",
            errno.EACCES: "Choose a place that you may write to",
            errno.EROFS: "Choose a place that can be written to",
        }
        return OutputError(
            f"{self._name} cannot be written: {reason}",
            hints.get(exc.errno or 0, "Choose another place"),
        )
