"""Runs ``k2`` in forks of one process that has imported it: imports are most of a run.

What Python does at its start is not repeated; tests of that start a process anew.
"""

from __future__ import annotations

import array
import asyncio
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Self

import k2cli

_STREAMS = ("stdin", "stdout", "stderr")
_MOST_BYTES = 2**17
_MOST_FDS = 1 + len(_STREAMS)
# What k2 imports when it needs it.
_LATER = (
    "asyncio ssl orjson zstandard typer.rich_utils rich.console rich.live rich.table "
    "rich.panel rich.markdown prompt_toolkit.input prompt_toolkit.key_binding "
    "websockets.asyncio.client urllib.request"
).split()


class Fork:
    """A run of ``k2``.

    Attributes:
        pid: Its process; it is there until ``wait`` or ``ended`` returns.
    """

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self.pid = int(wire.recv(_MOST_BYTES))

    def wait(self) -> tuple[int, float]:
        """Return its exit status, and the seconds of the processor that it took."""
        with self._wire:
            return _ending(self._wire.recv(_MOST_BYTES))

    async def ended(self) -> int:
        """Return its exit status."""
        with self._wire:
            self._wire.setblocking(False)
            loop = asyncio.get_running_loop()
            return _ending(await loop.sock_recv(self._wire, _MOST_BYTES))[0]


def _ending(text: bytes) -> tuple[int, float]:
    status, cpu_seconds = json.loads(text)
    return int(status), float(cpu_seconds)


class Forks:
    """The process that forks."""

    def __init__(self) -> None:
        self._wire, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._wire.close()

    def start(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        streams: Sequence[int],
        *,
        terminal: bool = False,
    ) -> Fork:
        """Start a run.

        Args:
            arguments: Of ``k2``.
            folder: Where it runs.
            environment: All its variables.
            streams: Descriptors of its standard streams.
            terminal: Whether the first of these is a terminal, to be its own.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        row = [list(arguments), str(folder), dict(environment), terminal]
        with theirs:
            sent = [theirs.fileno(), *streams]
            socket.send_fds(self._wire, [json.dumps(row).encode()], sent)
        return Fork(ours)


class ForkedProcess:
    """A run as ``asyncio.subprocess.Process`` is one, for what the tests need.

    Attributes:
        stdout: What comes from it, unless its stdout is elsewhere.
        stderr: Likewise.
        returncode: Its exit status, once somebody has waited for it.
    """

    def __init__(
        self,
        fork: Fork,
        stdout: asyncio.StreamReader | None,
        stderr: asyncio.StreamReader,
    ) -> None:
        self.pid = fork.pid
        self.stdout = stdout
        self.stderr = stderr
        self._ended = asyncio.create_task(fork.ended())

    @classmethod
    async def start(
        cls,
        forks: Forks,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        stdout: int = subprocess.PIPE,
    ) -> Self:
        """Start a run with nothing on its stdin."""
        stdin = os.open(os.devnull, os.O_RDONLY)
        err_reader, err = os.pipe()
        out_reader, out = os.pipe() if stdout == subprocess.PIPE else (None, stdout)
        fork = forks.start(arguments, folder, environment, (stdin, out, err))
        for fd in (stdin, err, *([] if out_reader is None else [out])):
            os.close(fd)
        return cls(
            fork,
            None if out_reader is None else await _reader(out_reader),
            await _reader(err_reader),
        )

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Return its exit status."""
        return await asyncio.shield(self._ended)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Return what comes from it until it ends."""
        stdout = asyncio.sleep(0, b"") if self.stdout is None else self.stdout.read()
        out, err, _ = await asyncio.gather(
            stdout,
            self.stderr.read(),
            self.wait(),
        )
        return out, err


async def _reader(fd: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb")
    )
    return reader


def _serve(wire: socket.socket) -> None:
    for module in pkgutil.walk_packages(k2cli.__path__, "k2cli."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError):
                importlib.import_module(module.name)
    for name in _LATER:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    # Nobody waits for those that watch a run.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        text, sent, *_ = wire.recvmsg(_MOST_BYTES, socket.CMSG_SPACE(4 * _MOST_FDS))
        if not text:
            return
        fds = array.array("i", b"".join(data for *_, data in sent))
        if not os.fork():
            wire.close()
            _watch(socket.socket(fileno=fds[0]), fds[1:], json.loads(text))
        for fd in fds:
            os.close(fd)


def _watch(wire: socket.socket, fds: Sequence[int], row: Any) -> NoReturn:
    """Fork once more, and tell what becomes of it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if not (pid := os.fork()):
        wire.close()
        _run(fds, *row)
    for fd in fds:
        os.close(fd)
    wire.send(str(pid).encode())
    _, status, usage = os.wait4(pid, 0)
    ended = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
    # Whoever started it may be gone.
    with suppress(OSError):
        wire.send(json.dumps(ended).encode())
    os._exit(0)


def _run(
    fds: Sequence[int], arguments: Any, folder: str, environment: Any, own: bool
) -> NoReturn:
    if own:
        import fcntl
        import termios

        os.setsid()
        fcntl.ioctl(fds[0], termios.TIOCSCTTY, 0)
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    for number, (name, mode) in enumerate(zip(_STREAMS, "rww", strict=True)):
        stream = open(number, mode, closefd=False)  # noqa: SIM115 - it stays open
        setattr(sys, name, stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["k2", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from k2cli.__main__ import main

    main()
    sys.exit()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
