"""New files in the place of old ones: all of them or none, whenever it is cut off.

New files are written beside the old ones, under hidden names. When all are on the disk,
a list of what is to be renamed and removed is put beside them. From that moment on the
change is made: whoever opens the capture next carries the list out, if it is there.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from k2cli.capture.checksum import MarkedChecksum
from k2cli.capture.disk import DiskFile, output_error, sync_folder
from k2cli.capture.rotation import finished_sequence
from k2cli.errors import OutputError, printable
from k2cli.files import read_bounded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from k2cli.capture.compression import Compression

_BUFFER_BYTES = 256 * 1024
_ENDING = ".replacement"
# A rotated capture of a million files.
_MOST_LIST_BYTES = 2**27


class Replacement:
    """A file that is to take the place of another one.

    Args:
        path: The other one; it need not be there.
        compression: How to compress what is written.

    Attributes:
        path: Where it is.
        size_bytes: What was written, before compression.
        checksum: Of what was handed to the system, compressed.

    Raises:
        OutputError: If it cannot be made.
    """

    def __init__(self, path: Path, compression: Compression | None = None) -> None:
        self.path = replacement_path(path)
        self.size_bytes = 0
        self.checksum = MarkedChecksum()
        self._compression = compression
        self._buffer = bytearray()
        self._disk = DiskFile(self.path, printable(str(self.path)), own=True)
        try:
            # One that was cut off may be there.
            self._disk.cut(0)
            with suppress(FileNotFoundError):
                self.path.chmod(path.stat().st_mode)
        except OSError as exc:
            self._disk.close()
            raise self._disk.error(exc) from exc

    def write(self, text: bytes) -> None:
        """Append whole lines.

        Raises:
            OutputError: If the system does not take them.
        """
        self.size_bytes += len(text)
        self._buffer += text
        if len(self._buffer) >= _BUFFER_BYTES:
            self.flush()

    def finish(self) -> None:
        """Wait until all of it would outlast a power cut; it stays open and locked.

        Raises:
            OutputError: If the disk failed.
        """
        self.flush()
        self._disk.sync()
        if sys.platform == "win32":
            # Windows renames no file that is open.
            self._disk.close()

    def close(self) -> None:
        """Close it, which lets others open it."""
        self._disk.close()

    def flush(self) -> None:
        """Hand what was written to the system.

        Raises:
            OutputError: If it does not take it.
        """
        if not self._buffer:
            return
        text = bytes(self._buffer)
        self._buffer.clear()
        if self._compression is not None:
            text = self._compression.encode(text)
        self.checksum.update(text)
        self._disk.append(text, line_wise=False)


def replacement_path(path: Path) -> Path:
    """Return where a file is written that is to take the place of another one."""
    return path.with_name(f".{path.name}{_ENDING}")


def replace_files(
    capture: Path, renames: Mapping[Path, Path], removals: Sequence[Path]
) -> None:
    """Rename and remove files beside a capture, all of them or none.

    Args:
        capture: The capture, locked by the caller.
        renames: New names by old ones, whole on the disk; what has a new name is
            replaced.
        removals: What to remove, if it is there and nothing was renamed to it.

    Raises:
        OutputError: If that fails; it is done when the capture is opened next, unless
            not even the list could be written.
    """
    targets = {path.name for path in renames.values()}
    what = {
        "renames": [[old.name, new.name] for old, new in renames.items()],
        "removals": [path.name for path in removals if path.name not in targets],
    }
    planned = _list_path(capture)
    aside = replacement_path(planned)
    try:
        disk = DiskFile(aside, printable(str(aside)), own=True)
        try:
            disk.cut(0)
            # orjson takes no names that are not UTF-8.
            disk.append(json.dumps(what).encode(), line_wise=False)
            disk.sync()
        finally:
            disk.close()
        # The names of the new files first, then that of the list.
        sync_folder(capture)
        aside.replace(planned)
    except OSError as exc:
        raise output_error(aside, printable(str(aside)), exc) from exc
    sync_folder(capture)
    _carry_out(capture)


def finish_replacing(capture: Path) -> None:
    """Carry out what an earlier run could not finish, before a capture is opened.

    Raises:
        OutputError: If that fails, or the capture is being written by another k2.
    """
    # A folder has no name, as "." has none.
    if not capture.name or not os.path.lexists(_list_path(capture)):
        return
    name = printable(str(capture))
    locked = [DiskFile(capture, name)]
    try:
        successor = replacement_path(capture)
        if successor.exists():
            # What is renamed is to be locked, too, until all is done.
            locked.append(DiskFile(successor, name, own=True))
        if sys.platform == "win32":
            for disk in locked:
                disk.close()
        _carry_out(capture)
    finally:
        for disk in locked:
            disk.close(remove_if_empty=disk.created)


def discard_replacements(capture: Path) -> None:
    """Remove new files that were never finished, where no list names them."""
    planned = _list_path(capture)
    if planned.exists():
        return
    for path in capture.parent.glob(f".*{_ENDING}"):
        if _is_of(capture, path.name):
            with suppress(OSError):
                path.unlink()


def _is_of(capture: Path, name: str) -> bool:
    """Return whether a file is part of a capture, beside it, or to replace such one."""
    if name.startswith(".") and name.endswith(_ENDING):
        name = name[1:].removesuffix(_ENDING)
    return (
        name == capture.name
        or name.startswith(f".{capture.name}.")
        or finished_sequence(name, capture.name) is not None
    )


def _list_path(capture: Path) -> Path:
    return capture.with_name(f".{capture.name}.replacing")


def _carry_out(capture: Path) -> None:
    planned = _list_path(capture)
    try:
        what = json.loads(read_bounded(planned, _MOST_LIST_BYTES, own=True))
        names = [name for pair in what["renames"] for name in pair] + what["removals"]
        # Anybody may have written it: of other files it says nothing.
        if not all(_is_of(capture, name) for name in names):
            raise ValueError("a list of other files")
        for old, new in what["renames"]:
            # What is not there any more has been renamed.
            with suppress(FileNotFoundError):
                capture.with_name(old).replace(capture.with_name(new))
        for name in what["removals"]:
            capture.with_name(name).unlink(missing_ok=True)
        sync_folder(capture)
        planned.unlink()
    except FileNotFoundError:
        return  # somebody else has done it
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise OutputError(
            f"{printable(str(planned))} is damaged", "Remove it, and run k2 verify"
        ) from exc
    except OSError as exc:
        raise output_error(planned, printable(str(planned)), exc) from exc
