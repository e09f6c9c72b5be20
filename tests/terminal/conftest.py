"""A real pseudo-terminal, read through a terminal emulator."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pyte
import pytest

from k2cli.simulator import Market, SimulatedExchange

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

import fcntl
import termios

PATIENCE_SECONDS = 30


class Terminal:
    """Runs a command on a pseudo-terminal of a given size.

    Attributes:
        screen: What a person sees now.
        sent: Everything the command has sent.
        stdin: What the command gets as stdin, if not the terminal.
        on_data: Called with what is sent, as it comes.
        program: What Python is to run.
        folder: Where it runs, and its home.
    """

    def __init__(self, folder: Path, columns: int, lines: int) -> None:
        self.screen = pyte.Screen(columns, lines)
        self.sent = b""
        self.stdin: int | None = None
        self.on_data: Callable[[bytes], None] = lambda _: None
        self.program = ["-m", "k2cli"]
        self._stream = pyte.ByteStream(self.screen)
        self._text: str | None = None
        self._master, self._slave = os.openpty()
        self.folder = folder
        self._arrived = asyncio.Event()
        self._set_size(columns, lines)
        self.settings = termios.tcgetattr(self._slave)
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str, **environment: str) -> None:
        """Start ``k2`` with this as its terminal."""
        self.start([sys.executable, *self.program, *arguments], **environment)

    def start(self, command: list[str], **environment: str) -> None:
        """Start a command with this as its terminal."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("K2_")}
        kept |= {"TERM": "xterm-256color", "HOME": str(self.folder)}
        kept |= {"XDG_CACHE_HOME": str(self.folder)}
        kept.pop("COLUMNS", None)
        kept.pop("LINES", None)
        self.process = subprocess.Popen(
            command,
            stdin=self._slave if self.stdin is None else self.stdin,
            stdout=self._slave,
            stderr=self._slave,
            env=kept | environment,
            cwd=self.folder,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0),
        )
        asyncio.get_running_loop().add_reader(self._master, self._read)

    async def drawn_whole(self) -> None:
        """Wait for the live screen from its first line to its last, and once only."""
        await self.until(
            lambda: (
                " k2 " in self.screen.display[0] and "q quit" in self.screen.display[-1]
            )
        )
        assert sum(" k2 " in line for line in self.screen.display) == 1

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until what is on the screen fits a condition."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not condition():
                    assert self.process is not None
                    assert self.process.poll() is None, f"ended:\n{self.text}"
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError("never came:\n" + self.text) from None

    async def ended(self) -> int:
        """Wait for the end, and give the exit status."""
        assert self.process is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            status = await asyncio.to_thread(self.process.wait)
        self.read_waiting()
        return status

    def press(self, keys: str) -> None:
        """Type, as a person at the keyboard does."""
        os.write(self._master, keys.encode())

    def press_ctrl_c(self) -> None:
        """Type Ctrl-C."""
        self.press("\x03")

    def resize(self, columns: int, lines: int) -> None:
        """Change the size, as dragging a window's corner does."""
        self.screen.resize(lines, columns)
        self._text = None
        self._set_size(columns, lines)
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGWINCH)

    @property
    def text(self) -> str:
        """The screen as text."""
        if self._text is None:
            self._text = "\n".join(line.rstrip() for line in self.screen.display)
        return self._text

    @property
    def is_as_it_was(self) -> bool:
        """Whether the terminal's settings are those of before the command."""
        return bool(termios.tcgetattr(self._slave) == self.settings)

    def close(self) -> None:
        """End what is left."""
        asyncio.get_running_loop().remove_reader(self._master)
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
        os.close(self._slave)

    def _set_size(self, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, size)

    def _read(self) -> None:
        data = os.read(self._master, 65536)
        self.sent += data
        self.on_data(data)
        self._stream.feed(data)
        self._text = None
        self._arrived.set()

    def read_waiting(self) -> None:
        """Read what has been sent, without waiting for more."""
        os.set_blocking(self._master, False)
        try:
            while True:
                self._read()
        except BlockingIOError:
            pass
        finally:
            os.set_blocking(self._master, True)


@pytest.fixture
async def market() -> AsyncIterator[SimulatedExchange]:
    """An exchange with a lively made-up market."""
    async with SimulatedExchange(Market(seed=1, rate=400)) as exchange:
        yield exchange


@pytest.fixture
async def terminal(
    tmp_path: Path,
) -> AsyncIterator[Callable[[int, int], Terminal]]:
    """Makes terminals."""
    made: list[Terminal] = []

    def make(columns: int = 80, lines: int = 24) -> Terminal:
        made.append(Terminal(tmp_path, columns, lines))
        return made[-1]

    yield make
    for one in made:
        one.close()
