"""The embedded exchange: a Binance-shaped server on a local port."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from k2cli.errors import K2Error, SettingsError
from k2cli.simulator.api import Api
from k2cli.simulator.broadcast import Broadcast
from k2cli.simulator.connection import Connection
from k2cli.simulator.door import EXCHANGE_HEADER, Door
from k2cli.simulator.fault_script import FaultSchedule
from k2cli.simulator.levers import Levers
from k2cli.simulator.market_listing import LISTINGS
from k2cli.simulator.player import Player
from k2cli.simulator.rules import Rules
from k2cli.simulator.trade_log import TradeLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from k2cli.simulator.fault import Fault
    from k2cli.simulator.source import TradeSource
    from k2cli.simulator.trades import SymbolInfo, Trade

_GOODBYE_SECONDS = 0.3


class SimulatedExchange:
    """A server that speaks as Binance Spot does: streams, WebSocket API, some REST.

    Use it as an asynchronous context manager; it listens from its entry to its exit::

        async with SimulatedExchange(Market()) as exchange:
            print(exchange.stream_url)

    Args:
        source: A ``Market`` or a ``Tape``; without one, only ``publish`` makes trades,
            and the catalog is that of the made-up market.
        host: Where to listen.
        port: Where to listen; 0 takes a free one.
        faults: What goes wrong.
        close_when_finished: Close the stream connections with 1000 when the source has
            come to its end and everything was sent.
        start_when_subscribed: Whether the source waits for the first listener; by
            default a tape does and a market does not.
        ping_interval_seconds: Between two pings of the server; ``None``: no pings.
        pong_timeout_seconds: How long a ping may stay unanswered.
        lifetime_seconds: When a connection is ended; ``None``: never.
        history_limit: Trades kept per symbol; the oldest go first.
        rules: All other limits; the four above are set in it.
        wall_clock_us: Unix microseconds UTC.

    Attributes:
        log: The trade log.
        levers: What can be done to the exchange at once, besides the methods here.
        finished: Set when the source has come to its end and, if asked for, the stream
            connections have been closed.
        failure: Why the source ended early, if it did.
    """

    def __init__(
        self,
        source: TradeSource | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Sequence[Fault] = (),
        close_when_finished: bool = False,
        start_when_subscribed: bool | None = None,
        ping_interval_seconds: float | None = 20.0,
        pong_timeout_seconds: float = 60.0,
        lifetime_seconds: float | None = 86_400.0,
        history_limit: int = 100_000,
        rules: Rules | None = None,
        wall_clock_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self._source = source
        self._host = host
        self._port = port
        self._close_when_finished = close_when_finished
        self._start_when_subscribed = start_when_subscribed
        self._rules = replace(
            rules or Rules(),
            ping_interval_seconds=ping_interval_seconds,
            pong_timeout_seconds=pong_timeout_seconds,
            lifetime_seconds=lifetime_seconds,
        )
        self._wall_clock_us = wall_clock_us
        self._catalog: dict[str, SymbolInfo] = (
            dict(source.symbols)
            if source is not None
            else {each.symbol: each.info() for each in LISTINGS}
        )
        self._schedule = FaultSchedule(faults)
        self._broadcast = Broadcast()
        self.log = TradeLog(history_limit)
        self._api = Api(self.log, lambda: self._catalog, self._rules, wall_clock_us)
        self._door = Door(
            self._broadcast, self._api, self._rules, self._broadcast.notify
        )
        self.levers = Levers(self._broadcast, self._api, self._door, self.log)
        self._published_count = 0
        self._published = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._playing: asyncio.Task[None] | None = None
        self.finished = asyncio.Event()
        self.failure: K2Error | None = None

    # Life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, and let the source play.

        Raises:
            SettingsError: The port is taken, or the host is not this machine's.
        """
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self._connection, self._host, self._port
            )
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {self._authority}: {error.strerror or error}",
                "Choose another port, or 0 for any that is free",
            ) from None
        self._port = self._server.sockets[0].getsockname()[1]
        self._strike()
        if self._source is not None:
            self._playing = loop.create_task(self._play(self._source))

    async def stop(self) -> None:
        """Say goodbye to the clients with 1001, and end; takes well below a second."""
        self.levers.stop()
        if self._playing is not None:
            self._playing.cancel()
            with suppress(asyncio.CancelledError):
                await self._playing
        if self._server is None:
            return
        await _stop_listening(self._server)
        connections = list(self._door.connections)
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
            self._door,
            self._rules,
            {EXCHANGE_HEADER: self.exchange_name},
            patient=self._source is not None and self._source.waits_for_readers,
        )

    async def _play(self, source: TradeSource) -> None:
        wait = self._start_when_subscribed
        player = Player(
            source,
            self._broadcast,
            self._publish,
            self._wall_clock_us,
            start_when_subscribed=source.waits_for_subscriber if wait is None else wait,
        )
        try:
            await player.play()
        except K2Error as error:
            self.failure = error
        if self._close_when_finished:
            await self._broadcast.readable()
            connections = self.levers.stream_connections
            for connection in connections:
                connection.close(1000, patiently=True)
            for connection in connections:
                if not connection.is_dead:
                    await connection.ended.wait()
        self.finished.set()

    # Addresses and counts

    @property
    def exchange_name(self) -> str:
        """``"SIM"``, or the exchange of the recording."""
        return self._source.exchange_name if self._source is not None else "SIM"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def stream_url(self) -> str:
        """Where combined streams are, ``ws://HOST:PORT/stream``."""
        return f"ws://{self._authority}/stream"

    @property
    def raw_stream_url(self) -> str:
        """Where raw streams are, ``ws://HOST:PORT/ws``."""
        return f"ws://{self._authority}/ws"

    @property
    def api_url(self) -> str:
        """Where the WebSocket API is, ``ws://HOST:PORT/ws-api/v3``."""
        return f"ws://{self._authority}/ws-api/v3"

    @property
    def rest_url(self) -> str:
        """Where REST is, ``http://HOST:PORT``."""
        return f"http://{self._authority}"

    @property
    def _authority(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    @property
    def symbols(self) -> Mapping[str, SymbolInfo]:
        """The catalog."""
        return self._catalog

    @property
    def connection_attempts(self) -> int:
        """WebSocket handshakes asked for, of streams and API, refused ones included."""
        return self._door.attempts

    @property
    def connections_accepted(self) -> int:
        """Stream handshakes completed."""
        return self._door.stream_handshakes

    @property
    def api_connections_accepted(self) -> int:
        """API handshakes completed."""
        return self._door.api_handshakes

    @property
    def published_count(self) -> int:
        """Trades published so far, over all symbols: the position of faults."""
        return self._published_count

    # Trades and faults

    async def publish(self, trades: Sequence[Trade]) -> None:
        """Put trades into the log and the streams at once.

        Args:
            trades: In the order of publication; a symbol that the catalog does not have
                is not added to it, its stream works all the same.
        """
        self._publish(trades)
        await asyncio.sleep(0)

    def add_fault(self, fault: Fault) -> None:
        """Add a fault; one whose position has been reached strikes at once."""
        self._schedule.add(fault)
        self._strike()

    async def wait_subscribed(self, *symbols: str, listeners: int = 1) -> None:
        """Wait until so many connections listen to each of the symbols' trades."""
        while any(
            self._broadcast.listener_count(symbol) < listeners for symbol in symbols
        ):
            await self._broadcast.changed()

    async def wait_published(self, count: int) -> None:
        """Wait until so many trades have been published."""
        while self._published_count < count:
            await self._published.wait()

    async def drop_connections(self) -> None:
        """End all stream connections with a TCP reset, and wait until they are gone."""
        connections = self.levers.stream_connections
        self.levers.reset_streams()
        for connection in connections:
            await connection.ended.wait()

    async def close_connections(self, code: int = 1000, reason: str = "") -> None:
        """Close all stream connections, and wait until they are gone."""
        connections = self.levers.stream_connections
        self.levers.close_streams(code, reason)
        for connection in connections:
            await connection.ended.wait()

    async def announce_shutdown(self, lead_seconds: float | None = None) -> None:
        """Announce ``serverShutdown``; close with 1001 after so long, or never."""
        self.levers.announce_shutdown(lead_seconds)
        await asyncio.sleep(0)

    def _publish(self, trades: Sequence[Trade]) -> None:
        while trades:
            room = self._schedule.room(self._published_count)
            part = trades if room is None or room >= len(trades) else trades[:room]
            if part:
                self.log.extend(part, time.monotonic())
                self._broadcast.deliver(part)
                self._published_count += len(part)
            trades = trades[len(part) :]
            self._strike()
        self._published.set()
        self._published = asyncio.Event()

    def _strike(self) -> None:
        for fault in self._schedule.due(self._published_count):
            fault.strike(self.levers)


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
