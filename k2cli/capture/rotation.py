"""When a capture continues in a new file, and the finished files beside it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

from k2cli.capture.compression import ENDINGS
from k2cli.capture.disk import DiskFile, output_error, sync_folder
from k2cli.capture.resume import (
    CaptureEnd,
    CaptureStart,
    read_end,
    read_start,
    texts_backwards,
)
from k2cli.errors import OutputError, SettingsError, printable
from k2cli.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from k2cli.capture.compression import Compression

_SIZE_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_TIME_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# Enough for a trillion trades to sort by name.
_SEQUENCE_DIGITS = 12
_NEVER = 2**63 - 1
_FINISHED_NAME = re.compile(
    rf"(.+)\.\d{{{_SEQUENCE_DIGITS},18}}((?:\.[^.]+)?(?:\.gz|\.zst)?)", re.ASCII
)
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rotation:
    """When to continue in a new file; one of the two is given.

    Attributes:
        size_bytes: No file gets larger than this, unless it holds a single line.
        period_seconds: Files end at the multiples of this, counted in UTC.
    """

    size_bytes: int | None = None
    period_seconds: int | None = None

    def period_end_us(self, now_us: int) -> int | None:
        """Return when a file begun now is to end; ``None`` if size alone decides."""
        if self.period_seconds is None:
            return None
        period_us = self.period_seconds * 1_000_000
        return (now_us // period_us + 1) * period_us


class RotationState:
    """Decides when the file being written is finished.

    Args:
        rotation: The rule.
        begun_us: When the first record of the file was received; anything if there is
            none yet.
        clock_us: Returns the time, Unix microseconds.
    """

    def __init__(
        self, rotation: Rotation, begun_us: int, clock_us: Callable[[], int]
    ) -> None:
        self._rotation = rotation
        self._size_limit_bytes = rotation.size_bytes or _NEVER
        self._clock_us = clock_us
        self._begin(begun_us)

    def due(self, size_bytes: int, line_bytes: int, now_us: int) -> bool:
        """Return whether a line received now belongs in a new file.

        A file without records is never finished.
        """
        if not size_bytes:
            self._begin(now_us)
            return False
        if now_us < self._period_begin_us:
            # The trade has waited for a repair, unless the clock was set back.
            clock_us = self._clock_us()
            if clock_us < self._period_begin_us:
                self._begin(clock_us)
        return (
            now_us >= self._period_end_us
            or size_bytes + line_bytes > self._size_limit_bytes
        )

    def _begin(self, now_us: int) -> None:
        self._period_end_us = self._rotation.period_end_us(now_us) or _NEVER
        period_us = (self._rotation.period_seconds or 0) * 1_000_000
        self._period_begin_us = self._period_end_us - period_us if period_us else 0


def parse_size(text: str) -> int:
    """Return the bytes of a size such as ``100MB`` or ``1GiB``; 0 if it is none."""
    found = _QUANTITY.fullmatch(text.strip())
    unit = _SIZE_UNITS.get(found[2].lower()) if found else None
    return int(min(float(found[1]) * unit, _NEVER)) if found and unit else 0


def parse_rotation(text: str) -> Rotation:
    """Parse a size such as ``100MB`` or ``1GiB``, or a time such as ``1h`` or ``1d``.

    Raises:
        SettingsError: If it is neither.
    """
    size_bytes = parse_size(text)
    if size_bytes:
        return Rotation(size_bytes=size_bytes)
    found = _QUANTITY.fullmatch(text.strip())
    if found:
        # An M is a month to some and a megabyte to others: only an m is a minute.
        time_unit = _TIME_UNITS.get(found[2])
        period_seconds = (
            int(min(float(found[1]) * time_unit, _NEVER / 10**6)) if time_unit else 0
        )
        if period_seconds:
            return Rotation(period_seconds=period_seconds)
    raise SettingsError(
        f"'{printable(text)}' is no size or time to rotate at",
        "Write 100MB, 1GiB, 1h or 1d",
    )


def finished_name(name: str, first_sequence: int) -> str:
    """Return the name of a finished file, e.g. ``trades.000000000001.jsonl.gz``.

    Args:
        name: Name of the file being written, e.g. ``trades.jsonl.gz``.
        first_sequence: ``platform_sequence`` of the finished file's first record.
    """
    stem, ending = _parts(name)
    return f"{stem}.{first_sequence:0{_SEQUENCE_DIGITS}}{ending}"


def finished_sequence(finished: str, name: str) -> int | None:
    """Return which ``platform_sequence`` a finished file begins with, by its name.

    Args:
        finished: A file's name.
        name: Name of the file being written.

    Returns:
        ``None`` if the first is not a finished file of the second.
    """
    stem, ending = _parts(name)
    if not (finished.startswith(f"{stem}.") and finished.endswith(ending)):
        return None
    digits = finished[len(stem) + 1 : len(finished) - len(ending)]
    if not re.fullmatch(rf"\d{{{_SEQUENCE_DIGITS},18}}", digits, re.ASCII):
        return None
    return int(digits)


def growing_name(name: str) -> str:
    """Return the name of the file being written, by that or by a finished one's."""
    found = _FINISHED_NAME.fullmatch(name)
    growing = f"{found[1]}{found[2]}" if found else name
    is_finished = found is not None and finished_sequence(name, growing) is not None
    return growing if is_finished else name


