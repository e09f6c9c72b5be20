"""What is measured of files: how verifying and resuming grow with their size."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from .bench import Bench
from .market import FIRST_TIME_US, FIRST_TRADE_ID
from .measures import Effort
from .process import k2_command
from .server import Job
from .startup import seconds_of
from .table import Row

_SIZES_MB = (1, 64, 2_048)
_LINE = (
    b'{"message_id":"f3b0c4ce-5d0a-4a7e-9f0e-0d5c2f9f2b11","trade_id":"BINANCE-%d",'
    b'"symbol":"%s","exchange":"BINANCE","asset_class":"crypto","timestamp":%d,'
    b'"price":"61837.63000000","quantity":"0.02000000","currency":"USDT",'
    b'"side":"SELL","trade_conditions":[],"source_sequence":%d,'
    b'"ingestion_timestamp":%d,"platform_sequence":%d,"vendor_data":{'
    b'"is_buyer_maker":"true","is_best_match":"true","event_type":"trade",'
    b'"event_time":"%d","trade_time":"%d","base_asset":"%s","quote_asset":"USDT"}}\n'
)
_LINE_BYTES = 556
_READ = "import sys, orjson\nfor line in open(sys.argv[1], 'rb'):\n orjson.loads(line)"


def files(bench: Bench, effort: Effort) -> Iterator[Row]:
    """Seconds to prove a capture, and to go on with it, by its size."""
    fresh = bench.record(Job(2, 100, waits_for_go=False)).startup_seconds
    for size_mb in _SIZES_MB:
        size_bytes = int(size_mb * 2**20 * min(effort.scale, 1))
        if shutil.disk_usage(bench.folder).free < 2 * size_bytes:
            continue
        path = bench.folder / "long.jsonl"
        write_capture(path, size_bytes)
        name = (
            f"{size_mb:,} MB" if effort.scale >= 1 else f"{size_bytes / 2**20:.3g} MB"
        )
        ours = seconds_of(bench, [*k2_command(), "verify", str(path)])
        theirs = seconds_of(bench, reading_command(path))
        yield Row(f"verify, {name}", "s", [ours], "orjson.loads of each line", [theirs])
        resumed = bench.record(Job(2, 100, waits_for_go=False), keep=path.name)
        yield Row(
            f"record resumes, {name}, first trade",
            "s",
            [resumed.startup_seconds],
            "record, a new file",
            [fresh],
        )
        for left in bench.folder.glob(f"*{path.name}*"):
            left.unlink()


def reading_command(path: Path) -> list[str]:
    """Give a command that reads each line of a capture, and does nothing with it."""
    return [sys.executable, "-c", _READ, str(path)]


def write_capture(path: Path, size_bytes: int) -> None:
    """Write a whole capture of two symbols, up to the server's first trades."""
    pairs = max(size_bytes // (2 * _LINE_BYTES), 1)
    with path.open("wb") as file:
        for number in range(pairs):
            trade_id = FIRST_TRADE_ID - pairs + number
            time_us = FIRST_TIME_US - (pairs - number) * 20
            for position, base in enumerate((b"BTC", b"ETH")):
                file.write(
                    _LINE
                    % (
                        trade_id,
                        base + b"USDT",
                        time_us,
                        trade_id,
                        time_us + 2_000,
                        2 * number + position + 1,
                        time_us + 900,
                        time_us,
                        base,
                    )
                )
