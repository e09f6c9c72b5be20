"""Opening files that others may have put there: regular ones, of a stated size."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

_READ_BYTES = 2**20


def open_regular(
    path: Path, flags: int = os.O_RDONLY, *, own: bool = False, mode: int = 0o600
) -> int:
    """Open a regular file; anything else, such as a pipe, is refused without waiting.

    Args:
        path: The file.
        flags: As for ``os.open``.
        own: Whether it must be this user's, and no symbolic link: files that k2 makes
            by itself, whose names others know.
        mode: Who may use a file that is made; by default this user alone.

    Returns:
        The descriptor.

    Raises:
        OSError: If it cannot be opened, or is not such a file.
    """
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if own:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        fd = os.open(path, flags, mode)
    except OSError as exc:
        if own and exc.errno in (errno.ELOOP, errno.EMLINK):
            raise _refused(path, "it is a symbolic link") from exc
        if exc.errno == errno.ENXIO:
            # Writing to a pipe that nobody reads.
            raise _refused(path, "it is no regular file") from exc
        raise
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise _refused(path, "it is no regular file")
        if own and sys.platform != "win32" and status.st_uid != os.geteuid():
            raise _refused(path, "it belongs to another user")
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_bounded(path: Path, most_bytes: int, *, own: bool = False) -> bytes:
    """Read a whole regular file; see ``open_regular``.

    Raises:
        OSError: Also if it is larger than ``most_bytes``.
    """
    with os.fdopen(open_regular(path, own=own), "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise _refused(path, f"it is larger than {most_bytes:,} bytes")
    return content


def replace_file(
    path: Path, content: bytes, *, private: bool, sync: bool = False
) -> None:
    """Write a file as a whole: readers see the old one or the new one.

    Args:
        path: The file. What is there already must be a regular file of this user.
        content: What to write.
        private: Whether nobody else may read it, whatever the user's umask says.
        sync: Whether to wait until a power cut, too, leaves the one or the other.

    Raises:
        OSError: If it cannot be written.
    """
    check_replaceable(path)
    fd, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
            if not private and sys.platform != "win32":
                mask = os.umask(0o077)
                os.umask(mask)
                os.fchmod(file.fileno(), 0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def check_replaceable(path: Path) -> None:
    """See that a file may be replaced: there is none, or a regular one of this user.

    Raises:
        OSError: If not.
    """
    with suppress(FileNotFoundError):
        os.close(open_regular(path, own=True))


def _refused(path: Path, why: str) -> OSError:
    return OSError(errno.EINVAL, why, str(path))
