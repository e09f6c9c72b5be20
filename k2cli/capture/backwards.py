"""Reading a capture from its end: its last whole piece, and all before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from k2cli.capture.compression import BrokenBlock, Compression

if TYPE_CHECKING:
    from collections.abc import Iterator

# How far back a whole piece is looked for in what a power cut left.
_MOST_DAMAGED_BYTES = 256 * 2**20
# How much is read at once.
_STEP_BYTES = 2**20
# Zeros where a power cut kept data from the disk; compressed data never has so many.
_HOLE = bytes(16)


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a file.

    Attributes:
        whole_bytes: Size up to the end of the last whole piece.
        text: The last lines up to there, all whole.
        torn: What is behind it, or the beginning of that.
        damaged: Whether there are whole pieces behind what is torn, and no power cut
            can have done that.
    """

    whole_bytes: int
    text: bytes
    torn: bytes
    damaged: bool = False


def tail_of_lines(file: BinaryIO, size_bytes: int, window_bytes: int) -> Tail:
    """Find the last whole line.

    A power cut can leave zeros in the place of what was not on the disk yet. No line
    holds any, so that a file ends before the first line that does.

    Args:
        file: Open for reading.
        size_bytes: Its size.
        window_bytes: How much to read at first.
    """
    while True:
        start = max(size_bytes - window_bytes, 0)
        data = _read(file, start, size_bytes)
        zeros = data.find(b"\0")
        whole = data.rfind(b"\n", 0, zeros if zeros >= 0 else len(data)) + 1
        first = data.find(b"\n") + 1 if start else 0
        damaged = zeros >= 0 and first >= whole
        if not (damaged and start and window_bytes < _MOST_DAMAGED_BYTES):
            return Tail(start + whole, data[first:whole], data[whole : whole + 100])
        window_bytes *= 4


def tail_of_blocks(
    file: BinaryIO, size_bytes: int, window_bytes: int, compression: Compression
) -> Tail:
    """Find the last whole block; see ``tail_of_lines``."""
    while True:
        start = max(size_bytes - window_bytes, 0)
        data = _read(file, start, size_bytes)
        whole = compression.boundary(data) if start else 0
        texts = []
        while whole is not None:
            end = compression.end(data, whole)
            if end is None:
                break
            try:
                texts.append(compression.decode(data[whole:end]))
            except BrokenBlock:
                break
            whole = end
        if texts or not start or window_bytes >= _MOST_DAMAGED_BYTES:
            whole = whole or 0
            return Tail(
                start + whole,
                b"".join(texts),
                data[whole : whole + 100],
                _is_damaged(data[whole:], compression),
            )
        window_bytes *= 4


def lines_before(file: BinaryIO, end_bytes: int) -> Iterator[bytes]:
    """Give all whole lines up to a place, the last ones first, some at a time."""
    kept = b""
    while end_bytes:
        start = max(end_bytes - _STEP_BYTES, 0)
        data = _read(file, start, end_bytes) + kept
        # The first line may have begun before.
        first = data.find(b"\n") + 1 if start else 0
        if start and not first:
            return  # no line is that long
        kept = data[:first]
        yield data[first:]
        end_bytes = start


def blocks_before(
    file: BinaryIO, end_bytes: int, compression: Compression
) -> Iterator[bytes]:
    """Give the text of all blocks up to a place, the last block first.

    It ends where something else than a block comes.
    """
    while end_bytes:
        window_start = max(end_bytes - _STEP_BYTES, 0)
        data = _read(file, window_start, end_bytes)
        end = len(data)
        while end:
            start = compression.start(data, end)
            if start is None:
                break
            try:
                yield compression.decode(data[start:end])
            except BrokenBlock:
                return
            end = start
        if end == len(data):
            return  # no block is that long
        end_bytes = window_start + end


def first_text(file: BinaryIO, compression: Compression | None) -> bytes:
    """Give the first whole lines of a file; nothing if there are none."""
    file.seek(0)
    data = file.read(_STEP_BYTES)
    if compression is None:
        return data[: data.rfind(b"\n") + 1]
    end = compression.end(data, 0)
    try:
        return compression.decode(data[:end]) if end is not None else b""
    except BrokenBlock:
        return b""


def _is_damaged(rest: bytes, compression: Compression) -> bool:
    later = compression.boundary(rest[1:])
    if later is None or compression.end(rest, later + 1) is None:
        return False
    return _HOLE not in rest[: later + 1]


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)
