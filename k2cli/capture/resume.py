"""Where a capture stopped: read from the end of its file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO

import orjson

from k2cli.errors import OutputError

# How a record begins.
_BEGINNING = b'{"message_id"'
# How much of the end is read. A symbol that traded only before it is taken up anew.
TAIL_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class CaptureEnd:
    """The end of a capture.

    Attributes:
        whole_bytes: Size up to the end of the last whole line.
        torn_bytes: Size of the line cut short behind it, 0 if there is none.
        platform_sequence: Of the last record; 0 in an empty file.
        exchange: Of the last record; empty in an empty file.
        last_trades: Last trade id and trade time (Unix microseconds) by symbol.
    """

    whole_bytes: int = 0
    torn_bytes: int = 0
    platform_sequence: int = 0
    exchange: str = ""
    last_trades: dict[str, tuple[int, int]] = field(default_factory=dict)


def read_end(file: BinaryIO, size_bytes: int, name: str) -> CaptureEnd:
    """Read where a capture stopped.

    Args:
        file: The capture, open for reading.
        size_bytes: Its size.
        name: Its name, for the error.

    Raises:
        OutputError: If the file is no capture of k2's.
    """
    start = max(size_bytes - TAIL_BYTES, 0)
    file.seek(start)
    tail = file.read(size_bytes - start)
    whole = tail.rfind(b"\n") + 1
    if size_bytes and not whole:
        begun = min(size_bytes, len(_BEGINNING))
        if start or not tail.startswith(_BEGINNING[:begun]):
            raise _no_capture(name)
    lines = tail[:whole].splitlines()
    if start:
        del lines[:1]
    last_trades: dict[str, tuple[int, int]] = {}
    platform_sequence = 0
    exchange = ""
    for number, line in enumerate(reversed(lines)):
        try:
            record: dict[str, Any] = orjson.loads(line)
            symbol = str(record["symbol"])
            last = (int(record["source_sequence"]), int(record["timestamp"]))
            if number == 0:
                platform_sequence = int(record["platform_sequence"])
                exchange = str(record["exchange"])
        except (ValueError, KeyError, TypeError) as exc:
            if number == 0:
                raise _no_capture(name) from exc
            continue
        last_trades.setdefault(symbol, last)
    return CaptureEnd(
        whole_bytes=start + whole,
        torn_bytes=size_bytes - start - whole,
        platform_sequence=platform_sequence,
        exchange=exchange,
        last_trades=last_trades,
    )


def _no_capture(name: str) -> OutputError:
    return OutputError(
        f"{name} exists and is no capture of k2's",
        "Choose another name, or --overwrite to lose what it holds",
    )
