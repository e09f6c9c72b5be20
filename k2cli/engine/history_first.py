"""The latest minutes first, from the history, and what is live behind them."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from bisect import bisect_left, bisect_right
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from k2cli.completeness.backfill import PAGE_TRADES, RETRY_SECONDS
from k2cli.completeness.id_ranges import IdRange, IdRanges
from k2cli.completeness.time_merge import TimeMerge
from k2cli.engine.patient_history import PatientHistory
from k2cli.errors import (
    ConnectFailed,
    ExchangeRefused,
    MalformedMessage,
    SettingsError,
)

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Coroutine,
        Iterable,
        Iterator,
        Sequence,
    )

    from structlog.typing import FilteringBoundLogger

    from k2cli.completeness.reorder import ReorderBuffer
    from k2cli.engine.protocols import TradeHistory
    from k2cli.trade import TradeBatch

    # The symbol, the ids asked for, and what has come of them.
    _Page = tuple[str, IdRange, list[TradeBatch]]
    Receive = Callable[[TradeBatch], Awaitable[None] | None]

MOST_MINUTES = 5.0
"""Longest time that the request budget may have the history take."""

# Requests under way at a time: most of what one takes is the way there and back.
_IN_FLIGHT = 4
# Live trades of a symbol that are read at once from where they have waited.
_READ_AT_ONCE = 1000
# Between so many hand-overs everything else gets its turn.
_HANDED_ON_AT_ONCE = 64

_Answer = TypeVar("_Answer")

log: FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PastProgress:
    """How far the history has come.

    Attributes:
        trades: Trades that have come.
        wanted: How many there are, as far as known.
        left_seconds: How long it takes still, about; ``None`` while that is unknown.
    """

    trades: int
    wanted: int
    left_seconds: float | None


class HistoryFirst:
    """Hands trades of the history on by their times; what is live waits meanwhile.

    The history ends where a symbol's live trades begin, so that each trade comes once.
    If it does not reach so far, that is a gap, and filled as any other. Where a run
    ends before all is live, what has waited is no part of it.

    Args:
        since_seconds: How far back the history begins.
        symbols: Of the run.
        history: The exchange's.
        waiting: Where live trades wait; nothing else is in it.
        on_past: Takes trades from before the start, of one symbol each.
        on_live: Takes live trades.
        on_failure: Called if the history cannot be had, or not in the time there is.

    Raises:
        SettingsError: If there are more symbols than can be asked for.

    Attributes:
        is_live: Set once trades are handed on as they come.
    """

    def __init__(
        self,
        since_seconds: float,
        symbols: Sequence[str],
        history: TradeHistory,
        waiting: ReorderBuffer,
        *,
        on_past: Receive,
        on_live: Receive,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.is_live = asyncio.Event()
        self._since_seconds = since_seconds
        self._since_us = time.time_ns() // 1000 - int(since_seconds * 1e6)
        self._symbols = symbols
        self._requests_per_minute = history.requests_per_minute
        self._check_symbols()
        self._history = PatientHistory(history)
        self._waiting = waiting
        self._on_past = on_past
        self._on_live = on_live
        self._on_failure = on_failure
        self._is_connected = asyncio.Event()
        self._merge = TimeMerge(symbols)
        self._courses: dict[str, _Course] = {}
        # Ids of the live trades that have come.
        self._live: dict[str, IdRanges] = {}
        self._trades = 0
        self._pages = 0
        self._started_seconds = 0.0

    @property
    def progress(self) -> PastProgress | None:
        """How far it has come; ``None`` once all is live."""
        if self.is_live.is_set():
            return None
        left_seconds = None
        if self._pages:
            pages_left = sum(course.pages_left for course in self._courses.values())
            each_seconds = (time.monotonic() - self._started_seconds) / self._pages
            if pages_left > self._requests_per_minute:
                each_seconds = max(each_seconds, 60 / self._requests_per_minute)
            left_seconds = pages_left * each_seconds
        wanted = sum(course.wanted for course in self._courses.values())
        return PastProgress(self._trades, wanted, left_seconds)

    def connected(self) -> None:
        """Note that live trades of all symbols come: the history may begin."""
        self._is_connected.set()

    def receive(self, batch: TradeBatch) -> Awaitable[None] | None:
        """Take live trades; an awaitable holds the stream back."""
        if self.is_live.is_set():
            return self._on_live(batch)
        news = []
        for index, trade_id in enumerate(map(int, batch.trade_ids)):
            known = self._live.setdefault(batch.symbols[index], IdRanges())
            if trade_id not in known:
                known.add(trade_id, trade_id)
                news.append(index)
        if news:
            self._waiting.push(batch.select(news), 0)
        return self._until_live() if self._waiting.is_full else None

    async def run(self) -> None:
        """Bring the history, and then let live trades through."""
        try:
            await self._is_connected.wait()
            try:
                await self._bring_history()
            finally:
                await self._history.close()
            await self._join()
        except Exception as exc:
            self._on_failure(exc)

    async def _until_live(self) -> None:
        await self.is_live.wait()

    async def _bring_history(self) -> None:
        async with aclosing(_ahead(map(self._look_up, self._symbols))) as found:
            async for symbol, ids in found:
                if ids is None:
                    self._merge.end(symbol)
                else:
                    self._courses[symbol] = _Course(ids, self._since_us)
        self._check_length()
        self._started_seconds = time.monotonic()
        try:
            await self._fetch()
            # What was made between the looking up and the first live trade.
            for symbol, course in self._courses.items():
                live_id = self._live.get(symbol, IdRanges()).first_id
                course.last_id = max(course.last_id, (live_id or 0) - 1)
            await self._fetch()
        except (ConnectFailed, ExchangeRefused, MalformedMessage) as exc:
            if not self._pages:
                raise
            log.warning("Cannot read on in the history", reason=exc.message)
        for symbol in self._symbols:
            self._merge.end(symbol)
        await self._hand_on(self._merge, self._on_past)

    async def _look_up(self, symbol: str) -> tuple[str, IdRange | None]:
        return symbol, await self._history.ids_since(symbol, self._since_us)

    def _check_symbols(self) -> None:
        symbols, requests = len(self._symbols), MOST_MINUTES * self._requests_per_minute
        if 2 * symbols > requests:
            raise SettingsError(
                f"the history of {symbols:,} symbols takes more than "
                f"{MOST_MINUTES:g} minutes, as requests are limited",
                f"Follow {int(requests / 2)} symbols at most, or leave the history out",
            )

    def _check_length(self) -> None:
        requests = sum(course.pages_left for course in self._courses.values())
        most = MOST_MINUTES * self._requests_per_minute
        if requests <= most:
            return
        trades = sum(course.wanted for course in self._courses.values())
        symbols = len(self._courses)
        shorter = _time_words(self._since_seconds * most / requests)
        raise SettingsError(
            f"the last {_time_words(self._since_seconds)} are {trades:,} trades, which "
            f"take {math.ceil(requests / self._requests_per_minute)} minutes to fetch; "
            f"{MOST_MINUTES:g} are the most",
            f"Ask for {shorter}" + (", or for fewer symbols" if symbols > 1 else ""),
        )

    async def _fetch(self) -> None:
        """Fetch what is wanted and has not been asked for."""
        async with aclosing(_ahead(self._requests())) as pages:
            async for symbol, ids, batches in pages:
                self._pages += 1
                for batch in batches:
                    self._merge.add(symbol, batch)
                course = self._courses[symbol]
                course.reached(ids.last_id, self._merge.reached_us(symbol))
                if course.has_ended:
                    self._merge.end(symbol)
                await self._hand_on(self._merge, self._on_past)

    def _requests(self) -> Iterator[Coroutine[Any, Any, _Page]]:
        """Request the page whose trades are the next to be handed on, about."""
        while left := [item for item in self._courses.items() if item[1].pages_left]:
            now_us = time.time_ns() // 1000
            symbol, course = min(left, key=lambda item: item[1].next_us(now_us))
            yield self._page(symbol, course.take_page())

    async def _page(self, symbol: str, ids: IdRange) -> _Page:
        """Return what the history has of some ids: it may be behind by a moment."""
        batches = []
        first_id = ids.first_id
        for wait_seconds in (*RETRY_SECONDS, None):
            most = ids.last_id - first_id + 1
            page = await self._history.page(symbol, first_id, most)
            if page is not None:
                last_id = int(page.trade_ids[-1])
                batches += _within(page, first_id, ids.last_id)
                first_id = max(first_id, last_id + 1)
            if first_id > ids.last_id or wait_seconds is None:
                break
            await asyncio.sleep(wait_seconds)
        return symbol, ids, batches

    async def _join(self) -> None:
        """Hand on the live trades that have waited, and those that come meanwhile."""
        while self._waiting.trades:
            symbols = [each for each in self._symbols if each in self._waiting]
            merge = TimeMerge(symbols)
            for symbol in symbols:
                course = self._courses.get(symbol)
                after_id = course.brought_id if course is not None else -1
                for batch in self._waiting.pop(symbol, None, 0, _READ_AT_ONCE):
                    for part in _within(batch, after_id + 1, sys.maxsize):
                        merge.add(symbol, part)
                merge.end(symbol)
            await self._hand_on(merge, self._on_live)
        self.is_live.set()

    async def _hand_on(self, merge: TimeMerge, receive: Receive) -> None:
        for number, batch in enumerate(merge.take()):
            self._trades += len(batch)
            held_back = receive(batch)
            if held_back is not None:
                await held_back
            elif number % _HANDED_ON_AT_ONCE == 0:
                await asyncio.sleep(0)


class _Course:
    """How far a symbol's history has been asked for, and has come."""

    def __init__(self, ids: IdRange, since_us: int) -> None:
        self.last_id = ids.last_id
        self._first_id = self._next_id = ids.first_id
        self._reached_id, self._reached_us = ids.first_id - 1, since_us

    @property
    def wanted(self) -> int:
        return self.last_id - self._first_id + 1

    @property
    def pages_left(self) -> int:
        return math.ceil((self.last_id - self._next_id + 1) / PAGE_TRADES)

    @property
    def has_ended(self) -> bool:
        return self._reached_id >= self.last_id

    @property
    def brought_id(self) -> int:
        """The last id of what has come."""
        return self._reached_id

    def take_page(self) -> IdRange:
        """Return the next ids to be asked for."""
        last_id = min(self._next_id + PAGE_TRADES - 1, self.last_id)
        ids = IdRange(self._next_id, last_id)
        self._next_id = last_id + 1
        return ids

    def reached(self, last_id: int, time_us: int) -> None:
        """Note what has come; answers come in the order of the requests."""
        self._reached_id = last_id
        self._reached_us = max(time_us, self._reached_us)

    def next_us(self, now_us: int) -> float:
        """Estimate when the next trade to be asked for was made."""
        ahead = (self._next_id - 1 - self._reached_id) / (
            self.last_id - self._reached_id
        )
        return self._reached_us + ahead * (now_us - self._reached_us)


def _within(batch: TradeBatch, first_id: int, last_id: int) -> list[TradeBatch]:
    """Return the trades of a batch with these ids, which ascend: none, or a batch."""
    ids = list(map(int, batch.trade_ids))
    start, stop = bisect_left(ids, first_id), bisect_right(ids, last_id)
    return [batch.part(start, stop)] if start < stop else []


async def _ahead(
    works: Iterable[Coroutine[Any, Any, _Answer]],
) -> AsyncGenerator[_Answer, None]:
    """Give the results of works in their order, some of which are under way at once."""
    left = iter(works)
    under_way: deque[asyncio.Task[_Answer]] = deque()
    try:
        while True:
            for work in islice(left, _IN_FLIGHT - len(under_way)):
                under_way.append(asyncio.create_task(work))
            if not under_way:
                return
            yield await under_way[0]
            under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


def _time_words(seconds: float) -> str:
    """Write a length of time as it is asked for, rounded down: ``45s``, ``12m``."""
    for unit, name in ((3600, "h"), (60, "m")):
        if seconds >= 2 * unit or seconds == unit:
            return f"{int(seconds / unit)}{name}"
    return f"{int(seconds)}s"
