"""Parquet files, as DuckDB, polars and pandas read them."""

from __future__ import annotations

import gzip
import subprocess
import sys
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import orjson
import pytest

from k2cli.errors import OutputError, SettingsError
from k2cli.export.parquet import Exported, export_parquet

from .conftest import FIRST_TIME_US, backfilled, capture, record

duckdb = pytest.importorskip("duckdb", reason="needs k2cli[parquet]")


def export(lines: list[bytes], target: Path, **options: Any) -> Exported:
    return export_parquet([("t.jsonl", [b"".join(lines)])], target, **options)


def rows(path: Path | str, columns: str = "*") -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = duckdb.sql(
        f"SELECT {columns} FROM read_parquet('{path}')"
    ).fetchall()
    return found


def metadata(path: Path) -> dict[str, Any]:
    found = duckdb.sql(
        f"SELECT key, value FROM parquet_kv_metadata('{path}')"
    ).fetchall()
    facts = {key.decode(): orjson.loads(value) for key, value in found}
    return {key: fact for key, fact in facts.items() if key.startswith("k2.")}


def test_columns_are_typed_and_values_exact(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    export([*capture(4), backfilled(record(5, 1004, M=False))], file)
    types = dict(
        duckdb.sql(f"DESCRIBE FROM '{file}'")
        .project("column_name, column_type")
        .fetchall()
    )
    assert types == {
        "trade_id": "VARCHAR",
        "symbol": "VARCHAR",
        "exchange": "VARCHAR",
        "asset_class": "VARCHAR",
        "timestamp": "TIMESTAMP WITH TIME ZONE",
        "price": "DECIMAL(18,8)",
        "quantity": "DECIMAL(19,8)",
        "currency": "VARCHAR",
        "side": "VARCHAR",
        "source_sequence": "BIGINT",
        "ingestion_timestamp": "TIMESTAMP WITH TIME ZONE",
        "platform_sequence": "BIGINT",
        "is_buyer_maker": "BOOLEAN",
        "is_best_match": "BOOLEAN",
        "event_time": "TIMESTAMP WITH TIME ZONE",
        "base_asset": "VARCHAR",
        "quote_asset": "VARCHAR",
        "backfilled": "BOOLEAN",
    }
    columns = "trade_id, price, quantity, side, is_buyer_maker, backfilled"
    assert rows(file, columns)[-1] == (
        "BINANCE-1004",
        Decimal("61837.63000000"),
        Decimal("0.02000000"),
        "BUY",
        False,
        True,
    )
    assert rows(file, "epoch_us(timestamp), epoch_us(event_time)")[-2:] == [
        (FIRST_TIME_US + 400_000, FIRST_TIME_US + 401_000),
        (FIRST_TIME_US + 500_000, None),
    ]


def test_message_ids_come_on_request(tmp_path: Path) -> None:
    lines = capture(3)
    export(lines, tmp_path / "t.parquet", all_columns=True)
    found = [row[0] for row in rows(tmp_path / "t.parquet", "message_id")]
    assert found == [orjson.loads(line)["message_id"] for line in lines]


@pytest.mark.slow
def test_rows_have_the_order_of_the_capture(tmp_path: Path) -> None:
    lines = capture(70_000, symbols=("ETHUSDT", "BTCUSDT", "SOLUSDT"))
    export(lines, tmp_path / "t.parquet")
    assert [row[0] for row in rows(tmp_path / "t.parquet", "platform_sequence")] == [
        *range(1, 70_001)
    ]


def test_the_metadata_tell_what_is_missing(tmp_path: Path) -> None:
    lines = [record(n, i) for n, i in enumerate([10, 11, 14, 15, 17], 1)]
    done = export([*lines, record(6, 3, "ETHUSDT")], tmp_path / "t.parquet")
    assert (done.trades, done.symbols, done.missing) == (6, 2, 3)
    assert metadata(tmp_path / "t.parquet") == {
        "k2.trades": 6,
        "k2.missing": 3,
        "k2.missing_ranges": {"BTCUSDT": [[12, 13], [16, 16]]},
        "k2.unnamed_ranges": 0,
    }


def test_a_lake_is_divided_by_date_and_symbol(tmp_path: Path) -> None:
    lines = capture(40, symbols=("BTCUSDT", "币安人生USDT"))
    del lines[30]
    done = export(lines, tmp_path / "lake", partition=["date", "symbol"], name="x")
    assert [str(file.relative_to(tmp_path / "lake")) for file in done.files] == [
        f"date=2026-01-0{day}/symbol={symbol}/x.parquet"
        for day in (1, 2)
        for symbol in ("BTCUSDT", "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT")
    ]
    found = duckdb.sql(
        "SELECT date::VARCHAR, symbol, count(*) FROM "
        f"read_parquet('{tmp_path}/lake/**/*.parquet', hive_partitioning = true) "
        "GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    assert sum(row[2] for row in found) == 39
    assert {row[1] for row in found} == {"BTCUSDT", "币安人生USDT"}
    assert [metadata(file)["k2.missing"] for file in done.files] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("column", "key", "digits"),
    [
        ("price", "p", "0.123456789"),
        ("price", "p", "10000000000"),
        ("quantity", "q", "1.000000001"),
        ("quantity", "q", "100000000000.5"),
    ],
)
def test_digits_that_do_not_fit_are_refused_and_named(
    tmp_path: Path, column: str, key: str, digits: str
) -> None:
    lines = [*capture(3), record(4, 1003, **{key: digits})]
    with pytest.raises(OutputError, match=f"BTCUSDT 1003 has a {column} of {digits}"):
        export(lines, tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_zeros_that_say_nothing_fit(tmp_path: Path) -> None:
    export([record(1, 1, p="00000000000012.500000000000")], tmp_path / "t.parquet")
    assert rows(tmp_path / "t.parquet", "price") == [(Decimal("12.5"),)]


@pytest.mark.parametrize(
    "line",
    [b"junk\n", b"{}\n", b"[1]\n", record(1, 1).replace(b'"price":"6', b'"price":"x6')],
)
def test_what_is_no_record_is_refused(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(OutputError, match=r"k2 verify t\.jsonl"):
        export([*capture(3), line], tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    assert export([*capture(3), b'{"message_id":'], tmp_path / "t.parquet").trades == 3


def test_a_file_that_exists_is_replaced_on_request_only(tmp_path: Path) -> None:
    target = tmp_path / "t.parquet"
    export(capture(3), target)
    with pytest.raises(OutputError, match="--overwrite"):
        export(capture(4), target)
    assert len(rows(target)) == 3
    export(capture(4), target, overwrite=True)
    assert len(rows(target)) == 4
    assert list(tmp_path.iterdir()) == [target]


def test_one_file_cannot_be_divided(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be divided"):
        export(capture(1), tmp_path / "t.parquet", partition=["date"])


def test_the_largest_price_times_the_largest_quantity(tmp_path: Path) -> None:
    price, quantity = "9999999999.99999999", "99999999999.99999999"
    export([record(1, 1, p=price, q=quantity)], tmp_path / "t.parquet")
    product = Decimal("999999999999999998900.0000000000000001")
    assert rows(tmp_path / "t.parquet", "price * quantity") == [(product,)]

    pandas = pytest.importorskip("pandas", reason="needs k2cli[servers]")
    pytest.importorskip("pyarrow", reason="needs k2cli[servers]")
    for options in ({}, {"dtype_backend": "pyarrow"}):
        frame = pandas.read_parquet(tmp_path / "t.parquet", **options)
        with localcontext(prec=38):  # Python's own decimals round to 28 digits
            assert list(frame.price * frame.quantity) == [product]


def test_polars_multiplies_without_overflow(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars", reason="needs k2cli[servers]")
    price, quantity = "9999999999.99999999", "99999999999.99999999"
    export([record(1, 1, p=price, q=quantity)], tmp_path / "t.parquet")
    frame = polars.read_parquet(tmp_path / "t.parquet")
    # polars keeps eight decimals of a product.
    (product,) = (frame["price"] * frame["quantity"]).to_list()
    assert abs(product - Decimal(price) * Decimal(quantity)) < Decimal("1e-7")


def test_the_command_reads_a_rotated_and_compressed_capture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from k2cli.cli.export import export as command

    lines = capture(30)
    (tmp_path / "t.000000000001.jsonl.gz").write_bytes(
        gzip.compress(b"".join(lines[:9]))
    )
    (tmp_path / "t.jsonl").write_bytes(b"".join(lines[9:12] + lines[14:]))
    files = [tmp_path / "t.jsonl", tmp_path / "t.000000000001.jsonl.gz"]
    assert command(files, tmp_path / "lake") == 6
    found = [
        row[0] for row in rows(tmp_path / "lake" / "t.parquet", "platform_sequence")
    ]
    assert found == [*range(1, 13), *range(15, 31)]
    assert "exported: 28 trades of 1 symbol in 1 file (" in capsys.readouterr().err


def test_record_says_how_to_get_parquet(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "k2cli", "record", "-o", "x.parquet"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "k2 export x.jsonl -o x.parquet" in done.stderr
