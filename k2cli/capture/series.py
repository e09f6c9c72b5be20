"""The finished files of a capture that is rotated, beside the one being written."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from k2cli.capture.disk import DiskFile, output_error, sync_folder
from k2cli.capture.resume import (
    CaptureEnd,
    CaptureStart,
    read_end,
    read_start,
    texts_backwards,
)
from k2cli.capture.rotation import finished_sequence
from k2cli.errors import OutputError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from k2cli.capture.compression import Compression


@dataclass(frozen=True, slots=True)
class LookBack:
    """What a capture holds when it is opened.

    Attributes:
        end: Where it stops. If there is nothing in the file being written, number and
            trades are those of the last finished one.
        start: The first record of the file being written, if there is one and it was
            asked for.
        torn_finished: A finished file that a power cut tore, and the bytes of it that
            are whole.
    """

    end: CaptureEnd = field(default_factory=CaptureEnd)
    start: CaptureStart | None = None
    torn_finished: tuple[Path, int] | None = None


def look_back(
    disk: DiskFile,
    path: Path,
    name: str,
    compression: Compression | None,
    *,
    with_start: bool,
) -> LookBack:
    """See how far a capture has come; change nothing.

    Args:
        disk: The file being written.
        path: Its path.
        name: Its name, for errors.
        compression: How it is compressed, if it is.
        with_start: Whether to read the first record, too.

    Raises:
        OutputError: If a file cannot be read, or is no capture of k2's.
    """
    try:
        with disk.reader() as file:
            end = read_end(file, disk.size_bytes, name, compression)
            if end.whole_bytes:
                start = read_start(file, name, compression) if with_start else None
                return LookBack(end, start)
    except OSError as exc:
        raise disk.error(exc) from exc
    for finished in reversed(finished_files(path)):
        before = _end_of(finished, compression)
        if before.platform_sequence:
            return LookBack(
                replace(before, whole_bytes=0, torn_bytes=end.torn_bytes),
                torn_finished=(finished, before.whole_bytes)
                if before.torn_bytes
                else None,
            )
    return LookBack(end)


def refuse_finished(path: Path, name: str) -> None:
    """See that a capture begun anew will not mix with an old one.

    Raises:
        OutputError: If there are finished files beside it.
    """
    finished = finished_files(path)
    if finished:
        raise OutputError(
            f"{name} has finished files beside it, like "
            f"{printable(finished[0].name)}, which a new capture would mix with",
            "Move them away, or choose another name",
        )


def finish(disk: DiskFile, path: Path, finished: Path, *, sync: bool) -> None:
    """Close the file being written, and give it the name of a finished one.

    Args:
        disk: The file.
        path: Its path.
        finished: The new path, beside it.
        sync: Whether to wait for the disk; else a power cut could tear a file that
            nobody looks at any more.

    Raises:
        OutputError: If that cannot be, or another file has that name.
    """
    if os.path.lexists(finished):
        raise OutputError(
            f"{printable(str(finished))} exists and is not overwritten",
            "Move it away and start again: k2 goes on where it stopped",
        )
    if sync:
        disk.sync()
    # Windows renames no file that is open.
    disk.close()
    try:
        path.rename(finished)
    except OSError as exc:
        raise disk.error(exc) from exc


def begin_next(path: Path, name: str, *, sync: bool) -> DiskFile:
    """Make the next file to be written.

    Args:
        path: Its path.
        name: Its name, for errors.
        sync: Whether the folder is to outlast a power cut.

    Raises:
        OutputError: If it cannot be made.
    """
    disk = DiskFile(path, name)
    if disk.size_bytes:
        disk.close()
        raise OutputError(
            f"{name} was made by another program while it was rotated",
            "Let nothing else write it and start again",
        )
    if sync:
        sync_folder(path)
    return disk


def cut_finished(path: Path, whole_bytes: int) -> None:
    """Cut a finished file to what is whole in it.

    Raises:
        OutputError: If it cannot be cut.
    """
    try:
        os.truncate(path, whole_bytes)
    except OSError as exc:
        raise output_error(path, printable(str(path)), exc) from exc


def finished_files(path: Path) -> list[Path]:
    """List the finished files beside the one being written, the oldest first.

    Raises:
        OutputError: If the folder cannot be read.
    """
    try:
        with os.scandir(path.parent) as entries:
            found = [
                (sequence, entry.name)
                for entry in entries
                if (sequence := finished_sequence(entry.name, path.name)) is not None
            ]
    except OSError as exc:
        raise output_error(path, printable(str(path)), exc) from exc
    return [path.with_name(name) for _, name in sorted(found)]


def texts_of_finished(path: Path, compression: Compression | None) -> Iterator[bytes]:
    """Give the lines of all finished files, the last ones first, some at a time.

    Raises:
        OutputError: If one cannot be read, or is no capture of k2's.
    """
    for finished in reversed(finished_files(path)):
        whole_bytes = _end_of(finished, compression).whole_bytes
        try:
            with finished.open("rb") as file:
                yield from texts_backwards(file, whole_bytes, compression)
        except OSError as exc:
            raise _unreadable(finished, exc) from exc


def _end_of(finished: Path, compression: Compression | None) -> CaptureEnd:
    try:
        with finished.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            return read_end(file, size_bytes, printable(str(finished)), compression)
    except OutputError as exc:
        raise OutputError(exc.message, "Move it away, or choose another name") from exc
    except OSError as exc:
        raise _unreadable(finished, exc) from exc


def _unreadable(finished: Path, exc: OSError) -> OutputError:
    return OutputError(
        f"{printable(str(finished))} cannot be read: "
        f"{printable(exc.strerror or str(exc))}",
        "k2 goes on where it ends; move it away to begin anew",
    )
