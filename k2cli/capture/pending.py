"""The pending journal: trades that have come, behind a gap that is still open.

Beside ``trades.jsonl`` it is ``.trades.jsonl.pending``: whole records, a line each, in
the order in which they came, ``platform_sequence`` null. What is in it is on disk, and
goes into the capture, in order, when the gap before it closes.

Memory holds a number per symbol. When most of the journal has left it, what still waits
is copied to a new file, bit by bit, which then replaces it.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from k2cli.capture.disk import DiskFile, sync_folder
from k2cli.capture.pending_index import PendingIndex, Place
from k2cli.capture.schema import violations
from k2cli.errors import OutputError, printable
from k2cli.text import is_name
from k2cli.trade import BACKFILL, Instrument, TradeBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

MAX_PENDING_BYTES = 10 * 10**9
"""Size of a journal at which the oldest gap is given up."""

# Lines are handed to the system when they amount to this, and whenever flush() is
# called.
_BUFFER_BYTES = 64 * 1024
# A line is a record of some 550 bytes; what is much longer is none.
_MOST_LINE_BYTES = 2**16
# Lines that are no further apart are read together.
_NEAR_BYTES = 2**20

# Above every id, which SQLite holds in 64 bits with a sign.
_NO_ID = 2**63 - 1
# A journal is rewritten when so much of it waits no more, and half of it.
_LEAST_DEAD_BYTES = 16 * 2**20
# What is copied in one turn of the event loop, and what may be left for the last one.
_COPIED_AT_ONCE = 1000
_LEFT_AT_LAST_BYTES = 2**20


class PendingJournal:
    """Trades that wait for a gap before them, on disk.

    Args:
        path: The capture; the journal is a hidden file beside it. ``None`` for a
            journal that ends with the process, where there is no next run.
        exchange: The capture's; trades of another one are refused. Empty for any.
        max_bytes: How much may wait.
        on_push: Called when there is something to flush.

    Attributes:
        trades: How many wait, of all symbols.
        persists: Whether a later run can continue with it.
        moves: Counts every trade that comes or leaves.
        left: Counts those that have left; see ``trim``.
        name: The journal's name, fit for printing.

    Raises:
        OutputError: If it is no regular file.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        exchange: str = "",
        max_bytes: int = MAX_PENDING_BYTES,
        on_push: Callable[[], None] = lambda: None,
    ) -> None:
        self.trades = 0
        self.moves = 0
        self.left = 0
        self.persists = path is not None
        self.name = "the pending trades"
        self._exchange = exchange
        self._max_bytes = max_bytes
        self._on_push = on_push
        self._waiting_bytes = 0
        self._first: dict[str, tuple[int, int]] = {}
        self._buffer = bytearray()
        self._recovered = (0, 0)
        self._is_recovering = False
        self._disk: DiskFile | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._path = None if path is None else journal_path(path)
        self._places: PendingIndex | None = None
        # While it is rewritten: the new file, and how far the old one is copied.
        self._copy: DiskFile | None = None
        self._copied_to = 0
        self._least_dead_bytes = _LEAST_DEAD_BYTES
        if self._path is not None:
            self.name = printable(str(self._path))
            there = self._path.is_symlink() or self._path.exists()
            if there and (self._path.is_symlink() or not self._path.is_file()):
                raise OutputError(
                    f"{self.name} is no regular file", "Move it away and start again"
                )

    @property
    def size_bytes(self) -> int:
        """Its size, with what is still to be flushed and what has left it already."""
        flushed_bytes = self._disk.size_bytes if self._disk is not None else 0
        return flushed_bytes + len(self._buffer)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._first

    @property
    def is_full(self) -> bool:
        """Whether no more should wait: a gap is to be given up."""
        return self._waiting_bytes >= self._max_bytes

    def first(self, symbol: str) -> tuple[int, int] | None:
        """Return resets and id of the symbol's first trade; ``None`` if none waits."""
        return self._first.get(symbol)

    def recover(self) -> Iterator[TradeBatch]:
        """Read what an earlier run left, in its order; a torn last line is cut away.

        A trade that still waits is to be handed to ``push_again`` before the next one
        is taken.

        Raises:
            OutputError: If the journal cannot be read, or a line is no record.
        """
        if self._path is None or not self._path.exists():
            return
        disk = self._open()
        _copy_path(self._path).unlink(missing_ok=True)
        self._is_recovering = True
        whole_bytes = 0
        # By another descriptor: what is taken out meanwhile is read by the journal's.
        with self._path.open("rb") as file:
            while True:
                line = file.readline(_MOST_LINE_BYTES)
                if not line.endswith(b"\n"):
                    break
                try:
                    trade = _checked_batch_of_line(line)
                except (ValueError, KeyError, TypeError) as exc:
                    raise OutputError(
                        f"{self.name} is damaged behind its first {whole_bytes:,} "
                        "bytes",
                        "Move it away and start again: what it held is fetched anew",
                    ) from exc
                if self._exchange and trade.exchange != self._exchange:
                    raise OutputError(
                        f"{self.name} holds trades of {printable(trade.exchange)}, the "
                        f"capture those of {self._exchange}",
                        "Move one of them away",
                    )
                self._recovered = (whole_bytes, len(line))
                yield trade
                whole_bytes += len(line)
        disk.cut(whole_bytes)
        self._is_recovering = False

    def lowest_ids(self) -> dict[str, int]:
        """Return the lowest id of each symbol that an earlier run left; in any thread.

        A line that is no record is left out: ``recover`` finds it.
        """
        lowest: dict[str, int] = {}
        for symbol, trade_id in _entries(self._path):
            lowest[symbol] = min(trade_id, lowest.get(symbol, trade_id))
        return lowest

    def push_again(self, trade: TradeBatch, resets: int = 0) -> None:
        """Let a trade that ``recover`` has just returned wait on."""
        offset, length = self._recovered
        self._add(trade, offset, [length], resets)

    def push(self, batch: TradeBatch, resets: int = 0) -> None:
        """Let trades wait.

        Args:
            batch: Of any symbols.
            resets: How often the exchange had begun to count the symbol's trades anew.

        Raises:
            OutputError: If it cannot be written.
        """
        self._open()
        lines = [line.encode() for line in batch.json_lines()]
        self._add(batch, self.size_bytes, list(map(len, lines)), resets)
        self._buffer += b"".join(lines)
        self.moves += len(lines)
        self._on_push()
        if len(self._buffer) >= _BUFFER_BYTES:
            self.flush()

    def pop(
        self, symbol: str, before_id: int | None, resets: int = 0, most: int = 256
    ) -> list[TradeBatch]:
        """Take out the symbol's trades with the lowest ids.

        Args:
            symbol: The symbol.
            before_id: Only lower ids, so that nothing is missing before them; any if
                ``None``.
            resets: Which count that id is of; trades of an earlier one go before it.
            most: How many at most.

        Returns:
            The trades by ascending id, those together that came together.
        """
        bound = (resets, before_id) if before_id is not None else (_NO_ID, 0)
        # One more than is taken: the next one is the first then.
        found = self._index.first(symbol, most + 1)
        taken = [place for place in found[:most] if place.order < bound]
        if not taken:
            return []
        self.flush()
        lines = self._lines(taken)
        self._waiting_bytes -= sum(map(len, lines))
        self._index.remove_to(taken[-1])
        self.trades -= len(taken)
        self.moves += len(taken)
        self.left += len(taken)
        if len(taken) < len(found):
            self._first[symbol] = found[len(taken)].order
        else:
            del self._first[symbol]
        return _batches_of(lines)

    def flush(self) -> None:
        """Hand what was written to the system.

        Raises:
            OutputError: If it does not take it.
        """
        if self._buffer:
            text = bytes(self._buffer)
            self._buffer.clear()
            self._open().append(text, line_wise=True)

    def sync(self) -> None:
        """Wait until what was flushed would outlast a power cut; in any thread.

        Raises:
            OutputError: If the disk failed.
        """
        for disk in (self._disk, self._copy):
            if disk is not None:
                disk.sync()

    def tidy(self) -> bool:
        """Copy some of what waits, if most of the file does not; call it often.

        ``trim`` lets the copy take the place of the journal when it is complete.

        Returns:
            Whether there is more to copy.
        """
        # An open file cannot be replaced on Windows.
        if self._disk is None or self._path is None or sys.platform == "win32":
            return False
        if self._is_recovering:
            return False
        dead_bytes = self.size_bytes - self._waiting_bytes
        try:
            if self._copy is None:
                if dead_bytes < max(self._least_dead_bytes, self._waiting_bytes):
                    return False
                self._begin_copy(self._path)
            if self._is_copied:
                return False
            self._copy_some(_COPIED_AT_ONCE)
        except OutputError:
            # The journal is as good as it was; there may be room some time later.
            self._abandon_copy()
            self._least_dead_bytes = 2 * dead_bytes
            return False
        return True

    def trim(self, left: int, *, sync: bool = False) -> None:
        """Take space back: all if nothing waits, or what a copy does not have.

        Args:
            left: ``left`` at a moment when all that had left the journal was safe in
                the capture. If it has changed since, nothing is done.
            sync: Whether a copy is to outlast a power cut before it is relied on.

        Raises:
            OutputError: If it cannot be written.
        """
        if left != self.left or self._disk is None or self._is_recovering:
            return
        if not self.trades:
            self._abandon_copy()
            self._buffer.clear()
            self._disk.cut(0)
        elif self._copy is not None and self._is_copied:
            self._end_copy(self._copy, sync=sync)

    def discard(self) -> None:
        """Throw away what is in it: the capture is overwritten."""
        if self._path is not None and self._path.exists():
            self._open().cut(0)

    def close(self, *, keep: bool = False) -> None:
        """Flush and close; a journal in which nothing waits is removed.

        One that ``recover`` could not read to its end stays as it is.

        Args:
            keep: Whether to keep all that is in it, as what has left it may not be
                safe in the capture.

        Raises:
            OutputError: If the last lines could not be written.
        """
        self._abandon_copy()
        if self._places is not None:
            self._places.close()
        disk, self._disk = self._disk, None
        if disk is None:
            return
        try:
            keep = keep or self._is_recovering
            if self.persists and (self.trades or keep):
                disk.append(bytes(self._buffer), line_wise=True)
            else:
                disk.cut(0)
        finally:
            self._buffer.clear()
            disk.close(remove_if_empty=True)
            if self._scratch is not None:
                self._scratch.cleanup()

    @property
    def _index(self) -> PendingIndex:
        if self._places is None:
            # Most runs have no gap, and need none.
            self._places = PendingIndex()
        return self._places

    @property
    def _is_copied(self) -> bool:
        """Whether little enough is left to be copied at once."""
        return self.size_bytes - self._copied_to <= _LEFT_AT_LAST_BYTES

    def _begin_copy(self, path: Path) -> None:
        self._copy = DiskFile(_copy_path(path), self.name, own=True)
        self._copy.cut(0)
        self._copied_to = 0
        self._index.begin_move()

    def _copy_some(self, most: int | None) -> None:
        """Copy the next trades that wait; all that are left if ``most`` is ``None``."""
        assert self._copy is not None  # noqa: S101 - for the type checker
        assert self._disk is not None  # noqa: S101 - likewise
        self.flush()
        places = self._index.behind(self._copied_to, -1 if most is None else most)
        lines = self._lines(places)
        offset, moved = self._copy.size_bytes, []
        for place in places:
            moved.append(place._replace(offset=offset))
            offset += place.length
        self._copy.append(b"".join(lines), line_wise=True)
        self._index.note_moved(moved)
        is_end = most is None or len(places) < most
        last = (
            self._disk.size_bytes if is_end else places[-1].offset + places[-1].length
        )
        self._copied_to = last

    def _end_copy(self, copy: DiskFile, *, sync: bool) -> None:
        assert self._disk is not None  # noqa: S101 - for the type checker
        assert self._path is not None  # noqa: S101 - likewise
        self._copy_some(None)
        if sync:
            copy.sync()
        copy.rename(self._path)
        if sync:
            sync_folder(self._path)
        self._disk.close()
        self._disk, self._copy = copy, None
        self._index.end_move()

    def _abandon_copy(self) -> None:
        if self._copy is not None:
            self._copy.cut(0)
            self._copy.close(remove_if_empty=True)
            self._copy = None
            self._index.abandon_move()

    def _open(self) -> DiskFile:
        if self._disk is None:
            path = self._path
            if path is None:
                self._scratch = tempfile.TemporaryDirectory(prefix="k2-")
                path = Path(self._scratch.name) / "pending"
            self._disk = DiskFile(path, self.name, own=True)
        return self._disk

    def _add(
        self, batch: TradeBatch, offset: int, lengths: Sequence[int], resets: int
    ) -> None:
        entries = []
        for symbol, digits, length in zip(
            batch.symbols, batch.trade_ids, lengths, strict=True
        ):
            trade_id = int(digits)
            entries.append(Place(offset, length, symbol, resets, trade_id))
            offset += length
            first = self._first.get(symbol)
            if first is None or (resets, trade_id) < first:
                self._first[symbol] = (resets, trade_id)
        self._index.add(entries)
        self._waiting_bytes += sum(lengths)
        self.trades += len(entries)

    def _lines(self, places: list[Place]) -> list[bytes]:
        """Read lines, near ones together."""
        if not places:
            return []
        begin = min(place.offset for place in places)
        end = max(place.offset + place.length for place in places)
        with self._open().reader() as file:
            if end - begin <= _NEAR_BYTES:
                file.seek(begin)
                text = file.read(end - begin)
                starts = [place.offset - begin for place in places]
                return [
                    text[start : start + place.length]
                    for start, place in zip(starts, places, strict=True)
                ]
            lines = []
            for place in places:
                file.seek(place.offset)
                lines.append(file.read(place.length))
            return lines


