"""What a repair has at hand: trades that it has fetched, and those that are pending.

Fetched trades go to ``.trades.jsonl.repair`` beside the capture first, whole records, a
line each, so that a repair that was cut off continues where it was. Where each trade
stands is kept in a temporary SQLite database, so that memory holds none of them.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from k2cli.capture.disk import DiskFile
from k2cli.capture.pending import batch_of_line, journal_path
from k2cli.errors import OutputError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from k2cli.trade import TradeBatch

_FETCHED, _PENDING = 0, 1
_BUFFER_BYTES = 64 * 1024
# A line is a record of some 550 bytes; what is much longer is none.
_MOST_LINE_BYTES = 2**16
_ROWS_AT_ONCE = 1000
_TABLE = """
CREATE TABLE trades (
    symbol TEXT, trade_id INTEGER, time_us INTEGER,
    source INTEGER, offset INTEGER, length INTEGER,
    PRIMARY KEY (symbol, trade_id)
) WITHOUT ROWID
"""
_INSERT = "INSERT OR IGNORE INTO trades VALUES (?, ?, ?, ?, ?, ?)"
_BETWEEN = """
SELECT trade_id, time_us, source, offset, length FROM trades
WHERE symbol = ? AND trade_id BETWEEN ? AND ? ORDER BY trade_id LIMIT ?
"""


class Held(NamedTuple):
    """A trade that is at hand.

    Attributes:
        trade_id: The exchange's.
        time_us: When it was made, Unix microseconds.
        is_pending: Whether it is from the pending journal.
        line: Its record; its ``platform_sequence`` is null.
    """

    trade_id: int
    time_us: int
    is_pending: bool
    line: bytes


class Spool:
    """Trades that are to go into a capture.

    Args:
        capture: The capture, locked by the caller.

    Attributes:
        path: Where fetched trades are.

    Raises:
        OutputError: If it cannot be made.
    """

    def __init__(self, capture: Path) -> None:
        self.path = capture.with_name(f".{capture.name}.repair")
        self._journal_path = journal_path(capture)
        self._buffer = bytearray()
        # An empty name is a database on disk that ends with its connection.
        self._index = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._index.execute("PRAGMA journal_mode = OFF")
        self._index.execute("PRAGMA synchronous = OFF")
        self._index.execute(_TABLE)
        self._present = (_FETCHED, 0, 0)
        self._disk = DiskFile(self.path, printable(str(self.path)))
        self._files: dict[int, BinaryIO] = {_FETCHED: self._disk.reader()}

    def fetched(self, exchange: str) -> Iterator[TradeBatch]:
        """Read what an earlier repair has fetched; a torn last line is cut away.

        What is still wanted is to be handed to ``keep`` before the next one is taken.

        Args:
            exchange: The capture's; from a trade of another one on, all is thrown away.
        """
        whole_bytes = 0
        for offset, line in _lines(self._files[_FETCHED]):
            try:
                trade = batch_of_line(line)
            except (ValueError, KeyError, TypeError):
                break
            if trade.exchange != exchange:
                break
            self._present = (_FETCHED, offset, len(line))
            yield trade
            whole_bytes = offset + len(line)
        self._disk.cut(whole_bytes)

    def discard_fetched(self) -> None:
        """Throw away what was fetched earlier, none of which is of use any more."""
        self._disk.cut(0)

    def pending(self, exchange: str) -> Iterator[TradeBatch]:
        """Read the pending journal; its last line may be torn.

        What is to go into the capture is to be handed to ``keep`` before the next one
        is taken.

        Args:
            exchange: The capture's; empty for any.

        Raises:
            OutputError: If the journal is damaged, or another exchange's.
        """
        name = printable(str(self._journal_path))
        if self._journal_path.is_symlink() or not self._journal_path.is_file():
            return
        try:
            if _PENDING not in self._files:
                self._files[_PENDING] = self._journal_path.open("rb")
        except OSError as exc:
            raise OutputError(
                f"{name} cannot be read: {printable(exc.strerror or str(exc))}",
                "Make it readable and start again",
            ) from exc
        for offset, line in _lines(self._files[_PENDING]):
            try:
                trade = batch_of_line(line)
            except (ValueError, KeyError, TypeError) as exc:
                raise OutputError(
                    f"{name} is damaged behind its first {offset:,} bytes",
                    "Move it away and start again: what it held is fetched anew",
                ) from exc
            if exchange and trade.exchange != exchange:
                raise OutputError(
                    f"{name} holds trades of {printable(trade.exchange)}, the capture "
                    f"those of {printable(exchange)}",
                    "Move one of them away",
                )
            self._present = (_PENDING, offset, len(line))
            yield trade

    def keep(self, trade: TradeBatch) -> None:
        """Keep a trade that ``fetched`` or ``pending`` has just returned."""
        row = (trade.symbols[0], int(trade.trade_ids[0]), trade.timestamp_us(0))
        self._index.execute(_INSERT, (*row, *self._present))

    def add(self, batch: TradeBatch) -> None:
        """Keep trades that were fetched now, on disk.

        Raises:
            OutputError: If they cannot be written.
        """
        offset = self._disk.size_bytes + len(self._buffer)
        for index, text in enumerate(batch.json_lines()):
            line = text.encode()
            row = (batch.symbols[index], int(batch.trade_ids[index]))
            where = (batch.timestamp_us(index), _FETCHED, offset, len(line))
            self._index.execute(_INSERT, (*row, *where))
            self._buffer += line
            offset += len(line)
        if len(self._buffer) >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what was added to the system.

        Raises:
            OutputError: If it does not take it.
        """
        if self._buffer:
            text = bytes(self._buffer)
            self._buffer.clear()
            self._disk.append(text, line_wise=True)

    def symbols(self) -> list[str]:
        """Return the symbols of the trades at hand, in order."""
        found = self._index.execute(
            "SELECT DISTINCT symbol FROM trades ORDER BY symbol"
        )
        return [symbol for (symbol,) in found]

    def ids(
        self, symbol: str, first_id: int, last_id: int
    ) -> Iterator[tuple[int, int]]:
        """Return id and time (Unix microseconds) of trades at hand, ascending."""
        return ((row[0], row[1]) for row in self._rows(symbol, first_id, last_id))

    def trades(self, symbol: str, first_id: int, last_id: int) -> Iterator[Held]:
        """Return the trades at hand from one id to another, ascending."""
        self.flush()
        for trade_id, time_us, source, offset, length in self._rows(
            symbol, first_id, last_id
        ):
            file = self._files[source]
            file.seek(offset)
            yield Held(trade_id, time_us, source == _PENDING, file.read(length))

    def close(self) -> None:
        """Flush and close; without a fetched trade, nothing is left.

        Raises:
            OutputError: If the last lines could not be written.
        """
        self._index.close()
        try:
            self.flush()
        finally:
            for file in self._files.values():
                file.close()
            self._disk.close(remove_if_empty=True)

    def _rows(
        self, symbol: str, first_id: int, last_id: int
    ) -> Iterator[tuple[int, int, int, int, int]]:
        # No cursor stays open while others are used: the table may change meanwhile.
        while True:
            rows = self._index.execute(
                _BETWEEN, (symbol, first_id, last_id, _ROWS_AT_ONCE)
            ).fetchall()
            yield from rows
            if len(rows) < _ROWS_AT_ONCE:
                return
            first_id = rows[-1][0] + 1


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Return whole lines and where they begin."""
    offset = 0
    file.seek(0)
    while True:
        line = file.readline(_MOST_LINE_BYTES)
        if not line.endswith(b"\n"):
            return
        yield offset, line
        offset += len(line)
