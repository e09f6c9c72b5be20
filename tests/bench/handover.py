"""What is measured of handing a capture on: to Kafka, and to Parquet."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from .bench import ROOT, Bench
from .files import reading_command, write_capture
from .measures import Effort
from .process import Client, k2_command
from .startup import seconds_of
from .table import Row, at_least

_TRADES = 1_000_000
_LINE_BYTES = 556
# Where orjson reads a million lines a second, 100,000 and 200,000 trades are wanted.
_PUBLISH_GOAL, _EXPORT_GOAL = 0.1, 0.2
_LONGEST_SECONDS = 600
_SAMPLED_EVERY_SECONDS = 0.05


def handover(bench: Bench, effort: Effort) -> Iterator[Row]:
    """Trades per second, start included, against reading them at all."""
    path = bench.folder / "capture.jsonl"
    write_capture(path, effort.of(_TRADES) * _LINE_BYTES)
    if find_spec("duckdb") is None:
        _say("duckdb is not installed, so that export is left out")
    else:
        export = ("export", str(path), "-o", "out.parquet", "--overwrite")
        exports = [export] * effort.rounds
        yield _row(bench, "export to Parquet", path, exports, _EXPORT_GOAL)
    with _kafka(bench.folder) as address:
        if address is None:
            return
        publish = ("publish", str(path), "--create", "--log-level", "error", "--to")
        # The first one finds a broker that has just started.
        commands = [
            (*publish, f"kafka://{address}/trades-{number}")
            for number in range(effort.rounds + 1)
        ]
        _run(bench, *commands[0])
        yield _row(bench, "publish to Kafka, JSON", path, commands[1:], _PUBLISH_GOAL)


def _row(
    bench: Bench, name: str, path: Path, commands: Sequence[Sequence[str]], goal: float
) -> Row:
    with path.open("rb") as file:
        trades = sum(1 for _ in file)
    ours, theirs, peaks_mb = [], [], []
    for command in commands:
        seconds, peak_mb = _run(bench, *command)
        ours.append(trades / seconds)
        theirs.append(trades / seconds_of(bench, reading_command(path)))
        peaks_mb.append(peak_mb)
    against = "orjson.loads of each line"
    note = f"peak memory {max(peaks_mb):.0f} MB"
    return Row(name, "trades/s", ours, against, theirs, at_least(goal), note)


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
