"""Compressed captures: a file of blocks, each complete in itself.

A block is what one flush wrote. It can be read without the ones before it, and says how
long it is, so that a file can be read from its end, and cut to its last whole block.
"""

from __future__ import annotations

import zlib
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from k2cli.errors import SettingsError, printable

if TYPE_CHECKING:
    from collections.abc import Callable

ENDINGS = (".gz", ".zst")

# What is unpacked of a block at once, and at most: one flush writes less than a MiB.
_PIECE_BYTES = 128 * 1024
_MOST_BLOCK_BYTES = 8 * 2**20
_GZIP_LEVEL = 6
_GZIP_BITS = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_LEVEL = 3
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# Zstandard's output has no limit: so much input at once, so that memory has one. Four
# bytes can become 128 KiB.
_ZSTD_FEED_BYTES = 512
_SIZE_BYTES = 4


class BrokenBlock(ValueError):
    """Compressed data are not what was written."""


class Compression(Protocol):
    """How text becomes blocks, and where in a file blocks begin and end.

    Attributes:
        beginning: What every block begins with.
    """

    beginning: bytes

    def encode(self, text: bytes) -> bytes:
        """Return a block."""

    def decode(self, block: bytes) -> bytes:
        """Return the text of a block.

        Raises:
            BrokenBlock: If it does not match its checksum.
        """

    def boundary(self, data: bytes) -> int | None:
        """Return the first position where a block begins, or may."""

    def end(self, data: bytes, start: int) -> int | None:
        """Return where the block that begins at ``start`` ends, if it is whole."""

    def start(self, data: bytes, end: int) -> int | None:
        """Return where the block that ends at ``end`` starts, if it is whole."""


class GzipBlocks:
    """Blocks that are gzip members.

    Each has its own size in the extra field of its header (RFC 1952, 2.3.1.1), in a
    subfield ``K2``: 4 bytes, little endian.
    """

    # Magic, deflate, FEXTRA; no time; no system; extra field and subfield.
    _mark = _GZIP_MAGIC + b"\x08\x04" + bytes(4) + b"\0\xff" + b"\x08\0" + b"K2\x04\0"
    beginning = _mark

    def encode(self, text: bytes) -> bytes:
        """Return a block."""
        deflate = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = deflate.compress(text) + deflate.flush()
        trailer = _number(zlib.crc32(text)) + _number(len(text) & 0xFFFFFFFF)
        size_bytes = len(self._mark) + _SIZE_BYTES + len(body) + len(trailer)
        return self._mark + _number(size_bytes) + body + trailer

    def decode(self, block: bytes) -> bytes:
        """Return the text of a block."""
        return _unpack_one(block, Unpacker())

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
        ImportError: If there is no Zstandard here.
    """

    beginning = _ZSTD_MAGIC
    _mark = b"\x5b\x2a\x4d\x18" + b"\x08\0\0\0" + b"k2zs"

    def __init__(self) -> None:
        self._zstd = _load_zstd()

    def encode(self, text: bytes) -> bytes:
        """Return a block."""
        frame = self._zstd.compress(text)
        return frame + self._mark + _number(len(frame))

    def decode(self, block: bytes) -> bytes:
        """Return the text of a block."""
        frame = block[: -len(self._mark) - _SIZE_BYTES]
        return _unpack_one(frame, Unpacker(self._zstd))

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


class Unpacker:
    """Unpacks one gzip member or one Zstandard frame, a bounded piece at a time.

    Args:
        zstd: If it is a Zstandard frame.

    Attributes:
        padding: Bytes that may stand behind it, before the next one.
    """

    def __init__(self, zstd: _Zstd | None = None) -> None:
        self._is_gzip = zstd is None
        self._frame = zstd.unpacker() if zstd else zlib.decompressobj(_GZIP_BITS)
        self._error = zstd.error if zstd else zlib.error
        self.padding = b"" if zstd else b"\0"

    @property
    def eof(self) -> bool:
        """Whether its end was reached."""
        return bool(self._frame.eof)

    def unpack(self, packed: bytes, most_bytes: int) -> tuple[bytes, bytes]:
        """Unpack some data.

        Args:
            packed: The next data; with none, what is held back comes.
            most_bytes: How much to return; a little more from Zstandard.

        Returns:
            Unpacked data, and the input that is not used yet.

        Raises:
            BrokenBlock: If the data are damaged.
        """
        frame = self._frame
        try:
            if self._is_gzip:
                text: bytes = frame.decompress(packed, most_bytes)
                return text, frame.unconsumed_tail or frame.unused_data
            text = frame.decompress(packed[:_ZSTD_FEED_BYTES])
            return text, frame.unused_data + packed[_ZSTD_FEED_BYTES:]
        except self._error as exc:
            raise BrokenBlock(str(exc)) from exc


class _Zstd(NamedTuple):
    """What is needed of Python 3.14's module or of the package."""

    compress: Callable[[bytes], bytes]
    unpacker: Callable[[], Any]
    error: type[Exception]


def compression_of(name: str) -> Compression | None:
    """Return the compression that a file's name asks for, if it does.

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


def unpacker_of(beginning: bytes) -> Callable[[], Unpacker] | None:
    """Return what unpacks a file, by its first bytes; ``None`` if it is not packed.

    Raises:
        ImportError: If there is no Zstandard here.
    """
    if beginning.startswith(_GZIP_MAGIC):
        return Unpacker
    if beginning.startswith(_ZSTD_MAGIC):
        zstd = _load_zstd()
        return lambda: Unpacker(zstd)
    return None


def _unpack_one(packed: bytes, unpacker: Unpacker) -> bytes:
    pieces = []
    size_bytes = 0
    while not unpacker.eof:
        piece, packed = unpacker.unpack(packed, _PIECE_BYTES)
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes > _MOST_BLOCK_BYTES or not (piece or packed or unpacker.eof):
            raise BrokenBlock("too long, or without an end")
    if packed:
        raise BrokenBlock("more than one block")
    return b"".join(pieces)


def _load_zstd() -> _Zstd:
    # Imported by name, as the type checker need not have either.
    try:
        zstd = import_module("compression.zstd")
    except ImportError:
        zstandard = import_module("zstandard")
        return _Zstd(
            zstandard.ZstdCompressor(_ZSTD_LEVEL, write_checksum=True).compress,
            zstandard.ZstdDecompressor().decompressobj,
            zstandard.ZstdError,
        )
    options = {
        zstd.CompressionParameter.compression_level: _ZSTD_LEVEL,
        zstd.CompressionParameter.checksum_flag: 1,
    }

    def compress(text: bytes) -> bytes:
        frame: bytes = zstd.compress(text, options=options)
        return frame

    return _Zstd(compress, zstd.ZstdDecompressor, zstd.ZstdError)


def _number(value: int) -> bytes:
    return value.to_bytes(_SIZE_BYTES, "little")


def _number_at(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + _SIZE_BYTES], "little")
