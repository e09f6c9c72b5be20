"""One line to the exchange: connect, receive, connect again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import structlog
from websockets.exceptions import ConnectionClosed

from k2cli.binance.convert import now_us
from k2cli.binance.handshake import is_simulated, open_websocket
from k2cli.errors import (
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
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger
    from websockets.asyncio.client import ClientConnection

    from k2cli.binance.backoff import AttemptWindow, Backoff

# A connection that lives this long has proved itself, even in a silent market.
STABLE_SECONDS = 60.0
# A firewall's block or a ban does not go away in seconds.
BLOCKED_DELAY_SECONDS = 120.0
# Trade events have under 200 bytes.
MAX_FRAME_BYTES = 2**20

log: FilteringBoundLogger = structlog.get_logger()


class LineState(Enum):
    """What a line is doing."""

    CONNECTING = "connecting"
    LIVE = "live"
    WAITING = "waiting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class LineStatus:
    """A line's state and, while it waits, why and how long.

    Attributes:
        state: What it is doing.
        reason: Why the last connection or attempt ended; fit for printing.
        retry_in_seconds: Time until the next attempt.
        failures: Consecutive attempts that failed.
    """

    state: LineState
    reason: str = ""
    retry_in_seconds: float = 0.0
    failures: int = 0


class Line:
    """Keeps one connection to a stream address up and hands on its frames.

    Args:
        url: The whole address, streams included.
        label: What it carries, for the log.
        on_frame: Called with each frame, when it was received (Unix microseconds), and
            whether the server says that its market is made up; tells whether the frame
            was data. Awaited if it gives an awaitable, which holds the line back.
        on_status: Called with each change of state.
        backoff: Delays between attempts.
        window: The limit on attempts, shared by all lines.
        max_first_failures: Failures allowed before the very first connection; ``None``
            for as many as the back-off allows.
        open_timeout_seconds: Longest time to connect.
        proxy: As for the client.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        url: str,
        label: list[str],
        *,
        on_frame: Callable[[bytes, int, bool], bool | Awaitable[bool]],
        on_status: Callable[[LineStatus], None],
        backoff: Backoff,
        window: AttemptWindow,
        max_first_failures: int | None,
        open_timeout_seconds: float,
        proxy: str | bool,
        clock: Callable[[], float],
    ) -> None:
        self._url = url
        self._label = label
        self._on_frame = on_frame
        self._on_status = on_status
        self._backoff = backoff
        self._window = window
        self._max_first_failures = max_first_failures
        self._open_timeout_seconds = open_timeout_seconds
        self._proxy = proxy
        self._clock = clock
        self._connection: ClientConnection | None = None
        self._opening: asyncio.Future[ClientConnection] | None = None
        self._closing = asyncio.Event()
        self._was_live = False

    async def run(self) -> None:
        """Stay connected until closed.

        Raises:
            AttemptsExhausted: If all attempts allowed have failed.
            ConnectFailed: If the first attempt shows that others will fail too.
            ExchangeRefused: Likewise.
        """
        while not self._closing.is_set():
            await self._pause(self._window.reserve(self._clock()))
            if self._closing.is_set():
                break
            self._on_status(LineStatus(LineState.CONNECTING))
            try:
                connection = await self._open()
            except (ConnectFailed, ExchangeRefused) as exc:
                self._backoff.failed()
                await self._wait_after(exc)
                continue
            if connection is None:
                break
            reason = await self._use(connection)
            if not self._closing.is_set():
                await self._wait_after(reason)
        self._on_status(LineStatus(LineState.CLOSED))

    async def close(self) -> None:
        """End the line: what has arrived is still handed on, then ``run`` returns."""
        self._closing.set()
        if self._opening is not None:
            self._opening.cancel()
        if self._connection is not None:
            await self._connection.close()

    async def _open(self) -> ClientConnection | None:
        """Make one attempt; ``None`` if the line was closed meanwhile."""
        self._opening = asyncio.ensure_future(
            open_websocket(
                self._url,
                open_timeout_seconds=self._open_timeout_seconds,
                max_size_bytes=MAX_FRAME_BYTES,
                proxy=self._proxy,
            )
        )
        try:
            return await self._opening
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return None
        finally:
            self._opening = None

    async def _use(self, connection: ClientConnection) -> ExchangeUnreachable:
        """Receive until the connection ends, and say why it did."""
        self._connection = connection
        self._was_live = True
        simulated = is_simulated(connection)
        log.info(
            "Connected to Binance WebSocket",
            symbols=self._label,
            url=printable(self._url.partition("?")[0]),
            **({"simulated": True} if simulated else {}),
        )
        self._on_status(LineStatus(LineState.LIVE))
        opened = self._clock()
        proved = False
        try:
            if self._closing.is_set():
                await connection.close()
            while True:
                frame = await connection.recv(decode=False)
                is_data = self._on_frame(frame, now_us(), simulated)
                if not isinstance(is_data, bool):
                    is_data = await is_data
                if is_data and not proved:
                    proved = True
                    self._backoff.proved()
        except ConnectionClosed as exc:
            received = exc.rcvd
            reason = (
                f"closed by the exchange with code {received.code}"
                + (f" ({printable(received.reason, 80)})" if received.reason else "")
                if received is not None
                else "closed by us: no answer to a ping"
                if exc.sent is not None and exc.sent.code == 1011
                else "connection lost"
            )
        finally:
            self._connection = None
            await connection.close()
        if not proved:
            if self._clock() - opened >= STABLE_SECONDS:
                self._backoff.proved()
            else:
                self._backoff.failed()
        return ExchangeUnreachable(f"the stream was {reason}")

    async def _wait_after(self, exc: ExchangeUnreachable | ExchangeRefused) -> None:
        """Wait for the next attempt, or raise if there is to be none."""
        if not self._was_live and _is_hopeless(exc):
            raise exc
        first_failures = None if self._was_live else self._max_first_failures
        if self._backoff.exhausted or (
            first_failures is not None and self._backoff.failures >= first_failures
        ):
            raise AttemptsExhausted(
                f"gave up after {self._backoff.failures} failed attempts: "
                f"{exc.message}",
                exc.hint or "Check the network, and try again later",
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
        self._on_status(
            LineStatus(LineState.WAITING, exc.message, delay, self._backoff.failures)
        )
        await self._pause(delay)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._closing.wait()
            except TimeoutError:
                pass


def _is_hopeless(exc: ExchangeUnreachable | ExchangeRefused) -> bool:
    """Tell whether a first attempt that failed so will not succeed in seconds."""
    if isinstance(exc, ConnectFailed):
        return exc.permanent
    return isinstance(exc, RestrictedLocation | AccessBlocked | AddressBanned)
