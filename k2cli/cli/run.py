"""Running a session from start to end, its ledger on stderr."""

from __future__ import annotations

import asyncio
import math
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from k2cli.binance.pacing import MAX_DELAY_SECONDS, PacedEventLoop
from k2cli.cli.alerts import alert_sink
from k2cli.cli.exit_status import ExitStatus
from k2cli.cli.log import LogOutput, configure, stderr_output
from k2cli.cli.reload import SymbolReloader
from k2cli.cli.stdio import talk
from k2cli.cli.stop import Stop
from k2cli.cli.venue import open_venue
from k2cli.engine.session import Session
from k2cli.errors import OutputError, ReaderGone, printable
from k2cli.files import replace_file
from k2cli.text import machine_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from k2cli.capture.sink import CaptureSink
    from k2cli.cli.options import TailOptions
    from k2cli.cli.pipe import PipeSink
    from k2cli.cli.venue import OpenVenue
    from k2cli.engine.history_first import PastProgress
    from k2cli.engine.protocols import Sink, StreamHealth
    from k2cli.engine.session import SessionSnapshot

# Of hundreds of symbols, a terminal gets those that leave the verdict on its screen.
_LEAST_SYMBOLS = 10
_LINES_BESIDE_SYMBOLS = 8
_MOST_NAMED = 5
# A catalog takes a moment. If it takes longer, a person is told what is waited for.
_SILENT_SECONDS = 1.5
# How long a reader of stdout may hold up the end: one that does not read, and one that
# reads slowly.
_STUCK_READER_SECONDS = 2.0
_SLOW_READER_SECONDS = 10.0

log: FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RunView:
    """What is shown of a run, and what may be asked of it.

    Attributes:
        options: What the user asked for.
        venue: Where the trades come from.
        capture: The file that is written, if one is.
        snapshot: Returns how the run is doing.
        symbol_figures: Returns the ledger's figures by symbol.
        is_ending: Returns whether the run has begun to end.
        stop: Asks for the end.
        fail: Asks for the end because of a failure.
        before_exit: Registers what is to be done even if a second signal ends the
            process at once.
    """

    options: TailOptions
    venue: OpenVenue
    capture: CaptureSink | None
    snapshot: Callable[[], SessionSnapshot]
    symbol_figures: Callable[[], dict[str, dict[str, Any]]]
    is_ending: Callable[[], bool]
    stop: Callable[[], None]
    fail: Callable[[Exception], None]
    before_exit: Callable[[Callable[[], None]], None]

    def connection(self, snapshot: SessionSnapshot) -> str:
        """Say in a few words how the connection is; ``"live"`` if all is well."""
        health = snapshot.health
        if health is None:
            return "connecting"
        if snapshot.past is not None and health.live:
            return past_text(snapshot.past)
        return "live" if health.delivers else self._reconnecting(health)

    def redundancy(self, snapshot: SessionSnapshot) -> str:
        """Say in a few words whether any connection may be lost; empty if not asked."""
        health = snapshot.health
        if health is None or not (health.is_redundant and health.delivers):
            return ""
        if health.live == health.connections:
            return "redundant"
        return f"not redundant: {self._reconnecting(health)}"

    def _reconnecting(self, health: StreamHealth) -> str:
        # With thousands of symbols there are many connections.
        some = ""
        if health.connections > 1:
            some = f"{health.live} of {health.connections} live, "
        if health.retry_in_seconds is None:
            return f"{some}connecting"
        most = self.venue.max_reconnect_attempts
        attempt = f"attempt {health.failures + 1}{f' of {most}' if most else ''}"
        return f"{some}reconnecting in {health.retry_in_seconds:.0f} s ({attempt})"


class Display(Protocol):
    """Shows a run while it lasts."""

    def start(self, view: RunView) -> None:
        """Begin: the symbols are known, the connection is about to be made."""

    def stop(self) -> None:
        """End, whatever happened; harmless if it never began."""


def configure_log(options: TailOptions) -> LogOutput:
    """Set the log up as the options say."""
    level = "error" if options.quiet else options.log_level.value
    return configure(level, options.log_format.value, stderr_output())


