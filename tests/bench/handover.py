"""What is measured of handing a capture on: to Kafka, and to Parquet."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from .bench import ROOT, Bench
from .files import write_capture
from .measures import Effort
from .process import Client, k2_command
from .table import Row, at_least

_TRADES = 1_000_000
_LINE_BYTES = 556
_PUBLISHED_PER_SECOND = 100_000
_EXPORTED_PER_SECOND = 200_000
_LONGEST_SECONDS = 600
_SAMPLED_EVERY_SECONDS = 0.05


def handover(bench: Bench, effort: Effort) -> Iterator[Row]:
    """Trades per second, start included, against what is wanted."""
    path = bench.folder / "capture.jsonl"
    write_capture(path, effort.of(_TRADES) * _LINE_BYTES)
    with path.open("rb") as file:
        trades = sum(1 for _ in file)
    if find_spec("duckdb") is None:
        _say("duckdb is not installed, so that export is left out")
    else:
        runs = [
            _run(bench, "export", str(path), "-o", "out.parquet", "--overwrite")
            for _ in range(effort.rounds)
        ]
        yield _row("export to Parquet", trades, runs, _EXPORTED_PER_SECOND)
    with _kafka(bench.folder) as address:
        if address is None:
            return
        # The first one finds a broker that has just started.
        runs = [
            _run(
                *(bench, "publish", str(path), "--create", "--log-level", "error"),
                *("--to", f"kafka://{address}/trades-{number}"),
            )
            for number in range(effort.rounds + 1)
        ][1:]
        yield _row("publish to Kafka, JSON", trades, runs, _PUBLISHED_PER_SECOND)


def _row(name: str, trades: int, runs: list[tuple[float, float]], wanted: int) -> Row:
    memory_mb = max(peak_mb for _, peak_mb in runs)
    return Row(
        name,
        "trades/s",
        [trades / seconds for seconds, _ in runs],
        "what is wanted",
        [float(wanted)] * len(runs),
        at_least(1.0),
        f"peak memory {memory_mb:.0f} MB",
    )


def _run(bench: Bench, *arguments: str) -> tuple[float, float]:
    """Run k2 to its end; return seconds, and its peak memory in MB."""
    begun = time.perf_counter()
    client = Client([*k2_command(), *arguments], bench.folder, bench.cores)
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(client.end, _LONGEST_SECONDS, asks=False)
        while not ending.done():
            client.sample()
            time.sleep(_SAMPLED_EVERY_SECONDS)
    seconds = time.perf_counter() - begun
    if ending.result():
        said = (bench.folder / "stderr").read_text(errors="replace")
        raise RuntimeError(f"k2 {arguments[0]}: {said[-300:]}")
    return seconds, client.peak_mb


@contextmanager
def _kafka(folder: Path) -> Iterator[str | None]:
    """Start the broker of the tests; give its address, if it can be had."""
    sys.path.insert(0, str(ROOT / "tests" / "publish"))
    servers = importlib.import_module("servers")
    if find_spec("confluent_kafka") is None:
        _say("confluent-kafka is not installed, so that publish is left out")
        yield None
        return
    try:
        place = folder / "kafka"
        place.mkdir()
        broker = servers.Kafka(place)
        broker.start()
    except servers.Unavailable as exc:
        _say(f"publish is left out: {exc}")
        yield None
        return
    try:
        yield str(broker.address)
    finally:
        broker.end()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
