"""The benchmark: ``python -m tests.bench``, from the top of the repository."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

from .bench import Bench
from .files import files
from .handover import handover
from .loops import OPTIONAL, is_installed
from .measures import (
    Effort,
    market,
    paced,
    redundant,
    server_is_no_bottleneck,
    symbols,
    throughput,
)
from .stages import stages
from .startup import startup
from .table import Row, header, line

MEASURES: dict[str, Callable[[Bench, Effort], Iterator[Row]]] = {
    "paced": paced,
    "redundant": redundant,
    "market": market,
    "server": server_is_no_bottleneck,
    "throughput": throughput,
    "symbols": symbols,
    "startup": startup,
    "files": files,
    "stages": stages,
    "handover": handover,
}


def main() -> None:
    """Measure, and print the table as it grows."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"some of {', '.join(MEASURES)}"
    )
    parser.add_argument("--quick", action="store_true", help="fewer, shorter runs")
    parser.add_argument("--rounds", type=int, help="runs of each line")
    parser.add_argument("--scale", type=float, help="multiplies trades and sizes")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in MEASURES]
    if unknown:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(MEASURES)}")
    effort = Effort(
        asked.rounds or (1 if asked.quick else 3),
        asked.scale or (0.3 if asked.quick else 1.0),
    )
    # SIGTERM, too, is to end the server and remove the files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    with Bench() as bench:
        _print(
            f"Python {platform.python_version()}, websockets {version('websockets')}, "
            f"{bench.cores}; medians of {effort.rounds} interleaved runs\n"
            f"load average before: {os.getloadavg()[0]:.1f} (others' work moves ratios)"
        )
        for name in OPTIONAL:
            if not is_installed(name):
                _print(f"{name} is not installed, so its loop is left out")
        _print(header())
        for name, measure in MEASURES.items():
            if not asked.names or name in asked.names:
                for row in measure(bench, effort):
                    _print(line(row))
    _print(f"{time.monotonic() - begun:.0f} s in all")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except RuntimeError as exc:
        sys.exit(f"benchmark: error: {exc}")