def run_session(
    options: TailOptions,
    log_output: LogOutput,
    *,
    pipe: PipeSink | None = None,
    display_sink: Sink | None = None,
    capture: CaptureSink | None = None,
    displays: tuple[Display, ...] = (),
    since_seconds: float | None = None,
    max_delay_seconds: float = MAX_DELAY_SECONDS,
    rereads: bool = False,
) -> int:
    """Run a session and print its ledger, however it ends.

    SIGUSR1 prints the ledger so far, as Ctrl-T does where terminals know that.

    Args:
        options: What the user asked for.
        log_output: Where log lines go.
        pipe: Takes the trades on stdout.
        display_sink: Takes the trades for the screen.
        capture: Takes the trades for a file.
        displays: Show the run.
        since_seconds: How far back to begin, with the history.
        max_delay_seconds: How much later a trade may come out, unless the options say.
        rereads: Whether SIGHUP means to follow the symbols that are configured now,
            where there is no terminal that could hang up.

    Returns:
        The exit status.

    Raises:
        K2Error: If something went wrong.
    """
    alerts = alert_sink(options)
    sinks = [sink for sink in (pipe, display_sink, capture, alerts) if sink is not None]
    if alerts is not None:
        displays = (*displays, alerts)
    run = _Run(
        options,
        log_output,
        pipe,
        capture,
        displays,
        since_seconds,
        max_delay_seconds,
        rereads,
    )
    # Whoever does not read the log holds no recording up.
    with talk(patient=False), asyncio.Runner(loop_factory=PacedEventLoop) as runner:
        return runner.run(run.run(sinks))


class _Run:
    """One run of ``k2 stream`` or ``k2 record``."""

    def __init__(
        self,
        options: TailOptions,
        log_output: LogOutput,
        pipe: PipeSink | None,
        capture: CaptureSink | None,
        displays: tuple[Display, ...],
        since_seconds: float | None,
        max_delay_seconds: float,
        rereads: bool,
    ) -> None:
        self._options = options
        self._log_output = log_output
        self._pipe = pipe
        self._capture = capture
        self._displays = displays
        self._since_seconds = since_seconds
        self._max_delay_seconds = max_delay_seconds
        self._rereads = rereads
        self._session: Session | None = None
        self._venue: OpenVenue | None = None

    async def run(self, sinks: list[Sink]) -> ExitStatus:
        options = self._options
        waiting = asyncio.create_task(self._say_what_is_waited_for())
        self._print_ledger_on_signal()
        stop: Stop | None = None
        try:
            async with open_venue(
                options, self._max_delay_seconds, self._since_seconds or 0.0
            ) as venue:
                self._venue = venue
                session = self._session = Session(
                    venue=venue.venue,
                    sinks=sinks,
                    side=options.side.name if options.side else None,
                    min_notional=options.min_notional,
                    max_backfill=options.max_backfill if options.backfill else 0,
                    since_seconds=self._since_seconds,
                )
                reloader = None
                if self._rereads and venue.reread is not None:
                    reloader = SymbolReloader(session, venue.reread)
                stop = Stop(
                    lambda: session.stop(hurry=True),
                    reloader.ask if reloader is not None else None,
                )
                with stop.on_signals():
                    await self._run(session, venue, stop, reloader)
        finally:
            waiting.cancel()
            # Who was told to end waits for no reader that does not read.
            with talk(patient=stop is None or not stop.is_signalled):
                self._print_ledger()
        is_complete = session.ledger.verdict == "complete"
        return ExitStatus.DONE if is_complete else ExitStatus.INCOMPLETE

    async def _run(
        self,
        session: Session,
        venue: OpenVenue,
        stop: Stop,
        reloader: SymbolReloader | None,
    ) -> None:
        options = self._options
        view = RunView(
            options=options,
            venue=venue,
            capture=self._capture,
            snapshot=session.snapshot,
            symbol_figures=lambda: session.ledger.to_dict()["symbols"],
            is_ending=session.ending.is_set,
            stop=lambda: session.stop(hurry=True),
            fail=session.fail,
            before_exit=stop.before_exit,
        )
        watching = [asyncio.create_task(self._watch_reader(session))]
        if venue.finished is not None:
            watching.append(asyncio.create_task(_stop_when(venue.finished, session)))
        try:
            async with session:
                try:
                    if session.symbols is not None:
                        for display in self._displays:
                            display.start(view)
                    await session.run(options.count, options.duration)
                finally:
                    if reloader is not None:
                        reloader.cancel()
                    for display in self._displays:
                        display.stop()
        finally:
            for task in watching:
                task.cancel()

    async def _watch_reader(self, session: Session) -> None:
        """Let a reader of stdout that has stopped reading not hold up the end."""
        await session.ending.wait()
        waited_seconds, look_seconds = 0.0, _STUCK_READER_SECONDS / 10
        while self._pipe is not None:
            await asyncio.sleep(look_seconds)
            if session.is_backfilling_at_end:
                continue
            waited_seconds += look_seconds
            stuck_seconds = min(self._pipe.waits_seconds(), waited_seconds)
            if (
                stuck_seconds >= _STUCK_READER_SECONDS
                or waited_seconds >= _SLOW_READER_SECONDS
            ):
                self._pipe.abandon()
                return

    async def _say_what_is_waited_for(self) -> None:
        await asyncio.sleep(_SILENT_SECONDS)
        if self._session is None or self._session.symbols is None:
            log.info("Waiting for the exchange to tell its symbols")

    def _print_ledger_on_signal(self) -> None:
        def print_so_far() -> None:
            try:
                self._print_ledger()
            except OutputError as exc:
                log.warning(str(exc))

        if sys.platform != "win32":
            loop = asyncio.get_running_loop()
            for number in {signal.SIGUSR1, getattr(signal, "SIGINFO", signal.SIGUSR1)}:
                loop.add_signal_handler(number, print_so_far)

    def _print_ledger(self) -> None:
        account = self._account()
        if account is None:
            return
        try:
            if self._options.summary is not None:
                _write_summary(self._options.summary, account)
        finally:
            self._say_if_nothing_came()
            if self._has_readers():
                with suppress(OSError):
                    for line in _ledger_lines(account):
                        self._log_output.write(f"{line}\n")
                    self._log_output.flush()

    def _say_if_nothing_came(self) -> None:
        session = self._session
        if session is None or session.symbols is None or session.ledger.trades:
            return
        if session.error is not None or sys.exception() is not None:
            return  # that says it
        snapshot, symbols = session.snapshot(), list(session.ledger.trackers)
        named = ", ".join(symbols[:_MOST_NAMED])
        more = f" and {len(symbols) - _MOST_NAMED:,} more" * (
            len(symbols) > _MOST_NAMED
        )
        health = snapshot.health
        state = "connected" if health and health.live else "not connected"
        self._log_output.write(
            f"k2: no trades were received of {printable(named)}{more} in "
            f"{snapshot.uptime_seconds:.0f} s ({state})\n"
        )
        self._log_output.flush()

    def _has_readers(self) -> bool:
        """Whether there is a ledger that anybody wants to read.

        Not if nothing was received, nor if the reader of stdout left a complete stream,
        or quiet was asked for, and nothing is missing.
        """
        session = self._session
        if session is None or not session.ledger.trades:
            return False
        is_left = isinstance(session.error, ReaderGone)
        return bool(session.ledger.missing or not (is_left or self._options.quiet))

    def _account(self) -> dict[str, Any] | None:
        """Return the ledger as data; ``None`` if the symbols were never known."""
        session = self._session
        if session is None or session.symbols is None:
            return None
        ledger = session.ledger
        account = ledger.to_dict()
        if self._capture is not None:
            account["file"] = self._capture.name
            account["files"] = self._capture.files
            account["size_bytes"] = self._capture.size_bytes
            account["trades_written"] = self._capture.trades_written
            account["trades_unwritten"] = self._capture.trades_unwritten
            account["platform_sequence"] = self._capture.platform_sequence
        venue = self._venue
        # A failure of a write ends the run, one at the end only what is under way.
        error = session.error or sys.exception()
        played = venue is not None and venue.finished and venue.finished.is_set()
        if venue is not None and played and venue.damage and not ledger.missing:
            account["verdict"] = "damaged"
        if isinstance(error, OutputError) and not isinstance(error, ReaderGone):
            account["verdict"] = "unwritten"
        snapshot = session.snapshot()
        account["uptime_seconds"] = round(snapshot.uptime_seconds, 3)
        account["reconnects"] = snapshot.reconnects
        return account


