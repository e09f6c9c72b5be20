"""The embedded exchange: a Binance-shaped server on a local port."""

from __future__ import annotations

import asyncio
import ssl
import time
from bisect import insort
from contextlib import suppress
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Self

import structlog

from k2cli.errors import K2Error, SettingsError, printable
from k2cli.simulator.api import Api
from k2cli.simulator.connection import Connection
from k2cli.simulator.faults import Fault, FaultInjector, parse_fault
from k2cli.simulator.limits import Rules
from k2cli.simulator.listings import LISTINGS
from k2cli.simulator.market import Market
from k2cli.simulator.recording import Recording
from k2cli.simulator.router import Router
from k2cli.simulator.streams import Broadcast
from k2cli.simulator.trades import TradeLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from k2cli.simulator.trades import SymbolInfo, Trade, TradeSource

log: FilteringBoundLogger = structlog.get_logger()

EXCHANGE_HEADER = "X-K2-Exchange"
"""Response header of every handshake: ``SIM``, or the exchange of a recording."""

_HOST = "127.0.0.1"
_GOODBYE_SECONDS = 0.3
# Between two batches everything else gets its turn.
_BATCH_TRADES = 500
_SHORTEST_SLEEP_SECONDS = 0.001


class SimulatedExchange:
    """A server that speaks as Binance Spot does: streams, WebSocket API, some REST.

    Use it as an asynchronous context manager; it listens from its entry to its exit::

        async with SimulatedExchange(seed=1, faults=["drop@1000"]) as exchange:
            client = BinanceWebSocketClient(["BTCUSDT"], url=exchange.url)

    Args:
        source: A ``Market`` or a ``Recording``. With neither a source nor a seed, only
            ``publish`` makes trades, and the catalog is that of the made-up market.
        seed: Play the made-up market of this seed.
        port: Of 127.0.0.1, where to listen; 0 takes a free one.
        faults: What goes wrong, e.g. ``"drop@1000"``; ``k2 simulate --faults`` lists
            all there are.
        start_when_subscribed: Whether the source waits for the first subscriber; by
            default a recording does and a market does not.
        rules: The limits.
        history_seconds: How far back the history goes: as long as the source is played
            into it before the start.
        wall_clock_us: Unix microseconds UTC.
        tls: Files of a certificate and its key, to speak TLS.

    Attributes:
        log: The trade log: what the history of the API is made from.
        finished: Set when the source has come to its end.
        port: The port it listens on.
        symbols: The catalog.
        exchange_name: ``"SIM"``, or the exchange of the recording.
        published_count: Trades published so far, over all symbols: the position of
            faults.

    Raises:
        SettingsError: A fault cannot be read.
        ValueError: There are both a source and a seed.
    """

    def __init__(
        self,
        source: TradeSource | None = None,
        *,
        seed: int | None = None,
        port: int = 0,
        faults: Sequence[Fault | str] = (),
        start_when_subscribed: bool | None = None,
        rules: Rules | None = None,
        history_seconds: float = 0.0,
        wall_clock_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        tls: tuple[str, str] | None = None,
    ) -> None:
        if seed is not None:
            if source is not None:
                raise ValueError("give a source or a seed, not both")
            source = Market(seed)
        self._source = source
        self.exchange_name = source.exchange_name if source is not None else "SIM"
        self.port = port
        self._start_when_subscribed = start_when_subscribed
        self._rules = rules or Rules()
        self._history_us = int(history_seconds * 1e6)
        self._wall_clock_us = wall_clock_us
        self._tls = None if tls is None else _tls_context(*tls)
        self.symbols: Mapping[str, SymbolInfo] = (
            dict(source.symbols)
            if source is not None
            else {each.symbol: each.info() for each in LISTINGS}
        )
        self._broadcast = Broadcast(self.symbols)
        self.log = TradeLog(self._rules.history_limit)
        self._api = Api(self.log, self.symbols, self._rules, wall_clock_us)
        self._router = Router(self._broadcast, self._api, self._rules)
        self._injector = FaultInjector(self._broadcast, self._api, self._router)
        self._faults: list[Fault] = []
        for fault in faults:
            self._schedule(fault)
        self.published_count = 0
        self._published = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._playing: asyncio.Task[None] | None = None
        # The source behind what it has put into the history, and when it began.
        self._begun: tuple[Iterator[tuple[int, Trade]], float] | None = None
        self.finished = asyncio.Event()

    # Start and stop

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, and let the source play.

        Raises:
            SettingsError: The port is taken.
        """
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self._connection, _HOST, self.port, ssl=self._tls
            )
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {_HOST}:{self.port}: {error.strerror or error}",
                "Choose another port, or 0 for any that is free",
            ) from None
        self.port = self._server.sockets[0].getsockname()[1]
        self._strike()
        if self._source is not None:
            await self._play_past(self._source)
            self._playing = loop.create_task(self._play(self._source))

    async def stop(self) -> None:
        """Close the clients' connections with 1001, and end; well below a second."""
        self._injector.stop()
        if self._playing is not None:
            self._playing.cancel()
            with suppress(asyncio.CancelledError):
                await self._playing
        if self._server is None:
            return
        await _stop_listening(self._server)
        connections = list(self._router.connections)
        for connection in connections:
            if connection.is_open and not connection.is_stalled:
                connection.close(1001, "Going away")
            else:
                connection.reset()
        endings = [asyncio.ensure_future(each.ended.wait()) for each in connections]
        if endings:
            await asyncio.wait(endings, timeout=_GOODBYE_SECONDS)
            for connection in connections:
                if not connection.ended.is_set():
                    connection.reset()
            await asyncio.wait(endings)
        await self._server.wait_closed()
        self._server = None

    def _connection(self) -> Connection:
        return Connection(
            self._router,
            self._rules,
            {EXCHANGE_HEADER: self.exchange_name},
            patient=self._source is not None and self._source.waits_for_readers,
        )

    # Addresses and counts

    @property
    def url(self) -> str:
        """Address of the combined streams, ``ws://HOST:PORT/stream``."""
        return f"ws{self._secure}://{_HOST}:{self.port}/stream"

    @property
    def api_url(self) -> str:
        """Address of the WebSocket API, ``ws://HOST:PORT/ws-api/v3``."""
        return f"ws{self._secure}://{_HOST}:{self.port}/ws-api/v3"

    @property
    def rest_url(self) -> str:
        """Address of REST, ``http://HOST:PORT``."""
        return f"http{self._secure}://{_HOST}:{self.port}"

    @property
    def _secure(self) -> str:
        return "s" if self._tls is not None else ""

    @property
    def connection_attempts(self) -> int:
        """WebSocket handshakes asked for, of streams and API, refused ones included."""
        return self._router.attempts

    @property
    def connections_accepted(self) -> int:
        """Stream handshakes completed."""
        return self._broadcast.accepted

    @property
    def api_connections_accepted(self) -> int:
        """API handshakes completed."""
        return self._api.accepted

    @property
    def stream_connections(self) -> list[Connection]:
        """The open stream connections, oldest first."""
        return self._injector.stream_connections

    @property
    def api_connections(self) -> list[Connection]:
        """The open API connections, oldest first."""
        return [session.connection for session in self._api.sessions]

    # Trades and faults

    async def publish(self, trades: Sequence[Trade]) -> None:
        """Put trades into the log and the streams at once.

        Args:
            trades: In the order of publication; a symbol that the catalog does not have
                is not added to it, its stream works all the same.
        """
        self._publish(trades)
        await asyncio.sleep(0)

    def add_fault(self, fault: Fault | str) -> None:
        """Add a fault; one whose position has been reached strikes at once."""
        self._schedule(fault)
        self._strike()

    async def disconnect(self, code: int | None = None, reason: str = "") -> None:
        """End all stream connections, by a close code or a TCP reset, and wait."""
        connections = self.stream_connections
        for connection in connections:
            if code is None:
                connection.reset()
            else:
                connection.close(code, reason)
        for connection in connections:
            await connection.ended.wait()

    async def wait_subscribed(self, *symbols: str, listeners: int = 1) -> None:
        """Wait until so many connections listen to each of the symbols' trades."""
        await self._broadcast.subscribed(symbols, listeners)

    async def wait_published(self, count: int) -> None:
        """Wait until so many trades have been published."""
        while self.published_count < count:
            await self._published.wait()

    def _publish(self, trades: Sequence[Trade]) -> None:
        while trades:
            end = len(trades)
            if self._faults:
                end = max(0, self._faults[0].position - self.published_count)
            if part := trades[:end]:
                self.log.extend(part, time.monotonic())
                self._broadcast.deliver(part)
                self.published_count += len(part)
            trades = trades[len(part) :]
            self._strike()
        self._published.set()
        self._published = asyncio.Event()

    def _schedule(self, fault: Fault | str) -> None:
        added = parse_fault(fault) if isinstance(fault, str) else fault
        insort(self._faults, added, key=attrgetter("position"))

    def _strike(self) -> None:
        while self._faults and self._faults[0].position <= self.published_count:
            self._faults.pop(0).strike(self._injector)

    # Playing the source

    async def _play(self, source: TradeSource) -> None:
        try:
            await self._play_trades(source)
        except K2Error as error:
            log.warning("The replay has ended early", reason=str(error))
        if isinstance(source, Recording) and source.damage:
            log.warning(
                "The recording is not complete", file=source.name, reason=source.damage
            )
        self.finished.set()

    async def _play_past(self, source: TradeSource) -> None:
        """Put into the history what was traded before the start."""
        if not self._history_us:
            return
        began = asyncio.get_running_loop().time() - self._history_us / 1e6
        timeline = source.timeline(self._wall_clock_us() - self._history_us)
        past: list[Trade] = []
        for due_us, trade in timeline:
            if due_us > self._history_us:
                timeline = chain(((due_us, trade),), timeline)
                break
            past.append(trade)
            if len(past) >= _BATCH_TRADES:
                self.log.extend(past, time.monotonic())
                past.clear()
                await asyncio.sleep(0)
        self.log.extend(past, time.monotonic())
        self._begun = timeline, began

    async def _play_trades(self, source: TradeSource) -> None:
        """Publish each trade when it is due, at the readers' pace if need be."""
        wait = self._start_when_subscribed
        if source.waits_for_subscriber if wait is None else wait:
            await self._broadcast.subscribed(source.symbols, any_of=True)
        clock = asyncio.get_running_loop().time
        begun = self._begun or (source.timeline(self._wall_clock_us()), clock())
        timeline, start = begun
        elapsed_us = 0.0
        batch: list[Trade] = []
        for due_us, trade in timeline:
            if due_us > elapsed_us or len(batch) >= _BATCH_TRADES:
                elapsed_us = (clock() - start) * 1e6
            while due_us > elapsed_us:
                if batch:
                    self._publish(batch)
                    batch = []
                wait_seconds = (due_us - elapsed_us) / 1e6
                await asyncio.sleep(max(_SHORTEST_SLEEP_SECONDS, wait_seconds))
                elapsed_us = (clock() - start) * 1e6
            batch.append(trade)
            if len(batch) >= _BATCH_TRADES:
                self._publish(batch)
                batch = []
                await asyncio.sleep(0)
                if source.waits_for_readers:
                    await self._broadcast.readable()
                if source.pauses_when_alone:
                    await self._broadcast.subscribed(source.symbols, any_of=True)
        if batch:
            self._publish(batch)
        self._broadcast.finish()


def _tls_context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"{printable(certificate)} and {printable(key)} are no certificate and its "
            f"key: {printable(error.strerror or str(error))}",
            "Name two PEM files",
        ) from error
    return context


async def _stop_listening(server: asyncio.Server) -> None:
    # asyncio leaks a connection that it accepts in the very turn in which the server is
    # closed. So the listening ends first, and what was accepted before is made known.
    loop = asyncio.get_running_loop()
    # Windows' event loop watches no sockets, and says so.
    with suppress(NotImplementedError):
        for listening in server.sockets:
            loop.remove_reader(listening)
    for _ in range(3):
        await asyncio.sleep(0)
    server.close()
