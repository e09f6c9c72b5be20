"""One open file: locked, appended to in whole pieces, checked for interference."""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from k2cli.errors import OutputError, printable
from k2cli.files import open_regular

if TYPE_CHECKING:
    from pathlib import Path

# How often opening starts over when the file is renamed or removed meanwhile, as a
# recorder that has just rotated does.
_OPEN_ATTEMPTS = 5
_HINTS = {
    errno.ENOSPC: "Make room and start again: k2 resumes where it stopped",
    errno.EDQUOT: "Make room and start again: k2 resumes where it stopped",
    errno.EACCES: "Choose a place that you may write to",
    errno.EPERM: "Choose a place that you may write to",
    errno.EROFS: "Choose a place that can be written to",
}


def lock(fd: int) -> bool | None:
    """Lock an open file against other writers, until it is closed.

    Returns:
        Whether nobody else holds it; ``None`` if the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            # Locks are mandatory there: one byte far behind the end hinders nobody
            # who reads.
            os.lseek(fd, 2**62, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        # As some network file systems answer.
        none = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
        return None if exc.errno in none else False
    return True


class DiskFile:
    """A file open for appending, by this process alone.

    Args:
        path: The file; made if it is not there.
        name: What to call it in errors, fit for printing.
        own: Whether it must be a regular file of this user, and no link: one whose
            name the user did not choose.

    Attributes:
        is_regular: Whether it is a file, and no device or pipe.
        created: Whether it did not exist before.
        has_lock: Whether it is locked; some file systems have no locks.
        size_bytes: Its size, as far as it was written by us.

    Raises:
        OutputError: If it cannot be opened, or is being written by another k2.
    """

    def __init__(self, path: Path, name: str, *, own: bool = False) -> None:
        self._path = path
        self._is_own = own
        self._name = name
        # Held while the descriptor is used in another thread, so that it is not closed
        # meanwhile and its number given to another file.
        self._guard = threading.Lock()
        for _ in range(_OPEN_ATTEMPTS):
            self._fd = self._open()
            if self._is_at_path():
                break
            os.close(self._fd)
        else:
            raise self._taken()

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._fd < 0

    def reader(self) -> BinaryIO:
        """Return a file object to read it with; closing that keeps the file open."""
        return open(self._fd, "rb", closefd=False)

    def read_at(self, offset: int, most_bytes: int) -> bytes:
        """Read at a position, in any thread, also while it is appended to.

        Raises:
            OutputError: If there is nothing to read, or it cannot be read.
        """
        with self._guard:
            try:
                if sys.platform != "win32":
                    data = os.pread(self._fd, most_bytes, offset)
                else:
                    with self._path.open("rb") as file:
                        file.seek(offset)
                        data = file.read(most_bytes)
                if not data:
                    raise OSError(errno.EIO, "it has become shorter")
            except OSError as exc:
                raise OutputError(
                    f"{self._name} cannot be read: "
                    f"{printable(exc.strerror or str(exc))}",
                    "See to it and start again: k2 resumes at its end",
                ) from exc
        return data

    def cut(self, size_bytes: int) -> None:
        """Cut it to this size.

        Raises:
            OutputError: If it cannot be cut.
        """
        try:
            if self.is_regular and os.fstat(self._fd).st_size > size_bytes:
                os.ftruncate(self._fd, size_bytes)
        except OSError as exc:
            raise self.error(exc) from exc
        self.size_bytes = size_bytes

    def append(self, data: bytes, *, line_wise: bool) -> None:
        """Append all of the data; if that fails, only whole pieces of it.

        Args:
            data: What to append.
            line_wise: Whether a piece is a line, rather than all of the data.

        Raises:
            OutputError: If the system does not take it.
        """
        view = memoryview(data)
        written = 0
        try:
            while written < len(view):
                taken = os.write(self._fd, view[written:])
                if not taken:
                    raise OSError(errno.EIO, "nothing more is taken")
                written += taken
        except OSError as exc:
            whole = data.rfind(b"\n", 0, written) + 1 if line_wise else 0
            if written > whole and self.is_regular:
                with suppress(OSError):
                    os.ftruncate(self._fd, self.size_bytes + whole)
            self.size_bytes += whole
            raise self.error(exc) from exc
        self.size_bytes += written

    def sync(self) -> None:
        """Wait until what was written would survive a power cut; in any thread.

        Raises:
            OutputError: If the disk failed.
        """
        with self._guard:
            if self.closed or not self.is_regular:
                return
            try:
                os.fsync(self._fd)
            except OSError as exc:
                if exc.errno not in (errno.EINVAL, errno.ENOTSUP):
                    raise self.error(exc) from exc

    def check(self) -> None:
        """Check that it is still there, and as it was written.

        Raises:
            OutputError: If somebody removed, replaced or changed it.
        """
        # An open file can be neither removed nor replaced on Windows.
        if not self.is_regular or self.closed or sys.platform == "win32":
            return
        try:
            there = self._path.stat()
        except FileNotFoundError as exc:
            raise OutputError(
                f"{self._name} was removed while it was being written",
                "Start again: k2 makes a new one",
            ) from exc
        except OSError as exc:
            reason = printable(exc.strerror or str(exc))
            raise OutputError(
                f"{self._name} cannot be reached any more: {reason}",
                "Make it reachable and start again: k2 resumes where it stopped",
            ) from exc
        if not os.path.samestat(there, os.fstat(self._fd)):
            raise OutputError(
                f"{self._name} was replaced while it was being written",
                "Move the other file away and start again",
            )
        if there.st_size != self.size_bytes:
            raise OutputError(
                f"{self._name} was changed by another program while it was being "
                "written",
                "Let nothing else write it and start again: k2 resumes at its end",
            )

    def rename(self, path: Path) -> None:
        """Let it take the place of another file, in the same folder.

        Raises:
            OutputError: If it cannot.
        """
        try:
            self._path.replace(path)
        except OSError as exc:
            raise self.error(exc) from exc
        self._path = path

    def close(self, *, remove_if_empty: bool = False) -> None:
        """Close it, if it is open.

        Args:
            remove_if_empty: Remove it if nothing is in it.

        Raises:
            OutputError: If what was written could not be stored after all.
        """
        with self._guard:
            if self.closed:
                return
            empty = self.is_regular and os.fstat(self._fd).st_size == 0
            removing = remove_if_empty and empty and self._is_at_path()
            # While it is open nobody else can have begun to write it.
            if removing and sys.platform != "win32":
                self._remove()
            fd, self._fd = self._fd, -1
            try:
                os.close(fd)
            except OSError as exc:
                raise self.error(exc) from exc
            if removing and sys.platform == "win32":
                self._remove()

    def error(self, exc: OSError) -> OutputError:
        """Return an error that says what the system refused, and what to do."""
        return output_error(self._path, self._name, exc)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            self.created = not self._path.exists()
            fd = (
                open_regular(self._path, flags, own=True, mode=0o666)
                if self._is_own
                else os.open(self._path, flags, 0o666)
            )
        except OSError as exc:
            raise self.error(exc) from exc
        try:
            status = os.fstat(fd)
            self.is_regular = stat.S_ISREG(status.st_mode)
            self.size_bytes = status.st_size if self.is_regular else 0
            locked = lock(fd) if self.is_regular else True
            if locked is False:
                raise self._taken()
            self.has_lock = locked is not None
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _remove(self) -> None:
        with suppress(OSError):
            self._path.unlink()

    def _is_at_path(self) -> bool:
        if not self.is_regular or sys.platform == "win32":
            return True
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._fd))
        except OSError:
            return False

    def _taken(self) -> OutputError:
        return OutputError(
            f"{self._name} is being written by another k2",
            "Stop that one, or choose another name",
        )


def sync_folder(path: Path) -> None:
    """Let a file's name survive a power cut, where the system can do that."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        fd = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def output_error(path: Path, name: str, exc: OSError) -> OutputError:
    """Return an error that says why a file cannot be written, and what to do."""
    is_folder = isinstance(exc, IsADirectoryError)
    with suppress(OSError):
        is_folder = is_folder or path.is_dir()
    if is_folder:
        return OutputError(f"{name} is a folder", "Name a file, like trades.jsonl")
    if isinstance(exc, FileNotFoundError):
        folder = printable(str(path.parent))
        return OutputError(
            f"{name} cannot be written: there is no folder {folder}",
            f"Make it first: mkdir -p {folder}",
        )
    reason = printable(exc.strerror or str(exc))
    return OutputError(
        f"{name} cannot be written: {reason}",
        _HINTS.get(exc.errno or 0, "Choose another place"),
    )
