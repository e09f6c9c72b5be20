"""One writer at a time."""

from __future__ import annotations

import errno
import os
import sys


def lock(fd: int) -> bool:
    """Keep other writers out of an open file, until it is closed.

    A file system without locks is taken as it is.

    Args:
        fd: Its descriptor.

    Returns:
        Whether nobody else holds it.
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
        return exc.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
    return True
