"""The manifest: what a capture holds and lacks, and the checksums of its files.

Beside ``trades.jsonl`` it is ``.trades.jsonl.manifest``, one JSON object, replaced as a
whole. It states the capture up to a ``platform_sequence``: what a crash has left behind
that is in the file alone.
"""

from __future__ import annotations

import stat
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from k2cli.capture.rotation import finished_name
from k2cli.errors import OutputError, printable
from k2cli.files import read_bounded, replace_file
from k2cli.text import is_name
from k2cli.trade import MAX_ID, TradeId

if TYPE_CHECKING:
    from pathlib import Path

# Some millions of ranges.
_MOST_BYTES = 256 * 2**20
_EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

_Count = Annotated[int, Field(strict=True, ge=0, le=MAX_ID)]
_Sequence = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]
_Sha256 = Annotated[str, Field(strict=True, pattern="^[0-9a-f]{64}$")]


def _symbol(text: str) -> str:
    if not is_name(text):
        raise ValueError("no symbol")
    return text


def _ascending(ids: tuple[int, int]) -> tuple[int, int]:
    if ids[0] > ids[1]:
        raise ValueError("the last id is below the first")
    return ids


_Name = Annotated[str, AfterValidator(_symbol)]
_Range = Annotated[tuple[TradeId, TradeId], AfterValidator(_ascending)]


@dataclass(slots=True)
class FinishedFile:
    """A file that is not written any more.

    Attributes:
        name: In the capture's folder.
        first_sequence: ``platform_sequence`` of its first record.
        last_sequence: Of its last one.
        size_bytes: On disk.
        sha256: Of all that, compressed if the file is.
    """

    name: Annotated[str, Field(max_length=255)]
    first_sequence: _Sequence
    last_sequence: _Sequence
    size_bytes: _Count
    sha256: _Sha256


@dataclass(slots=True)
class GrowingFile:
    """The file that is written, up to a point.

    Attributes:
        first_sequence: ``platform_sequence`` of its first record, written or not.
        platform_sequence: Of the last record up to that point; 0 if there is none.
        size_bytes: Up to there, on disk.
        sha256: Of that.
    """

    first_sequence: _Sequence = 1
    platform_sequence: _Count = 0
    size_bytes: _Count = 0
    sha256: _Sha256 = _EMPTY_SHA256


@dataclass(slots=True)
class Selection:
    """Which trades were written, from one record on.

    Attributes:
        from_sequence: ``platform_sequence`` of that record.
        side: The only taker side; ``None`` for both.
        min_notional: Price times quantity at least; ``None`` for any.
        behind_ids: By symbol, the last id before it was so.
    """

    from_sequence: _Sequence = 1
    side: Annotated[str, Field(pattern="^(BUY|SELL)$")] | None = None
    min_notional: Annotated[str, Field(pattern=r"^[0-9.Ee+-]{1,60}$")] | None = None
    behind_ids: dict[_Name, TradeId] = field(default_factory=dict)

    @property
    def takes_all(self) -> bool:
        """Whether every trade was written."""
        return self.side is None and self.min_notional is None


@dataclass(slots=True)
class SymbolState:
    """What a capture has of one symbol.

    Attributes:
        first_id: The first id seen; ``None`` if it was before the manifest.
        last_id: Everything up to it is in the capture, or left out by a filter, or
            missing.
        last_time_us: When that trade was made, Unix microseconds; ``None`` if unknown.
        trades: How many are written; ``None`` as for ``first_id``.
        resets: ``platform_sequence`` of the first trade of every new count that the
            exchange has begun.
        missing: Ids that were given up.
        missing_unnamed: How many more were.
        awaited: Ids behind ``last_id`` that may still come.
        pending: Ids behind ``last_id`` that are in the pending journal.
    """

    first_id: TradeId | None
    last_id: TradeId
    last_time_us: _Count | None = None
    trades: _Count | None = None
    resets: list[_Sequence] = field(default_factory=list)
    missing: list[_Range] = field(default_factory=list)
    missing_unnamed: _Count = 0
    awaited: list[_Range] = field(default_factory=list)
    pending: list[_Range] = field(default_factory=list)


