"""What is measured of a start: help, version, and the first trade."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from .bench import Bench
from .measures import Effort, interleaved
from .process import Client, k2_command
from .server import Job
from .table import Row, at_most

_EMPTY_PROGRAM = """\
import typer

app = typer.Typer()


@app.command()
def main() -> None:
    pass


app()
"""
# One start is short and noisy.
_STARTS_PER_ROUND = 4


def startup(bench: Bench, effort: Effort) -> Iterator[Row]:
    """Seconds until a command has answered, and until the first trade is out."""
    empty = bench.folder / "empty.py"
    empty.write_text(_EMPTY_PROGRAM)
    program = [sys.executable, str(empty)]
    commands = {
        "k2 --help": ([*k2_command(), "--help"], [*program, "--help"]),
        "k2 --version": ([*k2_command(), "--version"], program),
    }
    against = {
        "k2 --help": "empty Typer program, --help",
        "k2 --version": "empty Typer program, run",
    }
    for name, (ours, theirs) in commands.items():
        pairs = [
            (seconds_of(bench, ours), seconds_of(bench, theirs))
            for _ in range(effort.rounds * _STARTS_PER_ROUND)
        ]
        yield Row(
            name,
            "ms",
            [1e3 * mine for mine, _ in pairs],
            against[name],
            [1e3 * other for _, other in pairs],
            at_most(1.5),
        )
    job = Job(2, 100, waits_for_go=False)
    outcomes = interleaved(
        effort.rounds * 2,
        {
            "minimal": lambda: bench.loop("minimal", job),
            "stream": lambda: bench.stream(job),
        },
    )
    yield Row(
        "stream, first trade",
        "ms",
        [1e3 * each.startup_seconds for each in outcomes["stream"]],
        "imports, one connection",
        [1e3 * each.startup_seconds for each in outcomes["minimal"]],
        at_most(1.5),
    )


def seconds_of(bench: Bench, command: list[str]) -> float:
    """Run a command to its end, on the clients' core."""
    begun = time.perf_counter()
    Client(command, bench.folder, bench.cores).end(30, asks=False)
    return time.perf_counter() - begun
