"""Compressed captures: a file of blocks, each whole in itself.

A block is what one flush wrote. It can be read without the ones before it, and says how
long it is, so that a file can be read from its end, and cut to its last whole block.
"""

from __future__ import annotations

import importlib
import zlib
from typing import TYPE_CHECKING, Protocol

from k2cli.errors import SettingsError, printable

if TYPE_CHECKING:
    from collections.abc import Callable

ENDINGS = (".gz", ".zst")

_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3
_SIZE_BYTES = 4


class BrokenBlock(ValueError):
    """A block is not what was written."""


class Compression(Protocol):
    """How text becomes blocks, and where in a file blocks begin and end.

    Attributes:
        beginning: What every block begins with.
    """

    beginning: bytes

    def encode(self, text: bytes) -> bytes:
        """Make a block."""

    def decode(self, block: bytes) -> bytes:
        """Give the text of a block.

        Raises:
            BrokenBlock: If it does not match its checksum.
        """

    def boundary(self, data: bytes) -> int | None:
        """Find the first place in data where a block begins, or may."""

    def end(self, data: bytes, start: int) -> int | None:
        """Tell where the block that begins at ``start`` ends, if it is whole."""

    def start(self, data: bytes, end: int) -> int | None:
        """Tell where the block that ends at ``end`` starts, if it is whole."""


class GzipBlocks:
    """Blocks that are gzip members.

    Each has its own size in the extra field of its header (RFC 1952, 2.3.1.1), in a
    subfield ``K2``: 4 bytes, little endian.
    """

    # Magic, deflate, FEXTRA; no time; no system; extra field and subfield.
    _mark = b"\x1f\x8b\x08\x04" + bytes(4) + b"\0\xff" + b"\x08\0" + b"K2\x04\0"
    beginning = _mark

    def encode(self, text: bytes) -> bytes:
        """Make a block."""
        deflate = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = deflate.compress(text) + deflate.flush()
        trailer = _number(zlib.crc32(text)) + _number(len(text) & 0xFFFFFFFF)
        size_bytes = len(self._mark) + _SIZE_BYTES + len(body) + len(trailer)
        return self._mark + _number(size_bytes) + body + trailer

    def decode(self, block: bytes) -> bytes:
        """Give the text of a block."""
        inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            text = inflate.decompress(block)
        except zlib.error as exc:
            raise BrokenBlock(str(exc)) from exc
        if not inflate.eof or inflate.unused_data:
            raise BrokenBlock("not one gzip member")
        return text

    def boundary(self, data: bytes) -> int | None:
        """Find the first header."""
        found = data.find(self._mark)
        return found if found >= 0 else None

    def end(self, data: bytes, start: int) -> int | None:
        """Read it in the header."""
        if not data.startswith(self._mark, start):
            return None
        end = start + _number_at(data, start + len(self._mark))
        return end if start < end <= len(data) else None

    def start(self, data: bytes, end: int) -> int | None:
        """Look for the header."""
        start = data.rfind(self._mark, 0, end)
        return start if start >= 0 and self.end(data, start) == end else None


class ZstdBlocks:
    """Blocks that are Zstandard frames.

    Each is followed by a skippable frame (RFC 8878, 3.1.2) of 8 bytes: ``k2zs``, and
    the size of the frame before it, little endian.

    Raises:
        SettingsError: If there is no Zstandard here.
    """

    beginning = b"\x28\xb5\x2f\xfd"
    _mark = b"\x5b\x2a\x4d\x18" + b"\x08\0\0\0" + b"k2zs"

    def __init__(self) -> None:
        self._compress, self._decompress = _zstd()

    def encode(self, text: bytes) -> bytes:
        """Make a block."""
        frame = self._compress(text)
        return frame + self._mark + _number(len(frame))

    def decode(self, block: bytes) -> bytes:
        """Give the text of a block."""
        return self._decompress(block[: -len(self._mark) - _SIZE_BYTES])

    def boundary(self, data: bytes) -> int | None:
        """Find the first end."""
        found = data.find(self._mark)
        return found + len(self._mark) + _SIZE_BYTES if found >= 0 else None

    def end(self, data: bytes, start: int) -> int | None:
        """Look for the skippable frame."""
        found = data.find(self._mark, start)
        end = found + len(self._mark) + _SIZE_BYTES
        if found < 0 or end > len(data) or self.start(data, end) != start:
            return None
        return end

    def start(self, data: bytes, end: int) -> int | None:
        """Read it in the skippable frame."""
        frame_end = end - len(self._mark) - _SIZE_BYTES
        if frame_end < 0 or not data.startswith(self._mark, frame_end):
            return None
        start = frame_end - _number_at(data, end - _SIZE_BYTES)
        return start if 0 <= start < frame_end else None


def compression_of(name: str) -> Compression | None:
    """Give the compression that a file's name asks for, if it does.

    Raises:
        SettingsError: If it needs a package that is not here.
    """
    if name.endswith(".gz"):
        return GzipBlocks()
    if name.endswith(".zst"):
        try:
            return ZstdBlocks()
        except ImportError as exc:
            raise SettingsError(
                f"{printable(name)}: Zstandard needs the package zstandard",
                "Install it: pip install 'k2cli[zst]', or name the file .gz",
            ) from exc
    return None


def _number(value: int) -> bytes:
    return value.to_bytes(_SIZE_BYTES, "little")


def _number_at(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + _SIZE_BYTES], "little")


def _zstd() -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """Give functions that make a frame and read one.

    Raises:
        ImportError: If there is neither Python 3.14's module nor the package.
    """
    # Imported by name, as the type checker need not have either.
    try:
        zstd = importlib.import_module("compression.zstd")
    except ImportError:
        zstandard = importlib.import_module("zstandard")
        compress = zstandard.ZstdCompressor(_ZSTD_LEVEL, write_checksum=True).compress
        decompress, error = zstandard.ZstdDecompressor().decompress, zstandard.ZstdError
    else:
        options = {
            zstd.CompressionParameter.compression_level: _ZSTD_LEVEL,
            zstd.CompressionParameter.checksum_flag: 1,
        }

        def compress(text: bytes) -> bytes:
            frame: bytes = zstd.compress(text, options=options)
            return frame

        decompress, error = zstd.decompress, zstd.ZstdError

    def read_frame(frame: bytes) -> bytes:
        try:
            text: bytes = decompress(frame)
        except error as exc:
            raise BrokenBlock(str(exc)) from exc
        return text

    return compress, read_frame