def past_text(past: PastProgress) -> str:
    """Say in a few words how far the history has come."""
    if not past.wanted:
        return "looking the history up"
    done = f"history {min(past.trades / past.wanted, 1.0):.0%}"
    if past.left_seconds is None:
        return done
    return f"{done}, {math.ceil(past.left_seconds)} s left"


async def _stop_when(finished: asyncio.Event, session: Session) -> None:
    await finished.wait()
    session.stop()


def _ledger_lines(account: dict[str, Any]) -> list[str]:
    """Draw the ledger as stderr takes it: on a terminal with colours, on a screen."""
    from rich.console import Console

    from k2cli.display.reports import account_lines

    console = Console(stderr=True)
    most = None
    if console.is_terminal:
        most = max(_LEAST_SYMBOLS, console.height - _LINES_BESIDE_SYMBOLS)
    with console.capture() as captured:
        for line in account_lines(account, most=most):
            console.print(line, soft_wrap=not console.is_terminal)
    return captured.get().splitlines()


def _write_summary(file: Path, account: dict[str, Any]) -> None:
    try:
        replace_file(file, machine_json(account, indent=True), private=False)
    except OSError as exc:
        raise OutputError(
            f"{printable(str(file))} cannot be written: "
            f"{printable(exc.strerror or str(exc))}",
            "Choose another place for --summary",
        ) from exc
