"""The live table on a terminal."""

from __future__ import annotations

import asyncio
import select
import signal
import sys
import time
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING

from k2cli.cli.keys import Keyboard, Suspension, in_foreground
from k2cli.cli.pipe import STDOUT
from k2cli.cli.redrawn import REDRAWS_PER_SECOND, Redrawn
from k2cli.display.columns import chosen_columns
from k2cli.display.controls import Controls
from k2cli.display.detail import EVENT_KINDS
from k2cli.display.market import MarketState
from k2cli.display.meters import LagMeter
from k2cli.display.numbers import Precision
from k2cli.display.past import observe_past
from k2cli.display.prints import FLOORS_USD
from k2cli.display.screen import ScreenView
from k2cli.display.status import Notice, Status
from k2cli.display.symbol import WINDOWS_SECONDS
from k2cli.display.terminal import LiveTable, save_svg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rich.console import Console

    from k2cli.cli.log import LogOutput
    from k2cli.cli.looks import DisplayConfig
    from k2cli.cli.run import RunView
    from k2cli.completeness.id_ranges import IdRange
    from k2cli.completeness.ledger import Ledger
    from k2cli.completeness.sequence import SequenceTracker
    from k2cli.display.text import Frame
    from k2cli.engine.protocols import SymbolSet
    from k2cli.engine.session import SessionSnapshot
    from k2cli.trade import TradeBatch

# Log lines held while the table has the screen, shown when it gives it back.
_LOG_LINES_HELD = 100
# Live trades that came so long ago have waited for those of before the start.
_PAST_SECONDS = 1.0
# Of a picture where there is no terminal.
_PICTURE_SIZE = (120, 34)


