"""The stream client: live trades of any symbols, as long as it takes."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import structlog

from k2cli.binance.connection import PING_SECONDS
from k2cli.binance.decoder import MessageDecoder
from k2cli.binance.handshake import SameExchange
from k2cli.binance.pacing import MAX_DELAY_SECONDS, ReadPacer
from k2cli.binance.reconnecting import ReconnectingConnection
from k2cli.binance.redundant import RedundantConnections, run_together
from k2cli.binance.status import (
    ConnectionState,
    ConnectionStatus,
    StreamHealth,
    health_of,
)
from k2cli.binance.streams import other_host_first, spread, stream_url
from k2cli.binance.symbols import UNKNOWN, normalize_symbols, parse_binance_symbol
from k2cli.completeness.backoff import AttemptWindow, Backoff, HostRotation
from k2cli.errors import SettingsError, printable
from k2cli.text import without_secrets

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Coroutine,
        Iterator,
        Mapping,
        Sequence,
    )

    from structlog.typing import FilteringBoundLogger

    from k2cli.binance.catalog import Catalog
    from k2cli.binance.connection import Arbitration, OnBatch
    from k2cli.binance.status import Reported
    from k2cli.config import BinanceConfig
    from k2cli.trade import TradeBatch, TradeV2

    OnMessage = Callable[[TradeV2], Awaitable[None] | None]

STREAM_URL = "wss://stream.binance.com:9443/stream"
SYMBOLS = ("BTCUSDT", "ETHUSDT")
# Half an hour before the exchange's own end, less jitter.
MAX_AGE_SECONDS = 23.5 * 3600
# Trades kept for an iterating caller; when there are more, connections wait.
_QUEUED_TRADES = 1000
# How many symbols are named in the log before it gets terse.
_MOST_NAMED = 20

log: FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all connections of a client have in common."""

    pacer: ReadPacer
    window: AttemptWindow
    exchange: SameExchange


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
        fallback_urls: Other addresses of the same exchange, tried in turn after an
            attempt has failed.
        redundant: Whether to keep two connections for every symbol, on different hosts
            if there are several, and take each trade from whichever brings it first:
            when one is lost, no trade is.
        on_batch: Called instead of ``on_message`` with trades that came together.
        catalog: Where base and quote assets come from; without it, the names' endings.
        activity: How many trades symbols have in some time, as far as known: several
            connections then get about as many trades each.
        reconnect_delay: Seconds before the first attempt after a drop; doubled up to 60
            for those after it.
        max_reconnect_attempts: Consecutive failures before giving up; 0 for never.
        max_delay_seconds: How much later a trade may come so that reading costs less:
            where trades come fast, a ``PacedEventLoop`` sleeps for so long, and one
            turn takes what has come on all connections. 0 for no pauses; other event
            loops make none.
        max_first_seconds: How long to try for the very first connection at most.
        max_connection_age_seconds: Age at which a connection is replaced, up to three
            percent sooner; the exchange ends it after 24 hours.
        on_status: Called with each change of a connection's state.
        ping_interval: Seconds between pings, and to wait for an answer: a connection on
            which nothing comes for so long after a ping is replaced.
        open_timeout: Longest time to connect, in seconds.
        proxy: ``True`` for the proxy that the environment names (``HTTPS_PROXY`` …),
            ``False`` for none, or a proxy's address.
        clock: Returns monotonic seconds.
        random_number: Returns numbers in [0, 1), for the jitter.

    Attributes:
        decoder: Counts the messages that are skipped.
        first_with: How many trades each of two redundant connections was first with, by
            its name, ``"A"`` or ``"B"``, and host.

    Raises:
        SettingsError: If there is no symbol, a text that cannot be one, or no WebSocket
            address.
    """

    def __init__(
        self,
        symbols: Sequence[str] = SYMBOLS,
        on_message: OnMessage | None = None,
        url: str = STREAM_URL,
        *,
        fallback_urls: Sequence[str] = (),
        redundant: bool = False,
        on_batch: OnBatch | None = None,
        catalog: Catalog | None = None,
        activity: Mapping[str, int] | None = None,
        reconnect_delay: float = 5.0,
        max_reconnect_attempts: int = 10,
        max_delay_seconds: float = MAX_DELAY_SECONDS,
        max_first_seconds: float | None = None,
        max_connection_age_seconds: float = MAX_AGE_SECONDS,
        on_status: Callable[[ConnectionStatus], None] | None = None,
        ping_interval: float = PING_SECONDS,
        open_timeout: float = 10.0,
        proxy: str | bool = True,
        clock: Callable[[], float] = time.monotonic,
        random_number: Callable[[], float] = random.random,
    ) -> None:
        self.symbols = normalize_symbols(list(symbols))
        if not self.symbols:
            raise SettingsError("no symbol is given", "Name one, like BTCUSDT")
        if not url.startswith(("ws://", "wss://")):
            raise SettingsError(
                f"'{printable(without_secrets(url))}' is no WebSocket address",
                "It should look like wss://stream.binance.com:9443/stream",
            )
        if on_message is not None and on_batch is not None:
            raise ValueError("give on_message or on_batch, not both")
        self.url = url
        self.fallback_urls = tuple(fallback_urls)
        self.redundant = redundant
        self.reconnect_delay = reconnect_delay
        self.max_reconnect_attempts = max_reconnect_attempts
        self.max_delay_seconds = max_delay_seconds
        self.max_first_seconds = max_first_seconds
        self.max_connection_age_seconds = max_connection_age_seconds
        self.ping_interval = ping_interval
        self.open_timeout = open_timeout
        self.proxy = proxy
        self._on_batch = on_batch if on_message is None else _for_each(on_message)
        self._on_status = on_status
        self._activity = activity
        self._clock = clock
        self._random_number = random_number
        self._assets: dict[str, tuple[str, str]] = {}
        self._guessed = self._look_up_assets(catalog)
        self.decoder = MessageDecoder(self._assets)
        self.first_with: Counter[tuple[str, str]] = Counter()
        # By the symbols of a group, and the number of a connection in it.
        self._statuses: dict[tuple[str, ...], dict[int, Reported]] = {}
        self._connections: list[ReconnectingConnection | RedundantConnections] = []
        self._running = False

    @classmethod
    def from_config(
        cls,
        config: BinanceConfig,
        on_message: OnMessage | None = None,
        **options: Any,
    ) -> Self:
        """Make a client with the settings of a configuration.

        Args:
            config: The settings.
            on_message: As for the class.
            options: Other arguments of the class; they go before the settings.
        """
        settings: dict[str, Any] = {
            "symbols": config.symbols,
            "url": config.websocket_url,
            "fallback_urls": config.fallbacks,
            "redundant": config.redundant,
            "reconnect_delay": config.reconnect_delay,
            "max_reconnect_attempts": config.max_reconnect_attempts,
            "open_timeout": config.open_timeout,
            "ping_interval": config.ping_interval,
        }
        return cls(on_message=on_message, **settings | options)

    @property
    def reconnects(self) -> int:
        """How many connections were made after the first ones."""
        return sum(each.reconnects for each in self._connections)

    def connect(self) -> Coroutine[Any, Any, None]:
        """Receive trades until ``disconnect()``, which may come at once.

        Raises:
            AttemptsExhausted: If the exchange could not be reached again.
            ConnectFailed: If the first attempt shows that others will fail too.
            ExchangeRefused: If the exchange does not serve this address.
        """
        if self._running:
            raise RuntimeError("connect() is running already")
        shared = _Shared(
            ReadPacer(self.max_delay_seconds), AttemptWindow(), SameExchange()
        )
        groups = spread(self.symbols, self.url, self._activity)
        shared.pacer.begin()
        connect = self._redundant if self.redundant else self._single
        self._connections = [connect(group, shared) for group in groups]
        return self._receive()

    async def _receive(self) -> None:
        self._running = True
        try:
            await run_together(*(each.run() for each in self._connections))
        finally:
            self._running = False

    async def disconnect(self) -> None:
        """End gracefully: ``connect()`` hands on what has arrived, and returns."""
        async with asyncio.TaskGroup() as group:
            for connection in self._connections:
                group.create_task(connection.close())

    async def __aiter__(self) -> AsyncGenerator[TradeV2, None]:
        if self._on_batch is not None:
            raise RuntimeError("iterate, or give on_message or on_batch: not both")
        batches: deque[TradeBatch] = deque()
        queued = 0
        arrived, taken = asyncio.Event(), asyncio.Event()

        async def wait_for_room() -> None:
            while queued >= _QUEUED_TRADES:
                taken.clear()
                await taken.wait()

        def keep(batch: TradeBatch) -> Awaitable[None] | None:
            nonlocal queued
            batches.append(batch)
            queued += len(batch)
            arrived.set()
            return None if queued < _QUEUED_TRADES else wait_for_room()

        self._on_batch = keep
        receiving = asyncio.create_task(self.connect())
        receiving.add_done_callback(lambda _: arrived.set())
        try:
            while batches or not receiving.done():
                while batches:
                    batch = batches.popleft()
                    queued -= len(batch)
                    taken.set()
                    for trade in batch.trades():
                        yield trade
                if not receiving.done():
                    arrived.clear()
                    await arrived.wait()
            await receiving
        finally:
            self._on_batch = None
            receiving.cancel()
            with suppress(asyncio.CancelledError):
                await receiving

    def health(self) -> StreamHealth:
        """Return how the connections are, all together."""
        groups = [self._statuses.get(each.symbols, {}) for each in self._connections]
        return health_of(
            [list(group.values()) for group in groups],
            self._clock(),
            is_redundant=self.redundant,
        )

    def replace_connection(self, symbol: str, reason: str) -> None:
        """Have a symbol's connection replaced by a new one.

        Args:
            symbol: Whose trades do not come as they should.
            reason: Why, for the log.
        """
        for connection in self._connections:
            if symbol in connection.symbols:
                connection.replace(reason)

    def _single(
        self, symbols: tuple[str, ...], shared: _Shared
    ) -> ReconnectingConnection:
        return self._connection(
            symbols,
            shared,
            [self.url, *self.fallback_urls],
            on_batch=self._on_batch or _ignore,
            on_status=partial(self._note_status, symbols, 0),
        )

    def _redundant(
        self, symbols: tuple[str, ...], shared: _Shared
    ) -> RedundantConnections:
        urls = [self.url, *self.fallback_urls]
        return RedundantConnections(
            symbols,
            [
                partial(self._connection, symbols, shared, each)
                for each in (urls, other_host_first(urls))
            ],
            on_batch=self._on_batch or _ignore,
            on_statuses=[
                partial(self._note_status, symbols, number) for number in (0, 1)
            ],
            first_with=self.first_with,
            clock=self._clock,
        )

    def _connection(
        self,
        symbols: tuple[str, ...],
        shared: _Shared,
        urls: Sequence[str],
        *,
        on_batch: OnBatch,
        on_status: Callable[[ConnectionStatus], None],
        arbitration: Arbitration | None = None,
    ) -> ReconnectingConnection:
        # Connections that were opened together need not be replaced together.
        sooner = 1 - 0.03 * self._random_number()
        return ReconnectingConnection(
            HostRotation([stream_url(url, symbols) for url in urls]),
            symbols,
            decoder=self.decoder,
            on_batch=on_batch,
            on_status=on_status,
            arbitration=arbitration,
            pacer=shared.pacer,
            exchange=shared.exchange,
            backoff=Backoff(
                self.reconnect_delay,
                max_failures=self.max_reconnect_attempts,
                random=self._random_number,
            ),
            window=shared.window,
            max_first_seconds=self.max_first_seconds,
            max_age_seconds=self.max_connection_age_seconds * sooner,
            ping_seconds=self.ping_interval,
            open_timeout_seconds=self.open_timeout,
            proxy=self.proxy,
            clock=self._clock,
        )

    def _note_status(
        self, symbols: tuple[str, ...], number: int, status: ConnectionStatus
    ) -> None:
        # Each is closed by us, at the end: what it was like before is worth keeping.
        if status.state is not ConnectionState.CLOSED:
            group = self._statuses.setdefault(symbols, {})
            group[number] = (status, self._clock())
        if status.state is ConnectionState.LIVE:
            self._warn_of_guesses()
        if self._on_status is not None:
            self._on_status(status)

    def _look_up_assets(self, catalog: Catalog | None) -> list[str]:
        """Find base and quote assets; return the pairs that the catalog lacks."""
        guessed = []
        for symbol in self.symbols:
            base, quote, _ = parse_binance_symbol(symbol, catalog)
            self._assets[symbol] = (base, quote)
            if catalog is None or symbol not in catalog:
                guessed.append(f"{base}/{quote}" if quote != UNKNOWN else symbol)
        return guessed

    def _warn_of_guesses(self) -> None:
        """Say once that records rest on the suffix rule, and for which symbols."""
        if self._guessed:
            log.warning(
                "Base and quote asset are taken from the symbols' endings",
                pairs=self._guessed[:_MOST_NAMED],
            )
            self._guessed = []


def _ignore(_: TradeBatch) -> None:
    pass


def _for_each(on_message: OnMessage) -> OnBatch:
    """Return what calls ``on_message`` with each trade of a batch."""

    def hand_on(batch: TradeBatch) -> Awaitable[None] | None:
        trades = batch.trades()
        for trade in trades:
            held_back = on_message(trade)
            if inspect.isawaitable(held_back):
                return hand_on_rest(held_back, trades)
        return None

    async def hand_on_rest(
        held_back: Awaitable[None], trades: Iterator[TradeV2]
    ) -> None:
        await held_back
        for trade in trades:
            held_back_again = on_message(trade)
            if inspect.isawaitable(held_back_again):
                await held_back_again

    return hand_on
