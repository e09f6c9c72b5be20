"""Records to stdout: out at once, patient with a slow reader, done with a gone one."""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
from collections import deque
from typing import TYPE_CHECKING

from k2cli.errors import OutputError, ReaderGone, printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
        raise OutputError(
            f"stdout cannot be written: {printable(exc.strerror or str(exc))}",
            "Make room, or send it elsewhere",
        ) from exc


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
            raise OutputError(
                f"stdout cannot be written: {printable(exc.strerror or str(exc))}",
                "Make room, or send it elsewhere",
            ) from exc
        self._progress_seconds = self._loop.time()
        return written

    def _leave_out(self, records: bytes) -> None:
        if self._has_reader:
            self.left_out += records.count(b"\n")

    def _gone(self, on_reader_gone: Callable[[], None]) -> None:
        self._has_reader = False
        self.abandon()
        on_reader_gone()
