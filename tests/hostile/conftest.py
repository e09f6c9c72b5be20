"""Runs the command and measures what an attack costs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .raw import RawServer

# A slow machine needs as much for the start of a process alone.
PATIENCE_SECONDS = 40.0


@dataclass(frozen=True)
class Cost:
    """What a run has cost, and left behind."""

    status: int
    # By the clock, from the signal on if there is one; and of the processor.
    seconds: float
    cpu_seconds: float
    memory_mb: float
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return (self.out + self.err).decode("utf-8", "replace")


class _Memory(threading.Thread):
    """Looks at the peak memory of a process now and then, until it has ended.

    What ``wait4`` tells begins with the memory of whoever started the process.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.most_mb = 0.0
        self._status = Path(f"/proc/{pid}/status")

    def run(self) -> None:
        while (peak_mb := self._peak_mb()) is not None:
            self.most_mb = max(self.most_mb, peak_mb)
            time.sleep(0.01)

    def _peak_mb(self) -> float | None:
        try:
            found = re.search(r"VmHWM:\s*(\d+) kB", self._status.read_text())
        except OSError:
            return None
        # One that has ended has no memory any more.
        return int(found[1]) / 1024 if found else None


class Victim:
    """Runs ``k2`` in a folder and a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache" / "k2"
        kept = ("PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV")
        self.environment = {n: os.environ[n] for n in kept if n in os.environ} | {
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "NO_COLOR": "1",
        }

    def use(self, server: RawServer) -> None:
        self.environment |= {
            "K2_BINANCE_WEBSOCKET_URL": server.url,
            "K2_BINANCE_API_URL": f"ws://127.0.0.1:{server.port}/ws-api/v3",
        }

    def __call__(
        self,
        *arguments: str,
        redirection: str = "",
        signal_after_seconds: float | None = None,
        **environment: str,
    ) -> Cost:
        """Run it to its end, or kill it when patience ends.

        Args:
            arguments: Of k2.
            redirection: What follows the command, for a shell: redirections.
            signal_after_seconds: When to send SIGTERM; ``seconds`` counts from there.
            environment: More variables.
        """
        command = [sys.executable, "-m", "k2cli", *arguments]
        if redirection:
            command = ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *command]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        begun = time.monotonic()
        memory = _Memory(process.pid)
        memory.start()
        read: dict[str, bytes] = {}
        assert process.stdout is not None
        assert process.stderr is not None
        readers = [
            threading.Thread(target=lambda n=n, f=f: read.__setitem__(n, f.read()))
            for n, f in (("out", process.stdout), ("err", process.stderr))
        ]
        for reader in readers:
            reader.start()
        killing = threading.Timer(PATIENCE_SECONDS, process.kill)
        killing.start()
        if signal_after_seconds is not None:
            time.sleep(signal_after_seconds)
            begun = time.monotonic()
            os.kill(process.pid, signal.SIGTERM)  # it is not waited for yet
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        killing.cancel()
        memory.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        for reader in readers:
            reader.join()
        process.stdout.close()
        process.stderr.close()
        return Cost(
            process.returncode,
            seconds,
            usage.ru_utime + usage.ru_stime,
            memory.most_mb or usage.ru_maxrss / 1024,
            read["out"],
            read["err"],
        )


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    return Victim(tmp_path)


@pytest.fixture
def server(victim: Victim) -> Iterator[RawServer]:
    with RawServer() as server:
        victim.use(server)
        yield server
