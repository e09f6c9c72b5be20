from __future__ import annotations

import re
from typing import Any

import pytest

from k2cli.completeness.ledger import Ledger
from k2cli.display.reports import account_lines, catalog_lines, period_text

HEADINGS = [
    *("symbol", "trades", "first id", "last id", "gaps", "repaired", "missing"),
    "duplicates",
]


def account(**ids: list[int]) -> dict[str, Any]:
    """Make the account of a run that received these ids."""
    ledger = Ledger(ids)
    for symbol, each in ids.items():
        for trade_id in each:
            ledger.trackers[symbol].observe(
                trade_id, 1_723_161_255_342_000 + trade_id * 1000
            )
    return {**ledger.to_dict(), "uptime_seconds": 347.2, "reconnects": 0}


def plain(account: dict[str, Any], most: int | None = None) -> list[str]:
    return [line.plain for line in account_lines(account, most=most)]


def rows(lines: list[str]) -> dict[str, list[str]]:
    """Return the table's cells by the first of each line."""
    cells = [re.split(r" {2,}", line.rstrip()) for line in lines]
    return {row[0]: row[1:] for row in cells}


@pytest.mark.parametrize(
    ("ids", "verdict"),
    [
        ([], "complete: 0 trades, nothing missing"),
        ([3], "complete: 1 trade, nothing missing"),
        ([3, 4, 4], "complete: 2 trades, nothing missing"),
        ([3, 5, 4], "complete: 3 trades, nothing missing"),
        ([3, 5], "incomplete: 2 trades, 1 missing"),
        ([3, 1_000_004], "incomplete: 2 trades, 1,000,000 missing"),
    ],
)
def test_the_verdict_comes_last(ids: list[int], verdict: str) -> None:
    assert plain(account(BTCUSDT=ids))[-1] == verdict


def test_it_says_how_many_trades_were_repaired() -> None:
    repaired = account(BTCUSDT=[1, 4, 3, 2]) | {"repaired": 2}
    assert plain(repaired)[-1] == (
        "complete: 4 trades, 2 of them repaired, nothing missing"
    )


def test_there_is_a_line_for_each_symbol_and_the_missing_ids() -> None:
    lines = plain(
        account(
            BTCUSDT=[3735683259, 3735683260, 3735683263, 3735683265, 3735683265],
            ETHUSDT=[7, 8],
            BNBBTC=[],
        )
    )
    table = rows(lines[:5])
    assert len({len(line) for line in lines[:5]}) == 1
    assert list(table) == ["symbol", "BTCUSDT", "ETHUSDT", "BNBBTC", "total"]
    assert ["symbol", *table["symbol"]] == HEADINGS
    first_and_last = ["3735683259", "3735683265"]
    assert table["BTCUSDT"] == ["4", *first_and_last, "2", "0", "3", "1"]
    assert table["BNBBTC"] == ["0", "-", "-", "0", "0", "0", "0"]
    assert table["total"] == ["6", "2", "0", "3", "1"]
    assert lines[5] == "BTCUSDT lacks 3735683261-3735683262, 3735683264"


def test_one_symbol_needs_no_total() -> None:
    assert not any(line.startswith("total") for line in plain(account(BTCUSDT=[1])))


def test_when_where_to_and_how_long() -> None:
    recorded = account(BTCUSDT=[1, 2]) | {
        "file": "a\x1b[2J.jsonl",
        "files": 2,
        "size_bytes": 10_000_000,
        "trades_written": 2,
        "platform_sequence": 17_863,
        "reconnects": 1,
    }
    file, when = plain(recorded)[-3:-1]
    assert file == (
        "a\\x1b[2J.jsonl: 2 trades written, 17,863 in all, 10.0 MB in 2 files"
    )
    assert when == (
        "2024-08-08 23:54:15.343 to 23:54:15.344 UTC, received in 00:05:47, 1 reconnect"
    )


