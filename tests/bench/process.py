"""A client's process: started on its core, watched, and ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Cores:
    """Which cores the two sides run on; empty where that cannot be chosen."""

    server: set[int]
    client: set[int]

    @classmethod
    def here(cls) -> Cores:
        """Choose, and move this process to the server's: it only waits."""
        if not hasattr(os, "sched_setaffinity"):
            return cls(set(), set())
        free = sorted(os.sched_getaffinity(0))
        cores = cls({free[0]}, {free[-1]})
        os.sched_setaffinity(0, cores.server)
        return cores

    def __str__(self) -> str:
        """Say it to the reader of the table."""
        if not self.server:
            return "server and client run wherever the system puts them"
        if self.server == self.client:
            return "server and client share ONE core, so the ratios mean little"
        return f"server on core {min(self.server)}, client on core {min(self.client)}"


class Client:
    """A process under test.

    Args:
        command: What to run.
        folder: For what it says, for its home, and, unless ``cwd`` is given, where it
            runs.
        cores: Where to run it.
        cwd: Where to run it.
        stdout: A file descriptor; nothing by default.

    Attributes:
        spawned_ns: When it was started, by the clock that all processes share.
        peak_mb: Most resident memory seen so far.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        cores: Cores,
        *,
        cwd: Path | None = None,
        stdout: int = subprocess.DEVNULL,
    ) -> None:
        self._begun_seconds = 0.0
        self.spawned_ns = time.perf_counter_ns()
        self._samples: list[tuple[float, float]] = []
        self.peak_mb = 0.0
        # A catalog that another run has kept would not be this market's.
        home = folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        with (folder / "stderr").open("wb") as stderr:
            # A process starts with the affinity of its parent, all threads included.
            if cores.client:
                os.sched_setaffinity(0, cores.client)
            try:
                self._process = subprocess.Popen(
                    command,
                    cwd=cwd or folder,
                    env=_environment(home),
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                )
            finally:
                if cores.client:
                    os.sched_setaffinity(0, cores.server)

    def begin(self) -> None:
        """Count processor time from here on: what came before is starting up."""
        self._begun_seconds = self._cpu_seconds()

    def spent_seconds(self) -> float:
        """Return the processor time since then, as far as the system tells."""
        return self._cpu_seconds() - self._begun_seconds

    def sample(self) -> None:
        """Note how much memory it has."""
        values = self._status("VmRSS", "VmHWM")
        if values:
            self._samples.append((time.monotonic(), values[0]))
            self.peak_mb = max(self.peak_mb, values[1])

    def end(self, timeout_seconds: float, *, asks: bool) -> int:
        """Wait for its end.

        Args:
            timeout_seconds: After how long it is killed.
            asks: Whether to ask for it with SIGTERM.

        Returns:
            Its exit status.
        """
        # Popen's own timeout looks only every 50 ms, which is as long as a start takes.
        timer = threading.Timer(timeout_seconds, self._process.kill)
        timer.start()
        try:
            if asks:
                self._process.terminate()
            return self._process.wait()
        finally:
            timer.cancel()
            self.kill()

    def kill(self) -> None:
        """End it, if it has not ended."""
        self._process.kill()
        self._process.wait()

    @property
    def grown_mb(self) -> float:
        """How much memory was added in the last two thirds of the time watched."""
        if not self._samples:
            return 0.0
        first, last = self._samples[0][0], self._samples[-1][0]
        settled = first + (last - first) / 3
        later = [mb for when, mb in self._samples if when >= settled]
        return max(later) - later[0]

    def _cpu_seconds(self) -> float:
        # Linux alone tells, for each thread in nanoseconds.
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        try:
            return sum(int(each.read_text().split()[0]) for each in threads) / 1e9
        except OSError:
            return 0.0

    def _status(self, *names: str) -> list[float]:
        """Give some of Linux' figures about its memory, in MB."""
        try:
            text = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return []
        lines = dict(line.split(":", 1) for line in text.splitlines())
        return [int(lines[n].split()[0]) / 1024 for n in names if n in lines]


def k2_command() -> list[str]:
    """Give the command as it is installed beside this Python."""
    script = shutil.which("k2", path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, "-m", "k2cli"]


def _environment(home: Path) -> dict[str, str]:
    """Give an environment without settings, caches and proxies of this machine."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("K2_") and not name.lower().endswith("_proxy")
    }
    names = ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    # What one without a terminal does not look at.
    return kept | dict.fromkeys(names, str(home)) | {"TERM": "xterm-256color"}
