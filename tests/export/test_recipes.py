"""The manual's recipes on a capture with repaired trades: all give the same bars."""

from __future__ import annotations

import gzip
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import k2cli

from .conftest import backfilled, record

PAGE = Path(k2cli.__file__).parent / "manual" / "dataframes.md"
KEYS = (
    *("symbol", "minute", "open", "high", "low", "close"),
    *("volume", "trades", "repaired"),
)
Bar = tuple[Any, ...]


def recipe(library: str) -> str:
    """The page's Python of one library."""
    text = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"## {library}\n(.*?)\n## ", text, re.DOTALL)
    assert section is not None
    found = re.search(r"```python\n(.*?)```", section[1], re.DOTALL)
    assert found is not None
    return found[1]


def bars_of(library: str, name: str) -> list[Bar]:
    scope: dict[str, Any] = {}
    exec(recipe(library).replace("trades.jsonl", name), scope)  # noqa: S102 - our own page
    bars = scope["bars"]
    if library == "DuckDB":
        rows = [dict(zip(bars.columns, row, strict=True)) for row in bars.fetchall()]
    elif library == "polars":
        rows = bars.to_dicts()
    else:
        rows = bars.to_dict("records")
    return [
        tuple(
            str(row[key])[:19]
            if key == "minute"
            else Decimal(row[key]).normalize()
            if key in KEYS[2:7]
            else row[key]
            for key in KEYS
        )
        for row in rows
    ]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("library", ["DuckDB", "polars", "pandas"])
def test_a_recipe_gives_the_bars(
    library: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library.lower(), reason="needs k2cli[servers]")
    lines = [
        record(
            number,
            1_000 + number // 2,
            ("BTCUSDT", "ETHUSDT")[number % 2],
            p=f"{100 + number * 7 % 13}.12345678",
        )
        for number in range(1, 1_201)
    ]
    # Late enough for a schema that is inferred from the beginning to lack it.
    lines[1_100:1_110] = [backfilled(line) for line in lines[1_100:1_110]]
    data = b"".join(lines)
    name = f"t.jsonl{ending}"
    if ending == ".gz":
        data = gzip.compress(data)
    elif ending == ".zst":
        zstandard = pytest.importorskip("zstandard", reason="needs zstandard")
        data = zstandard.compress(data)
    (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)

    found = bars_of(library, name)

    assert len(found) == 6
    assert sum(bar[7] for bar in found) == 1_200
    assert sum(bar[8] for bar in found) == 10
    assert found == expected(lines)


def expected(lines: list[bytes]) -> list[Bar]:
    """The same bars by plain Python."""
    import datetime as dt

    import orjson

    bars: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in lines:
        trade = orjson.loads(line)
        time = dt.datetime.fromtimestamp(trade["timestamp"] // 60_000_000 * 60, dt.UTC)
        minute = time.strftime("%Y-%m-%d %H:%M:%S")
        bars.setdefault((trade["symbol"], minute), []).append(trade)
    return [
        (
            *key,
            Decimal(trades[0]["price"]).normalize(),
            max(Decimal(one["price"]) for one in trades).normalize(),
            min(Decimal(one["price"]) for one in trades).normalize(),
            Decimal(trades[-1]["price"]).normalize(),
            sum((Decimal(one["quantity"]) for one in trades), Decimal(0)).normalize(),
            len(trades),
            sum("source" in one["vendor_data"] for one in trades),
        )
        for key, trades in sorted(bars.items())
    ]
