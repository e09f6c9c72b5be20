"""The server's process: hands frames out, and watches what the client writes.

It serves one job after another, each a JSON line on stdin, and answers on stdout. It
spins on a core of its own, so that neither its sending nor its watching waits for the
scheduler.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .market import Frames, frames, symbols
from .peer import Peer

_CHUNK_FRAMES = 400
# Clients' pings and farewells are looked at so often while frames go out.
_LISTEN_SECONDS = 0.005
_SUBSCRIBE_SECONDS = 30.0
_WRITE_SECONDS = 120.0
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Job:
    """What one client is to be sent.

    Attributes:
        symbols: How many symbols there are.
        trades: How many trades to send.
        rate: Trades per second; 0 for as fast as they are taken.
        repeat: How often to send them all.
        watch: File or pipe that the client writes to; empty for none.
        lines: How many lines to wait for there.
        waits_for_go: Whether to send only when told, once all streams have listeners.
        listeners: How many connections each stream is to have; all are sent the same.
    """

    symbols: int
    trades: int
    rate: float = 0
    repeat: int = 1
    watch: str = ""
    lines: int = 0
    waits_for_go: bool = True
    listeners: int = 1


class Watch:
    """Reads what a client writes, and notes when each line could be read."""

    def __init__(self, path: str, lines: int) -> None:
        self._path = path
        self._wanted = lines
        self._file: int | None = None
        self.arrivals_ns: list[int] = []
        # A writer can open a pipe only if it has a reader, and what a file has already
        # is not waited for. A file that does not exist yet is looked for.
        if path and self._open() and Path(path).is_file():
            os.lseek(self._file or 0, 0, os.SEEK_END)

    @property
    def is_complete(self) -> bool:
        """Whether all lines have come."""
        return len(self.arrivals_ns) >= self._wanted

    def look(self) -> None:
        """Read what there is."""
        if self._file is None and not self._open():
            return
        try:
            data = os.read(self._file or 0, _READ_BYTES)
        except BlockingIOError:
            return
        if data:
            now_ns = time.perf_counter_ns()
            self.arrivals_ns += [now_ns] * data.count(b"\n")

    def close(self) -> None:
        """Let go of it; a client that still writes to a pipe sees it closed."""
        if self._file is not None:
            os.close(self._file)

    def _open(self) -> bool:
        with suppress(FileNotFoundError):
            self._file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        return self._file is not None


class Server:
    """Listens on a port of its own and serves jobs.

    Args:
        orders: A file descriptor that lines can be read from.
    """

    def __init__(self, orders: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(orders, selectors.EVENT_READ)
        self._orders = orders
        self._ordered = b""
        self._ended = False
        self.port = self._listener.getsockname()[1]
        self._peers: list[Peer] = []
        self._names: tuple[str, ...] = ()

    def order(self) -> bytes:
        """Give the next line of orders; clients are answered meanwhile.

        An empty one means that there are no more.
        """
        while b"\n" not in self._ordered and not self._ended:
            self._listen(None)
        line, _, self._ordered = self._ordered.partition(b"\n")
        return line

    def prepare(self, job: Job) -> int:
        """Make everything that a job needs; tell how many bytes it will send."""
        for peer in list(self._peers):
            self._drop(peer)
        self._names = symbols(job.symbols)
        made = frames(job.symbols, job.trades)
        return sum(map(len, made.frames)) * job.repeat

    def wait_subscribed(self, listeners: int) -> None:
        """Wait until each symbol has so many listeners."""
        deadline = time.monotonic() + _SUBSCRIBE_SECONDS
        while (heard := sum(map(len, self._by_symbol()))) < (
            wanted := len(self._names) * listeners
        ):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"the client subscribed to {heard:,} of {wanted:,} streams on "
                    f"{len(self._peers)} connections"
                )
            self._listen(0.05)

    def serve(self, job: Job, watch: Watch) -> dict[str, Any]:
        """Send a job's trades, and tell when each of them went out and came through."""
        made = frames(job.symbols, job.trades)
        start_ns = time.perf_counter_ns()
        if job.rate:
            sent_ns = self._send_paced(made, job.rate, watch)
        else:
            self._send_all(made, job.repeat, watch)
            sent_ns = [start_ns, time.perf_counter_ns()]
        self._await_lines(watch)
        arrivals_ns = watch.arrivals_ns
        result: dict[str, Any] = {
            "send_seconds": (sent_ns[-1] - start_ns) / 1e9,
            "seconds": ((arrivals_ns or sent_ns)[-1] - start_ns) / 1e9,
            "lines": len(arrivals_ns),
            "first_line_ns": arrivals_ns[0] if arrivals_ns else 0,
        }
        if job.rate and arrivals_ns:
            result["late_ms"] = (arrivals_ns[-1] - sent_ns[-1]) / 1e6
            pairs = list(zip(sent_ns, arrivals_ns, strict=False))
            # The first tenth warms caches up.
            delays_ns = sorted(end - begin for begin, end in pairs[len(pairs) // 10 :])
            result["p50_us"] = delays_ns[len(delays_ns) // 2] / 1e3
            result["p99_us"] = delays_ns[len(delays_ns) * 99 // 100] / 1e3
        return result

    def _send_all(self, made: Frames, repeat: int, watch: Watch) -> None:
        listeners = self._listeners()
        for peer, chunks in self._chunks(made, listeners).items():
            for chunk in chunks * repeat:
                peer.queue(chunk)
        while any(peer.is_behind for peer in listeners):
            self._listen(0)
            for peer in self._peers:
                peer.flush()
            watch.look()

    def _send_paced(self, made: Frames, rate: float, watch: Watch) -> list[int]:
        clock = time.perf_counter_ns
        by_symbol = self._by_symbol()
        symbol_of, ready = made.symbol_of, made.frames
        gap_ns = 1e9 / rate
        sent_ns: list[int] = []
        start_ns = heard_ns = clock()
        while len(sent_ns) < len(ready):
            number = len(sent_ns)
            now_ns = clock()
            if now_ns >= start_ns + number * gap_ns:
                sent_ns.append(now_ns)
                for peer in by_symbol[symbol_of[number]]:
                    peer.send(ready[number])
            watch.look()
            if now_ns - heard_ns > _LISTEN_SECONDS * 1e9:
                heard_ns = now_ns
                self._listen(0)
                for peer in self._peers:
                    peer.flush()
        while any(peer.is_behind for peer in self._peers):
            self._listen(0)
            for peer in self._peers:
                peer.flush()
            watch.look()
        return sent_ns

    def _await_lines(self, watch: Watch) -> None:
        deadline = time.monotonic() + _WRITE_SECONDS
        while not watch.is_complete and time.monotonic() < deadline:
            watch.look()
            self._listen(0)
            if not self._listeners():
                # What a client writes on its way out can still be on its way.
                time.sleep(0.2)
                watch.look()
                return

    def _listeners(self) -> list[Peer]:
        return [peer for peer in self._peers if peer.streams and not peer.gone]

    def _by_symbol(self) -> list[list[Peer]]:
        by_stream: dict[str, list[Peer]] = {}
        for peer in self._listeners():
            for name in peer.streams:
                by_stream.setdefault(name, []).append(peer)
        return [by_stream.get(f"{name.lower()}@trade", []) for name in self._names]

    def _chunks(self, made: Frames, listeners: list[Peer]) -> dict[Peer, list[bytes]]:
        """Share the frames out among the connections, each in its order."""
        by_symbol = self._by_symbol()
        shares: dict[Peer, list[bytes]] = {peer: [] for peer in listeners}
        for index, frame in zip(made.symbol_of, made.frames, strict=True):
            for peer in by_symbol[index]:
                shares[peer].append(frame)
        return {peer: list(_joined(share)) for peer, share in shares.items()}

    def _listen(self, timeout_seconds: float | None) -> None:
        """Take what clients say, and orders."""
        for key, _ in self._selector.select(timeout_seconds):
            if key.fileobj == self._orders:
                data = os.read(self._orders, 65_536)
                self._ordered += data
                self._ended = not data
                continue
            if key.data is None:
                with suppress(BlockingIOError):
                    sock, _ = self._listener.accept()
                    peer = Peer(sock, self._names)
                    self._peers.append(peer)
                    self._selector.register(sock, selectors.EVENT_READ, peer)
                continue
            peer = key.data
            peer.receive()
            if peer.gone:
                self._drop(peer)

    def _drop(self, peer: Peer) -> None:
        self._peers.remove(peer)
        self._selector.unregister(peer.socket)
        peer.socket.close()


def _joined(share: list[bytes]) -> Iterator[bytes]:
    for start in range(0, len(share), _CHUNK_FRAMES):
        yield b"".join(share[start : start + _CHUNK_FRAMES])


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve jobs until there are no more."""
    # Ctrl-C reaches the whole group; whoever started the server ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = Server(sys.stdin.fileno())
    watch = None
    while line := server.order():
        job = Job(**json.loads(line))
        size_bytes = server.prepare(job)
        if watch is not None:
            watch.close()
        watch = Watch(job.watch, job.lines)
        _say({"port": server.port, "bytes": size_bytes})
        try:
            server.wait_subscribed(job.listeners)
            if job.waits_for_go:
                _say({"subscribed": True})
                server.order()
            _say(server.serve(job, watch))
        except TimeoutError as exc:
            _say({"error": str(exc)})


if __name__ == "__main__":
    main()
