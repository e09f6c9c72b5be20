"""Where a capture stopped: read from the end of its file, backwards."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from pydantic import BaseModel, ValidationError

from k2cli.capture.compression import BrokenBlock
from k2cli.errors import OutputError
from k2cli.trade import PlatformSequence, Text, TimeUs, TradeId

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from k2cli.capture.compression import Compression

# How a record begins.
_BEGINNING = b'{"message_id"'
_SYMBOL = re.compile(rb'"symbol"\s*:\s*"([^"\\]+)"')
# How much of the end is read to find where the file stops. It holds more than a flush.
TAIL_BYTES = 2**20
COMPRESSED_TAIL_BYTES = 256 * 2**10
# How much text is searched for the last trades of symbols.
SEARCH_BYTES = 256 * 2**20
# How much of the text at the end is kept.
_MOST_TEXT_BYTES = 16 * 2**20
# What a block counts as, in that, even if it is smaller: finding it costs as much.
_LEAST_TEXT_BYTES = 4096
# How far back a whole piece is looked for in what a power cut left.
_MOST_DAMAGED_BYTES = 256 * 2**20
# How much is read at once.
_STEP_BYTES = 2**20
# Zeros where a power cut kept data from the disk; compressed data never has so many.
_HOLE = bytes(16)

LastTrades = dict[str, tuple[int, int]]


class _Trade(BaseModel):
    """What tells where a symbol stopped."""

    symbol: Text
    source_sequence: TradeId
    timestamp: TimeUs


class _LastRecord(_Trade):
    exchange: Text
    platform_sequence: PlatformSequence


class _FirstRecord(BaseModel):
    message_id: Text
    platform_sequence: PlatformSequence
    ingestion_timestamp: TimeUs


@dataclass(frozen=True, slots=True)
class CaptureEnd:
    """The end of a capture.

    Attributes:
        whole_bytes: Size up to the end of the last whole line.
        torn_bytes: Size of the line cut short behind it, 0 if there is none.
        platform_sequence: Of the last record; 0 in an empty file.
        exchange: Of the last record; empty in an empty file.
        last_trades: Last trade id and trade time (Unix microseconds) by symbol, of
            those that traded just before the end.
    """

    whole_bytes: int = 0
    torn_bytes: int = 0
    platform_sequence: int = 0
    exchange: str = ""
    last_trades: LastTrades = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CaptureStart:
    """The first record of a capture's file.

    Attributes:
        platform_sequence: Its number.
        ingestion_us: When it was received, Unix microseconds UTC.
        message_id: Its random UUID.
    """

    platform_sequence: int
    ingestion_us: int
    message_id: str = ""


def read_end(
    file: BinaryIO,
    size_bytes: int,
    name: str,
    compression: Compression | None = None,
) -> CaptureEnd:
    """Read where a capture stopped.

    Raises:
        OutputError: If the file is no capture of k2's.
    """
    if compression is None:
        tail = _tail_of_lines(file, size_bytes, TAIL_BYTES)
        beginning = _BEGINNING
    else:
        tail = _tail_of_blocks(file, size_bytes, COMPRESSED_TAIL_BYTES, compression)
        beginning = compression.beginning
    if tail.damaged:
        raise OutputError(
            f"{name} is damaged near its end",
            "Move it away, or choose another name",
        )
    # Zeros are what a power cut leaves of what was not on the disk yet.
    begun = tail.torn[: len(beginning)].rstrip(b"\0")
    if not tail.text:
        foreign = not beginning.startswith(begun) or (size_bytes and not begun)
        if tail.whole_bytes or foreign:
            raise _no_capture(name)
        return CaptureEnd(torn_bytes=size_bytes)
    if compression is not None and not beginning.startswith(begun):
        raise _no_capture(name)
    line = tail.text[tail.text.rfind(b"\n", 0, -1) + 1 :]
    try:
        record = _LastRecord.model_validate_json(line)
    except ValidationError as exc:
        raise _no_capture(name) from exc
    return CaptureEnd(
        whole_bytes=tail.whole_bytes,
        torn_bytes=size_bytes - tail.whole_bytes,
        platform_sequence=record.platform_sequence,
        exchange=record.exchange,
        last_trades=_last_trades_in(tail.text),
    )


def read_start(
    file: BinaryIO, name: str, compression: Compression | None = None
) -> CaptureStart:
    """Read the first record of a capture that has one; see ``read_end``.

    Raises:
        OutputError: If it cannot be read.
    """
    try:
        line = _first_text(file, compression).partition(b"\n")[0]
        record = _FirstRecord.model_validate_json(line)
    except ValueError as exc:
        raise _no_capture(name) from exc
    return CaptureStart(
        record.platform_sequence, record.ingestion_timestamp, record.message_id
    )


def texts_backwards(
    file: BinaryIO, whole_bytes: int, compression: Compression | None = None
) -> Iterator[bytes]:
    """Return a capture's lines, the last ones first, some at a time."""
    if compression is None:
        return _lines_before(file, whole_bytes)
    return _blocks_before(file, whole_bytes, compression)


