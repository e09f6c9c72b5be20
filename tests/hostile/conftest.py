"""Runs the command and measures what an attack costs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.forks import Forks

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


class _Reader(threading.Thread):
    """Reads all that comes from a pipe or a terminal, and stops who says something."""

    def __init__(self, fd: int, pid: int, stop_at: bytes) -> None:
        super().__init__(daemon=True)
        self.read = b""
        self._fd = fd
        self._pid = pid
        self._stop_at = stop_at

    def run(self) -> None:
        # A terminal that nobody has open any more is an error to read.
        with suppress(OSError):
            while part := os.read(self._fd, 2**16):
                self.read += part
                if self._stop_at and self._stop_at in self.read:
                    os.kill(self._pid, signal.SIGTERM)
                    self._stop_at = b""
        os.close(self._fd)


class Victim:
    """Runs ``k2`` in a folder and a home of its own."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.folder = folder
        self.cache = folder / "cache" / "k2"
        self._forks = forks
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
        signal_after: float | threading.Event | None = None,
        **environment: str,
    ) -> Cost:
        """Run it to its end, or kill it when patience ends.

        Args:
            arguments: Of k2.
            signal_after: Seconds, or what happens, before SIGTERM is sent; ``seconds``
                counts from there.
            environment: More variables.
        """
        out, err = os.pipe(), os.pipe()
        streams = (os.open(os.devnull, os.O_RDONLY), out[1], err[1])
        cost, (said, complained) = self._run(
            arguments, environment, streams, (out[0], err[0]), signal_after
        )
        return replace(cost, out=said, err=complained)

    def on_terminal(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        stop_at: bytes = b"",
    ) -> Cost:
        """Run it on a pseudo-terminal; ``out`` is all that came to the screen.

        Args:
            arguments: Of k2.
            environment: More variables.
            stop_at: What is on the screen when SIGTERM is sent.
        """
        mine, its = os.openpty()
        cost, (said,) = self._run(
            arguments,
            {"TERM": "xterm-256color", **(environment or {})},
            (its, its, its),
            (mine,),
            stop_at=stop_at,
        )
        return replace(cost, out=said)

    def _run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        streams: Sequence[int],
        readable: Sequence[int],
        signal_after: float | threading.Event | None = None,
        stop_at: bytes = b"",
    ) -> tuple[Cost, list[bytes]]:
        fork = self._forks.start(
            arguments,
            self.folder,
            {**self.environment, **environment},
            streams,
            terminal=len(readable) == 1,
        )
        begun = time.monotonic()
        for fd in set(streams):
            os.close(fd)
        memory = _Memory(fork.pid)
        readers = [_Reader(fd, fork.pid, stop_at) for fd in readable]
        for thread in (memory, *readers):
            thread.start()
        killing = threading.Timer(PATIENCE_SECONDS, os.kill, (fork.pid, signal.SIGKILL))
        killing.start()
        if signal_after is not None:
            if isinstance(signal_after, threading.Event):
                assert signal_after.wait(PATIENCE_SECONDS)
            else:
                time.sleep(signal_after)
            begun = time.monotonic()
            os.kill(fork.pid, signal.SIGTERM)
        status, cpu_seconds = fork.wait()
        seconds = time.monotonic() - begun
        killing.cancel()
        for thread in (memory, *readers):
            thread.join()
        cost = Cost(status, seconds, cpu_seconds, memory.most_mb, b"", b"")
        return cost, [reader.read for reader in readers]

    def in_shell(self, *arguments: str, redirection: str) -> Cost:
        """Run it anew by a shell, with redirections behind the command."""
        begun = time.monotonic()
        done = subprocess.run(
            [
                *("/bin/sh", "-c", f'exec "$@" {redirection}', "sh"),
                *(sys.executable, "-m", "k2cli", *arguments),
            ],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        seconds = time.monotonic() - begun
        return Cost(done.returncode, seconds, 0.0, 0.0, done.stdout, done.stderr)


@pytest.fixture
def victim(tmp_path: Path, forks: Forks) -> Victim:
    return Victim(tmp_path, forks)


@pytest.fixture
def server(victim: Victim) -> Iterator[RawServer]:
    with RawServer() as server:
        victim.use(server)
        yield server
