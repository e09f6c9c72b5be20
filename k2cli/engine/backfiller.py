"""Carrying back-fill out: requests to the exchange's history, trades back."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from k2cli.completeness.backfill import PAGE_TRADES, BackfillPlan, BackfillRequest
from k2cli.completeness.backoff import Backoff
from k2cli.engine.gap_log import LogThrottle
from k2cli.engine.history_failures import HISTORY_ERRORS, explain_failure
from k2cli.errors import RestrictedLocation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from k2cli.completeness.id_ranges import IdRange
    from k2cli.completeness.ledger import Ledger
    from k2cli.engine.history_failures import HistoryError
    from k2cli.engine.protocols import TradeHistory
    from k2cli.trade import TradeBatch

# The connection to the history is closed when it has had nothing to do for so long.
IDLE_SECONDS = 60.0
# Requests under way at a time. From far away an answer takes longer than the request
# budget lets pass between two of them.
MOST_AT_ONCE = 8
_RETRY_SECONDS = 1.0
_MOST_RETRY_SECONDS = 15.0

log: FilteringBoundLogger = structlog.get_logger()


class Backfiller:
    """Fetches what is missing from the history, for all symbols over one connection.

    Args:
        history: The exchange's.
        ledger: Knows what is missing still.
        on_batch: Takes trades of the history.
        on_absent: Takes the ids that the history does not have either.
    """

    def __init__(
        self,
        history: TradeHistory,
        ledger: Ledger,
        on_batch: Callable[[TradeBatch], Awaitable[None] | None],
        on_absent: Callable[[str, IdRange], Awaitable[None] | None],
    ) -> None:
        self._history = history
        self._trackers = ledger.trackers
        self._on_batch = on_batch
        self._on_absent = on_absent
        self._plan = BackfillPlan()
        self._asking: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._failures = LogThrottle()
        self._unwell_until_seconds = 0.0
        self._backoff = Backoff(
            _RETRY_SECONDS,
            cap_seconds=_MOST_RETRY_SECONDS,
            max_failures=0,
            random=random.random,
        )

    @property
    def left_seconds(self) -> float | None:
        """How long it takes to ask for all, about; ``None`` if nobody knows."""
        requests = self._plan.requests + len(self._asking)
        if not requests:
            return 0.0
        if self._backoff.failures:
            return None
        wait_seconds = self._plan.due_in_seconds(time.monotonic()) or 0.0
        # What is left of this minute's budget is not waited for.
        minutes = requests / max(self._history.requests_per_minute, 1.0)
        return wait_seconds + 60.0 * (int(minutes) if wait_seconds else minutes)

    def request(self, symbol: str, ids: IdRange) -> None:
        """Ask for a gap to be filled."""
        self._plan.add(symbol, *ids, time.monotonic())
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Fill gaps until cancelled."""
        try:
            while True:
                self._wake.clear()
                now = time.monotonic()
                while len(self._asking) < MOST_AT_ONCE:
                    request = self._next_request(now)
                    if request is None:
                        break
                    self._ask(request)
                if not self._plan and not self._asking:
                    self._idle.set()
                await self._sleep(self._plan.due_in_seconds(now))
                for asked in [task for task in self._asking if task.done()]:
                    self._asking.discard(asked)
                    asked.result()
        finally:
            for asked in self._asking:
                asked.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)
            # Nobody need wait for what will not be filled any more.
            self._idle.set()
            await self._history.close()

    async def until_idle(self, seconds: float) -> None:
        """Wait until nothing is left to fill, but no longer than this."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    async def newest(self, symbol: str) -> TradeBatch | None:
        """Return the exchange's newest trade; ``None`` if it cannot be had now."""
        if time.monotonic() < self._unwell_until_seconds:
            return None
        while wait_seconds := self._history.reserve():  # noqa: ASYNC110 - a budget is no event
            await asyncio.sleep(wait_seconds)
        try:
            return await self._history.newest(symbol)
        except HISTORY_ERRORS as exc:
            await self._cannot_look(exc)
            return None

    async def newest_ids(self, symbols: Sequence[str]) -> Mapping[str, int] | None:
        """Return the ids of newest trades; ``None`` if they cannot be had now."""
        if time.monotonic() < self._unwell_until_seconds:
            return None
        try:
            return await self._history.newest_ids(symbols)
        except HISTORY_ERRORS as exc:
            await self._cannot_look(exc)
            return None

    async def _cannot_look(self, exc: HistoryError) -> None:
        log.debug("Cannot read the history", reason=exc.message)
        failure = explain_failure(exc)
        if failure.closes:
            await self._history.close()
        if failure.wait_seconds:
            self._is_unwell_for(failure.wait_seconds)

    def _is_unwell_for(self, seconds: float) -> None:
        self._unwell_until_seconds = time.monotonic() + seconds
        self._plan.not_before(self._unwell_until_seconds)

    def _activity(self, symbol: str) -> int:
        return self._trackers[symbol].trades

    async def _sleep(self, seconds: float | None) -> None:
        """Wait until a request is due, or one under way has ended."""
        is_unused = seconds is None and not self._asking
        if len(self._asking) >= MOST_AT_ONCE:
            seconds = None
        try:
            async with asyncio.timeout(IDLE_SECONDS if is_unused else seconds):
                await self._wake.wait()
        except TimeoutError:
            if is_unused:
                await self._history.close()

    def _next_request(self, now_seconds: float) -> BackfillRequest | None:
        """Return what is due, unless it has come by itself, if there is budget."""
        while (request := self._plan.take(now_seconds, self._activity)) is not None:
            request.ranges = self._still_missing(request)
            if not request.ranges:
                continue
            wait = self._history.reserve()
            if not wait:
                return request
            self._plan.put_back(request)
            self._plan.not_before(now_seconds + wait)
            log.info(
                "Back-fill waits for the request budget",
                seconds=round(wait, 1),
                requests_left=self._plan.requests,
                requests_per_minute=round(self._history.requests_per_minute),
            )
        return None

    def _ask(self, request: BackfillRequest) -> None:
        asked = asyncio.create_task(self._carry_out(request))
        asked.add_done_callback(lambda _: self._wake.set())
        self._asking.add(asked)

    async def _carry_out(self, request: BackfillRequest) -> None:
        """Ask the history for ids, and hand on what it has."""
        most = min(request.last_id - request.first_id + 1, PAGE_TRADES)
        try:
            page = await self._history.page(request.symbol, request.first_id, most)
        except HISTORY_ERRORS as exc:
            await self._failed(request, exc)
            return
        self._backoff.proved()
        if page is not None:
            held_back = self._on_batch(page)
            if held_back is not None:
                await held_back
        await self._answered(request, page)

    def _still_missing(self, request: BackfillRequest) -> list[IdRange]:
        still_open = self._trackers[request.symbol].open
        return [part for ids in request.ranges for part in still_open.within(*ids)]

    async def _answered(
        self, request: BackfillRequest, page: TradeBatch | None
    ) -> None:
        ids = [] if page is None else list(map(int, page.trade_ids))
        missing = self._still_missing(request)
        for absent in self._plan.answered(request, ids, missing, time.monotonic()):
            held_back = self._on_absent(request.symbol, absent)
            if held_back is not None:
                await held_back

    async def _failed(self, request: BackfillRequest, exc: HistoryError) -> None:
        """Decide what becomes of a request that had no answer: it is made again."""
        now = time.monotonic()
        failure = explain_failure(exc)
        say = log.warning if self._failures.allows(now) else log.debug
        if failure.is_about_question:
            say("The history refuses", reason=exc.message, symbol=request.symbol)
            self._plan.refused(request, now)
            return
        if failure.closes:
            await self._history.close()
        if now < self._unwell_until_seconds and not failure.wait_seconds:
            # One under way at the same time has failed before.
            self._plan.put_back(request)
            return
        self._backoff.failed()
        wait = self._backoff.next_delay_seconds(failure.wait_seconds)
        say(
            "Cannot read the history",
            # What that means for the gaps is worth a sentence.
            reason=str(exc) if isinstance(exc, RestrictedLocation) else exc.message,
            symbol=request.symbol,
            retry_in_seconds=round(wait, 1),
        )
        # Others would fare no better: all of them wait.
        self._plan.put_back(request)
        self._is_unwell_for(wait)