@dataclass(frozen=True, slots=True)
class CaptureState:
    """What a capture holds when it is opened.

    Attributes:
        end: Where it stops. If there is nothing in the file being written, number and
            trades are those of the last finished one.
        start: The first record of the file being written, if there is one.
        torn_finished: A finished file that a power cut tore, and how many bytes of it
            are whole.
    """

    end: CaptureEnd = field(default_factory=CaptureEnd)
    start: CaptureStart | None = None
    torn_finished: tuple[Path, int] | None = None


def read_state(
    disk: DiskFile,
    path: Path,
    name: str,
    compression: Compression | None,
) -> CaptureState:
    """Return where a capture stopped, with its first record.

    Raises:
        OutputError: If a file cannot be read, or is no capture of k2's.
    """
    try:
        with disk.reader() as file:
            end = read_end(file, disk.size_bytes, name, compression)
            if end.whole_bytes:
                return CaptureState(end, read_start(file, name, compression))
    except OSError as exc:
        raise disk.error(exc) from exc
    for finished in reversed(finished_files(path)):
        before = _end_of(finished, compression)
        if before.platform_sequence:
            return CaptureState(
                replace(before, whole_bytes=0, torn_bytes=end.torn_bytes),
                torn_finished=(finished, before.whole_bytes)
                if before.torn_bytes
                else None,
            )
    return CaptureState(end)


def refuse_finished(path: Path, name: str) -> None:
    """Raise OutputError if a capture begun anew would mix with an old one."""
    finished = finished_files(path)
    if finished:
        raise OutputError(
            f"{name} has finished files beside it, like "
            f"{printable(finished[0].name)}, which a new capture would mix with",
            "Move them away, or choose another name",
        )


def finish(disk: DiskFile, path: Path, finished: Path, *, sync: bool) -> None:
    """Close the file being written, and rename it.

    Raises:
        OutputError: If that is not possible, or another file has that name.
    """
    if os.path.lexists(finished):
        raise OutputError(
            f"{printable(str(finished))} exists and is not overwritten",
            "Move it away and start again: k2 resumes where it stopped",
        )
    if sync:
        # Otherwise a power cut could tear a file that is not looked at any more.
        disk.sync()
    # Windows renames no file that is open.
    disk.close()
    try:
        path.rename(finished)
    except OSError as exc:
        raise disk.error(exc) from exc


def begin_next(path: Path, name: str, *, sync: bool) -> DiskFile:
    """Create the next file to be written; ``sync`` lets its name survive a power cut.

    Raises:
        OutputError: If it cannot be created.
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
    """Cut a finished file to what is whole in it."""
    try:
        os.truncate(path, whole_bytes)
    except OSError as exc:
        raise output_error(path, printable(str(path)), exc) from exc


def finished_files(path: Path) -> list[Path]:
    """Return the finished files beside the one being written, the oldest first."""
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
    """Return the lines of all finished files, the last ones first, some at a time."""
    for finished in reversed(finished_files(path)):
        whole_bytes = _end_of(finished, compression).whole_bytes
        try:
            with _open(finished) as file:
                yield from texts_backwards(file, whole_bytes, compression)
        except OSError as exc:
            raise _unreadable(finished, exc) from exc


def _end_of(finished: Path, compression: Compression | None) -> CaptureEnd:
    try:
        with _open(finished) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            return read_end(file, size_bytes, printable(str(finished)), compression)
    except OutputError as exc:
        raise OutputError(exc.message, "Move it away, or choose another name") from exc
    except OSError as exc:
        raise _unreadable(finished, exc) from exc


def _open(finished: Path) -> BinaryIO:
    # Anybody may have put a pipe there: opening it would wait for ever.
    return os.fdopen(open_regular(finished), "rb")


def _unreadable(finished: Path, exc: OSError) -> OutputError:
    return OutputError(
        f"{printable(str(finished))} cannot be read: "
        f"{printable(exc.strerror or str(exc))}",
        "k2 resumes where it ends; move it away to begin anew",
    )


def _parts(name: str) -> tuple[str, str]:
    compressed = next((ending for ending in ENDINGS if name.endswith(ending)), "")
    plain = name.removesuffix(compressed)
    stem, dot, kind = plain.rpartition(".")
    if not stem:
        return plain, compressed
    return stem, dot + kind + compressed
