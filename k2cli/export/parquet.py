"""A capture as Parquet: typed columns, exact decimals, whole files or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from k2cli.errors import OutputError, SettingsError, printable
from k2cli.extras import import_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

PARTITION_KEYS = ("date", "symbol")
"""What files can be divided by."""

# Lines are handed to DuckDB in pieces of this size, whatever the size of the capture.
_PIECE_BYTES = 32 * 2**20
_MAX_LINE_BYTES = 2**20
# DuckDB spills to disk beyond this; k2 as a whole takes about twice as much.
_MEMORY = "192MB"
_MOST_THREADS = 4
# Missing ranges that a file's metadata name; further ones are only counted.
_MOST_RANGES = 10_000
# Digits before and behind the point. DuckDB multiplies these two as DECIMAL(37,16),
# Arrow as decimal128(38,16): every product fits. (18,8) by (18,8) overflows in DuckDB,
# (19,8) by (19,8) is refused by Arrow.
_DIGITS = {"price": (10, 8), "quantity": (11, 8)}

_INPUT = {
    "message_id": "VARCHAR",
    "trade_id": "VARCHAR",
    "symbol": "VARCHAR",
    "exchange": "VARCHAR",
    "asset_class": "VARCHAR",
    "timestamp": "BIGINT",
    "price": "VARCHAR",
    "quantity": "VARCHAR",
    "currency": "VARCHAR",
    "side": "VARCHAR",
    "source_sequence": "BIGINT",
    "ingestion_timestamp": "BIGINT",
    "platform_sequence": "BIGINT",
    "vendor_data": "STRUCT(is_buyer_maker VARCHAR, is_best_match VARCHAR, "
    "event_time VARCHAR, base_asset VARCHAR, quote_asset VARCHAR, source VARCHAR)",
}
_NULLABLE = {"platform_sequence", "vendor_data"}
# The wire's times have milliseconds or microseconds, which their size tells apart.
_EVENT_TIME_US = (
    "CASE WHEN vendor_data.event_time::BIGINT < 100000000000000 "
    "THEN vendor_data.event_time::BIGINT * 1000 "
    "ELSE vendor_data.event_time::BIGINT END"
)


def _decimal(column: str) -> str:
    whole, fraction = _DIGITS[column]
    return f"TRY_CAST({column} AS DECIMAL({whole + fraction},{fraction}))"


def _time(microseconds: str) -> str:
    return f"make_timestamp({microseconds})::TIMESTAMPTZ"


# The columns of the files, each with what it is made of.
_COLUMNS = {
    "message_id": "message_id",
    "trade_id": "trade_id",
    "symbol": "symbol",
    "exchange": "exchange",
    "asset_class": "asset_class",
    "timestamp": _time("timestamp"),
    "price": _decimal("price"),
    "quantity": _decimal("quantity"),
    "currency": "currency",
    "side": "side",
    "source_sequence": "source_sequence",
    "ingestion_timestamp": _time("ingestion_timestamp"),
    "platform_sequence": "platform_sequence",
    "is_buyer_maker": "vendor_data.is_buyer_maker = 'true'",
    "is_best_match": "vendor_data.is_best_match = 'true'",
    "event_time": _time(_EVENT_TIME_US),
    "base_asset": "vendor_data.base_asset",
    "quote_asset": "vendor_data.quote_asset",
    "backfilled": "coalesce(vendor_data.source = 'backfill', false)",
}


@dataclass(slots=True)
class Exported:
    """What an export has written.

    Attributes:
        files: In the order of their partitions.
        trades: Rows in all of them.
        symbols: How many symbols they are of.
        missing: Trade ids that the capture lacks between its trades.
        size_bytes: Size of the files.
    """

    files: list[Path] = field(default_factory=list)
    trades: int = 0
    symbols: int = 0
    missing: int = 0
    size_bytes: int = 0


def export_parquet(
    files: Iterable[tuple[str, Iterable[bytes]]],
    target: Path,
    *,
    partition: Sequence[str] = (),
    name: str = "trades",
    all_columns: bool = False,
    overwrite: bool = False,
    on_written: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Write a capture as zstd Parquet, rows in the order of the capture.

    Every file appears whole, under its name, or not at all.

    Args:
        files: The capture's files in order: name, and content in chunks that may be cut
            anywhere. What follows the last line end of a file is left out.
        target: A ``.parquet`` file, or a folder.
        partition: Keys out of ``PARTITION_KEYS`` to divide a folder by, outermost
            first, as ``date=2026-01-31/symbol=BTCUSDT/``. A key ``symbol`` is then in
            the path only, as Hive has it.
        name: Name of the files in a folder, without ``.parquet``.
        all_columns: Whether to write ``message_id``, too; its random digits are half of
            the size.
        overwrite: Whether files that exist are replaced.
        on_written: Called with the files written so far and their total.

    Raises:
        SettingsError: If DuckDB is not installed, or the arguments do not fit.
        OutputError: If a file exists or cannot be written, or a line of the capture
            does not fit the columns. Nothing has been written then.
    """
    duckdb = import_extra("duckdb", what="Parquet", package="duckdb", extra="parquet")
    is_file = target.suffix == ".parquet"
    if is_file and partition:
        raise SettingsError(
            f"{printable(str(target))} is one file, which cannot be divided",
            "Name a folder with -o, or leave --partition out",
        )
    if is_file and not overwrite:
        _refuse_existing(target)
    folder = target.parent if is_file else target
    with (
        _errors_explained(folder, duckdb),
        _workplace(folder, is_file=is_file) as workplace,
    ):
        stage = _Stage(duckdb, workplace, all_columns=all_columns)
        try:
            for file_name, chunks in files:
                stage.take(file_name, chunks)
            return stage.write(
                target, partition, name, overwrite=overwrite, on_written=on_written
            )
        finally:
            stage.close()


