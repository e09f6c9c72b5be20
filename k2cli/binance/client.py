"""The stream client: live trades of any symbols, as long as it takes."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from k2cli.binance.backoff import AttemptWindow, Backoff
from k2cli.binance.connection import Line
from k2cli.binance.leg import PING_SECONDS
from k2cli.binance.line_status import Health, LineState, LineStatus
from k2cli.binance.reception import Reception
from k2cli.binance.streams import spread, stream_url
from k2cli.binance.symbols import UNKNOWN, normalize_symbols, parse_binance_symbol
from k2cli.errors import SettingsError, printable

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Mapping,
        Sequence,
    )

    from structlog.typing import FilteringBoundLogger

    from k2cli.binance.burst import Burst
    from k2cli.binance.catalog import Catalog
    from k2cli.trade import TradeV2

STREAM_URL = "wss://stream.binance.com:9443/stream"
# Half an hour before the exchange's own end, less jitter.
MAX_AGE_SECONDS = 23.5 * 3600
# Trades held for an iterating caller; when it is full, the connection waits.
_QUEUED_TRADES = 1000
# How many symbols, or malformed messages, are named in the log before it gets terse.
_MOST_NAMED = 20

log: FilteringBoundLogger = structlog.get_logger()


class BinanceWebSocketClient:
    """Receives live trades from Binance Spot and hands them on as ``TradeV2``.

    Either give ``on_message`` and await ``connect()``, or iterate::

        async for trade in BinanceWebSocketClient(["BTCUSDT"]):
            print(trade.price)

    Args:
        symbols: E.g. ``["BTCUSDT", "ETH/USDT"]``; spread over several connections if
            there are many.
        on_message: Called with each trade; plain or async. While an async one runs, the
            connection is held back. What it raises ends ``connect()``.
        url: The exchange's stream address.
        on_burst: Called instead of ``on_message`` with trades that came together, where
            they did and nothing is unusual about them. What it gives is awaited before
            more is read.
        catalog: Where base and quote assets come from; without it, the names' endings.
        activity: How many trades symbols have in some time, as far as known: several
            connections then get about as many trades each.
        reconnect_delay: Seconds before the first attempt after a drop; doubled up to 60
            for those after it.
        max_reconnect_attempts: Consecutive failures before giving up; 0 for never.
        max_first_seconds: How long to try for the very first connection at most.
        max_connection_age_seconds: Age at which a connection is replaced, up to three
            percent sooner; the exchange ends it after 24 hours.
        on_status: Called with a ``LineStatus`` whenever a connection's state changes.
        ping_seconds: Time between pings, and to wait for an answer: a connection on
            which nothing comes for so long after a ping is replaced.
        open_timeout_seconds: Longest time to connect.
        proxy: ``True`` for the proxy that the environment names (``HTTPS_PROXY`` …),
            ``False`` for none, or a proxy's address.
        clock: Gives monotonic seconds.
        random_number: Gives numbers in [0, 1), for the jitter.

    Attributes:
        reception: What becomes of messages, and counts of those that are skipped.

    Raises:
        SettingsError: If there is no symbol, a text that cannot be one, or no WebSocket
            address.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        on_message: Callable[[TradeV2], Awaitable[None] | None] | None = None,
        url: str = STREAM_URL,
        *,
        on_burst: Callable[[Burst], Awaitable[None] | None] | None = None,
        catalog: Catalog | None = None,
        activity: Mapping[str, int] | None = None,
        reconnect_delay: float = 5.0,
        max_reconnect_attempts: int = 10,
        max_first_seconds: float | None = None,
        max_connection_age_seconds: float = MAX_AGE_SECONDS,
        on_status: Callable[[LineStatus], None] | None = None,
        ping_seconds: float = PING_SECONDS,
        open_timeout_seconds: float = 10.0,
        proxy: str | bool = True,
        clock: Callable[[], float] = time.monotonic,
        random_number: Callable[[], float] = random.random,
    ) -> None:
        self.symbols = normalize_symbols(list(symbols))
        if not self.symbols:
            raise SettingsError("no symbol is given", "Name one, like BTCUSDT")
        if not url.startswith(("ws://", "wss://")):
            raise SettingsError(
                f"'{printable(url)}' is no WebSocket address",
                "It should look like wss://stream.binance.com:9443/stream",
            )
        self.url = url
        self._on_status = on_status
        self._activity = activity
        self._reconnect_delay = reconnect_delay
        self._max_reconnect_attempts = max_reconnect_attempts
        self._max_first_seconds = max_first_seconds
        self._max_connection_age_seconds = max_connection_age_seconds
        self._ping_seconds = ping_seconds
        self._open_timeout_seconds = open_timeout_seconds
        self._proxy = proxy
        self._clock = clock
        self._random_number = random_number
        self._assets: dict[str, tuple[str, str]] = {}
        self._guessed = self._look_up_assets(catalog)
        self.reception = Reception(self._assets, on_message, on_burst)
        self._statuses: dict[tuple[str, ...], tuple[LineStatus, float]] = {}
        self._lines: list[Line] = []
        self._running = False

    @property
    def reconnects(self) -> int:
        """How many connections were made after the first one of each line."""
        return sum(max(line.connections - 1, 0) for line in self._lines)

    def connect(self) -> Coroutine[Any, Any, None]:
        """Receive trades until ``disconnect()``, which may come at once.

        Raises:
            AttemptsExhausted: If the exchange could not be reached again.
            ConnectFailed: If the first attempt shows that others will fail too.
            ExchangeRefused: If the exchange does not serve this address.
        """
        if self._running:
            raise RuntimeError("connect() is running already")
        window = AttemptWindow()
        groups = spread(self.symbols, self.url, self._activity)
        self._lines = [self._line(group, window) for group in groups]
        return self._receive()

    async def _receive(self) -> None:
        self._running = True
        try:
            async with asyncio.TaskGroup() as group:
                for line in self._lines:
                    group.create_task(line.run())
        except* Exception as errors:
            # One line's end is the client's end, and its reason is the one to know.
            error = errors.exceptions[0]
            raise error from error.__cause__
        finally:
            self._running = False

    async def disconnect(self) -> None:
        """End gracefully: ``connect()`` hands on what has arrived, and returns."""
        async with asyncio.TaskGroup() as group:
            for line in self._lines:
                group.create_task(line.close())

    async def __aiter__(self) -> AsyncIterator[TradeV2]:
        queue: asyncio.Queue[TradeV2] = asyncio.Queue(_QUEUED_TRADES)
        if self.reception.on_message is not None:
            raise RuntimeError("iterate, or give on_message: not both")
        self.reception.on_message = queue.put
        receiving = asyncio.create_task(self.connect())
        try:
            while True:
                while not queue.empty():
                    yield queue.get_nowait()
                if receiving.done():
                    break
                next_trade = asyncio.ensure_future(queue.get())
                try:
                    await asyncio.wait(
                        {receiving, next_trade}, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    next_trade.cancel()  # changes nothing if it is done
                if next_trade.done():
                    yield next_trade.result()
            await receiving
        finally:
            self.reception.on_message = None
            receiving.cancel()
            with suppress(asyncio.CancelledError):
                await receiving

    def health(self) -> Health:
        """Tell how the connections are, all together."""
        live = [s for s, _ in self._statuses.values() if s.state is LineState.LIVE]
        waiting = [
            (since + status.retry_in_seconds - self._clock(), status)
            for status, since in self._statuses.values()
            if status.state is LineState.WAITING
        ]
        retry_in_seconds, worst = max(
            waiting, key=lambda each: each[0], default=(0.0, None)
        )
        return Health(
            live=len(live),
            lines=len(self._lines),
            waiting=worst,
            retry_in_seconds=max(retry_in_seconds, 0.0),
        )

    def replace_connection(self, symbol: str, reason: str) -> None:
        """Have a symbol's connection replaced by a new one.

        Args:
            symbol: Whose trades do not come as they should.
            reason: Why, for the log.
        """
        for line in self._lines:
            if symbol in line.symbols:
                line.replace(reason)

    def _line(self, symbols: tuple[str, ...], window: AttemptWindow) -> Line:
        # Lines that were opened together need not be replaced together.
        sooner = 1 - 0.03 * self._random_number()
        return Line(
            stream_url(self.url, symbols),
            symbols,
            on_text=self.reception.text,
            on_frame=self.reception.frame,
            on_status=partial(self._line_status, symbols),
            handed_on=self.reception.handed_on,
            backoff=Backoff(
                self._reconnect_delay,
                max_failures=self._max_reconnect_attempts,
                random=self._random_number,
            ),
            window=window,
            max_first_seconds=self._max_first_seconds,
            max_age_seconds=self._max_connection_age_seconds * sooner,
            ping_seconds=self._ping_seconds,
            open_timeout_seconds=self._open_timeout_seconds,
            proxy=self._proxy,
            clock=self._clock,
        )

    def _line_status(self, symbols: tuple[str, ...], status: LineStatus) -> None:
        # A line is closed by us, at the end: what it was like before is worth keeping.
        if status.state is not LineState.CLOSED:
            self._statuses[symbols] = (status, self._clock())
        if status.state is LineState.LIVE:
            self._say_what_is_guessed()
        if self._on_status is not None:
            self._on_status(status)

    def _look_up_assets(self, catalog: Catalog | None) -> list[str]:
        """Find base and quote assets; give the pairs that the catalog lacks."""
        guessed = []
        for symbol in self.symbols:
            base, quote, _ = parse_binance_symbol(symbol, catalog)
            self._assets[symbol] = (base, quote)
            if catalog is None or symbol not in catalog:
                guessed.append(f"{base}/{quote}" if quote != UNKNOWN else symbol)
        return guessed

    def _say_what_is_guessed(self) -> None:
        """Say once that records rest on the suffix rule, and for which symbols."""
        if self._guessed:
            log.warning(
                "Base and quote asset are taken from the symbols' endings",
                pairs=self._guessed[:_MOST_NAMED],
            )
            self._guessed = []
