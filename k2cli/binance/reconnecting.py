"""Staying connected to a stream: replace before breaking, connect again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from k2cli.binance.connection import Connection
from k2cli.binance.handshake import host_of, open_websocket
from k2cli.binance.status import ConnectionState, ConnectionStatus
from k2cli.binance.wire import SIMULATED
from k2cli.errors import (
    TRY_AGAIN,
    AccessBlocked,
    AddressBanned,
    AttemptsExhausted,
    ConnectFailed,
    ExchangeRefused,
    ExchangeUnreachable,
    RestrictedLocation,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from k2cli.binance.connection import Arbitration, OnBatch
    from k2cli.binance.decoder import MessageDecoder
    from k2cli.binance.handshake import SameExchange
    from k2cli.binance.pacing import ReadPacer
    from k2cli.binance.transport import StreamConnection
    from k2cli.completeness.backoff import AttemptWindow, Backoff, HostRotation

# A connection that lives this long has proved itself, even in a silent market.
STABLE_SECONDS = 60.0
# A firewall's block or a ban does not go away in seconds.
BLOCKED_DELAY_SECONDS = 120.0
# How long a new connection may stay silent before it takes over all the same: in a
# quiet market nothing comes to prove it.
QUIET_HANDOVER_SECONDS = 10.0

# Symbols that are named in the log, and how many are where there are more.
_MOST_NAMED, _NAMED_OF_MANY = 20, 3

log: FilteringBoundLogger = structlog.get_logger()


class ReconnectingConnection:
    """Keeps a stream address connected and hands on its trades, each once.

    A connection that gets old, is announced to be closed, or does not answer is
    replaced: the new one is opened beside it, and takes over when it delivers.

    Args:
        hosts: The whole addresses, streams included.
        symbols: What it carries.
        decoder: Makes trades of what is received.
        on_batch: Called with trades as they come; an awaitable that it returns is
            awaited before more is read.
        on_status: Called with each change of state.
        pacer: Says when to read; shared by all connections.
        exchange: Sees that the address is one of the same exchange; likewise.
        backoff: Delays between attempts.
        window: The limit on attempts, shared by all connections.
        max_first_seconds: How long to try for the very first connection; ``None`` for
            as long as the back-off allows.
        max_age_seconds: When to replace a connection because of its age.
        ping_seconds: As for ``Connection``.
        open_timeout_seconds: Longest time to connect.
        proxy: As for the client.
        clock: Monotonic seconds.
        arbitration: As for ``Connection``.

    Attributes:
        symbols: What it carries.
        connections: How many connections were made.
    """

    def __init__(
        self,
        hosts: HostRotation,
        symbols: tuple[str, ...],
        *,
        decoder: MessageDecoder,
        on_batch: OnBatch,
        on_status: Callable[[ConnectionStatus], None],
        pacer: ReadPacer,
        exchange: SameExchange,
        backoff: Backoff,
        window: AttemptWindow,
        max_first_seconds: float | None,
        max_age_seconds: float,
        ping_seconds: float,
        open_timeout_seconds: float,
        proxy: str | bool,
        clock: Callable[[], float],
        arbitration: Arbitration | None = None,
    ) -> None:
        self.symbols = symbols
        self.connections = 0
        self._arbitration = arbitration
        self._hosts = hosts
        self._exchange = exchange
        self._decoder = decoder
        self._on_batch = on_batch
        self._on_status = on_status
        self._pacer = pacer
        self._backoff = backoff
        self._window = window
        self._max_first_seconds = max_first_seconds
        self._begun_seconds = clock()
        self._max_age_seconds = max_age_seconds
        self._ping_seconds = ping_seconds
        self._open_timeout_seconds = open_timeout_seconds
        self._proxy = proxy
        self._clock = clock
        # The present connection, and its successor while there is one.
        self._open: list[Connection] = []
        self._opening: asyncio.Future[StreamConnection] | None = None
        self._closing = asyncio.Event()
        self._was_live = False

    @property
    def reconnects(self) -> int:
        """How many connections were made after the first one."""
        return max(self.connections - 1, 0)

    @property
    def host(self) -> str:
        """Host and port of the address in use, fit for printing."""
        return host_of(self._hosts.url)

    async def run(self) -> None:
        """Stay connected until closed; may be called again after a failure.

        Raises:
            AttemptsExhausted: If all attempts allowed have failed.
            ConnectFailed: If the first attempt shows that others will fail too.
            ExchangeRefused: Likewise.
        """
        try:
            connection = await self._connect(waits=False)
            while connection is not None:
                connection = await self._keep(connection)
        finally:
            for one in self._open:
                await one.abandon()
            self._open.clear()
        self._on_status(ConnectionStatus(ConnectionState.CLOSED))

    async def close(self) -> None:
        """Disconnect: what has arrived is still handed on, then ``run`` returns."""
        self._closing.set()
        if self._opening is not None:
            self._opening.cancel()
        await asyncio.gather(*(connection.close() for connection in self._open))

    def replace(self, reason: str) -> None:
        """Open another connection in place of the present one."""
        for connection in self._open[-1:]:
            connection.replace_because(reason)

    async def _keep(self, connection: Connection) -> Connection | None:
        """Carry a connection to its end; return the one that follows it."""
        opened = self._clock()
        ageing = asyncio.get_running_loop().call_later(
            self._max_age_seconds, connection.replace_because, "it is getting old"
        )
        try:
            await asyncio.wait(
                {connection.ended, connection.replacing},
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            ageing.cancel()
        if not connection.ended.done() and not self._closing.is_set():
            log.info(
                "Replacing the connection",
                reason=connection.replacing.result(),
                symbols=self._few,
            )
            self._hosts.ended(self._clock() - opened)
            return await self._replace(connection)
        why = await connection.ended
        self._open.remove(connection)
        if self._closing.is_set():
            return None
        lived_seconds = self._clock() - opened
        if connection.proved or lived_seconds >= STABLE_SECONDS:
            self._hosts.ended(lived_seconds)
            self._backoff.proved()
        else:
            self._hosts.failed()
            self._backoff.failed()
        await self._wait_after(ExchangeUnreachable(why, TRY_AGAIN))
        return await self._connect(waits=False)

    async def _replace(self, connection: Connection) -> Connection | None:
        """Open a successor, which takes over when it delivers."""
        connection.expect_successor()
        try:
            successor = await self._successor(connection)
        except (ExchangeUnreachable, ExchangeRefused) as exc:
            if connection.silent or connection.ended.done():
                raise
            log.warning("Keeping the old connection", reason=exc.message)
            self._backoff.proved()
            connection.keep()
            return connection
        await connection.close()
        self._open.remove(connection)
        await connection.ended
        if successor is not None:
            successor.take_over(connection.handed_on or {})
        return successor

    async def _successor(self, connection: Connection) -> Connection | None:
        """Open a connection that can take over; ``None`` if closed meanwhile."""
        while (successor := await self._connect(waits=True)) is not None:
            delivered = asyncio.create_task(successor.delivered.wait())
            try:
                await asyncio.wait(
                    {delivered, successor.ended, connection.ended},
                    timeout=QUIET_HANDOVER_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                delivered.cancel()
            if not successor.ended.done() or connection.ended.done():
                break
            # It was lost before it was of any use: the old one goes on meanwhile.
            self._open.remove(successor)
            self._hosts.failed()
            self._backoff.failed()
            await self._wait_after(
                ExchangeUnreachable(await successor.ended, TRY_AGAIN)
            )
        return successor

    async def _connect(self, *, waits: bool) -> Connection | None:
        """Connect, however many attempts it takes; ``None`` if closed meanwhile."""
        while not self._closing.is_set():
            wait = self._window.reserve(self._clock())
            if wait >= 1:
                log.warning(
                    "Waiting: the exchange allows 300 connection attempts in 5 minutes",
                    seconds=round(wait),
                )
            await self._pause(wait)
            if self._closing.is_set():
                break
            if not self._open:
                self._on_status(ConnectionStatus(ConnectionState.CONNECTING))
            try:
                transport = await self._attempt()
                if transport is not None:
                    self._exchange.check(transport, self._hosts.url)
            except (ConnectFailed, ExchangeRefused) as exc:
                self._backoff.failed()
                self._hosts.failed()
                await self._wait_after(exc)
                continue
            if transport is None:
                break
            connection = Connection(
                transport,
                self._decoder,
                self._on_batch,
                pacer=self._pacer,
                ping_seconds=self._ping_seconds,
                waits=waits,
                arbitration=self._arbitration,
            )
            self._open.append(connection)
            self.connections += 1
            self._was_live = True
            log.info(
                "Connected to Binance WebSocket",
                symbols=self._few,
                url=printable(self._hosts.url.partition("?")[0]),
                **({"simulated": True} if connection.exchange == SIMULATED else {}),
            )
            self._on_status(ConnectionStatus(ConnectionState.LIVE))
            if self._closing.is_set():
                await connection.close()
            return connection
        return None

    async def _attempt(self) -> StreamConnection | None:
        """Make one attempt to connect; ``None`` if closed meanwhile."""
        self._opening = opening = asyncio.ensure_future(
            open_websocket(
                self._hosts.url,
                open_timeout_seconds=self._open_timeout_seconds,
                proxy=self._proxy,
            )
        )
        try:
            return await opening
        except asyncio.CancelledError:
            # It may have succeeded just as this task was cancelled.
            if opening.done() and not opening.cancelled() and not opening.exception():
                opening.result().transport.abort()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return None
        finally:
            self._opening = None

    async def _wait_after(self, exc: ExchangeUnreachable | ExchangeRefused) -> None:
        """Wait for the next attempt, or raise if there is to be none."""
        if not self._was_live and _is_hopeless(exc):
            if self._hosts.all_failed:
                raise exc
            log.warning(
                "Cannot connect to Binance WebSocket; trying another address",
                reason=exc.message,
            )
            return
        if self._backoff.exhausted or self._never_began():
            raise AttemptsExhausted(
                f"gave up after {_attempts(self._backoff.failures)}: {exc.message}",
                exc.hint,
            ) from exc
        at_least = 0.0
        if isinstance(exc, ExchangeRefused):
            at_least = exc.retry_after_seconds or (
                BLOCKED_DELAY_SECONDS
                if isinstance(exc, AccessBlocked | AddressBanned | RestrictedLocation)
                else 0.0
            )
        delay = self._backoff.next_delay_seconds(at_least)
        log.warning(
            "Disconnected from Binance WebSocket"
            if type(exc) is ExchangeUnreachable
            else "Cannot connect to Binance WebSocket",
            reason=exc.message,
            retry_in_seconds=round(delay, 1),
            failures=self._backoff.failures,
        )
        if not self._open:
            self._on_status(
                ConnectionStatus(
                    ConnectionState.WAITING, exc.message, delay, self._backoff.failures
                )
            )
        await self._pause(delay)

    def _never_began(self) -> bool:
        """Return whether the first connection has been tried for long enough."""
        return (
            not self._was_live
            and self._max_first_seconds is not None
            and self._clock() - self._begun_seconds >= self._max_first_seconds
        )

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._closing.wait()
            except TimeoutError:
                pass

    @property
    def _few(self) -> list[str]:
        """The symbols for the log: not hundreds of them."""
        if len(self.symbols) <= _MOST_NAMED:
            return list(self.symbols)
        named = self.symbols[:_NAMED_OF_MANY]
        return [*named, f"and {len(self.symbols) - len(named)} more"]


def _attempts(count: int) -> str:
    return "one failed attempt" if count == 1 else f"{count} failed attempts"


def _is_hopeless(exc: ExchangeUnreachable | ExchangeRefused) -> bool:
    """Return whether a first attempt that failed so will not succeed in seconds."""
    if isinstance(exc, ConnectFailed):
        return exc.permanent
    return isinstance(exc, RestrictedLocation | AccessBlocked | AddressBanned)