class _Stage:
    """The trades in a temporary database on disk, until their files are written."""

    def __init__(self, duckdb: Any, folder: Path, *, all_columns: bool) -> None:
        self._duckdb = duckdb
        self._folder = folder
        self._piece = folder / "piece.jsonl"
        self._columns = {
            column: made_of
            for column, made_of in _COLUMNS.items()
            if all_columns or column != "message_id"
        }
        self._database = duckdb.connect(
            str(folder / "stage.duckdb"),
            config={
                "memory_limit": _MEMORY,
                "threads": min(os.cpu_count() or 1, _MOST_THREADS),
                "temp_directory": str(folder / "spill"),
                # All that is needed is in the package.
                "autoinstall_known_extensions": False,
            },
        )
        self._database.execute("SET TimeZone = 'UTC'")
        self._trades = 0
        made = ", ".join(f"{made} AS {name}" for name, made in self._columns.items())
        self._read = (
            f"SELECT {made}, {_unsound()} AS unsound FROM {_lines(self._piece)}"
        )
        self._database.execute(
            f"CREATE TABLE trades AS {_empty(self._read, self._piece)}"
        )

    def close(self) -> None:
        self._database.close()

    def take(self, name: str, chunks: Iterable[bytes]) -> None:
        """Read a file, up to its last line end."""
        for piece in _pieces(chunks):
            self._piece.write_bytes(piece)
            try:
                (count,) = self._one(f"INSERT INTO trades {self._read}")
            except (self._duckdb.InvalidInputException, self._duckdb.DataError) as exc:
                raise _no_trade(name) from exc
            self._refuse_unsound(name, self._trades)
            self._trades += count

    def _refuse_unsound(self, name: str, first_row: int) -> None:
        """Refuse what the columns cannot hold; a piece at a time."""
        row = self._database.execute(
            "SELECT count(*) OVER (), symbol, source_sequence, unsound FROM trades "
            f"WHERE rowid >= {first_row} AND unsound IS NOT NULL LIMIT 1"
        ).fetchone()
        if row is None:
            return
        total, symbol, trade_id, why = row
        if why == "no trade":
            raise _no_trade(name)
        others = f", and {total - 1:,} trades near it likewise" if total > 1 else ""
        raise OutputError(
            f"{printable(symbol, 40)} {trade_id} has a {why}, which does not fit "
            f"DECIMAL without rounding{others}",
            "Nothing was written; read the capture as it is: k2 manual dataframes",
        )

    def write(
        self,
        target: Path,
        partition: Sequence[str],
        name: str,
        *,
        overwrite: bool,
        on_written: Callable[[int, int], None],
    ) -> Exported:
        """Write the files, each aside at first."""
        trades, symbols = self._one(
            "SELECT count(*), count(DISTINCT symbol) FROM trades"
        )
        done = Exported(trades=trades, symbols=symbols)
        self._find_missing()
        (done.missing,) = self._one(
            "SELECT coalesce(sum(last_id - first_id + 1), 0)::BIGINT FROM missing"
        )
        parts = [(target, "true")]
        if partition:
            parts = self._divide(target, partition, name)
        elif target.suffix != ".parquet":
            parts = [(target / f"{name}.parquet", "true")]
        if not overwrite:
            for path, _ in parts:
                _refuse_existing(path)
        left_out = ["unsound", "day", *(["symbol"] if "symbol" in partition else [])]
        aside = self._folder / "aside.parquet"
        for path, condition in parts:
            on_written(len(done.files), len(parts))
            metadata = self._metadata(condition)
            self._database.execute(
                f"COPY (SELECT * EXCLUDE ({', '.join(left_out)}) FROM ordered "
                f"WHERE {condition}) TO {_text(aside)} "
                f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {metadata})"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            done.size_bytes += aside.stat().st_size
            _sync(aside)
            aside.replace(path)
            done.files.append(path)
        on_written(len(parts), len(parts))
        return done

    def _find_missing(self) -> None:
        """Note the ids between two trades of a symbol, beside the later one."""
        self._database.execute(
            "CREATE VIEW ordered AS SELECT *, timestamp::DATE AS day FROM trades"
        )
        self._database.execute(
            "CREATE TABLE missing AS SELECT day, symbol, before + 1 AS first_id, "
            "source_sequence - 1 AS last_id FROM (SELECT day, symbol, source_sequence, "
            "lag(source_sequence) OVER (PARTITION BY exchange, symbol "
            "ORDER BY source_sequence) AS before FROM ordered) "
            "WHERE source_sequence > before + 1"
        )

    def _divide(
        self, target: Path, partition: Sequence[str], name: str
    ) -> list[tuple[Path, str]]:
        """Sort the trades by partition; return a path and a condition for each."""
        keys = [{"date": "day"}.get(key, key) for key in partition]
        self._database.execute(
            "CREATE TABLE sorted AS SELECT *, timestamp::DATE AS day FROM trades "
            f"ORDER BY {', '.join(keys)}, trades.rowid"
        )
        self._database.execute("CREATE OR REPLACE VIEW ordered AS FROM sorted")
        found = self._database.execute(
            f"SELECT DISTINCT {', '.join(keys)} FROM sorted ORDER BY ALL"
        ).fetchall()
        parts = []
        for values in found:
            folder = target
            for key, value in zip(partition, values, strict=True):
                folder /= f"{key}={quote(str(value), safe='')}"
            condition = " AND ".join(
                f"{key} = {_text(value)}"
                for key, value in zip(keys, values, strict=True)
            )
            parts.append((folder / f"{name}.parquet", condition))
        return parts

    def _metadata(self, condition: str) -> str:
        (trades,) = self._one(f"SELECT count(*) FROM ordered WHERE {condition}")
        missing, ranges = self._one(
            "SELECT coalesce(sum(last_id - first_id + 1), 0)::BIGINT, count(*) "
            f"FROM missing WHERE {condition}"
        )
        named: dict[str, list[list[int]]] = {}
        for symbol, first_id, last_id in self._database.execute(
            f"SELECT symbol, first_id, last_id FROM missing WHERE {condition} "
            f"ORDER BY symbol, first_id LIMIT {_MOST_RANGES}"
        ).fetchall():
            named.setdefault(symbol, []).append([first_id, last_id])
        facts = {
            "k2.trades": str(trades),
            "k2.missing": str(missing),
            "k2.missing_ranges": orjson.dumps(named).decode(),
            "k2.unnamed_ranges": str(max(ranges - _MOST_RANGES, 0)),
        }
        pairs = ", ".join(f"{_text(key)}: {_text(fact)}" for key, fact in facts.items())
        return f"{{{pairs}}}"

    def _one(self, query: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._database.execute(query).fetchone()
        return row


def _lines(piece: Path) -> str:
    columns = ", ".join(f"{name}: {_text(kind)}" for name, kind in _INPUT.items())
    return (
        f"read_json({_text(piece)}, format='newline_delimited', "
        # It is read in buffers of twice this, which threads share out.
        f"maximum_object_size={_MAX_LINE_BYTES}, columns={{{columns}}})"
    )


def _unsound() -> str:
    """Say in SQL what is wrong with a line: NULL, if nothing."""
    lacking = " OR ".join(f"{name} IS NULL" for name in _INPUT if name not in _NULLABLE)
    whens = [f"WHEN {lacking} THEN 'no trade'"]
    for column, (whole, fraction) in _DIGITS.items():
        number = "'[0-9]+([.][0-9]+)?'"
        fits = f"'0*[0-9]{{1,{whole}}}([.][0-9]{{1,{fraction}}}0*)?'"
        whens.append(
            f"WHEN NOT regexp_full_match({column}, {fits}) THEN "
            f"CASE WHEN regexp_full_match({column}, {number}) "
            f"THEN '{column} of ' || {column} ELSE 'no trade' END"
        )
    return f"CASE {' '.join(whens)} END"


def _empty(read: str, piece: Path) -> str:
    piece.write_bytes(b"")
    return f"{read} LIMIT 0"


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Gather whole lines to pieces; what follows the last line end is left out."""
    kept: list[bytes] = []
    size_bytes = 0
    for chunk in chunks:
        kept.append(chunk)
        size_bytes += len(chunk)
        if size_bytes >= _PIECE_BYTES:
            whole, _, rest = b"".join(kept).rpartition(b"\n")
            if whole:
                yield whole + b"\n"
            kept, size_bytes = [rest], len(rest)
    whole, _, _ = b"".join(kept).rpartition(b"\n")
    if whole:
        yield whole + b"\n"


@contextmanager
def _workplace(folder: Path, *, is_file: bool) -> Iterator[Path]:
    """Make a folder for what is temporary, on the disk where the files go."""
    if not is_file:
        folder.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=".k2-export-", dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _errors_explained(folder: Path, duckdb: Any) -> Iterator[None]:
    try:
        yield
    except (OSError, duckdb.Error) as exc:
        why = getattr(exc, "strerror", None) or str(exc).partition("\n")[0]
        raise OutputError(
            f"{printable(str(folder))} cannot be written: {printable(why)}",
            "Make room, or choose another place with -o",
        ) from exc


def _no_trade(name: str) -> OutputError:
    shown = printable(name)
    return OutputError(
        f"{shown} has a line that is no TradeV2 record; nothing was written",
        f"See which: k2 verify {shown}",
    )


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise OutputError(
            f"{printable(str(path))} exists", "Add --overwrite to replace it"
        )


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _text(value: object) -> str:
    """Return a value as a text literal of SQL."""
    return "'" + str(value).replace("'", "''") + "'"