def find_last_trades(texts: Iterable[bytes], symbols: Collection[str]) -> LastTrades:
    """Return last trade id and trade time (Unix microseconds) by symbol, if found.

    Of the texts, as ``texts_backwards`` returns them, no more are taken than needed,
    nor much more than ``SEARCH_BYTES``.
    """
    found: LastTrades = {}
    missing = set(symbols)
    searched_bytes = 0
    if not missing:
        return found
    for text in texts:
        newly = _last_trades_in(text, missing)
        found |= newly
        missing -= newly.keys()
        searched_bytes += max(len(text), _LEAST_TEXT_BYTES)
        if not missing or searched_bytes >= SEARCH_BYTES:
            break
    return found


def _last_trades_in(text: bytes, wanted: Collection[str] | None = None) -> LastTrades:
    """Find the last trade of every symbol in some lines."""
    places = {match[1]: match.start() for match in _SYMBOL.finditer(text)}
    found: LastTrades = {}
    for encoded, place in places.items():
        symbol = encoded.decode(errors="replace")
        if wanted is not None and symbol not in wanted:
            continue
        start = text.rfind(b"\n", 0, place) + 1
        line = text[start : text.find(b"\n", place)]
        try:
            record = _Trade.model_validate_json(line)
        except ValidationError:
            continue
        if record.symbol == symbol:
            found[symbol] = record.source_sequence, record.timestamp
    return found


def _no_capture(name: str) -> OutputError:
    return OutputError(
        f"{name} exists and is no capture of k2's",
        "Choose another name, or --overwrite to lose what it holds",
    )


@dataclass(frozen=True, slots=True)
class _Tail:
    """The end of a file.

    Attributes:
        whole_bytes: Size up to the end of the last whole line or block.
        text: The last lines up to there, all whole.
        torn: The beginning of what follows.
        damaged: Whether whole blocks follow what is torn, and no power cut can have
            done that.
    """

    whole_bytes: int
    text: bytes
    torn: bytes
    damaged: bool = False


def _tail_of_lines(file: BinaryIO, size_bytes: int, window_bytes: int) -> _Tail:
    """Find the last whole line, reading ``window_bytes`` at first.

    A power cut can leave zeros in the place of what was not on the disk yet. No line
    holds any, so that a file ends before the first line that does.
    """
    while True:
        start = max(size_bytes - window_bytes, 0)
        data = _read(file, start, size_bytes)
        zeros = data.find(b"\0")
        whole = data.rfind(b"\n", 0, zeros if zeros >= 0 else len(data)) + 1
        first = data.find(b"\n") + 1 if start else 0
        damaged = zeros >= 0 and first >= whole
        if not (damaged and start and window_bytes < _MOST_DAMAGED_BYTES):
            return _Tail(start + whole, data[first:whole], data[whole : whole + 100])
        window_bytes *= 4


def _tail_of_blocks(
    file: BinaryIO, size_bytes: int, window_bytes: int, compression: Compression
) -> _Tail:
    while True:
        start = max(size_bytes - window_bytes, 0)
        data = _read(file, start, size_bytes)
        whole = compression.boundary(data) if start else 0
        texts: deque[bytes] = deque()
        kept_bytes = 0
        while whole is not None:
            end = compression.end(data, whole)
            if end is None:
                break
            try:
                text = compression.decode(data[whole:end])
            except BrokenBlock:
                break
            texts.append(text)
            kept_bytes += len(text)
            while kept_bytes > _MOST_TEXT_BYTES and len(texts) > 1:
                kept_bytes -= len(texts.popleft())
            whole = end
        if texts or not start or window_bytes >= _MOST_DAMAGED_BYTES:
            whole = whole or 0
            return _Tail(
                start + whole,
                b"".join(texts),
                data[whole : whole + 100],
                _is_damaged(data[whole:], compression),
            )
        window_bytes *= 4


def _lines_before(file: BinaryIO, end_bytes: int) -> Iterator[bytes]:
    """Return all whole lines up to a position, the last ones first, some at a time."""
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


def _blocks_before(
    file: BinaryIO, end_bytes: int, compression: Compression
) -> Iterator[bytes]:
    """Return the text of all blocks up to a position, the last block first.

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


def _first_text(file: BinaryIO, compression: Compression | None) -> bytes:
    """Return the first whole lines of a file, if there are any."""
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
