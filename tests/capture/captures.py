"""What is in captures, as others would read them."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from k2cli.capture.writer import CaptureFile
from k2cli.trade import Instrument, TradeBatch

if TYPE_CHECKING:
    from collections.abc import Callable

HAS_ZSTD = any(importlib.util.find_spec(name) for name in ("zstandard",))
needs_zstd = pytest.mark.skipif(not HAS_ZSTD, reason="zstandard is not installed")

# Every kind of file; for tests that hold for all of them.
NAMES = [
    "trades.jsonl",
    "trades.jsonl.gz",
    pytest.param("trades.jsonl.zst", marks=needs_zstd),
]
COMPRESSED_NAMES = NAMES[1:]


# Received on the hour, ten seconds apart from id to id.
BEGUN_US = 1_723_161_600_000_000
APART_US = 10_000_000


def time_of(trade_id: int) -> int:
    """Return when a trade was made, Unix microseconds."""
    return 1_723_161_255_342_000 + trade_id


def batch(
    *trade_ids: int,
    symbol: str = "BTCUSDT",
    exchange: str = "BINANCE",
    is_plain: bool = True,
) -> TradeBatch:
    """Make trades; their times, and the time of receipt, grow with the first id."""
    times = [str(time_of(trade_id)) for trade_id in trade_ids]
    instrument = Instrument(symbol, exchange, symbol[:-4], symbol[-4:])
    return TradeBatch(
        instruments={symbol: instrument},
        received_us=BEGUN_US + trade_ids[0] * APART_US,
        symbols=[symbol for _ in trade_ids],
        trade_ids=[str(trade_id) for trade_id in trade_ids],
        prices=["61837.63000000" for _ in trade_ids],
        quantities=["0.02000000" for _ in trade_ids],
        trade_times=times,
        event_times=times,
        buyer_is_maker=["true" for _ in trade_ids],
        best_match=["true" for _ in trade_ids],
        message_ids=[f"f3b0c4ce-5d0a-4a7e-9f0e-{i * 7919:012x}" for i in trade_ids],
        is_plain=is_plain,
    )


def line_of(trade_id: int, number: int | None, symbol: str = "BTCUSDT") -> bytes:
    """Return the line of a trade as it is in a capture, or without a number."""
    return batch(trade_id, symbol=symbol).json_lines(number)[0].encode()


def write_ids(capture: CaptureFile, *trade_ids: int) -> None:
    """Write trades one by one and flush them."""
    for trade_id in trade_ids:
        capture.write(batch(trade_id))
    capture.flush()


def abandon(capture: CaptureFile) -> None:
    """Leave a capture as a killed process does: nothing more is written."""
    if not capture._disk.closed:
        os.close(capture._disk._fd)
        capture._disk._fd = -1


class Killed(BaseException):
    """The process is no more."""


class Mortal:
    """A process that is killed at one of its system calls.

    Args:
        monkeypatch: To replace the calls.
        call: At which of the calls; 0 is the first.
        before: Whether before it rather than after it.

    Attributes:
        calls: The calls so far.
    """

    _CALLS = ("open", "write", "fsync", "ftruncate", "rename", "close")

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, call: int, *, before: bool
    ) -> None:
        self.calls: list[str] = []
        self._call = call
        self._before = before
        self._open_fds: set[int] = set()
        self._close = os.close
        for name in self._CALLS:
            monkeypatch.setattr(os, name, self._mortal(name, getattr(os, name)))

    def bury(self, capture: CaptureFile) -> None:
        """Close what the process had open, as the system does."""
        if not capture._disk.closed:
            self._open_fds.add(capture._disk._fd)
            capture._disk._fd = -1
        for fd in self._open_fds:
            self._close(fd)

    def _mortal(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def function(*args: Any, **options: Any) -> Any:
            if len(self.calls) > self._call:
                raise Killed  # what clean-up there is does not happen
            dies = len(self.calls) == self._call
            self.calls.append(name)
            if name == "close":
                self._open_fds.add(args[0])
            if dies and self._before:
                raise Killed
            result = real(*args, **options)
            if name == "open":
                self._open_fds.add(result)
            elif name == "close":
                self._open_fds.discard(args[0])
            if dies:
                raise Killed
            return result

        return function


class FullDisk:
    """Takes a number of bytes, in pieces, and no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room_bytes: int) -> None:
        self._write = os.write
        self._room_bytes = room_bytes
        monkeypatch.setattr("k2cli.capture.disk.os.write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if not self._room_bytes:
            raise OSError(28, "No space left on device")
        taken = self._write(fd, bytes(data[: min(self._room_bytes, 100)]))
        self._room_bytes -= taken
        return taken


def text_of(path: Path) -> bytes:
    """Read a capture's file with other code than k2's."""
    if path.suffix == ".gz":
        with gzip.open(path) as unpacked:
            return unpacked.read()
    if path.suffix == ".zst":
        zstandard = importlib.import_module("zstandard")
        with path.open("rb") as file:
            reader = zstandard.ZstdDecompressor().stream_reader(
                file, read_across_frames=True
            )
            text: bytes = reader.read()
            return text
    return path.read_bytes()


def files_of(path: Path) -> list[Path]:
    """List the files of a rotated capture by name, the one being written last."""
    return [
        *sorted(
            file
            for file in path.parent.iterdir()
            if file != path and not file.name.startswith(".")
        ),
        *([path] if path.exists() else []),
    ]


def records_of(path: Path) -> list[dict[str, Any]]:
    """Read the records of a capture with all its finished files."""
    records = []
    for file in files_of(path):
        text = text_of(file)
        assert not text or text.endswith(b"\n")
        records += [json.loads(line) for line in text.splitlines()]
    return records


def ids_of(path: Path) -> list[int]:
    """Read the trade ids of a capture; its records are numbered from 1 on."""
    records = records_of(path)
    numbers = [record["platform_sequence"] for record in records]
    assert numbers == list(range(1, len(records) + 1))
    return [record["source_sequence"] for record in records]
