"""One run: from the exchange, past the ledger and the filters, to the outputs."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import structlog

from k2cli.binance.client import BinanceWebSocketClient
from k2cli.binance.line_status import LineState, LineStatus
from k2cli.capture.ledger import Ledger
from k2cli.cli.flow import Flow
from k2cli.cli.recorder import Recorder
from k2cli.cli.source import Source, open_source
from k2cli.cli.stop import Stop
from k2cli.cli.wholeness import Wholeness
from k2cli.errors import (
    ExchangeRefused,
    ExchangeUnreachable,
    ExitStatus,
    K2Error,
    OutputError,
    ReaderGone,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import FilteringBoundLogger

    from k2cli.binance.lookup import Lookup
    from k2cli.capture.file import CaptureFile
    from k2cli.cli.flow import Output
    from k2cli.cli.options import TailOptions

# The first connection is tried for so long: long enough for a server that restarts,
# short enough for an address that is wrong.
FIRST_SECONDS = 12.0
# How long a reader of stdout may hold up the end: one that does not read, and one that
# reads slowly.
LAST_WRITE_SECONDS = 2.0
LAST_SECONDS = 10.0
# How long repairs may hold up the end: when a limit was reached, and after a signal.
LAST_REPAIR_SECONDS = 10.0
SIGNALLED_REPAIR_SECONDS = 3.0

log: FilteringBoundLogger = structlog.get_logger()


class Tail:
    """A run of ``k2 stream`` or ``k2 record``.

    Args:
        options: What the user asked for.
        output: Where the trades go.
        capture: The file to record to as well; always in order.
        in_order: Whether the output, too, gets the trades of a symbol in order, rather
            than at once.

    Attributes:
        source: Where the trades come from.
        ledger: The account of all trades received.
        lookup: The symbols, and what is known of them.
        client: The stream client.
        flow: What has come, and what of it has gone out.
        started_seconds: When it began, monotonic.
    """

    source: Source
    ledger: Ledger
    lookup: Lookup
    client: BinanceWebSocketClient

    def __init__(
        self,
        options: TailOptions,
        output: Output,
        capture: CaptureFile | None = None,
        *,
        in_order: bool,
    ) -> None:
        self.options = options
        self.output = output
        self.capture = capture
        self.stop = Stop()
        self.started_seconds = time.monotonic()
        self._warnings: list[str] = []
        self._recorder = Recorder(capture, self.stop.fail) if capture else None
        self.flow = Flow(
            options, output, self._recorder, self.stop.request, in_order=in_order
        )

    async def run(self) -> ExitStatus:
        """Tail until a limit, a signal or the end of a replay.

        Raises:
            K2Error: If something went wrong.
        """
        with self.stop.on_signals(), ExitStack() as closing:
            async with open_source(self.options) as source:
                self.source = source
                if not await self.stop.unless_requested(self._look_up()):
                    return ExitStatus.DONE
                if self.capture is not None:
                    self.capture.begin()
                closing.callback(self.output.close)
                self.output.start(self)
                await self._receive()
        error = self.stop.error
        if error is not None and not isinstance(error, ReaderGone):
            raise error
        return ExitStatus.INCOMPLETE if self.ledger.missing else ExitStatus.DONE

    def reader_left(self) -> None:
        """End, because the reader of stdout has closed it."""
        self.stop.fail(ReaderGone("the reader closed the pipe"))

    def has_readers(self) -> bool:
        """Whether there is an account that anybody wants to read.

        Not if nothing was received, nor if the reader of stdout left a complete stream.
        """
        if not hasattr(self, "ledger") or not self.ledger.trades:
            return False
        return bool(self.ledger.missing or not isinstance(self.stop.error, ReaderGone))

    def account(self) -> dict[str, Any] | None:
        """Give the account as data; ``None`` if the symbols were never known."""
        if not hasattr(self, "ledger"):
            return None
        account = self.ledger.to_dict()
        if self.capture is not None:
            account["file"] = str(self.capture.name)
            account["files"] = self.capture.finished_files + 1
            account["size_bytes"] = (
                self.capture.finished_bytes + self.capture.size_bytes
            )
            account["trades_written"] = self.capture.trades_written
            account["platform_sequence"] = self.capture.platform_sequence
        finished = self.source.finished
        played = finished is not None and finished.is_set()
        if played and self.source.damage and not self.ledger.missing:
            account["verdict"] = "damaged"
        error = self.stop.error
        if isinstance(error, OutputError) and not isinstance(error, ReaderGone):
            account["verdict"] = "unwritten"
        account["uptime_seconds"] = round(self.uptime_seconds(), 3)
        # There is none yet while the end of a capture is being read.
        connected = hasattr(self, "client")
        account["reconnects"] = self.client.reconnects if connected else 0
        return account

    def connection(self) -> str:
        """Say in a few words how the connection is; ``"live"`` if all is well."""
        health = self.client.health()
        if health.lines and health.live == health.lines:
            return str(LineState.LIVE.value)
        # With thousands of symbols there are many connections.
        some = f"{health.live} of {health.lines} live, " if health.lines > 1 else ""
        if health.waiting is None:
            return f"{some}{LineState.CONNECTING.value}"
        most = self.source.config.max_reconnect_attempts
        attempt = f"attempt {health.waiting.failures + 1}"
        return (
            f"{some}reconnecting in {health.retry_in_seconds:.0f} s "
            f"({attempt}{f' of {most}' if most else ''})"
        )

    def uptime_seconds(self) -> float:
        """Tell how long it has been running."""
        return time.monotonic() - self.started_seconds

    async def _look_up(self) -> None:
        self.lookup = await self.source.select(self.options)
        self.ledger = Ledger(self.lookup.symbols)
        if self._recorder is not None:
            await self._recorder.resume(self.ledger)
        # Said once connected: if that fails, the one line of it is the one to read.
        self._warnings = list(self.lookup.warnings)

    async def _receive(self) -> None:
        config = self.source.config
        self.client = BinanceWebSocketClient(
            self.lookup.symbols,
            self.flow.on_trade,
            config.websocket_url,
            catalog=self.lookup.catalog,
            activity=self.lookup.activity,
            reconnect_delay=config.reconnect_delay,
            max_reconnect_attempts=config.max_reconnect_attempts,
            max_first_seconds=FIRST_SECONDS if config.max_reconnect_attempts else None,
            on_burst=self.flow.on_burst,
            on_status=self._on_status,
            max_connection_age_seconds=self.options.max_connection_age,
            ping_seconds=config.ping_interval,
            open_timeout_seconds=config.open_timeout,
            proxy=self.source.proxy,
        )
        receiving = asyncio.create_task(self.client.connect())
        requested = asyncio.create_task(self.stop.requested.wait())
        self._wholeness = Wholeness(
            self.source,
            self.lookup,
            self.ledger,
            self.client,
            at_once=self.flow.at_once,
            in_order=self.flow.in_order,
            on_lost=self.flow.lost,
            max_backfill=self.options.max_backfill if self.options.backfill else 0,
        )
        self.flow.begin(self._wholeness)
        tasks = [receiving, requested, *self._wholeness.start()]
        if self._recorder is not None:
            tasks.append(asyncio.create_task(self._recorder.tend()))
        if self.source.finished is not None:
            tasks.append(asyncio.create_task(self.source.finished.wait()))
        try:
            await asyncio.wait(
                tasks,
                timeout=self.options.duration,
                return_when=asyncio.FIRST_COMPLETED,
            )
            failure = await self._disconnect(receiving)
            await self._finish()
            if failure is not None:
                raise failure
            for task in tasks:
                if task.done() and not task.cancelled():
                    task.result()
        except ReaderGone as exc:
            self.stop.fail(exc)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._recorder is not None:
                self._recorder.flush()

    async def _disconnect(self, receiving: asyncio.Task[None]) -> K2Error | None:
        """End the stream; give its failure, if it had failed by itself."""
        with self._patience():
            await self.client.disconnect()
            try:
                await receiving
            except ReaderGone as exc:
                self.stop.fail(exc)
            except (ExchangeUnreachable, ExchangeRefused) as exc:
                return exc
        return None

    @contextmanager
    def _patience(self) -> Iterator[None]:
        """Let a reader of stdout that has stopped reading not hold up the end."""
        watching = asyncio.create_task(self._watch_reader())
        try:
            yield
        finally:
            watching.cancel()

    async def _watch_reader(self) -> None:
        """Let go of a reader that does not read any more, or takes too long."""
        begun_seconds = time.monotonic()
        while True:
            await asyncio.sleep(LAST_WRITE_SECONDS / 10)
            passed_seconds = time.monotonic() - begun_seconds
            stuck_seconds = min(self.output.waits_seconds(), passed_seconds)
            if stuck_seconds >= LAST_WRITE_SECONDS or passed_seconds >= LAST_SECONDS:
                self.output.finish()
                return

    async def _finish(self) -> None:
        """Let repairs that are under way come to an end, if that does not take long.

        A recording that is stopped before that ends at its gap, so that the next run
        repairs it: what is behind a hole in a file cannot be put in order any more.
        """
        counted = self.flow.is_full
        signalled = self.stop.requested.is_set()
        unread = isinstance(self.stop.error, ReaderGone) and self._recorder is None
        if not (counted or unread):
            await self._wholeness.repair_for(
                SIGNALLED_REPAIR_SECONDS if signalled else LAST_REPAIR_SECONDS
            )
        with self._patience():
            await self._wholeness.finish(whole=not (counted or signalled))

    def _on_status(self, status: LineStatus) -> None:
        if status.state is LineState.LIVE:
            for warning in self._warnings:
                log.warning(warning)
            self._warnings = []
