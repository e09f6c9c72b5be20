"""A venue without sockets, and a sink that remembers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from k2cli.completeness.id_ranges import IdRange
from k2cli.completeness.ledger import Ledger
from k2cli.completeness.reorder import ReorderBuffer
from k2cli.engine.protocols import SymbolSet
from k2cli.trade import Instrument, TradeBatch

SYMBOLS = ("BTCUSDT", "ETHUSDT")
FIRST_US = 1_723_161_255_000_000


def batch_of(
    *ids: int,
    symbol: str = "BTCUSDT",
    price: str = "100.5",
    is_backfill: bool = False,
    maker: Callable[[int], bool] = lambda trade_id: trade_id % 2 == 0,
) -> TradeBatch:
    """Make trades of one symbol, a millisecond apart by their ids."""
    times = [str(FIRST_US + min(trade_id, 10**6) * 1000) for trade_id in ids]
    return TradeBatch(
        instruments={
            name: Instrument(name, "BINANCE", name.removesuffix("USDT"), "USDT")
            for name in SYMBOLS
        },
        received_us=int(max(times)),
        symbols=[symbol] * len(ids),
        trade_ids=[str(trade_id) for trade_id in ids],
        prices=[price] * len(ids),
        quantities=["2"] * len(ids),
        trade_times=times,
        event_times=[None] * len(ids) if is_backfill else times,
        buyer_is_maker=["true" if maker(trade_id) else "false" for trade_id in ids],
        best_match=["true"] * len(ids),
        message_ids=[f"00000000-0000-4000-8000-{trade_id:012}" for trade_id in ids],
        is_backfill=is_backfill,
        is_plain=not is_backfill,
    )


@dataclass(frozen=True)
class FakeSymbols:
    """Symbols that nobody had to look up."""

    symbols: Sequence[str] = SYMBOLS
    warnings: Sequence[str] = ()

    def price_decimals(self) -> Mapping[str, int]:
        return {}

    def quantity_decimals(self) -> Mapping[str, int]:
        return {}


@dataclass(frozen=True)
class FakeHealth:
    """One connection that is up."""

    live: int = 1
    connections: int = 1
    retry_in_seconds: float | None = None
    failures: int = 0
    is_redundant: bool = False
    delivers: bool = True


class FakeStream:
    """A stream whose batches a test hands over."""

    reconnects = 0

    def __init__(
        self,
        on_batch: Callable[[TradeBatch], Awaitable[None] | None],
        on_live: Callable[[], None],
    ) -> None:
        self.on_batch = on_batch
        self.first_with: Counter[tuple[str, str]] = Counter()
        self._on_live = on_live
        self.replaced: list[str] = []
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        self._on_live()
        await self._ended

    async def disconnect(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    async def settled(self) -> None:
        """Let whatever a batch has started come to its end: nothing here waits long."""
        for _ in range(10):
            await asyncio.sleep(0)

    def break_off(self, error: Exception) -> None:
        self._ended.set_exception(error)

    def health(self) -> FakeHealth:
        return FakeHealth()

    def replace_connection(self, symbol: str, reason: str) -> None:
        self.replaced.append(f"{symbol}: {reason}")


class FakeHistory:
    """A history that has the ids it is told to have."""

    def __init__(self) -> None:
        self.ids: set[int] = set()
        self.asked = asyncio.Event()
        self.requests: list[tuple[str, int, int]] = []
        self.errors: list[Exception] = []
        self.wait_seconds = 0.0
        self.closed = 0
        self.requests_per_minute = 120.0
        self.newest_us = 0
        self.looks: list[tuple[str, ...]] = []

    def extend(self, symbols: SymbolSet) -> None:
        pass

    def reserve(self) -> float:
        return self.wait_seconds

    async def page(self, symbol: str, first_id: int, most: int) -> TradeBatch | None:
        self.requests.append((symbol, first_id, most))
        self.asked.set()
        if self.errors:
            raise self.errors.pop(0)
        found = sorted(each for each in self.ids if each >= first_id)[:most]
        return batch_of(*found, symbol=symbol, is_backfill=True) if found else None

    async def newest(self, symbol: str) -> TradeBatch | None:
        if not self.ids:
            return None
        newest = batch_of(max(self.ids), symbol=symbol, is_backfill=True)
        newest.trade_times = [str(max(self.newest_us, int(newest.trade_times[0])))]
        return newest

    async def newest_ids(self, symbols: Sequence[str]) -> dict[str, int]:
        self.looks.append(tuple(symbols))
        return dict.fromkeys(symbols, max(self.ids)) if self.ids else {}

    async def ids_since(self, symbol: str, time_us: int) -> IdRange | None:
        return IdRange(min(self.ids), max(self.ids)) if self.ids else None

    async def close(self) -> None:
        self.closed += 1


class FakeVenue:
    """An exchange that does what a test says."""

    name = "fake"

    def __init__(self, symbols: FakeSymbols | None = None) -> None:
        self.symbols = symbols or FakeSymbols()
        self.past = FakeHistory()
        self.streaming: asyncio.Future[FakeStream]
        self.streaming = asyncio.get_running_loop().create_future()

    async def look_up(self) -> FakeSymbols:
        return self.symbols

    def stream(
        self,
        symbols: SymbolSet,
        on_batch: Callable[[TradeBatch], Awaitable[None] | None],
        on_live: Callable[[], None],
    ) -> FakeStream:
        stream = FakeStream(on_batch, on_live)
        self.streaming.set_result(stream)
        return stream

    def history(self, symbols: SymbolSet) -> FakeHistory:
        return self.past


class Memory:
    """A sink that remembers what it got."""

    on_failure: Callable[[Exception], None]

    def __init__(
        self,
        *,
        in_order: bool = True,
        resume_at: Mapping[str, int] | None = None,
        journal: ReorderBuffer | None = None,
        held_back: Awaitable[None] | None = None,
    ) -> None:
        self.in_order = in_order
        self.resume_at = resume_at or {}
        self.journal = journal
        self.held_back = held_back
        self.ids: list[int] = []
        self.backfilled: list[int] = []
        self.lost_ids: list[tuple[str, IdRange]] = []
        self.events: list[str] = []

    async def open(self, symbols: SymbolSet, ledger: Ledger) -> None:
        self.events.append("open")
        for symbol, last_id in self.resume_at.items():
            ledger.trackers[symbol].resume(last_id, FIRST_US + last_id * 1000)

    async def extend(self, ledger: Ledger) -> None:
        pass

    def write(self, batch: TradeBatch) -> Awaitable[None] | None:
        self.ids += map(int, batch.trade_ids)
        if batch.is_backfill:
            self.backfilled += map(int, batch.trade_ids)
        held_back, self.held_back = self.held_back, None
        return held_back

    def lost(self, symbol: str, ids: IdRange) -> None:
        self.lost_ids.append((symbol, ids))

    async def flush(self) -> None:
        self.events.append("flush")

    async def close(self) -> None:
        self.events.append("close")
