"""The files of a capture, plain or compressed, in chunks and in their order."""

from __future__ import annotations

import stat
import zlib
from contextlib import closing, contextmanager
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import orjson

from k2cli.capture.verify import BrokenOff
from k2cli.errors import SettingsError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from io import BufferedReader
    from pathlib import Path

CHUNK_BYTES = 128 * 1024
"""What is read and unpacked at once."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_MAGIC_BYTES = 4
_GZIP_BITS = 16 + zlib.MAX_WBITS
# Unpacking has no limit there: this much at once, so that memory has one.
_ZSTD_FEED_BYTES = 4 * 1024
_BEGINNING_BYTES = 64 * 1024


class CaptureSource:
    """One file of a capture, to be read once.

    Args:
        path: The file.
        stdin: What to read instead of opening it.

    Attributes:
        name: As people know it.
        size_bytes: Its size as it is on disk; ``None`` if it has none, as a pipe.
        read_bytes: How much of that was read.

    Raises:
        SettingsError: If there is no such file, or it cannot be read.
    """

    def __init__(self, path: Path, stdin: BinaryIO | None = None) -> None:
        self.name = "stdin" if stdin is not None else str(path)
        self.size_bytes: int | None = None
        self.read_bytes = 0
        self._path = path
        self._stdin = stdin
        self._shown = printable(self.name)
        if stdin is None:
            with self._errors_explained():
                found = path.stat()
                if stat.S_ISDIR(found.st_mode):
                    raise IsADirectoryError
                if stat.S_ISREG(found.st_mode):
                    self.size_bytes = found.st_size
                    path.open("rb").close()

    def chunks(self) -> Generator[bytes]:
        """Read the file, unpacked.

        Yields:
            Pieces of at most ``CHUNK_BYTES``; a little more from zstd.

        Raises:
            SettingsError: If it cannot be read.
            BrokenOff: If compressed data end too early or are damaged.
        """
        with (
            self._errors_explained(),
            closing(self._stdin or self._path.open("rb")) as opened,
        ):
            file = cast("BufferedReader", opened)
            beginning = file.read(_MAGIC_BYTES)
            self.read_bytes += len(beginning)
            if beginning.startswith(_GZIP_MAGIC):
                yield from self._gzip(file, beginning)
            elif beginning.startswith(_ZSTD_MAGIC):
                yield from self._zstd(file, beginning)
            else:
                while beginning:
                    yield beginning
                    beginning = self._read(file)

    def first_number(self) -> int | None:
        """Give the platform_sequence of the first record, if one can be seen.

        Nothing is read from what cannot be read twice.
        """
        if self.size_bytes is None:
            return None
        beginning = b""
        try:
            with closing(CaptureSource(self._path).chunks()) as chunks:
                for chunk in islice(chunks, 16):
                    beginning += chunk[:_BEGINNING_BYTES]
                    if b"\n" in beginning or len(beginning) >= _BEGINNING_BYTES:
                        break
            record = orjson.loads(beginning.partition(b"\n")[0])
        except (BrokenOff, orjson.JSONDecodeError):
            return None
        number = record.get("platform_sequence") if isinstance(record, dict) else None
        return number if type(number) is int else None

    def _read(self, file: BufferedReader) -> bytes:
        # As much as is there: one that waits for more may miss a signal meanwhile.
        data = file.read1(CHUNK_BYTES)
        self.read_bytes += len(data)
        return data

    def _gzip(self, file: BufferedReader, packed: bytes) -> Iterator[bytes]:
        unpacking = zlib.decompressobj(_GZIP_BITS)
        while packed:
            if unpacking.eof:
                # Behind a member is another one, or padding.
                packed = packed.lstrip(b"\0")
                if not packed:
                    packed = self._read(file)
                    continue
                unpacking = zlib.decompressobj(_GZIP_BITS)
            try:
                data = unpacking.decompress(packed, CHUNK_BYTES)
            except zlib.error as exc:
                raise _damaged(exc) from exc
            if data:
                yield data
            packed = unpacking.unconsumed_tail or unpacking.unused_data
            packed = packed or self._read(file)
        if not unpacking.eof:
            yield unpacking.flush()
            raise _too_early()

    def _zstd(self, file: BufferedReader, packed: bytes) -> Iterator[bytes]:
        try:
            begin_frame, error = _zstd()
        except ImportError:
            raise SettingsError(
                f"{self._shown} is compressed with Zstandard, which needs a package",
                "Install it: pip install 'k2cli[zst]'",
            ) from None
        unpacking = begin_frame()
        while packed:
            if unpacking.eof:
                unpacking = begin_frame()
            piece, packed = packed[:_ZSTD_FEED_BYTES], packed[_ZSTD_FEED_BYTES:]
            try:
                data = unpacking.decompress(piece)
            except error as exc:
                raise _damaged(exc) from exc
            if data:
                yield data
            packed = (unpacking.unused_data + packed) or self._read(file)
        if not unpacking.eof:
            raise _too_early()

    @contextmanager
    def _errors_explained(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise SettingsError(
                f"there is no file {self._shown}", "Name a capture"
            ) from None
        except IsADirectoryError:
            raise SettingsError(
                f"{self._shown} is a folder", "Name the files in it"
            ) from None
        except OSError as exc:
            why = printable(exc.strerror or str(exc))
            raise SettingsError(
                f"{self._shown} cannot be read: {why}", "See to it, or copy it first"
            ) from exc


def in_order(sources: list[CaptureSource]) -> list[CaptureSource]:
    """Sort the files of a capture by what is in them, not by name.

    Args:
        sources: As given. One whose first record cannot be seen stays behind the one
            before it.

    Raises:
        SettingsError: If one of them cannot be read.
    """
    if len(sources) < 2:
        return sources
    numbers: list[int] = []
    for source in sources:
        number = source.first_number()
        numbers.append((numbers[-1] if numbers else 0) if number is None else number)
    # Sorting is stable.
    return [sources[i] for i in sorted(range(len(sources)), key=numbers.__getitem__)]


def _zstd() -> tuple[Callable[[], Any], type[Exception]]:
    """Give what unpacks a frame, and the error of it.

    Raises:
        ImportError: If there is neither Python 3.14's module nor the package.
    """
    # Imported by name, as the type checker need not have either.
    try:
        zstd = import_module("compression.zstd")
    except ImportError:
        zstd = import_module("zstandard")
        return zstd.ZstdDecompressor().decompressobj, zstd.ZstdError
    return zstd.ZstdDecompressor, zstd.ZstdError


def _damaged(exc: Exception) -> BrokenOff:
    return BrokenOff(
        f"cannot be unpacked any further: {printable(str(exc))}", damaged=True
    )


def _too_early() -> BrokenOff:
    return BrokenOff("the compressed data end before they are complete", damaged=False)
