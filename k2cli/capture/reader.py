"""Reading captures, plain or compressed: in chunks, in order, or trade by trade."""

from __future__ import annotations

import os
import stat
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import orjson

from k2cli.capture.compression import BrokenBlock, unpacker_of
from k2cli.capture.schema import violations
from k2cli.errors import K2Error, MalformedMessage, SettingsError, printable
from k2cli.trade import TradeV2

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from io import BufferedReader

    from k2cli.capture.checksum import MarkedChecksum
    from k2cli.capture.compression import Unpacker

CHUNK_BYTES = 128 * 1024
"""What is read and unpacked at once."""

MAX_LINE_BYTES = 2**20
"""Longest line that is looked at; a record has a few hundred bytes."""

_MAGIC_BYTES = 4
_BEGINNING_BYTES = 64 * 1024


class BrokenOff(K2Error):
    """A compressed file cannot be read any further; what came before is good.

    Args:
        message: What is wrong with it.
        damaged: Whether it is damaged. If not, it just ends too early, as a crash
            leaves it.
    """

    def __init__(self, message: str, *, damaged: bool) -> None:
        super().__init__(message)
        self.damaged = damaged


class CaptureSource:
    """One file of a capture, to be read once.

    Args:
        path: The file.
        stdin: What to read instead of opening it.
        start_bytes: Where to begin: at the beginning of a line or of a block.
        end_bytes: Where to end; ``None`` for its end.

    Attributes:
        name: As people know it.
        size_bytes: Its size on disk; ``None`` if it has none, as a pipe.
        read_bytes: How much of that was read.
        path: Where it is; not to be used for stdin.
        checksum: Takes everything that is read, as it is on disk, if it is set.

    Raises:
        SettingsError: If there is no such file, or it cannot be read.
    """

    def __init__(
        self,
        path: Path,
        stdin: BinaryIO | None = None,
        *,
        start_bytes: int = 0,
        end_bytes: int | None = None,
    ) -> None:
        self.name = "stdin" if stdin is not None else str(path)
        self.size_bytes: int | None = None
        self.read_bytes = 0
        self.path = path
        self.checksum: MarkedChecksum | None = None
        self._start_bytes = start_bytes
        self._most_bytes = None if end_bytes is None else end_bytes - start_bytes
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
            closing(self._stdin or self.path.open("rb")) as opened,
        ):
            file = cast("BufferedReader", opened)
            if self._start_bytes:
                file.seek(self._start_bytes)
            beginning = file.read(_MAGIC_BYTES)
            self._note(beginning)
            begin_unpacking = self._unpacker_of(beginning)
            if begin_unpacking is not None:
                yield from self._unpack(file, beginning, begin_unpacking)
                return
            while beginning:
                yield beginning
                beginning = self._read(file)

    def first_record(self) -> dict[str, Any] | None:
        """Return the first record as it stands there, if one can be seen.

        Nothing is read from what cannot be read twice.
        """
        if self.size_bytes is None:
            return None
        beginning = b""
        try:
            with closing(CaptureSource(self.path).chunks()) as chunks:
                for chunk in islice(chunks, 16):
                    beginning += chunk[:_BEGINNING_BYTES]
                    if b"\n" in beginning or len(beginning) >= _BEGINNING_BYTES:
                        break
            record = orjson.loads(beginning.partition(b"\n")[0])
        except (BrokenOff, orjson.JSONDecodeError):
            return None
        return record if isinstance(record, dict) else None

    def first_number(self) -> int | None:
        """Return the ``platform_sequence`` of that, if it has one."""
        number = (self.first_record() or {}).get("platform_sequence")
        return number if type(number) is int else None

    def _read(self, file: BufferedReader) -> bytes:
        # As much as is there: one that waits for more may miss a signal meanwhile.
        most = CHUNK_BYTES
        if self._most_bytes is not None:
            most = min(most, self._most_bytes - self.read_bytes)
        data = file.read1(most)
        self._note(data)
        return data

    def _note(self, data: bytes) -> None:
        self.read_bytes += len(data)
        if self.checksum is not None:
            self.checksum.update(data)

    def _unpacker_of(self, beginning: bytes) -> Callable[[], Unpacker] | None:
        try:
            return unpacker_of(beginning)
        except ImportError:
            raise SettingsError(
                f"{self._shown} is compressed with Zstandard, which needs a package",
                "Install it: pip install 'k2cli[zst]'",
            ) from None

    def _unpack(
        self, file: BufferedReader, packed: bytes, begin: Callable[[], Unpacker]
    ) -> Iterator[bytes]:
        unpacker = begin()
        while packed:
            if unpacker.eof:
                packed = packed.lstrip(unpacker.padding)
                if not packed:
                    packed = self._read(file)
                    continue
                unpacker = begin()
            try:
                text, packed = unpacker.unpack(packed, CHUNK_BYTES)
            except BrokenBlock as exc:
                raise BrokenOff(
                    f"cannot be unpacked any further: {printable(str(exc))}",
                    damaged=True,
                ) from exc
            if text:
                yield text
            packed = packed or self._read(file)
        if not unpacker.eof:
            yield unpacker.unpack(b"", CHUNK_BYTES)[0]
            raise BrokenOff(
                "the compressed data end before they are complete", damaged=False
            )

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


AnyPath = str | os.PathLike[str]


def sources_of(paths: AnyPath | Iterable[AnyPath]) -> list[CaptureSource]:
    """Return the named files in order; see ``in_order``."""
    some = [paths] if isinstance(paths, str | os.PathLike) else paths
    return in_order([CaptureSource(Path(path)) for path in some])


def read(paths: AnyPath | Iterable[AnyPath]) -> Iterator[TradeV2]:
    """Read the trades of a capture, each validated.

    Args:
        paths: The capture: one file, or the files of its rotation in any order.
            Plain, gzip or Zstandard, told by content.

    Returns:
        The trades in the order of the file. Where the last file breaks off in the
        middle of a line, as while it is being written, they end before that line.

    Raises:
        SettingsError: If a file cannot be read.
        MalformedMessage: While iterating, at a line that is no record, or where a
            file is damaged or breaks off though another one follows.
    """
    return _read(sources_of(paths))


def _read(sources: list[CaptureSource]) -> Iterator[TradeV2]:
    for source in sources:
        number = 1
        rest, broken_off = b"", None
        chunks = source.chunks()
        while True:
            try:
                chunk = next(chunks, None)
            except BrokenOff as exc:
                broken_off = exc
                break
            if chunk is None:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield _trade(line, source, number)
                number += 1
            if len(rest) > MAX_LINE_BYTES:
                raise _malformed(source, number, "the line is too long")
        if broken_off is not None and broken_off.damaged:
            raise _malformed(source, number, broken_off.message)
        if (rest or broken_off is not None) and source is not sources[-1]:
            raise _malformed(source, number, "the file breaks off")


def _trade(line: bytes, source: CaptureSource, number: int) -> TradeV2:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise _malformed(source, number, f"no JSON: {printable(line, 40)}") from None
    found = violations(record)
    if found:
        raise _malformed(source, number, "; ".join(found))
    return TradeV2(**record)


def _malformed(source: CaptureSource, number: int, what: str) -> MalformedMessage:
    name = printable(source.name)
    return MalformedMessage(
        f"{name}, line {number}: {what}", "k2 verify names all that is wrong with it"
    )
