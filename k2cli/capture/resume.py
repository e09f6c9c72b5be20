"""Where a capture stopped: read from the end of its file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from pydantic import BaseModel, ValidationError

from k2cli.capture.backwards import (
    blocks_before,
    first_text,
    lines_before,
    tail_of_blocks,
    tail_of_lines,
)
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
# What a block counts as, in that, even if it is smaller: finding it costs as much.
_LEAST_TEXT_BYTES = 4096

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
    """

    platform_sequence: int
    ingestion_us: int


def read_end(
    file: BinaryIO,
    size_bytes: int,
    name: str,
    compression: Compression | None = None,
) -> CaptureEnd:
    """Read where a capture stopped.

    Args:
        file: The capture, open for reading.
        size_bytes: Its size.
        name: Its name, for the error.
        compression: How it is compressed, if it is.

    Raises:
        OutputError: If the file is no capture of k2's.
    """
    if compression is None:
        tail = tail_of_lines(file, size_bytes, TAIL_BYTES)
        beginning = _BEGINNING
    else:
        tail = tail_of_blocks(file, size_bytes, COMPRESSED_TAIL_BYTES, compression)
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
        line = first_text(file, compression).partition(b"\n")[0]
        record = _FirstRecord.model_validate_json(line)
    except ValueError as exc:
        raise _no_capture(name) from exc
    return CaptureStart(record.platform_sequence, record.ingestion_timestamp)


def texts_backwards(
    file: BinaryIO, whole_bytes: int, compression: Compression | None = None
) -> Iterator[bytes]:
    """Give a capture's lines, the last ones first, some at a time."""
    if compression is None:
        return lines_before(file, whole_bytes)
    return blocks_before(file, whole_bytes, compression)


def find_last_trades(texts: Iterable[bytes], symbols: Collection[str]) -> LastTrades:
    """Find the last trades of symbols.

    Args:
        texts: Whole lines, as ``texts_backwards`` gives them. No more of them are
            taken than are needed, nor much more than ``SEARCH_BYTES``.
        symbols: The symbols to look for.

    Returns:
        Last trade id and trade time (Unix microseconds) by symbol, of those found.
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