def journal_path(capture: Path) -> Path:
    """Return where the journal of a capture is."""
    return capture.with_name(f".{capture.name}.pending")


def _copy_path(journal: Path) -> Path:
    """Return where a journal is rewritten; what a crash leaves there counts nothing."""
    return journal.with_name(f"{journal.name}.new")


def pending_ids(capture: Path) -> dict[str, list[int]]:
    """Return what the journal of a capture holds, by symbol, whoever writes it now.

    Some of it may be in the capture by now. A line that is no record is left out.
    """
    found: dict[str, list[int]] = {}
    for symbol, trade_id in _entries(journal_path(capture)):
        found.setdefault(symbol, []).append(trade_id)
    return found


def _entries(path: Path | None) -> Iterator[tuple[str, int]]:
    """Read symbol and id of each record in a journal."""
    if path is None or path.is_symlink() or not path.is_file():
        return
    with path.open("rb") as file:
        while line := file.readline(_MOST_LINE_BYTES):
            with suppress(ValueError, KeyError, TypeError):
                trade = _checked_batch_of_line(line)
                yield trade.symbols[0], int(trade.trade_ids[0])


def _checked_batch_of_line(line: bytes) -> TradeBatch:
    """Read a record of an earlier run: anybody may have written it."""
    record = orjson.loads(line)
    # Numbers are given when the trade goes into the capture.
    found = violations({**record, "platform_sequence": 1})
    names = record["symbol"], record["currency"], record["vendor_data"]["base_asset"]
    if found or not all(map(is_name, names)):
        raise ValueError("no record of a trade")
    return batch_of_line(line)