class ScreenSink(Redrawn):
    """The live table on a terminal: takes the trades, and shows the run.

    Args:
        console: The terminal on stdout.
        log_output: Log lines are shown in the table meanwhile, and again after it.
        looks: How it looks at first.
        picture: File for a picture of the last screen.
    """

    in_order = False
    journal = None
    on_failure: Callable[[Exception], None]

    def __init__(
        self,
        console: Console,
        log_output: LogOutput,
        looks: DisplayConfig,
        picture: Path | None = None,
    ) -> None:
        self._log_output = log_output
        self._picture = picture
        self._console = console
        self._live = LiveTable(console, takes_mouse=looks.mouse)
        self._held: deque[str] = deque(maxlen=_LOG_LINES_HELD)
        self._closing = ExitStack()
        self._run: RunView | None = None
        self._controls = Controls(
            sort=looks.sort or None,
            windows_seconds=tuple(sorted({*WINDOWS_SECONDS, looks.window})),
            window_seconds=looks.window,
            shows_tape=looks.tape,
            floor=FLOORS_USD.index(looks.floor),
            takes_mouse=looks.mouse,
        )
        self._columns = chosen_columns(looks.columns)
        self._lag = LagMeter()
        self._notice = Notice()
        self._keyboard = Keyboard(self._press)
        self._paused: tuple[MarketState, float] | None = None
        self._trackers: Mapping[str, SequenceTracker] = {}
        # Gaps, repaired and missing trades of a symbol when last looked at.
        self._counts: dict[str, tuple[int, int, int]] = {}
        self._sums = (0, 0, 0)
        self._past_seconds: float | None = None

    def begin_in_past(self, since_seconds: float) -> None:
        """Expect trades from before the start first, from so long ago."""
        self._past_seconds = time.monotonic() - since_seconds

    def _now_seconds(self) -> float:
        """Return the clock of the market: it stands in the past at first, if asked."""
        return time.monotonic() if self._past_seconds is None else self._past_seconds

    async def open(self, symbols: SymbolSet, ledger: Ledger) -> None:
        """Make ready to take trades."""
        self._view = ScreenView(
            Precision(symbols.price_decimals(), symbols.quantity_decimals()),
            self._columns,
        )
        self._market = MarketState(
            list(symbols.symbols),
            started_seconds=self._now_seconds(),
            windows_seconds=self._controls.windows_seconds,
        )
        self._trackers = ledger.trackers
        if len(symbols.symbols) == 1:
            self._controls.opened = symbols.symbols[0]

    def start(self, view: RunView) -> None:
        """Take the screen over."""
        self._run = view
        self._closing.enter_context(self._log_output.diverted(self._held.append))
        view.before_exit(self._leave)
        if self._live.is_usable:
            suspension = Suspension(self._leave, self.draw_soon)
            suspension.start()
            self._closing.callback(suspension.stop)
            self._redraw_when_resized()
        self.start_drawing(view, 1 / REDRAWS_PER_SECOND)

    async def extend(self, ledger: Ledger) -> None:
        """Nothing is kept by symbol."""

    def write(self, batch: TradeBatch) -> None:
        """Note trades; they are on the screen with the next redraw."""
        if self._past_seconds is not None:
            offset_seconds = time.monotonic() - time.time()
            came_seconds = batch.received_us / 1e6 + offset_seconds
            if batch.is_backfill or time.monotonic() - came_seconds > _PAST_SECONDS:
                reached_seconds = observe_past(self._market, batch, offset_seconds)
                self._past_seconds = max(self._past_seconds, reached_seconds)
                return
            self._past_seconds = None
        self._market.observe(batch, time.monotonic())

    def lost(self, symbol: str, ids: IdRange) -> None:
        """The status shows their number."""

    async def flush(self) -> None:
        """A screen acknowledges nothing."""

    async def close(self) -> None:
        """Nothing is open: ``stop`` gives the screen back."""

    def stop(self) -> None:
        """Give the screen back, and show what was logged."""
        self.stop_drawing()
        try:
            if self._picture is not None and self._run is not None:
                # As on a terminal, wherever it is made.
                self._controls.has_keys = True
                width, height = self._picture_size()
                frame = self._frame(width, height)
                save_svg(self._picture, frame, "k2 stream", width=width, height=height)
        finally:
            self._leave()
            self._closing.close()
            for line in self._held:
                self._log_output.write(f"{line}\n")
            self._held.clear()

    def _picture_size(self) -> tuple[int, int]:
        if not self._console.is_terminal:
            return _PICTURE_SIZE
        return self._console.width, self._console.height

    def draw(self) -> None:
        """Send what changed since the last time."""
        # A terminal that is held with Ctrl-S takes nothing: skip, do not wait.
        if sys.platform != "win32" and not select.select((), (STDOUT,), (), 0)[1]:
            return
        # A job that went on in the background may be in the foreground by now: a shell
        # need not say so.
        self._enter()
        self._live.refresh(self._frame)

    def _enter(self) -> None:
        """Take the terminal, if it is ours; harmless twice."""
        if not (self._live.is_usable and in_foreground()):
            return
        self._live.start()
        self._keyboard.start()
        self._controls.has_keys = self._keyboard.is_listening

    def _leave(self) -> None:
        """Give the terminal back; harmless twice."""
        self._keyboard.stop()
        self._live.stop()

    def _redraw_when_resized(self) -> None:
        if sys.platform != "win32":
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGWINCH, self.draw_soon)
            self._closing.callback(loop.remove_signal_handler, signal.SIGWINCH)

    def _press(self, key: str, line: int) -> None:
        run = self._run
        assert run is not None, "no keys before the start"  # noqa: S101 - for the type checker
        controls = self._controls
        try:
            if controls.press(key, line):
                run.stop()
            self._live.take_mouse(controls.takes_mouse)
            if not controls.is_paused:
                self._paused = None
            elif self._paused is None:
                self._paused = (self._market.copied(), self._now_seconds())
            self._market.follow(controls.shows)
            self._open_chosen()
        except Exception as exc:
            run.fail(exc)
        self.draw_soon()

    def _open_chosen(self) -> None:
        opened = self._controls.opened
        if opened is None:
            return
        now_seconds = self._now_seconds()
        for market in (self._market, self._paused[0] if self._paused else None):
            if market is not None and opened in market:
                market.open(opened, now_seconds)

    def _note_events(self, snapshot: SessionSnapshot, now_seconds: float) -> None:
        """Put what happened to completeness on the symbols' time lines."""
        sums = snapshot.gaps, snapshot.repaired, snapshot.lost
        if sums == self._sums:
            return
        self._sums = sums
        for symbol, tracker in self._trackers.items():
            lost = tracker.missing - tracker.open.ids
            counts = tracker.gaps, tracker.repaired, lost
            before = self._counts.get(symbol, (0, 0, 0))
            if counts == before:
                continue
            self._counts[symbol] = counts
            for kind, now, then in zip(EVENT_KINDS, counts, before, strict=True):
                if now > then:
                    self._market.note_event(symbol, kind, now - then, now_seconds)

    def _frame(self, width: int, height: int) -> Frame:
        now_seconds = self._now_seconds()
        market, market_seconds = self._paused or (self._market, now_seconds)
        return self._view.frame(
            market,
            self._status(now_seconds),
            self._controls,
            width=width,
            height=height,
            now_seconds=market_seconds,
        )

    def _status(self, now_seconds: float) -> Status:
        run = self._run
        assert run is not None, "drawn before the start"  # noqa: S101 - for the type checker
        snapshot = run.snapshot()
        if snapshot.past is None and snapshot.health is not None:
            # Also where nothing is traded since.
            self._past_seconds = None
        self._note_events(snapshot, now_seconds)
        last = snapshot.last_trade
        # Any address may be that of a made-up market: its trades say it.
        exchange = "SIM" if run.venue.is_simulated else ""
        capture = run.capture
        # A replay's trades are from another day: their age says nothing.
        lag_us = None
        if not run.venue.is_replay:
            lag_us = self._lag.sample(last, time.monotonic())
        return Status(
            host=run.venue.venue.name,
            exchange=last.exchange if last is not None else exchange,
            connection=run.connection(snapshot),
            redundancy=run.redundancy(snapshot),
            uptime_seconds=snapshot.uptime_seconds,
            trades=snapshot.trades,
            trades_per_second=self._market.per_second(now_seconds),
            reconnects=snapshot.reconnects,
            gaps=snapshot.gaps,
            repaired=snapshot.repaired,
            repairing=snapshot.repairing,
            repair_seconds=snapshot.repair_seconds,
            lost=snapshot.lost,
            duplicates=snapshot.duplicates,
            lag_us=lag_us,
            is_paused=self._controls.is_paused,
            log_message=self._notice.text(
                self._log_output.latest_warning,
                now_seconds=time.monotonic(),
                time_us=time.time_ns() // 1000,
            ),
            recording=capture.name if capture is not None else None,
            recorded=capture.trades_written if capture is not None else 0,
            label="REPLAY" if run.venue.is_replay else None,
        )
