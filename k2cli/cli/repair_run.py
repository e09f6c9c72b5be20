"""A repair from start to end: read, plan, fetch, merge, prove."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from rich.console import Console
from rich.text import Text

from k2cli.binance.archive import DATA_URL, DailyArchives
from k2cli.binance.history import BinanceHistory
from k2cli.binance.streams import is_binance_com
from k2cli.binance.wire import BINANCE
from k2cli.capture.repair import CaptureRepair
from k2cli.capture.report import Conclusion
from k2cli.cli.exit_status import ExitStatus
from k2cli.cli.stop import Stop
from k2cli.completeness.repair_plan import plan_repair
from k2cli.display.progress import Repairing, live_line, repairing_line
from k2cli.display.reports import repair_lines, repair_plan_lines, verdict_lines
from k2cli.engine.repair import RepairFetcher
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.live import Live
    from structlog.typing import FilteringBoundLogger

    from k2cli.capture.merging import Outcome
    from k2cli.capture.reader import CaptureSource
    from k2cli.cli.log import LogOutput
    from k2cli.completeness.repair_plan import RepairPlan
    from k2cli.config import BinanceConfig
    from k2cli.trade import TradeBatch

_REDRAWN_EVERY_SECONDS = 0.25
_LOGGED_EVERY_SECONDS = 30.0
_LEAST_SYMBOLS = 10
_MINUTES_PER_ARCHIVE = 0.5
_DAY_SECONDS = 86_400

log: FilteringBoundLogger = structlog.get_logger()


class _Stopped(Exception):
    """The user has asked for the end."""


class RepairRun:
    """One run of ``k2 repair``.

    Args:
        files: The capture.
        config: Where its exchange is.
        log_output: Where log lines go.
        dry_run: Whether to stop after the plan.
        give_up: Whether to merge pending trades behind gaps that stay.
        share: How much of the request weight may be used.
        data_url: Where daily archives are, if that was said.
    """

    def __init__(
        self,
        files: Sequence[Path],
        config: BinanceConfig,
        log_output: LogOutput,
        *,
        dry_run: bool,
        give_up: bool,
        share: float,
        data_url: str | None,
    ) -> None:
        self._files = files
        self._config = config
        self._log_output = log_output
        self._dry_run = dry_run
        self._give_up = give_up
        self._share = share
        self._data_url = data_url
        self._console = Console(stderr=True)
        self._stopping = threading.Event()
        self._work: asyncio.Task[int] | None = None
        self._activity = "reading"
        self._fetched = self._wanted = 0
        self._fetcher: RepairFetcher | None = None
        self._plan: RepairPlan | None = None
        self._requests_per_minute = 1.0

    async def run(self) -> int:
        """Repair; return the exit status.

        Raises:
            K2Error: If something went wrong.
        """
        with Stop(self._stop).on_signals():
            self._work = asyncio.create_task(self._repair())
            try:
                return await self._work
            except (_Stopped, asyncio.CancelledError):
                if not self._stopping.is_set():
                    raise
                log.warning(
                    "Stopped: what was fetched is kept. Start again to continue"
                )
                return ExitStatus.INCOMPLETE

    def _stop(self) -> None:
        self._stopping.set()
        # While files are read or written, a thread sees it by itself.
        if self._fetcher is not None and self._work is not None:
            self._work.cancel()

    def _check(self) -> None:
        if self._stopping.is_set():
            raise _Stopped

    def _followed(self, source: CaptureSource) -> Iterator[bytes]:
        for chunk in source.chunks():
            self._check()
            yield chunk

    async def _repair(self) -> int:
        repair = CaptureRepair(self._files)
        try:
            with _Progress(self, self._console, self._log_output):
                await asyncio.to_thread(repair.scan, self._followed)
            plan = self._make_plan(repair)
            if not repair.is_untouched or self._dry_run:
                self._print(repair_plan_lines(self._plan_as_data(plan, repair)))
            if self._dry_run:
                whole = repair.is_untouched
                return ExitStatus.DONE if whole else ExitStatus.INCOMPLETE
            outcome, fetcher = await self._fetch_and_merge(repair, plan)
            self._activity = "verifying"
            with _Progress(self, self._console, self._log_output):
                report = await asyncio.to_thread(repair.prove, outcome, self._followed)
            self._print_report(outcome, report.to_dict())
            if report.conclusion is Conclusion.WHOLE:
                return ExitStatus.DONE
            if fetcher is not None and fetcher.error is not None:
                raise fetcher.error
            return ExitStatus.INCOMPLETE
        finally:
            repair.close()

    async def _fetch_and_merge(
        self, repair: CaptureRepair, plan: RepairPlan
    ) -> tuple[Outcome | None, RepairFetcher | None]:
        if repair.is_untouched:
            return None, None
        fetcher = None
        absent = {}
        with _Progress(self, self._console, self._log_output):
            if plan.holes:
                fetcher = self._fetcher = self._make_fetcher(repair)
                try:
                    await fetcher.fetch(plan)
                finally:
                    self._fetcher = None
                absent = fetcher.absent
            self._activity = "writing"
            self._check()
            outcome = await asyncio.to_thread(
                repair.apply, absent, give_up=self._give_up, check=self._check
            )
        return outcome, fetcher

    def _make_plan(self, repair: CaptureRepair) -> RepairPlan:
        today = int(time.time() // _DAY_SECONDS)
        plan = plan_repair(
            repair.holes, today, with_archives=self._archives_url(repair) is not None
        )
        self._plan, self._wanted = plan, plan.ids
        return plan

    def _archives_url(self, repair: CaptureRepair) -> str | None:
        """Return where archives are; Binance's are no help with another exchange."""
        if self._data_url is not None:
            return self._data_url
        is_real = repair.exchange == BINANCE and is_binance_com(self._config.api_url)
        return DATA_URL if is_real else None

    def _make_fetcher(self, repair: CaptureRepair) -> RepairFetcher:
        def take(batch: TradeBatch) -> None:
            self._fetched += repair.add(batch)

        pairs = {
            symbol: (each.base_asset, each.quote_asset)
            for symbol, each in repair.instruments.items()
        }
        history = BinanceHistory(
            self._config.api_url,
            pairs,
            fallback_urls=self._config.api_fallbacks,
            open_timeout_seconds=self._config.open_timeout,
            share=self._share,
        )
        url = self._archives_url(repair)
        archives = DailyArchives(url, repair.path.parent) if url is not None else None
        return RepairFetcher(repair.wanted, repair.instruments, history, archives, take)

    def _plan_as_data(self, plan: RepairPlan, repair: CaptureRepair) -> dict[str, Any]:
        per_minute = BinanceHistory("", {}, share=self._share).requests_per_minute
        self._requests_per_minute = per_minute
        minutes = plan.requests / per_minute
        minutes += len(plan.archives) * _MINUTES_PER_ARCHIVE
        first = datetime(1970, 1, 1, tzinfo=UTC)
        return {
            "ranges": [hole._asdict() for hole in plan.holes],
            "trades": plan.ids,
            "archives": [
                {"symbol": symbol, "date": f"{first + timedelta(days=day):%Y-%m-%d}"}
                for symbol, day in plan.archives
            ],
            "requests": plan.requests,
            "minutes": math.ceil(minutes),
            "pending": repair.pending,
        }

    def progress(self) -> Repairing:
        """Return how far it has come."""
        fetcher, plan = self._fetcher, self._plan
        left_seconds = None
        if fetcher is not None and plan is not None:
            left = max(plan.requests - fetcher.requests, 0)
            left_seconds = left / self._requests_per_minute * 60
        return Repairing(
            name=str(self._files[0]),
            activity=fetcher.activity if fetcher is not None else self._activity,
            fetched=self._fetched,
            wanted=self._wanted,
            left_seconds=left_seconds,
        )

    def _print_report(self, outcome: Outcome | None, report: dict[str, Any]) -> None:
        most = max(_LEAST_SYMBOLS, self._console.height // 2)
        lines = verdict_lines(report, most=most if self._console.is_terminal else None)
        if outcome is not None:
            lines += repair_lines(
                {
                    "filled": sum(outcome.filled.values()),
                    "merged": sum(outcome.merged.values()),
                    "files": outcome.files,
                    "renumbered_from": outcome.renumbered_from,
                }
            )
        self._print(lines)

    def _print(self, lines: list[Text]) -> None:
        with suppress(OSError):
            for line in lines:
                self._console.print(line, soft_wrap=not self._console.is_terminal)


class _Progress:
    """A line that stays in place on a terminal, a log line now and then elsewhere."""

    def __init__(self, run: RepairRun, console: Console, log_output: LogOutput) -> None:
        self._run = run
        self._console = console
        self._log_output = log_output
        self._live: Live | None = None
        self._closing = ExitStack()
        self._drawing: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = live_line(self._console)
            self._closing.enter_context(self._log_output.diverted(self._print))
            self._live.start()
            self._closing.callback(self._live.stop)
        self._drawing = asyncio.create_task(self._draw_again_and_again())

    def __exit__(self, *_: object) -> None:
        if self._drawing is not None:
            self._drawing.cancel()
        with suppress(OSError):  # the terminal is gone
            self._closing.close()

    def _print(self, line: str) -> None:
        self._console.print(Text.from_ansi(line))

    async def _draw_again_and_again(self) -> None:
        with suppress(OSError):
            while True:
                await asyncio.sleep(
                    _REDRAWN_EVERY_SECONDS if self._live else _LOGGED_EVERY_SECONDS
                )
                progress = self._run.progress()
                if self._live is not None:
                    line = repairing_line(progress, self._console.width - 1)
                    self._live.update(line, refresh=True)
                    continue
                left = progress.left_seconds
                log.info(
                    "Repairing",
                    activity=printable(progress.activity),
                    fetched=progress.fetched,
                    wanted=progress.wanted,
                    **({"left_seconds": round(left)} if left is not None else {}),
                )