@dataclass(slots=True)
class Manifest:
    """What is known of a capture.

    Attributes:
        version: Of this layout.
        capture_id: The ``message_id`` of its first record; ``None`` if that is not
            known.
        exchange: Of its records; empty if there is none.
        since_sequence: From this record on, all is known. Of earlier ones, which were
            there before the manifest, only the symbols that are named.
        filters: Which trades were written, the earliest first.
        files: Those that are finished, the oldest first.
        growing: The one that is written.
        symbols: By symbol.
    """

    version: Literal[1] = 1
    capture_id: Annotated[str, Field(pattern="^[0-9a-f-]{36}$")] | None = None
    exchange: Annotated[str, Field(pattern="^[A-Z]{0,20}$")] = ""
    since_sequence: _Sequence = 1
    filters: list[Selection] = field(default_factory=list)
    files: list[FinishedFile] = field(default_factory=list)
    growing: GrowingFile = field(default_factory=GrowingFile)
    symbols: dict[_Name, SymbolState] = field(default_factory=dict)

    @property
    def platform_sequence(self) -> int:
        """Of the last record that is stated; 0 if there is none."""
        return max(self.growing.platform_sequence, self.growing.first_sequence - 1)

    def selection_at(self, sequence: int) -> Selection:
        """Return which trades were written when a record was."""
        found = Selection()
        for one in self.filters:
            if one.from_sequence > sequence:
                break
            found = one
        return found

    @property
    def is_filtered(self) -> bool:
        """Whether trades were left out anywhere."""
        return any(not one.takes_all for one in self.filters)

    def finished(self, first_sequence: int) -> FinishedFile | None:
        """Return the finished file that begins with a record, if it is known."""
        for one in self.files:
            if one.first_sequence == first_sequence:
                return one
        return None


def manifest_path(capture: Path) -> Path:
    """Return where the manifest of a capture is."""
    return capture.with_name(f".{capture.name}.manifest")


def read_manifest(capture: Path, *, own: bool = True) -> Manifest | None:
    """Read the manifest of a capture; ``None`` if it has none.

    Args:
        capture: The capture.
        own: Whether it must be a regular file of this user; a reader looks at
            ``foreign_manifest`` instead.

    Raises:
        OutputError: If it cannot be read, is not such a file, or not what k2 writes.
    """
    path = manifest_path(capture)
    shown = printable(str(path))
    try:
        manifest = _adapter().validate_json(read_bounded(path, _MOST_BYTES, own=own))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise OutputError(
            f"{shown} cannot be read: {printable(exc.strerror or str(exc))}",
            "It states what the capture holds: see to it, or move it away",
        ) from exc
    except ValidationError as exc:
        raise _foreign(shown, _reason(exc)) from exc
    if reason := _contradiction(manifest, capture.name):
        raise _foreign(shown, reason)
    return manifest


def foreign_manifest(capture: Path) -> str:
    """Say why a manifest is not to be believed by a reader; nothing, if it is.

    Anybody may have put it there.
    """
    with suppress(OSError):
        found = manifest_path(capture).lstat()
        shown = printable(manifest_path(capture).name)
        if not stat.S_ISREG(found.st_mode):
            return f"{shown} is no regular file"
        with suppress(FileNotFoundError):
            if sys.platform != "win32" and found.st_uid != capture.stat().st_uid:
                return f"{shown} belongs to another user than the capture"
    return ""


def write_manifest(capture: Path, manifest: Manifest) -> None:
    """Replace the manifest of a capture; it survives a power cut.

    Raises:
        OSError: If it cannot be written.
    """
    content = manifest_bytes(manifest)
    replace_file(manifest_path(capture), content, private=False, sync=True)


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return a manifest as it is on disk."""
    return orjson.dumps(manifest, option=orjson.OPT_APPEND_NEWLINE)


@cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def _contradiction(manifest: Manifest, name: str) -> str:
    """Say what in a manifest contradicts itself; nothing, if nothing does."""
    due = 1
    for file in manifest.files:
        if file.name != finished_name(name, file.first_sequence):
            return f"{printable(file.name, 80)} is no finished file of the capture"
        if not due <= file.first_sequence <= file.last_sequence:
            return f"{printable(file.name, 80)} overlaps another file"
        due = file.last_sequence + 1
    growing = manifest.growing
    if growing.first_sequence < due:
        return "the growing file overlaps a finished one"
    if bool(growing.size_bytes) != bool(growing.platform_sequence) or (
        growing.size_bytes and growing.platform_sequence < growing.first_sequence
    ):
        return "size and platform_sequence of the growing file do not agree"
    return ""


def _reason(exc: ValidationError) -> str:
    error = exc.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, error["loc"]))
    return printable(f"{place}: {error['msg']}" if place else error["msg"], 120)


def _foreign(shown: str, reason: str) -> OutputError:
    return OutputError(
        f"{shown} is not what k2 writes: {reason}",
        "It states what the capture holds: move it away to go on without it",
    )
