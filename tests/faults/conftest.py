"""Recorders under fire: what is on disk must be what the exchange published."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random

import pytest

from k2cli.binance.venue import BinanceVenue, SymbolSelection
from k2cli.capture.sink import CaptureSink
from k2cli.completeness.ledger import Ledger
from k2cli.config import BinanceConfig
from k2cli.engine.session import Session
from k2cli.simulator import Fault, Market, SimulatedExchange, Trade, parse_fault
from tests.forks import ForkedProcess, Forks

PATIENCE_SECONDS = 50
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


class NewestIds:
    """The last id of each symbol in a file that grows; -1 before the first.

    Only what has come since the last time is read: the recorder needs the processor.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_bytes = 0
        self._newest: dict[str, int] = {}

    def __getitem__(self, symbol: str) -> int:
        return self._newest.get(symbol, -1)

    def read(self) -> None:
        """Read the whole lines that have been added."""
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            file.seek(self._read_bytes)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        for line in whole.splitlines():
            record = json.loads(line)
            self._newest[record["symbol"]] = record["source_sequence"]


class Siege:
    """An exchange that misbehaves, and a recorder that is killed now and then.

    Attributes:
        exchange: The exchange.
        file: The capture.
        journal: Where trades wait for gaps to be filled.
        summary: The recorder's account, as JSON.
    """

    def __init__(self, exchange: SimulatedExchange, folder: Path, forks: Forks) -> None:
        self.exchange = exchange
        self.file = folder / "trades.jsonl"
        self.journal = folder / ".trades.jsonl.pending"
        self.summary = folder / "summary.json"
        self.errors = b""
        self._folder = folder
        self._forks = forks
        self._process: ForkedProcess | None = None
        self._talk: asyncio.Task[None] | None = None

    async def start(self, *options: str) -> None:
        """Start a recorder."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("K2_")}
        command = "record", "-o", self.file.name
        self._process = await ForkedProcess.start(
            self._forks,
            [*command, *SYMBOLS, "--summary", self.summary.name, *options],
            self._folder,
            kept
            | {
                "HOME": str(self._folder),
                "XDG_CONFIG_HOME": str(self._folder),
                "XDG_CACHE_HOME": str(self._folder),
                "K2_BINANCE_WEBSOCKET_URL": self.exchange.url,
                "K2_BINANCE_API_URL": self.exchange.api_url,
                "K2_BINANCE_RECONNECT_DELAY": "0.05",
                "K2_BINANCE_PING_INTERVAL": "0.25",
                "K2_BINANCE_OPEN_TIMEOUT": "2",
                "K2_BINANCE_MAX_RECONNECT_ATTEMPTS": "0",
            },
        )
        self._talk = asyncio.create_task(self._listen(self._process))

    async def kill(self) -> None:
        """Kill the recorder with SIGKILL."""
        self.assert_running()
        assert self._process is not None
        self._process.kill()
        await self._ended()

    def assert_running(self) -> None:
        """Assert that the recorder has not ended by itself."""
        assert self._process is not None
        assert self._process.returncode is None, self.errors.decode()

    async def stop(self) -> int:
        """End the recorder politely, and give its status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self._ended()

    async def caught_up(self) -> None:
        """Publish a last trade now and then, until the file has got that far."""
        awaited = {symbol: self._next_id(symbol) for symbol in SYMBOLS}
        newest = NewestIds(self.file)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(newest[symbol] < awaited[symbol] for symbol in SYMBOLS):
                self.assert_running()
                await self.exchange.publish([self._trade(symbol) for symbol in SYMBOLS])
                # The file has no event that could be waited for.
                await asyncio.sleep(0.1)
                newest.read()

    def on_disk(self) -> set[tuple[str, int]]:
        """Return symbol and id of all that is on disk: in the capture and waiting."""
        return {
            (record["symbol"], record["source_sequence"])
            for file in (self.file, self.journal)
            if file.exists()
            # A line that is being written is left out.
            for record in map(json.loads, file.read_bytes().split(b"\n")[:-1])
        }

    def assert_whole(self) -> None:
        """Assert what the fault suite is about.

        The first trade on disk is the first of all: the market waits for its recorder.
        """
        records = [json.loads(line) for line in self.file.read_bytes().splitlines()]
        for symbol in SYMBOLS:
            on_disk = [r["source_sequence"] for r in records if r["symbol"] == symbol]
            published = self.exchange.log.ids(symbol)
            assert on_disk == [i for i in published if i <= on_disk[-1]], (
                self.errors.decode()
            )
        numbers = [record["platform_sequence"] for record in records]
        assert numbers == list(range(1, len(records) + 1))

    async def clean_up(self) -> None:
        """End what a failed test has left."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    def _next_id(self, symbol: str) -> int:
        return self.exchange.log.ids(symbol)[-1] + 1

    def _trade(self, symbol: str) -> Trade:
        last = self.exchange.log.trades(symbol)[-1]
        return Trade(
            symbol=symbol,
            id=last.id + 1,
            price=last.price,
            quantity=last.quantity,
            trade_time_us=last.trade_time_us + 1000,
            event_time_us=last.event_time_us + 1000,
            buyer_is_maker=True,
        )

    async def _listen(self, process: ForkedProcess) -> None:
        while line := await process.stderr.readline():
            self.errors += line

    async def _ended(self) -> int:
        assert self._process is not None
        assert self._talk is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._talk
            return await self._process.wait()


class SessionSiege(Siege):
    """The same with the recorder in this process: nothing can kill it, but it is quick.

    Attributes:
        ledger: The recorder's account, once it has been stopped.
    """

    ledger: Ledger
    _session: Session
    _run: asyncio.Task[Ledger] | None = None

    async def start(self, *options: str) -> None:
        """Start a recorder."""
        assert not options
        config = BinanceConfig(
            websocket_url=self.exchange.url,
            api_url=self.exchange.api_url,
            reconnect_delay=0.05,
            ping_interval=0.25,
            open_timeout=2,
            max_reconnect_attempts=0,
        )
        venue = BinanceVenue.from_config(
            config, SymbolSelection(symbols=SYMBOLS), proxy=False
        )
        self._session = Session(venue=venue, sinks=[CaptureSink(self.file)])
        self._run = asyncio.create_task(self._record(self._session))

    async def stop(self) -> int:
        """End the recorder politely, and give the status that k2 would end with."""
        assert self._run is not None
        self._session.stop(hurry=True)
        async with asyncio.timeout(PATIENCE_SECONDS):
            self.ledger = await self._run
        return 6 if self.ledger.missing else 0

    def assert_running(self) -> None:
        """Assert that the recorder has not ended by itself."""
        assert self._run is not None
        assert not self._run.done()

    async def clean_up(self) -> None:
        """End what a failed test has left."""
        if self._run is not None:
            self._session.stop(hurry=True)
            await asyncio.gather(self._run, return_exceptions=True)

    async def _record(self, session: Session) -> Ledger:
        async with session:
            return await session.run()


@pytest.fixture
async def siege(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: Forks
) -> AsyncIterator[SiegeMaker]:
    """Makes sieges."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    maker = SiegeMaker(tmp_path, forks)
    yield maker
    await maker.clean_up()


