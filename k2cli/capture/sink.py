"""A capture as the sink of a run."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from k2cli.capture.missing import MissingRanges
from k2cli.capture.pending import MAX_PENDING_BYTES, PendingJournal
from k2cli.capture.rotation import Rotation, parse_rotation
from k2cli.capture.writer import FSYNC_SECONDS, CaptureFile
from k2cli.errors import OutputError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from k2cli.completeness.id_ranges import IdRange
    from k2cli.completeness.ledger import Ledger
    from k2cli.trade import TradeBatch

CHECK_SECONDS = 1.0
"""How often the file is checked, and synced if that is due."""

_MOST_NAMED = 20
# A lone trade is flushed at once; what comes so soon after it is flushed together.
_TOGETHER_SECONDS = 0.0005
# How long the journal is rewritten each time.
_TIDY_SECONDS = 0.1

log: FilteringBoundLogger = structlog.get_logger()


class CaptureSink:
    """Records trades to a file, whole and in order, and resumes one that exists.

    The file is opened and locked at once, so that what is wrong with it is known
    before anything is connected; it is changed only by ``open``.

    Args:
        path: The file; its folder must exist. One named .gz or .zst is compressed.
        overwrite: Replace an existing file instead of resuming it.
        rotation: When to continue in a new file: ``"100MB"``, ``"1h"`` …
        fsync_seconds: Seconds between fsyncs, which is what a power cut can lose;
            with 0, every flush syncs; with ``None``, nothing does.
        max_pending_bytes: How much may wait on disk for gaps to be filled; then the
            oldest gap is given up.

    Attributes:
        journal: Where trades wait for a gap before them, beside the capture; ``None``
            for a pipe or a device.
        in_order: Trades of a symbol come by ascending id.
        checked_seconds: When the disk last answered, by the monotonic clock; ``None``
            before ``open``.
        on_failure: Called when the file turns out not to be writable between calls;
            the next ``write`` raises the same.

    Raises:
        SettingsError: If ``rotation`` is neither size nor time, or the name asks for a
            compression that is not installed.
        OutputError: If the file cannot be written, is not a capture, or is being
            written by another k2.
    """

    in_order = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        rotation: str | Rotation | None = None,
        fsync_seconds: float | None = FSYNC_SECONDS,
        max_pending_bytes: int = MAX_PENDING_BYTES,
    ) -> None:
        if isinstance(rotation, str):
            rotation = parse_rotation(rotation)
        self._file = CaptureFile(
            Path(path),
            overwrite=overwrite,
            rotation=rotation,
            fsync_seconds=fsync_seconds,
        )
        self._fsync_seconds = fsync_seconds
        self._overwrites = overwrite
        self._missing: MissingRanges | None = None
        self.journal: PendingJournal | None = None
        try:
            if self._file.path is not None:
                self._missing = MissingRanges(self._file.path)
                self.journal = PendingJournal(
                    self._file.path,
                    exchange=self._file.exchange,
                    max_bytes=max_pending_bytes,
                    on_push=self._flush_soon,
                )
        except BaseException:
            self._file.close()
            raise
        self.checked_seconds: float | None = None
        self._synced_moves = 0
        self._journal_synced_seconds = 0.0
        self._is_safe = True
        self._flushed_seconds = 0.0
        self._flushing: asyncio.Handle | None = None
        self._checking: asyncio.Task[None] | None = None
        self.on_failure: Callable[[Exception], None] = lambda _: None

    @property
    def name(self) -> str:
        """The file's name, fit for printing."""
        return self._file.name

    @property
    def path(self) -> Path | None:
        """Where it is; ``None`` for a pipe or a device."""
        return self._file.path

    @property
    def trades_written(self) -> int:
        """Trades written since it was opened."""
        return self._file.trades_written

    @property
    def platform_sequence(self) -> int:
        """Of the record written last; 0 in an empty capture."""
        return self._file.platform_sequence

    @property
    def files(self) -> int:
        """How many files were written since it was opened: more than 1 if rotated."""
        return self._file.finished_files + 1

    @property
    def size_bytes(self) -> int:
        """Size of these files."""
        return self._file.finished_bytes + self._file.size_bytes

    async def open(self, symbols: object, ledger: Ledger) -> None:
        """Begin, or resume: tell the trackers where each symbol stopped.

        Args:
            symbols: Not needed: the ledger has them.
            ledger: With a tracker for each symbol.

        Raises:
            OutputError: If the capture cannot be read, or cannot be cut to what is
                whole in it.
        """
        del symbols
        if self._file.platform_sequence:
            await self._resume(ledger)
        self._file.begin()
        if not self._file.platform_sequence and self._missing is not None:
            self._missing.forget()
        if self._overwrites and self.journal is not None:
            self.journal.discard()
        await self._begin_with_journal(ledger)
        self.checked_seconds = time.monotonic()
        self._checking = asyncio.create_task(self._check_now_and_then())

    async def extend(self, ledger: Ledger) -> None:
        """Go on with further symbols where the capture left them, if it had them.

        Args:
            ledger: With trackers for these, and no others.

        Raises:
            OutputError: If the capture cannot be read.
        """
        if self._file.end.platform_sequence:
            await self._resume(ledger)

    def write(self, batch: TradeBatch) -> None:
        """Write trades; they are flushed at once, or with what comes together.

        Raises:
            OutputError: If the file cannot be written any more.
        """
        self._file.write(batch)
        now_seconds = time.monotonic()
        if (
            now_seconds - self._flushed_seconds < _TOGETHER_SECONDS
            or self._file.flush_after_seconds
        ):
            self._flush_soon()
        elif self._flushing is None:
            self._flushed_seconds = now_seconds
            self._flush()

    def _flush_soon(self) -> None:
        if self._flushing is None:
            # At the earliest after whatever else has arrived by now, so that what
            # comes together is written at once.
            loop = asyncio.get_running_loop()
            seconds = self._file.flush_after_seconds
            self._flushing = (
                loop.call_later(seconds, self._flush_now)
                if seconds
                else loop.call_soon(self._flush_now)
            )

    def lost(self, symbol: str, ids: IdRange) -> None:
        """Note ids that were given up, before anything behind them is written.

        Raises:
            OutputError: If they cannot be noted.
        """
        if self._missing is not None:
            self._missing.add(symbol, ids)

    async def flush(self) -> None:
        """Hand all that was written to the system; with ``fsync_seconds=0``, sync it.

        Raises:
            OutputError: If it is not taken.
        """
        self._flush()

    async def close(self) -> None:
        """Flush and close; a file created here that got no trade is removed.

        Raises:
            OutputError: If the last lines could not be written.
        """
        if self._flushing is not None:
            self._flushing.cancel()
        try:
            if self._checking is not None:
                self._checking.cancel()
                await asyncio.wait([self._checking])
        finally:
            try:
                await asyncio.to_thread(self._close_files)
            finally:
                if self.journal is not None:
                    # Unless the capture has all, the journal keeps what it had.
                    self.journal.close(keep=not self._is_safe)

    async def _resume(self, ledger: Ledger) -> None:
        symbols = list(ledger.trackers)
        last_trades = await asyncio.to_thread(self._file.last_trades, symbols)
        lost: dict[str, list[IdRange]] = {}
        if self._missing is not None:
            self._missing.drop_beyond({s: last[0] for s, last in last_trades.items()})
            lost = self._missing.read()
        for symbol in symbols:
            if symbol in last_trades:
                ledger.trackers[symbol].resume(*last_trades[symbol])
            ledger.trackers[symbol].remember_lost(lost.get(symbol, []))
        new = [symbol for symbol in symbols if symbol not in last_trades]
        if new:
            log.info(
                "Symbols that the capture does not have yet", symbols=new[:_MOST_NAMED]
            )

    async def _begin_with_journal(self, ledger: Ledger) -> None:
        """Let symbols that only the journal has begin with their lowest id there.

        They wait in the order in which they came, which may be another one.
        """
        new = [one for one in ledger.trackers.items() if one[1].last_id is None]
        if self.journal is None or not new:
            return
        lowest = await asyncio.to_thread(self.journal.lowest_ids)
        for symbol, tracker in new:
            if symbol in lowest:
                tracker.resume(lowest[symbol] - 1, 0)

    async def _sync(self, now_seconds: float) -> None:
        """Sync what is due: the capture, and the journal if it has got anything."""
        journal = self.journal
        moves, left = (journal.moves, journal.left) if journal is not None else (0, 0)
        if self._file.sync_due(now_seconds):
            await asyncio.to_thread(self._file.sync, now_seconds)
            if journal is not None:
                journal.trim(left, sync=True)
        if (
            journal is not None
            and self._fsync_seconds is not None
            and moves != self._synced_moves
            and now_seconds - self._journal_synced_seconds >= self._fsync_seconds
        ):
            self._synced_moves, self._journal_synced_seconds = moves, now_seconds
            await asyncio.to_thread(journal.sync)

    async def _tidy_journal(self) -> None:
        """Rewrite the journal, if that is due, for some of the time."""
        until_seconds = time.monotonic() + _TIDY_SECONDS
        while self.journal is not None and self.journal.tidy():
            if time.monotonic() >= until_seconds:
                return
            # Others have their turn between.
            await asyncio.sleep(0)

    def _flush_now(self) -> None:
        self._flushing = None
        try:
            self._flush()
        except OutputError as exc:
            self.on_failure(exc)

    def _flush(self) -> None:
        # The capture first: what has left the journal must not be in neither of them.
        self._file.flush()
        if self.journal is not None:
            self.journal.flush()
            if not self._fsync_seconds:
                # Either what was flushed is synced by now, or nothing ever is.
                sync = self._fsync_seconds is not None
                self.journal.trim(self.journal.left, sync=sync)

    def _close_files(self) -> None:
        self._is_safe = False
        self._file.close()
        if self.journal is not None:
            self.journal.flush()
            if self._fsync_seconds is not None:
                self.journal.sync()
        self._is_safe = True

    async def _check_now_and_then(self) -> None:
        try:
            while True:
                await asyncio.sleep(CHECK_SECONDS)
                self._file.check()
                await self._sync(time.monotonic())
                await self._tidy_journal()
                self.checked_seconds = time.monotonic()
        except OutputError as exc:
            self.on_failure(exc)