@pytest.mark.parametrize(
    ("last_us", "text"),
    [
        (1_723_161_256_000_000, "2024-08-08 23:54:15.342 to 23:54:16.000 UTC"),
        (
            1_723_161_600_000_000,
            "2024-08-08 23:54:15.342 to 2024-08-09 00:00:00.000 UTC",
        ),
        (10**30, "1723161255342000 to 1000000000000000000000000000000 µs"),
    ],
)
def test_a_period_names_the_day_once(last_us: int, text: str) -> None:
    assert period_text(1_723_161_255_342_000, last_us) == text


def test_very_many_gaps_are_named_in_part_and_counted_in_full() -> None:
    lines = plain(account(BTCUSDT=list(range(0, 3000, 2))))
    (named,) = (line for line in lines if " lacks " in line)
    assert lines[-1] == "incomplete: 1,500 trades, 1,499 missing"
    assert named.startswith("BTCUSDT lacks 1, 3, 5, ")
    assert named.endswith(", 39, and 1,479 more ranges")


def test_hundreds_of_symbols_fit_a_screen_those_with_trouble_first() -> None:
    ids = {f"A{n}USDT": list(range(n + 1)) for n in range(300)}
    ids["LOSTUSDT"] = [1, 3]
    lines = plain(account(**ids), most=10)
    table = list(rows(lines[:13]))
    assert table[:3] == ["symbol", "LOSTUSDT", "A299USDT"]
    assert table[-2:] == ["and 291 more, all complete", "total"]
    assert len(lines) < 18
    assert len(plain(account(**ids))) > 300


def test_trouble_beyond_the_screen_is_counted() -> None:
    ids = {f"A{n}USDT": [1, 3 + n] for n in range(30)}
    lines = plain(account(**ids), most=10)
    assert "and 20 more, 20 of them not" in lines
    assert "and 20 more that lack trades; --summary FILE names them" in lines


def test_wide_names_align_and_hostile_ones_are_escaped() -> None:
    lines = account_lines(account(**{"币安人生USDT": [1], "A\x1b[2J": [1, 3]}))
    assert len({line.cell_len for line in lines[:4]}) == 1
    assert all(line.plain.isprintable() for line in lines)


def test_colour_only_repeats_what_the_words_say() -> None:
    *_, complete = account_lines(account(BTCUSDT=[1]))
    *_, incomplete = account_lines(account(BTCUSDT=[1, 3]))
    assert "green" in str(complete.style)
    assert "red" in str(incomplete.style)


def catalog_entry(symbol: str, **changes: Any) -> dict[str, str]:
    return {
        "symbol": symbol,
        "base_asset": symbol.removesuffix("USDT"),
        "quote_asset": "USDT",
        "status": "TRADING",
        "tick_size": "0.01000000",
        "step_size": "0.00001000",
    } | changes


def test_the_catalog_is_a_table_with_the_points_in_one_column() -> None:
    lines = catalog_lines(
        [
            catalog_entry("BTCUSDT"),
            catalog_entry("PEPEUSDT", tick_size="0.00000001", step_size="1.00"),
            catalog_entry("币安人生USDT", tick_size="10.0", status="BREAK"),
        ]
    )
    assert [line.plain.rstrip() for line in lines] == [
        "symbol        base      quote  status   tick size    step size",
        "BTCUSDT       BTC       USDT   TRADING   0.01        0.00001",
        "PEPEUSDT      PEPE      USDT   TRADING   0.00000001  1",
        "币安人生USDT  币安人生  USDT   BREAK    10           0.00001",
        "3 symbols",
    ]
    assert len({line.cell_len for line in lines[:-1]}) == 1


def test_one_symbol_is_one() -> None:
    assert catalog_lines([catalog_entry("BTCUSDT")])[-1].plain == "1 symbol"


def test_what_the_exchange_says_is_escaped() -> None:
    lines = catalog_lines([catalog_entry("A\x1b[2J", status="\x07", tick_size="x\n")])
    assert all(line.plain.isprintable() for line in lines)
