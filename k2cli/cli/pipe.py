"""Records to stdout: out at once, patient with a slow reader, done with a gone one."""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
from collections import deque
from typing import TYPE_CHECKING

from k2cli.cli.stdio import stdout_error
from k2cli.errors import OutputError, ReaderGone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from k2cli.completeness.id_ranges import IdRange
    from k2cli.completeness.ledger import Ledger
    from k2cli.display.formats import LineFormat
    from k2cli.engine.protocols import SymbolSet
    from k2cli.trade import TradeBatch

STDOUT = 1
# POSIX: a pipe that polls as writable takes this much without blocking (PIPE_BUF).
_CERTAIN_BYTES = 512 if sys.platform == "darwin" else 4096


def print_bytes(text: bytes) -> None:
    """Write a whole text to stdout; a reader that is gone is no error.

    Raises:
        OutputError: If it cannot be written.
    """
    try:
        while text:
            text = text[os.write(sys.stdout.fileno(), text) :]
    except BrokenPipeError:
        return
    except OSError as exc:
        raise stdout_error(exc) from exc


class RecordWriter:
    """Writes whole records to a descriptor without ever blocking the event loop.

    While a reader does not read, ``write`` gives an awaitable, and whoever awaits it is
    held back: nothing is dropped, and of each writer only one ``write`` waits.

    Args:
        on_reader_gone: Called once when the reader of a pipe has closed it, even if
            there is nothing to write.
        fd: The descriptor.

    Attributes:
        left_out: Records that were dropped by ``abandon`` or since then, if there still
            is a reader.
    """

    def __init__(self, on_reader_gone: Callable[[], None], fd: int = STDOUT) -> None:
        self.left_out = 0
        self._fd = fd
        self._has_reader = True
        self._abandoned = asyncio.Event()
        # What could not be written at once, in order: several connections may write.
        self._waiting: deque[memoryview] = deque()
        self._draining: asyncio.Future[None] | None = None
        # Windows can neither poll a pipe nor watch it: there a write may block.
        self._can_poll = sys.platform != "win32"
        self._loop = asyncio.get_running_loop()
        self._progress_seconds = self._loop.time()
        self._watching = self._can_poll and stat.S_ISFIFO(os.fstat(fd).st_mode)
        if self._watching:
            # The writing end of a pipe becomes "readable" when its reader is gone.
            self._loop.add_reader(fd, self._gone, on_reader_gone)

    def write(self, records: bytes) -> Awaitable[None] | None:
        """Write whole records; give an awaitable only if the reader is slow.

        Raises:
            ReaderGone: If the reader has closed the pipe.
            OutputError: If it cannot be written.
        """
        if self._abandoned.is_set():
            self._leave_out(records)
            return None
        rest = memoryview(records)
        if not self._waiting:
            while rest and self._is_writable():
                rest = rest[self._write(rest) :]
            if not rest:
                return None
        self._waiting.append(rest)
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain())
            # Whoever awaits it learns of a failure; the last one may not any more.
            self._draining.add_done_callback(lambda done: done.exception())
        return asyncio.shield(self._draining)

    def abandon(self) -> None:
        """Stop waiting for the reader; what is still to be written is dropped."""
        self._abandoned.set()
        for records in self._waiting:
            self._leave_out(bytes(records))
        self._waiting.clear()
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._fd)

    def waits_seconds(self) -> float:
        """Tell how long the reader has not read, while something waits for it."""
        return self._loop.time() - self._progress_seconds if self._waiting else 0.0

    async def _drain(self) -> None:
        """Write what waits, as the reader reads."""
        try:
            while self._waiting:
                if not self._is_writable():
                    await self._wait_writable()
                    continue
                rest = self._waiting[0][self._write(self._waiting[0]) :]
                self._waiting[0] = rest
                if not rest:
                    self._waiting.popleft()
        finally:
            self._draining = None

    async def _wait_writable(self) -> None:
        writable = asyncio.Event()
        self._loop.add_writer(self._fd, writable.set)
        waits = {
            asyncio.ensure_future(writable.wait()),
            asyncio.ensure_future(self._abandoned.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._loop.remove_writer(self._fd)
            for wait in waits:
                wait.cancel()

    def _is_writable(self) -> bool:
        return not self._can_poll or bool(select.select((), (self._fd,), (), 0)[1])

    def _write(self, records: memoryview) -> int:
        """Write as many whole records as certainly find room."""
        piece = bytes(records[:_CERTAIN_BYTES])
        # A reader that never reads on is left with whole lines.
        whole = piece.rfind(b"\n") + 1
        try:
            written = os.write(self._fd, piece[: whole or len(piece)])
        except BlockingIOError:
            return 0
        except BrokenPipeError as exc:
            self._has_reader = False
            raise ReaderGone("the reader closed the pipe") from exc
        except OSError as exc:
            raise stdout_error(exc) from exc
        self._progress_seconds = self._loop.time()
        return written

    def _leave_out(self, records: bytes) -> None:
        if self._has_reader:
            self.left_out += records.count(b"\n")

    def _gone(self, on_reader_gone: Callable[[], None]) -> None:
        self._has_reader = False
        self.abandon()
        on_reader_gone()


class PipeSink:
    """Every trade as a line on stdout, out at once.

    Args:
        make_format: Makes the line format once the symbols are known; ``None`` for JSON
            lines.
        in_order: Whether the trades of a symbol come in order, and are numbered, as in
            a capture.
    """

    # There is no next run that could read it.
    journal = None
    on_failure: Callable[[Exception], None]

    def __init__(
        self,
        make_format: Callable[[SymbolSet], LineFormat] | None = None,
        *,
        in_order: bool = False,
    ) -> None:
        self.in_order = in_order
        self._make_format = make_format
        self._number = 1
        self._writer: RecordWriter | None = None
        self._format: LineFormat | None = None
        self._header = b""

    async def open(self, symbols: SymbolSet, ledger: Ledger) -> None:
        """Make ready to write."""
        if self._make_format is not None:
            self._format = self._make_format(symbols)
            self._header = self._format.header()
        self._writer = RecordWriter(
            lambda: self.on_failure(ReaderGone("the reader closed the pipe"))
        )

    async def extend(self, ledger: Ledger) -> None:
        """Nothing is kept by symbol."""

    def write(self, batch: TradeBatch) -> Awaitable[None] | None:
        """Write a line for each trade."""
        if self._writer is None:
            return None
        if self._format is not None:
            lines = b"".join(map(self._format.line, batch.trades()))
            lines, self._header = self._header + lines, b""
            return self._writer.write(lines)
        number = self._number if self.in_order else None
        self._number += len(batch)
        return self._writer.write("".join(batch.json_lines(number)).encode())

    def lost(self, symbol: str, ids: IdRange) -> None:
        """The ledger names them."""

    def waits_seconds(self) -> float:
        """Return how long the reader of stdout has not read what waits for it."""
        return self._writer.waits_seconds() if self._writer is not None else 0.0

    def abandon(self) -> None:
        """Stop waiting for a reader that does not read."""
        if self._writer is not None:
            self._writer.abandon()

    async def flush(self) -> None:
        """Let go of stdout.

        Raises:
            OutputError: If its reader has not read all.
        """
        self.abandon()
        if self._writer is not None and self._writer.left_out:
            raise OutputError(
                f"stdout was not read: {self._writer.left_out:,} of its records are "
                "left out",
                "Let its reader read to the end, or record to a file",
            )

    async def close(self) -> None:
        """Let go of stdout."""
        self.abandon()
