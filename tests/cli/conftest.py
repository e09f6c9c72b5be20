"""Real processes of the ``k2`` command against the embedded exchange."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from k2cli.simulator import Market, SimulatedExchange, Trade
from tests.forks import ForkedProcess, Forks

# Long enough for the slowest machine; nothing waits so long unless it is broken.
PATIENCE_SECONDS = 40


@dataclass(frozen=True)
class Ended:
    """What a process left behind."""

    status: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[bytes]:
        return self.out.splitlines()


class K2:
    """Starts ``k2`` in a folder and a home of its own."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.folder = folder
        self._forks = forks
        self._processes: list[Process | ForkedProcess] = []
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("K2_") and "proxy" not in name.lower()
        }
        self.environment = kept | {
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "NO_COLOR": "1",
        }

    def use(self, exchange: SimulatedExchange) -> None:
        """Make an exchange the one that k2 connects to."""
        self.environment |= {
            "K2_BINANCE_WEBSOCKET_URL": exchange.url,
            "K2_BINANCE_API_URL": exchange.api_url,
        }

    async def start(
        self,
        *arguments: str,
        stdout: int = asyncio.subprocess.PIPE,
        **env: str,
    ) -> ForkedProcess:
        """Start a process."""
        process = await ForkedProcess.start(
            self._forks, arguments, self.folder, self.environment | env, stdout
        )
        self._processes.append(process)
        return process

    async def start_anew(self, *arguments: str, **env: str) -> Process:
        """Start a process from nothing: its start is the point."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "k2cli", *arguments),
            cwd=self.folder,
            env=self.environment | env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._processes.append(process)
        return process

    async def __call__(self, *arguments: str, **env: str) -> Ended:
        """Run a process to its end."""
        process = await self.start(*arguments, stdout=asyncio.subprocess.PIPE, **env)
        return await self.end(process)

    async def end(self, process: Process | ForkedProcess) -> Ended:
        """Wait for a process's end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, out or b"", err.decode())

    async def clean_up(self) -> None:
        """End what a failed test has left running."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.communicate()


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    """An exchange that publishes what a test tells it to."""
    async with SimulatedExchange() as exchange:
        yield exchange


@pytest.fixture
async def market() -> AsyncIterator[SimulatedExchange]:
    """An exchange with a busy made-up market."""
    async with SimulatedExchange(Market(seed=1, rate=4000)) as exchange:
        yield exchange


@pytest.fixture
async def k2(tmp_path: Path, forks: Forks) -> AsyncIterator[K2]:
    """The command."""
    command = K2(tmp_path, forks)
    yield command
    await command.clean_up()


def trades(
    first_id: int, count: int, symbol: str = "BTCUSDT", price: str = "61837.63000000"
) -> list[Trade]:
    """Make trades with consecutive ids, one a millisecond."""
    return [
        Trade(
            symbol=symbol,
            id=trade_id,
            price=price,
            quantity="0.02000000",
            trade_time_us=1_723_161_255_342_000 + trade_id * 1000,
            event_time_us=1_723_161_255_343_000 + trade_id * 1000,
            buyer_is_maker=trade_id % 2 == 0,
        )
        for trade_id in range(first_id, first_id + count)
    ]
