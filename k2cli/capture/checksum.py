"""SHA-256 of files that grow: of their beginning, up to any size that they have had."""

from __future__ import annotations

import hashlib
import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k2cli.capture.disk import DiskFile

# What is read at once; between two pieces, it can be stopped.
_PIECE_BYTES = 2**20


class ChecksumStopped(Exception):
    """Somebody does not want to wait for it."""


class GrowingChecksum:
    """The checksum of a file that is appended to.

    It reads what was written since it was last asked, mostly from memory, in whatever
    thread asks: the one that writes is not held up.

    Attributes:
        size_bytes: How much of the file is in it.
        spent_seconds: What it has taken, of one core.
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._is_stopped = False
        self.size_bytes = 0
        self.spent_seconds = 0.0

    def advance(
        self, disk: DiskFile, size_bytes: int, most_seconds: float = math.inf
    ) -> str | None:
        """Return the checksum of the file's first bytes, in hexadecimal digits.

        Args:
            disk: The file.
            size_bytes: How many bytes; no fewer than the last time.
            most_seconds: ``spent_seconds`` at most; if that is not enough, the next
                call goes on, and nothing is returned.

        Raises:
            ChecksumStopped: If ``stop`` was called.
            OutputError: If the file cannot be read so far.
        """
        while self.size_bytes < size_bytes:
            if self._is_stopped:
                raise ChecksumStopped
            most = min(_PIECE_BYTES, size_bytes - self.size_bytes)
            if self.spent_seconds >= most_seconds:
                return None
            begun_seconds = time.thread_time()
            piece = disk.read_at(self.size_bytes, most)
            self._sha256.update(piece)
            self.size_bytes += len(piece)
            self.spent_seconds += time.thread_time() - begun_seconds
        return self._sha256.hexdigest()

    def stop(self) -> None:
        """Let ``advance`` end soon, in whatever thread it is under way."""
        self._is_stopped = True


class MarkedChecksum:
    """The checksum of data that pass by, and of their beginning up to a mark.

    Args:
        mark_bytes: Size of that beginning.

    Attributes:
        size_bytes: How much has passed.
        at_mark: The checksum up to the mark, in hexadecimal digits; ``None`` as long as
            it was not reached.
    """

    def __init__(self, mark_bytes: int | None = None) -> None:
        self._sha256 = hashlib.sha256()
        self._mark_bytes = mark_bytes
        self.size_bytes = 0
        self.at_mark = self.digest() if mark_bytes == 0 else None

    def update(self, data: bytes) -> None:
        """Take the next data."""
        mark = self._mark_bytes
        if mark is not None and self.size_bytes < mark <= self.size_bytes + len(data):
            before = self._sha256.copy()
            before.update(data[: mark - self.size_bytes])
            self.at_mark = before.hexdigest()
        self._sha256.update(data)
        self.size_bytes += len(data)

    def digest(self) -> str:
        """Return the checksum of all that has passed, in hexadecimal digits."""
        return self._sha256.hexdigest()
