"""The server, a client beside it, and what the two of them showed."""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from .market import symbols
from .process import SAMPLE_SECONDS, Client, Cores, k2_command
from .server import Job

ROOT = Path(__file__).resolve().parents[2]
_END_SECONDS = 30.0
_STREAMS_PER_URL = 200
# Loops that write one line when they are done, instead of one for each trade.
_COUNTING = ("library", "sink", "minimal")


@dataclass(frozen=True)
class Outcome:
    """What a run showed.

    Attributes:
        seconds: From the first trade sent to the last line that could be read.
        send_seconds: For how long the server sent.
        cpu_seconds: What the client used, from the first trade to the last line.
        peak_mb: The client's most resident memory.
        grown_mb: How much of it was added in the last two thirds of the run.
        status: The client's exit status.
        lines: Lines that it wrote.
        startup_seconds: From the start of its process to its first line.
        late_ms: From the last trade sent to the last line; of paced runs.
        p50_us: Median from a trade's sending to its line; of paced runs.
        p99_us: Likewise.
    """

    seconds: float
    send_seconds: float
    cpu_seconds: float
    peak_mb: float
    grown_mb: float
    status: int
    lines: int
    startup_seconds: float
    late_ms: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0


class Bench:
    """Runs clients against the server, one after another.

    Use it as a context manager.

    Attributes:
        cores: Where things run.
        folder: For files; gone at the end.
    """

    def __enter__(self) -> Self:
        self.cores = Cores.here()
        self.folder = Path(tempfile.mkdtemp(prefix="k2-bench-"))
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.kill()
        self._server.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)

    def loop(
        self, name: str, job: Job, *, flush: bool = False, fifo: bool = False
    ) -> Outcome:
        """Run a hand-written loop.

        Args:
            name: One of ``loops.LOOPS``.
            job: What it is sent.
            flush: Whether it flushes after each line.
            fifo: Whether it writes to a pipe instead of a file.
        """
        with self._output(fifo=fifo) as output:
            expected = job.trades * job.repeat
            lines = 1 if name in _COUNTING else expected
            port, size_bytes = self._prepare(job, output, lines)
            names = [f"{symbol.lower()}@trade" for symbol in symbols(job.symbols)]
            urls = [
                f"ws://127.0.0.1:{port}/stream?streams="
                + "/".join(names[start : start + _STREAMS_PER_URL])
                for start in range(0, len(names), _STREAMS_PER_URL)
            ]
            command = [sys.executable, "-m", "tests.bench.loops", name]
            command += ["--trades", str(size_bytes if name == "sink" else expected)]
            command += ["--output", str(output)]
            command += ["--flush"] if flush else []
            client = Client(command + urls, self.folder, self.cores, cwd=ROOT)
            return self._watch(client)

    def record(self, job: Job, *options: str, keep: str = "") -> Outcome:
        """Run ``k2 record`` until the file has all trades.

        Args:
            job: What it is sent.
            options: More options.
            keep: A name for the file, which may be there before, and is afterwards.
        """
        with self._output(keep=keep) as output:
            arguments = self._k2("record", job, output)
            client = Client(
                [*arguments, *options, "-o", str(output)], self.folder, self.cores
            )
            return self._watch(client)

    def stream(self, job: Job, *options: str) -> Outcome:
        """Run ``k2 stream --json`` into a pipe until all trades have come out of it."""
        with self._output(fifo=True) as output:
            arguments = self._k2("stream", job, output)
            stdout = os.open(output, os.O_WRONLY)
            try:
                client = Client(
                    [*arguments, *options, "--json"],
                    self.folder,
                    self.cores,
                    stdout=stdout,
                )
            finally:
                os.close(stdout)
            return self._watch(client)

    def table(self, job: Job) -> Outcome:
        """Run ``k2 stream`` on a terminal until all trades are sent."""
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        reading = threading.Thread(target=_read_all, args=(master,))
        reading.start()
        try:
            arguments = self._k2("stream", job, None)
            client = Client(arguments, self.folder, self.cores, stdout=slave)
            return self._watch(client)
        finally:
            os.close(slave)
            reading.join()
            os.close(master)

    def _k2(self, command: str, job: Job, output: Path | None) -> list[str]:
        port, _ = self._prepare(job, output, job.trades * job.repeat if output else 0)
        chosen = symbols(job.symbols) if job.symbols <= 2 else ("--all",)
        return [
            *k2_command(),
            command,
            *chosen,
            *("--url", f"ws://127.0.0.1:{port}/stream"),
            *("--api-url", f"ws://127.0.0.1:{port}/ws-api/v3"),
        ]

    def _prepare(self, job: Job, output: Path | None, lines: int) -> tuple[int, int]:
        """Have the server make a job ready; give its port and how much it will send."""
        self._waits_for_go = job.waits_for_go
        job = replace(job, watch=str(output or ""), lines=lines)
        self._tell(json.dumps(asdict(job)))
        ready = self._hear()
        return ready["port"], ready["bytes"]

    def _watch(self, client: Client) -> Outcome:
        """Have the job that is ready sent to a client."""
        try:
            if self._waits_for_go:
                self._hear()
                client.begin()
                self._tell("go")
            served = self._hear(client)
            cpu_seconds = client.spent_seconds()
            status = client.end(_END_SECONDS, asks=True)
        except RuntimeError as exc:
            said = (self.folder / "stderr").read_text(errors="replace").strip()
            raise RuntimeError(f"{exc}; the client said: {said[-500:]}") from exc
        finally:
            client.kill()
        return Outcome(
            cpu_seconds=cpu_seconds,
            peak_mb=client.peak_mb,
            grown_mb=client.grown_mb,
            status=status,
            startup_seconds=(served.pop("first_line_ns") - client.spawned_ns) / 1e9,
            **served,
        )

    @contextmanager
    def _output(self, *, fifo: bool = False, keep: str = "") -> Iterator[Path]:
        path = self.folder / (keep or "output.jsonl")
        if fifo:
            os.mkfifo(path)
        try:
            yield path
        finally:
            # A capture has files beside it, whose names contain its own.
            for left in self.folder.glob(f"*{path.name}*") if not keep else ():
                left.unlink()

    def _tell(self, line: str) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(line.encode() + b"\n")
        self._server.stdin.flush()

    def _hear(self, watched: Client | None = None) -> dict[str, Any]:
        """Give the server's next answer; look at a client's memory meanwhile."""
        assert self._server.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._server.stdout, selectors.EVENT_READ)
            while watched is not None and not selector.select(SAMPLE_SECONDS):
                watched.sample()
        said = self._server.stdout.readline()
        if not said:
            raise RuntimeError("the server has ended")
        answer: dict[str, Any] = json.loads(said)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer


def _read_all(terminal: int) -> None:
    """Read what a terminal is sent until nobody has it any more."""
    with suppress(OSError):
        while os.read(terminal, 65_536):
            pass
