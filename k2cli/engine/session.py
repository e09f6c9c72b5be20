"""One run: a venue's trades, each once and with its gaps filled, to sinks."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Self

import structlog

from k2cli.completeness.ledger import Ledger
from k2cli.completeness.trade_filter import TradeFilter
from k2cli.engine.gap_monitor import GapMonitor
from k2cli.engine.pipeline import Pipeline
from k2cli.engine.switching import Gate, SwitchingStream
from k2cli.errors import (
    ExchangeRefused,
    ExchangeUnreachable,
    K2Error,
    OutputError,
    ReaderGone,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Iterable, Sequence
    from types import TracebackType
    from typing import Any

    from structlog.typing import FilteringBoundLogger

    from k2cli.completeness.id_ranges import IdRange
    from k2cli.completeness.reorder import ReorderBuffer
    from k2cli.config import BinanceConfig
    from k2cli.engine.history_first import HistoryFirst, PastProgress
    from k2cli.engine.protocols import (
        Sink,
        StreamHealth,
        SymbolSet,
        TradeHistory,
        TradeStream,
        Venue,
    )
    from k2cli.engine.switching import Receive
    from k2cli.trade import TradeBatch, TradeV2

MAX_BACKFILL_TRADES = 1_000_000
# How long back-fill may hold up the end: when the run ends by itself, and in a hurry.
END_BACKFILL_SECONDS = 10.0
HURRIED_BACKFILL_SECONDS = 3.0

log: FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSnapshot:
    """A session at one moment, for whoever shows it.

    Attributes:
        uptime_seconds: How long it has been running.
        trades: Trades that passed the filters and went out.
        received: Trades accepted, whatever the filters say.
        gaps: Jumps in trade ids seen so far.
        repaired: Trades that came from the history.
        repairing: Trades missing that may still come.
        repair_seconds: How long it takes to ask the history for all of them, about;
            ``None`` if that is not known.
        lost: Trades missing for good.
        pending: Of those received, trades that wait for missing ones.
        duplicates: Trades left out because they had come before.
        reconnects: Connections made after the first ones.
        health: How the connections are; ``None`` before the first.
        last_trade: The newest live trade received, if any.
        past: How far the history before the start has come; ``None`` once all is live.
    """

    uptime_seconds: float
    trades: int
    received: int
    gaps: int
    repaired: int
    repairing: int
    repair_seconds: float | None
    lost: int
    pending: int
    duplicates: int
    reconnects: int
    health: StreamHealth | None
    last_trade: TradeV2 | None
    past: PastProgress | None = None


class Session:
    """Follows symbols on a venue and hands each trade to the sinks exactly once.

    Use it as an async context manager, and run it::

        async with Session(["BTCUSDT"], sinks=[CaptureSink("trades.jsonl")]) as session:
            ledger = await session.run(count=1000)

    Args:
        symbols: What to follow, e.g. ``["BTCUSDT", "ETH/USDT"]``; those of the
            configuration if empty. With ``venue``, that chooses.
        sinks: Where the trades go.
        config: How to reach Binance; by default defaults and ``K2_BINANCE_*``.
        venue: Another exchange than the one of ``config``.
        side: Only trades of this taker side, ``"BUY"`` or ``"SELL"``, go to the sinks.
        min_notional: Only trades worth at least this, in their quote asset, do.
        max_backfill: Trades that a gap may have to be filled from the history; larger
            ones are reported. 0 for no back-fill.
        since_seconds: Begin so long before the start, with trades of the history:
            marked as such, by their times, and without a gap to the live ones. Only for
            sinks that take trades at once.

    Attributes:
        symbols: The symbols and what is known of them; ``None`` before they are.
        ledger: What came and what is missing; empty before the symbols are known.
        error: What ended the run early, if anything did.
        ending: Set when the run begins to end.
        is_backfilling_at_end: Whether it still waits for gaps to be filled then.
    """

    def __init__(
        self,
        symbols: Iterable[str] = (),
        *,
        sinks: Sequence[Sink] = (),
        config: BinanceConfig | None = None,
        venue: Venue | None = None,
        side: str | None = None,
        min_notional: Decimal | float | None = None,
        max_backfill: int = MAX_BACKFILL_TRADES,
        since_seconds: float | None = None,
    ) -> None:
        if since_seconds is not None and any(sink.in_order for sink in sinks):
            raise ValueError(
                "since_seconds is not for a sink that has an order to keep"
            )
        self._venue = venue if venue is not None else _binance(symbols, config)
        self._sinks = list(sinks)
        for sink in self._sinks:
            sink.on_failure = self.fail
        self._closing = AsyncExitStack()
        self._max_backfill = max_backfill
        self._since_seconds = since_seconds
        self._past: HistoryFirst | None = None
        self._filter = TradeFilter(
            side, None if min_notional is None else Decimal(str(min_notional))
        )
        self._pipeline = Pipeline(self._sinks, self._filter)
        self._stop_asked = asyncio.Event()
        self._is_hurried = False
        self._stream: SwitchingStream | None = None
        self._history: TradeHistory | None = None
        self._receive: Receive = self._pipeline.receive
        self._monitor: GapMonitor | None = None
        self._started_seconds = time.monotonic()
        # Said once connected: if that fails, the one line of it is the one to read.
        self._warnings: Sequence[str] = ()
        self.symbols: SymbolSet | None = None
        self.ledger = Ledger(())
        self.error: Exception | None = None
        self.ending = asyncio.Event()
        self.is_backfilling_at_end = False

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self._close_sinks()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close_sinks()

    async def open(self) -> None:
        """Look the symbols up and open the sinks; ``async with`` does it.

        Raises:
            UnknownSymbol: If the exchange does not have one of the symbols.
            K2Error: If the venue or a sink cannot be opened.
        """
        await self._unless_stopped(self._open())

    async def run(
        self, count: int | None = None, duration_seconds: float | None = None
    ) -> Ledger:
        """Follow the symbols until a limit, ``stop()``, or a failure.

        Before it returns, back-fill that is under way gets a few seconds to end.

        Args:
            count: End after so many trades went to the sinks.
            duration_seconds: End after so long.

        Returns:
            What came and what is missing.

        Raises:
            ExchangeUnreachable: If the exchange cannot be reached any more.
            ExchangeRefused: If it does not serve this address.
            OutputError: If a sink cannot be written.
        """
        if self.symbols is not None and not self._stop_asked.is_set():
            await self._run(self.symbols, count, duration_seconds)
        if self.error is not None and not isinstance(self.error, ReaderGone):
            raise self.error
        return self.ledger

    def stop(self, *, hurry: bool = False) -> None:
        """Ask the run to end.

        Args:
            hurry: Somebody waits for it: gaps that are not filled in a moment are left
                to the next run.
        """
        self._is_hurried = self._is_hurried or hurry
        self._stop_asked.set()

    def fail(self, error: Exception) -> None:
        """Ask the run to end because of a failure, which it raises; the first counts.

        ``ReaderGone`` ends it, too, but is not raised.
        """
        self.error = self.error or error
        self.stop(hurry=True)

    async def change_symbols(self, venue: Venue) -> tuple[list[str], list[str]]:
        """Follow other symbols from now on, without a gap for those that stay.

        Args:
            venue: The same exchange, which chooses the symbols. Those that it drops
                keep their place in the ledger.

        Returns:
            What is followed in addition, and what is not any more.

        Raises:
            K2Error: If that does not work; then the symbols stay as they are.
        """
        symbols = await venue.look_up()
        before = self.symbols
        stream, history, monitor = self._stream, self._history, self._monitor
        if before is None or stream is None or history is None or monitor is None:
            raise K2Error("the run has not begun yet", "Ask again in a moment")
        added = [one for one in symbols.symbols if one not in before.symbols]
        dropped = [one for one in before.symbols if one not in symbols.symbols]
        if not (added or dropped):
            return [], []
        new = Ledger(one for one in added if one not in self.ledger.trackers)
        for sink in self._sinks:
            await sink.extend(new)
        self.ledger.trackers.update(new.trackers)
        history.extend(symbols)
        gate = Gate(self._receive, self.ledger.has)
        other = venue.stream(symbols, gate.receive, self._on_live)
        await stream.switch_to(other, gate)
        self.symbols, self._venue = symbols, venue
        monitor.watched = frozenset(symbols.symbols)
        return added, dropped

    def snapshot(self) -> SessionSnapshot:
        """Return how the run is doing now."""
        ledger, stream, last = self.ledger, self._stream, self._pipeline.last
        repairing = ledger.open
        return SessionSnapshot(
            uptime_seconds=time.monotonic() - self._started_seconds,
            trades=self._pipeline.passed,
            received=ledger.trades,
            gaps=ledger.gaps,
            repaired=ledger.repaired,
            repairing=repairing,
            repair_seconds=self._monitor.repair_seconds if self._monitor else None,
            lost=ledger.missing - repairing,
            pending=ledger.pending,
            duplicates=ledger.duplicates,
            reconnects=stream.reconnects if stream is not None else 0,
            health=stream.health() if stream is not None else None,
            last_trade=last.trade(len(last) - 1) if last else None,
            past=self._past.progress if self._past is not None else None,
        )

    async def _open(self) -> None:
        symbols = await self._venue.look_up()
        ledger = Ledger(symbols.symbols, self._filter)
        for sink in self._sinks:
            await sink.open(symbols, ledger)
        self.ledger = ledger
        self._warnings = symbols.warnings
        self.symbols = symbols

    async def _run(
        self, symbols: SymbolSet, count: int | None, duration_seconds: float | None
    ) -> None:
        waiting, history = self._reorder_buffer(), self._venue.history(symbols)
        self._history = history
        past = self._past = self._make_past(symbols, history, waiting)
        if past is not None:
            self._receive = past.receive
        stream = self._stream = SwitchingStream(
            self._venue.stream(symbols, self._receive, self._on_live)
        )
        # Of a run before this one, too.
        stream.first_with.update(self.ledger.first_with)
        self.ledger.first_with = stream.first_with
        monitor = self._monitor = GapMonitor(
            history,
            self.ledger,
            waiting,
            at_once=self._pipeline.at_once,
            in_order=self._pipeline.in_order,
            on_lost=self._on_lost,
            replace_connection=stream.replace_connection,
            is_live=lambda: _is_live(stream.health()),
            room=self._pipeline.room,
            max_backfill=self._max_backfill,
        )
        self._pipeline.begin(monitor.receive, count, self.stop)
        await self._unless_stopped(monitor.recover(waiting.recover()))
        receiving = asyncio.create_task(stream.connect())
        stop_asked = asyncio.create_task(self._stop_asked.wait())
        watching = monitor.start(past.is_live if past is not None else None)
        tasks: list[asyncio.Task[Any]] = [receiving, stop_asked, *watching]
        bringing = [] if past is None else [asyncio.create_task(past.run())]
        try:
            await asyncio.wait(
                tasks, timeout=duration_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            for task in bringing:
                task.cancel()
            self.ending.set()
            failure = await self._disconnect(stream, receiving)
            await self._finish(monitor)
            if failure is not None:
                raise failure
            for task in tasks:
                if task.done() and not task.cancelled():
                    task.result()
        except ReaderGone as exc:
            self.fail(exc)
        finally:
            self.ending.set()
            tasks += bringing
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._flush_sinks()

    def _make_past(
        self, symbols: SymbolSet, history: TradeHistory, waiting: ReorderBuffer
    ) -> HistoryFirst | None:
        if self._since_seconds is None:
            return None
        from k2cli.engine.history_first import HistoryFirst

        return HistoryFirst(
            self._since_seconds,
            symbols.symbols,
            history,
            waiting,
            on_past=self._receive_past,
            on_live=self._pipeline.receive,
            on_failure=self.fail,
        )

    def _receive_past(self, batch: TradeBatch) -> Awaitable[None] | None:
        assert self._monitor is not None  # noqa: S101 - for the type checker
        return self._pipeline.receive_past(batch, self._monitor.begin_with)

    def _reorder_buffer(self) -> ReorderBuffer:
        """Return where trades wait for a gap before them."""
        for sink in self._sinks:
            if sink.in_order and sink.journal is not None:
                return sink.journal
        from k2cli.capture.pending import PendingJournal

        journal = PendingJournal(None)
        self._closing.callback(journal.close)
        return journal

    async def _disconnect(
        self, stream: TradeStream, receiving: asyncio.Task[None]
    ) -> K2Error | None:
        """End the stream; return its failure, if it had failed by itself."""
        await stream.disconnect()
        try:
            await receiving
        except ReaderGone as exc:
            self.fail(exc)
        except (ExchangeUnreachable, ExchangeRefused) as exc:
            return exc
        return None

    async def _finish(self, monitor: GapMonitor) -> None:
        """Let back-fill come to an end, if that does not take long.

        What waits for a gap after that is left to the next run.
        """
        counted = self._pipeline.is_full
        nobody_reads = isinstance(self.error, ReaderGone) and len(self._sinks) == 1
        past = self._past
        has_begun = past is None or past.is_live.is_set()
        if has_begun and not (counted or nobody_reads):
            self.is_backfilling_at_end = True
            await monitor.backfill_for(
                HURRIED_BACKFILL_SECONDS if self._is_hurried else END_BACKFILL_SECONDS
            )
            self.is_backfilling_at_end = False
        await monitor.finish()

    async def _flush_sinks(self) -> None:
        if self.error is not None:
            return
        try:
            for sink in self._sinks:
                await sink.flush()
        except OutputError as exc:
            self.fail(exc)

    async def _close_sinks(self) -> None:
        async with self._closing as closing:
            for sink in reversed(self._sinks):
                closing.push_async_callback(sink.close)

    def _on_lost(self, symbol: str, ids: IdRange) -> None:
        for sink in self._sinks:
            sink.lost(symbol, ids)

    def _on_live(self) -> None:
        for warning in self._warnings:
            log.warning(warning)
        self._warnings = ()
        health = self._stream.health() if self._stream is not None else None
        if self._past is not None and health and health.live == health.connections:
            self._past.connected()

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work, but drop it when the end is asked for."""
        task = asyncio.ensure_future(work)
        stop_asked = asyncio.ensure_future(self._stop_asked.wait())
        try:
            await asyncio.wait({task, stop_asked}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            stop_asked.cancel()
            task.cancel()
            await asyncio.gather(task, stop_asked, return_exceptions=True)


def _is_live(health: StreamHealth) -> bool:
    return health.live >= health.connections > 0


def _binance(symbols: Iterable[str], config: BinanceConfig | None) -> Venue:
    # Imported here: a session on another venue needs neither.
    from k2cli.binance.venue import BinanceVenue, SymbolSelection
    from k2cli.config import BinanceConfig

    selection = SymbolSelection(symbols=tuple(symbols))
    return BinanceVenue.from_config(config or BinanceConfig(), selection)
