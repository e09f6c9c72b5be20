"""A capture as the sink of a run."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from k2cli.capture.pending import MAX_PENDING_BYTES, PendingJournal
from k2cli.capture.rotation import Rotation, parse_rotation
from k2cli.capture.writer import FSYNC_SECONDS, CaptureFile
from k2cli.completeness.doubts import MOST_AHEAD_IDS
from k2cli.completeness.ledger import Ledger
from k2cli.errors import OutputError

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Coroutine

    from structlog.typing import FilteringBoundLogger

    from k2cli.completeness.id_ranges import IdRange
    from k2cli.trade import TradeBatch

CHECK_SECONDS = 1.0
"""How often the file is checked, and synced if that is due."""

_MOST_NAMED = 20
# A lone trade is flushed at once; what comes so soon after it is flushed together.
_TOGETHER_SECONDS = 0.0005
# How long the journal is rewritten each time.
_TIDY_SECONDS = 0.1
# Trades that are kept while the disk is waited for; then the stream is held back.
_MOST_QUEUED = 10_000
# The manifest is written with every fsync, but no more often than this.
_STATE_SECONDS = 5.0
# A long file is compared with its manifest while the recording has begun already.
_PROVING_SECONDS = 3.0

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
        self._ledger = Ledger(())
        self.journal: PendingJournal | None = None
        try:
            if self._file.path is not None:
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
        self._trades_taken = 0
        self._synced_moves = 0
        self._journal_synced_seconds = 0.0
        self._stated_seconds = -_STATE_SECONDS
        self._stated_number = 0
        self._is_safe = True
        self._flushed_seconds = 0.0
        self._flushing: asyncio.Handle | None = None
        self._checking: asyncio.Task[None] | None = None
        self._proving: asyncio.Task[None] | None = None
        self._is_due = asyncio.Event()
        # Whoever has it works on the file in another thread.
        self._lock = asyncio.Lock()
        # What is done before the next trade is written, which waits in the queue.
        self._step: asyncio.Task[None] | None = None
        self._queue: deque[TradeBatch] = deque()
        self._queued = 0
        self._is_note_due = False
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
    def trades_unwritten(self) -> int:
        """Trades taken since it was opened that are not written."""
        return self._trades_taken - self._file.trades_written

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
        self._ledger = ledger
        if self._file.platform_sequence:
            await self._resume(ledger)
        inventory = self._file.inventory
        inventory.begin(ledger.trade_filter, self._file.platform_sequence + 1)
        await self._prove()
        self._file.begin()
        if self._file.is_stated_anew:
            await self._proving_done()
            await self._state(sync=False)
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
            async with self._lock:
                await self._resume(ledger)

    def write(self, batch: TradeBatch) -> Awaitable[None] | None:
        """Write trades; they are flushed at once, or with what comes together.

        While the disk is waited for, some are kept; then whoever brings more waits.

        Raises:
            OutputError: If the file cannot be written any more.
        """
        self._trades_taken += len(batch)
        if self._step is None:
            self._write(batch)
            return None
        self._queue.append(batch)
        self._queued += len(batch)
        return self._steps_done() if self._queued > _MOST_QUEUED else None

    def _write(self, batch: TradeBatch) -> None:
        file = self._file
        number = file.platform_sequence + 1
        if file.inventory.note_resets(batch, self._ledger, number):
            self._put_back(batch)
            self._note()
            return
        end = file.append(batch)
        if end < len(batch):
            self._put_back(batch.part(end, len(batch)))
            self._begin_step(self._rotate())
            return
        now_seconds = time.monotonic()
        if (
            now_seconds - self._flushed_seconds < _TOGETHER_SECONDS
            or file.flush_after_seconds
        ):
            self._flush_soon()
        elif self._flushing is None:
            self._flushed_seconds = now_seconds
            self._flush()

    def _put_back(self, batch: TradeBatch) -> None:
        self._queue.appendleft(batch)
        self._queued += len(batch)

    def _note(self) -> None:
        """Let the manifest be written before anything else is."""
        self._is_note_due = True
        if self._step is None:
            self._begin_step(self._write_note())

    def _begin_step(self, step: Coroutine[None, None, None]) -> None:
        self._step = asyncio.ensure_future(self._do_step(step))

    async def _do_step(self, step: Coroutine[None, None, None]) -> None:
        """Do something that takes a while, then write what has come meanwhile."""
        try:
            await step
            self._step = None
            if self._is_note_due:
                self._begin_step(self._write_note())
            while self._queue and self._step is None:
                batch = self._queue.popleft()
                self._queued -= len(batch)
                self._write(batch)
        except OutputError as exc:
            self._step = None
            self._queue.clear()
            self.on_failure(exc)

    async def _steps_done(self) -> None:
        while self._step is not None:
            await asyncio.wait([self._step])

    async def _rotate(self) -> None:
        await self._proving_done()
        async with self._lock:
            self._update()
            await asyncio.to_thread(self._file.rotate)
            await asyncio.to_thread(self._file.state, 0, self._file.platform_sequence)

    async def _write_note(self) -> None:
        self._is_note_due = False
        await self._proving_done()
        await self._state(sync=self._fsync_seconds is not None)

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

        Args:
            symbol: Their symbol; the ledger has them.
            ids: Where a jump over them would not tell, or not be believed, they are
                noted at once.
        """
        del symbol
        is_told = self._ledger.trade_filter.takes_all and ids.ids <= MOST_AHEAD_IDS
        if self._file.path is not None and not is_told:
            self._note()

    async def flush(self) -> None:
        """Hand all that was written to the system; with ``fsync_seconds=0``, sync it.

        Raises:
            OutputError: If it is not taken.
        """
        await self._steps_done()
        self._flush()
        if self._fsync_seconds == 0:
            async with self._lock:
                await asyncio.to_thread(self._file.sync, time.monotonic())

    async def close(self) -> None:
        """Flush and close; a file created here that got no trade is removed.

        Raises:
            OutputError: If the last lines could not be written.
        """
        if self._flushing is not None:
            self._flushing.cancel()
        has_proven = self._proving is None or self._proving.done()
        if not has_proven:
            self._file.hurry()
        try:
            for task in (self._checking, self._proving):
                if task is not None:
                    if task is self._checking:
                        task.cancel()
                    await asyncio.wait([task])
            await self._steps_done()
        finally:
            try:
                await asyncio.to_thread(self._close_files)
            finally:
                if self.journal is not None:
                    # Unless the capture has all, the journal keeps what it had.
                    self.journal.close(keep=not self._is_safe)

    async def _prove(self) -> None:
        """Compare the file with its manifest; if that takes long, go on meanwhile."""
        self._proving = asyncio.create_task(asyncio.to_thread(self._file.prove))
        await asyncio.wait([self._proving], timeout=_PROVING_SECONDS)
        if self._proving.done():
            self._proving.result()
        else:
            self._proving.add_done_callback(self._has_proven)

    def _has_proven(self, proving: asyncio.Task[None]) -> None:
        if not proving.cancelled() and isinstance(
            exc := proving.exception(), Exception
        ):
            self.on_failure(exc)

    async def _proving_done(self) -> None:
        if self._proving is not None:
            await asyncio.wait([self._proving])

    async def _resume(self, ledger: Ledger) -> None:
        symbols = list(ledger.trackers)
        last_trades = await asyncio.to_thread(self._file.last_trades, symbols)
        for symbol, last in last_trades.items():
            tracker = ledger.trackers[symbol]
            tracker.resume(*last)
            state = self._file.inventory.manifest.symbols[symbol]
            tracker.unnamed = state.missing_unnamed
            tracker.remember_lost(state.missing, is_exact=bool(state.resets))
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

    async def _store(self, now_seconds: float) -> None:
        """Sync what is due: the capture with its manifest, and the journal."""
        journal = self.journal
        if journal is not None and journal.size_bytes:
            # What has left the journal is not safe before it is in the file.
            self._file.flush()
        moves, left = (journal.moves, journal.left) if journal is not None else (0, 0)
        is_written = not self._queue
        syncs = self._file.sync_due(now_seconds)
        number = self._file.platform_sequence
        is_stated = (
            now_seconds - self._stated_seconds < _STATE_SECONDS
            or number == self._stated_number
            or not (syncs or self._fsync_seconds is None)
        )
        has_proven = self._proving is not None and self._proving.done()
        if self._file.is_stating:
            async with self._lock:
                if syncs:
                    await asyncio.to_thread(self._file.sync, now_seconds)
                await asyncio.to_thread(self._file.go_on_stating)
        elif has_proven and not is_stated:
            self._stated_seconds, self._stated_number = now_seconds, number
            await self._state(sync=syncs, at_once=False)
        elif syncs:
            async with self._lock:
                await asyncio.to_thread(self._file.sync, now_seconds)
        if syncs and is_written and journal is not None:
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

    async def _state(self, *, sync: bool, at_once: bool = True) -> None:
        """Write the manifest up to what is flushed now."""
        async with self._lock:
            size_bytes, number = self._update()
            if sync:
                await asyncio.to_thread(self._file.sync, time.monotonic())
            await asyncio.to_thread(
                self._file.state, size_bytes, number, at_once=at_once
            )

    def _update(self) -> tuple[int, int]:
        """Flush; bring what is known of the capture up to date with that."""
        self._file.flush()
        self._file.inventory.update(self._ledger, self.journal, self._queue)
        return self._file.size_bytes, self._file.platform_sequence

    def _flush_now(self) -> None:
        self._flushing = None
        try:
            self._flush()
        except OutputError as exc:
            self.on_failure(exc)

    def _flush(self) -> None:
        # The capture first: what has left the journal must not be in neither of them.
        self._file.flush()
        if self._fsync_seconds == 0:
            self._is_due.set()
        if self.journal is not None:
            self.journal.flush()
            if self._fsync_seconds is None and not self._queue:
                self.journal.trim(self.journal.left)

    def _close_files(self) -> None:
        self._is_safe = False
        try:
            if self._proving is not None and self._file.is_writable:
                point = self._update()
                if self._fsync_seconds is not None:
                    self._file.sync(time.monotonic())
                self._file.state(*point, at_once=False)
        finally:
            self._file.close()
        if self.journal is not None:
            self.journal.flush()
            if self._fsync_seconds is not None:
                self.journal.sync()
        self._is_safe = True

    async def _check_now_and_then(self) -> None:
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_SECONDS):
                        await self._is_due.wait()
                self._is_due.clear()
                async with self._lock:
                    self._file.check()
                await self._store(time.monotonic())
                await self._tidy_journal()
                self.checked_seconds = time.monotonic()
        except OutputError as exc:
            self.on_failure(exc)
