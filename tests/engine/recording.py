"""Recordings in this process: a session between an exchange's sockets and a capture."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import k2cli
from k2cli.binance.venue import BinanceVenue, SymbolSelection
from k2cli.capture.pending import journal_path, pending_ids
from k2cli.capture.sink import CaptureSink
from k2cli.completeness.ledger import Ledger
from k2cli.config import BinanceConfig
from k2cli.engine.session import Session
from k2cli.simulator import SimulatedExchange, Trade

PATIENCE_SECONDS = 30


class Recorder:
    """Records from an exchange to one capture, run after run.

    Attributes:
        exchange: The exchange.
        file: The capture.
    """

    def __init__(
        self,
        exchange: SimulatedExchange,
        folder: Path,
        name: str = "trades.jsonl",
        **settings: Any,
    ) -> None:
        self.exchange = exchange
        self.file = folder / name
        self._settings: dict[str, Any] = {
            "websocket_url": exchange.url,
            "api_url": exchange.api_url,
            "reconnect_delay": 0.05,
            "max_reconnect_attempts": 3,
        } | settings

    def venue(self, *symbols: str) -> BinanceVenue:
        """Return the exchange as k2 sees it."""
        config = BinanceConfig(**self._settings)
        selection = SymbolSelection(symbols=symbols or ("BTCUSDT",))
        return BinanceVenue.from_config(config, selection, proxy=False)

    @asynccontextmanager
    async def run(
        self,
        *symbols: str,
        count: int | None = None,
        duration_seconds: float | None = None,
        max_backfill: int = 1_000_000,
        **capture_options: Any,
    ) -> AsyncIterator[tuple[Session, asyncio.Task[Ledger]]]:
        """Record in the background, until the block ends at the latest."""
        symbols = symbols or ("BTCUSDT",)
        session = Session(
            venue=self.venue(*symbols),
            sinks=[CaptureSink(self.file, **capture_options)],
            max_backfill=max_backfill,
        )
        async with asyncio.timeout(PATIENCE_SECONDS), session:
            run = asyncio.create_task(session.run(count, duration_seconds))
            try:
                # What waited may be enough for it to end before.
                connected = asyncio.create_task(self.exchange.wait_subscribed(*symbols))
                await asyncio.wait({run, connected}, return_when="FIRST_COMPLETED")
                connected.cancel()
                yield session, run
            finally:
                session.stop(hurry=True)
                await asyncio.gather(run, return_exceptions=True)

    async def resume(self, last: int, *symbols: str) -> Ledger:
        """Record on until trades that are published now are on disk; return the ledger.

        Args:
            last: The id of one trade of each symbol that is published.
            symbols: BTCUSDT if none is named.
        """
        async with self.run(*symbols) as (session, run):
            for symbol in symbols or ("BTCUSDT",):
                await self.exchange.publish(trades(last, 1, symbol))

            def is_whole() -> bool:
                return not session.ledger.missing and all(
                    tracker.last_id == last
                    for tracker in session.ledger.trackers.values()
                )

            await until(is_whole)
            session.stop()
            return await run

    def ids(self, symbol: str = "BTCUSDT") -> list[int]:
        """Return the ids in the capture, whose records are numbered from 1 on."""
        records = list(k2cli.read(self.file)) if self.file.exists() else []
        numbers = [record.platform_sequence for record in records]
        assert numbers == list(range(1, len(records) + 1))
        return [
            record.source_sequence or 0 for record in records if record.symbol == symbol
        ]

    def repaired_ids(self) -> list[int]:
        """Return those of them that came from the history."""
        return [
            record.source_sequence or 0
            for record in k2cli.read(self.file)
            if record.vendor_data.get("source") == "backfill"
        ]

    def pending(self, symbol: str = "BTCUSDT") -> list[int]:
        """Return the ids in the journal."""
        return pending_ids(self.file).get(symbol, [])

    @property
    def has_journal(self) -> bool:
        """Whether there is one."""
        return journal_path(self.file).exists()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something in this process that has no event."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - as said
            await asyncio.sleep(0.005)


def trades(first_id: int, count: int, symbol: str = "BTCUSDT") -> list[Trade]:
    """Make trades with consecutive ids, one a millisecond."""
    return [
        Trade(
            symbol=symbol,
            id=trade_id,
            price="61837.63000000",
            quantity="0.02000000",
            trade_time_us=1_723_161_255_342_000 + trade_id * 1000,
            event_time_us=1_723_161_255_343_000 + trade_id * 1000,
            buyer_is_maker=trade_id % 2 == 0,
        )
        for trade_id in range(first_id, first_id + count)
    ]
