"""Where each trade of the pending journal stands in its file.

A temporary SQLite database, which is made anew from the journal: memory stays flat.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Place(NamedTuple):
    """A waiting trade, and where its line is.

    Attributes:
        offset: Where the line begins, bytes.
        length: How long it is, bytes.
        symbol: Whose it is.
        resets: How often the exchange had begun to count the symbol's trades anew.
        trade_id: The exchange's.
    """

    offset: int
    length: int
    symbol: str
    resets: int
    trade_id: int

    @property
    def order(self) -> tuple[int, int]:
        """What the trades of a symbol are sorted by."""
        return self.resets, self.trade_id


class PendingIndex:
    """Finds waiting trades by their order, and by where they are.

    While the journal is rewritten, each trade has a second place, in the new file.
    """

    def __init__(self) -> None:
        # An empty name is a database on disk that ends with its connection.
        self._sqlite = sqlite3.connect("", isolation_level=None)
        self._sqlite.execute("PRAGMA journal_mode = OFF")
        self._sqlite.execute("PRAGMA synchronous = OFF")
        self._made = 0
        self._table = self._make_table()
        self._new_table: str | None = None

    def add(self, places: Iterable[Place]) -> None:
        """Add trades."""
        self._insert(self._table, places)

    def first(self, symbol: str, most: int) -> list[Place]:
        """Return the first trades of a symbol, in order."""
        found = self._sqlite.execute(
            f"SELECT * FROM {self._table} WHERE symbol = ? "  # noqa: S608 - our own name
            "ORDER BY symbol, resets, trade_id LIMIT ?",
            (symbol, most),
        )
        return list(map(Place._make, found))

    def behind(self, offset: int, most: int) -> list[Place]:
        """Return trades from a place on, by offset."""
        found = self._sqlite.execute(
            f"SELECT * FROM {self._table} WHERE offset >= ? "  # noqa: S608 - likewise
            "ORDER BY offset LIMIT ?",
            (offset, most),
        )
        return list(map(Place._make, found))

    def remove_to(self, last: Place) -> None:
        """Remove the trades of a symbol up to this one."""
        for table in filter(None, (self._table, self._new_table)):
            self._sqlite.execute(
                f"DELETE FROM {table} "  # noqa: S608 - likewise
                "WHERE symbol = ? AND (resets, trade_id) <= (?, ?)",
                last[2:],
            )

    def begin_move(self) -> None:
        """Begin to note new places."""
        self._new_table = self._make_table()

    def note_moved(self, places: Iterable[Place]) -> None:
        """Note the new places of trades."""
        if self._new_table is not None:
            self._insert(self._new_table, places)

    def end_move(self) -> None:
        """Let the new places count, and forget the old ones."""
        if self._new_table is not None:
            self._sqlite.execute(f"DROP TABLE {self._table}")
            self._table, self._new_table = self._new_table, None

    def abandon_move(self) -> None:
        """Forget the new places."""
        if self._new_table is not None:
            self._sqlite.execute(f"DROP TABLE {self._new_table}")
            self._new_table = None

    def close(self) -> None:
        """Close the database, which ends it."""
        self._sqlite.close()

    def _insert(self, table: str, places: Iterable[Place]) -> None:
        self._sqlite.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?)", places)  # noqa: S608 - likewise

    def _make_table(self) -> str:
        self._made += 1
        table = f"places_{self._made}"
        self._sqlite.execute(
            f"CREATE TABLE {table} (offset INTEGER PRIMARY KEY, length INTEGER, "
            "symbol TEXT, resets INTEGER, trade_id INTEGER)"
        )
        self._sqlite.execute(
            f"CREATE UNIQUE INDEX {table}_in_order ON {table} "
            "(symbol, resets, trade_id)"
        )
        return table