class SiegeMaker:
    """Starts exchanges and besieges recorders."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self._folder = folder
        self._forks = forks
        self._made: list[Siege] = []

    async def __call__(
        self, faults: Sequence[Fault], *, trades: int = 4000, rate: float = 4000
    ) -> Siege:
        """Start an exchange that plays so many trades once somebody listens."""
        market = Market(seed=7, rate=rate, symbols=SYMBOLS, trade_limit=trades)
        exchange = SimulatedExchange(market, faults=faults, start_when_subscribed=True)
        await exchange.start()
        self._made.append(Siege(exchange, self._folder, self._forks))
        return self._made[-1]

    async def in_process(self, faults: Sequence[str]) -> SessionSiege:
        """The same with a recorder in this process."""
        besieged = await self([parse_fault(fault) for fault in faults])
        self._made[-1] = siege = SessionSiege(
            besieged.exchange, self._folder, self._forks
        )
        return siege

    async def clean_up(self) -> None:
        """End everything."""
        for siege in self._made:
            await siege.clean_up()
            await siege.exchange.stop()


def random_faults(seed: int, trades: int) -> list[str]:
    """Make a schedule of faults from a seed."""
    random = Random(seed)  # noqa: S311 - a schedule, not a secret
    kinds = [
        "drop@{p}",
        "cut@{p}",
        "close@{p}:1001",
        "close@{p}:1008",
        "skip@{p}:{n}",
        "skip@{p}:3:ETHUSDT",
        "duplicate@{p}:{n}",
        "reorder@{p}:5",
        "junk@{p}:13",
        "stall@{p}:1s",
        "shutdown@{p}:200ms",
        "shutdown@{p}:never",
        "refuse@{p}:503:300ms",
        "api-down@{p}:500ms",
        "api-error@{p}:503:2",
        "history-lag@{p}:300ms",
    ]
    return [
        random.choice(kinds).format(
            p=random.randrange(1, trades), n=random.randrange(1, 400)
        )
        for _ in range(8)
    ]
