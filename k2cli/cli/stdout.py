"""Records to stdout: out at once, patient with a slow reader, done with a gone one."""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
from typing import TYPE_CHECKING

from k2cli.errors import OutputError, ReaderGone, printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STDOUT = 1
# POSIX: a pipe that polls as writable takes this much without blocking (PIPE_BUF).
_CERTAIN_BYTES = 512 if sys.platform == "darwin" else 4096


class RecordWriter:
    """Writes whole records to a descriptor without ever blocking the event loop.

    While a reader does not read, ``write`` gives an awaitable, and whoever awaits it is
    held back: nothing is queued and nothing is dropped.

    Args:
        on_reader_gone: Called once when the reader of a pipe has closed it, even if
            there is nothing to write.
        fd: The descriptor.
    """

    def __init__(self, on_reader_gone: Callable[[], None], fd: int = STDOUT) -> None:
        self._fd = fd
        self._abandoned = asyncio.Event()
        # Several connections may write: no record goes into the middle of another.
        self._slow = asyncio.Lock()
        # Windows can neither poll a pipe nor watch it: there a write may block.
        self._can_poll = sys.platform != "win32"
        self._loop = asyncio.get_running_loop()
        self._watching = self._can_poll and stat.S_ISFIFO(os.fstat(fd).st_mode)
        if self._watching:
            # The writing end of a pipe becomes "readable" when its reader is gone.
            self._loop.add_reader(fd, self._gone, on_reader_gone)

    def write(self, record: bytes) -> Awaitable[None] | None:
        """Write a record, or several; give an awaitable only if the reader is slow.

        Raises:
            ReaderGone: If the reader has closed the pipe.
            OutputError: If it cannot be written.
        """
        if self._abandoned.is_set():
            return None
        rest = memoryview(record)
        while rest and not self._slow.locked() and self._is_writable():
            rest = rest[self._write(rest[:_CERTAIN_BYTES]) :]
        return self._write_slowly(rest) if rest else None

    def abandon(self) -> None:
        """Stop waiting for the reader; what is still to be written is dropped."""
        self._abandoned.set()
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._fd)

    async def _write_slowly(self, record: memoryview) -> None:
        async with self._slow:
            while record and not self._abandoned.is_set():
                if not self._is_writable():
                    await self._wait_writable()
                    continue
                record = record[self._write(record[:_CERTAIN_BYTES]) :]

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

    def _write(self, record: memoryview) -> int:
        try:
            return os.write(self._fd, record)
        except BlockingIOError:
            return 0
        except BrokenPipeError as exc:
            raise ReaderGone("the reader closed the pipe") from exc
        except OSError as exc:
            raise OutputError(
                f"stdout cannot be written: {printable(exc.strerror or str(exc))}",
                "Make room, or send it elsewhere",
            ) from exc

    def _gone(self, on_reader_gone: Callable[[], None]) -> None:
        self.abandon()
        on_reader_gone()
