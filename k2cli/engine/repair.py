"""Fetching what a capture lacks: from the history, and from daily archives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from k2cli.completeness.backfill import PAGE_TRADES
from k2cli.completeness.id_ranges import IdRanges
from k2cli.engine.history_failures import HISTORY_ERRORS
from k2cli.engine.patient_history import PatientHistory
from k2cli.errors import ApiError, K2Error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from structlog.typing import FilteringBoundLogger

    from k2cli.completeness.id_ranges import IdRange
    from k2cli.completeness.repair_plan import RepairPlan, SymbolDay
    from k2cli.engine.protocols import TradeHistory
    from k2cli.trade import Instrument, TradeBatch

log: FilteringBoundLogger = structlog.get_logger()


class TradeArchives(Protocol):
    """All trades of whole days."""

    async def read(
        self,
        instrument: Instrument,
        day: int,
        wanted: IdRanges,
        on_batch: Callable[[TradeBatch], object],
    ) -> IdRange | None:
        """Hand on the wanted trades of a day.

        Returns:
            First and last id of the archive; ``None`` if there is none.
        """


class RepairFetcher:
    """Fetches missing trades, the archives first.

    Args:
        wanted: Ids by symbol; ``on_batch`` is to take those out that have come.
        instruments: By symbol.
        history: The exchange's.
        archives: Likewise; ``None`` if it has none.
        on_batch: Takes trades.
        sleep: Waits a number of seconds.

    Attributes:
        absent: Ids that are proven not to be there, by symbol.
        activity: What it is doing.
        error: Why the history was not asked for everything, if it was not.
    """

    def __init__(
        self,
        wanted: Mapping[str, IdRanges],
        instruments: Mapping[str, Instrument],
        history: TradeHistory,
        archives: TradeArchives | None,
        on_batch: Callable[[TradeBatch], object],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.absent: dict[str, IdRanges] = {}
        self.activity = ""
        self.error: K2Error | None = None
        self._wanted = wanted
        self._instruments = instruments
        self._history = PatientHistory(history, sleep=sleep)
        self._archives = archives
        self._on_batch = on_batch
        self._not_archived: dict[str, IdRanges] = {}

    @property
    def requests(self) -> int:
        """How many requests were made of the history."""
        return self._history.requests

    async def fetch(self, plan: RepairPlan) -> None:
        """Fetch what can be had; ``error`` says why that was not all.

        Raises:
            OutputError: If it cannot be kept.
        """
        for day in plan.archives:
            await self._from_archive(day)
        try:
            for symbol in sorted(self._wanted):
                await self._from_history(symbol)
        except HISTORY_ERRORS as exc:
            self.error = exc
        finally:
            await self._history.close()
        if self.error is None:
            return
        # Archives take longer, but they are there.
        for day in plan.past_days:
            if day not in plan.archives:
                await self._from_archive(day)
        for symbol, ids in self._not_archived.items():
            for part in ids:
                self._note_absent(symbol, *part)
        if not any(self._wanted.values()):
            self.error = None

    async def _from_archive(self, day: SymbolDay) -> None:
        wanted, instrument = self._wanted[day.symbol], self._instruments[day.symbol]
        if self._archives is None or not wanted:
            return
        self.activity = f"archive of {day.symbol}"
        try:
            ids = await self._archives.read(instrument, day.day, wanted, self._on_batch)
        except HISTORY_ERRORS as exc:
            log.warning("Cannot use an archive", reason=exc.message, symbol=day.symbol)
            return
        if ids is not None:
            for part in wanted.within(*ids):
                self._not_archived.setdefault(day.symbol, IdRanges()).add(*part)

    async def _from_history(self, symbol: str) -> None:
        self.activity = f"history of {symbol}"
        ranges = list(self._wanted[symbol])
        seen_to = -1
        for first_id, last_id in ranges:
            start = max(first_id, seen_to + 1)
            while start <= last_id:
                most = min(ranges[-1].last_id - start + 1, PAGE_TRADES)
                try:
                    page = await self._history.page_reaching(symbol, start, most)
                except ApiError as exc:
                    log.warning(
                        "The history refuses", reason=exc.message, symbol=symbol
                    )
                    if not self._history.has_answered:
                        self.error = exc
                    return
                self.error = None
                if page is None:
                    return
                self._on_batch(page)
                reached = int(page.trade_ids[-1])
                self._note_absent(symbol, start, reached)
                seen_to, start = reached, reached + 1

    def _note_absent(self, symbol: str, first_id: int, last_id: int) -> None:
        for part in self._wanted[symbol].within(first_id, last_id):
            self.absent.setdefault(symbol, IdRanges()).add(*part)