def batch_of_line(line: bytes) -> TradeBatch:
    """Read a record as a batch of one, with the values that it had when it came.

    Raises:
        ValueError: If it is no JSON.
        KeyError: If a key is missing.
        TypeError: If a value is of another type.
    """
    return _batch_of([orjson.loads(line)])


def _batches_of(lines: Iterable[bytes]) -> list[TradeBatch]:
    """Read records, those together that came together."""
    records = map(orjson.loads, lines)
    return [_batch_of(list(group)) for _, group in groupby(records, _arrival)]


def _arrival(record: dict[str, Any]) -> tuple[object, ...]:
    """Return what the records of a batch have in common."""
    source = record["vendor_data"].get("source")
    return record["ingestion_timestamp"], record["symbol"], source


def _batch_of(records: list[dict[str, Any]]) -> TradeBatch:
    """Make a batch of records of one symbol that came together."""
    record = records[0]
    vendor = [each["vendor_data"] for each in records]
    symbol, exchange = record["symbol"], record["exchange"]
    instrument = Instrument(
        symbol, exchange, vendor[0]["base_asset"], vendor[0]["quote_asset"]
    )
    is_backfill = vendor[0].get("source") == BACKFILL
    best_match = [each.get("is_best_match") for each in vendor]
    event_times = [each.get("event_time") for each in vendor]
    trade_times = [each["trade_time"] for each in vendor]
    times = {len(each or "") for each in (*event_times, *trade_times)}
    return TradeBatch(
        instruments={symbol: instrument},
        received_us=int(record["ingestion_timestamp"]),
        symbols=[symbol] * len(records),
        trade_ids=[str(int(each["source_sequence"])) for each in records],
        prices=[each["price"] for each in records],
        quantities=[each["quantity"] for each in records],
        trade_times=trade_times,
        event_times=event_times,
        buyer_is_maker=[each["is_buyer_maker"] for each in vendor],
        best_match=best_match,
        message_ids=[each["message_id"] for each in records],
        is_backfill=is_backfill,
        is_plain=instrument.is_plain
        and not is_backfill
        and None not in best_match
        and times == {16},
    )
