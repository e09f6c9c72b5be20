from __future__ import annotations

import re

import pytest

from k2cli.capture.ledger import Ledger
from k2cli.capture.sequence import Verdict


def filled(**ids: list[int]) -> Ledger:
    ledger = Ledger(ids)
    for symbol, each in ids.items():
        for trade_id in each:
            ledger.observe(symbol, trade_id, 1000 + trade_id)
    return ledger


def test_it_sums_up_all_symbols() -> None:
    ledger = filled(BTCUSDT=[1, 2, 5, 5], ETHUSDT=[7, 9], BNBBTC=[])
    assert ledger.trades == 5
    assert ledger.gaps == 2
    assert ledger.missing == 3
    assert ledger.duplicates == 1


def test_it_follows_each_symbol_on_its_own() -> None:
    ledger = Ledger(["BTCUSDT", "ETHUSDT"])
    assert ledger.observe("BTCUSDT", 5, 1) is Verdict.FIRST
    assert ledger.observe("ETHUSDT", 6, 1) is Verdict.FIRST
    assert ledger.observe("BTCUSDT", 6, 1) is Verdict.NEXT


def test_a_symbol_that_is_not_accounted_for_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Ledger(["BTCUSDT"]).observe("ETHUSDT", 1, 1)


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
def test_the_verdict_says_whether_anything_is_missing(
    ids: list[int], verdict: str
) -> None:
    assert filled(BTCUSDT=ids).verdict() == verdict


def test_the_account_has_a_line_for_each_symbol_and_the_missing_ids() -> None:
    ledger = filled(
        BTCUSDT=[3735683259, 3735683260, 3735683263, 3735683265, 3735683265],
        ETHUSDT=[7, 8],
        BNBBTC=[],
    )
    *table, named, verdict = ledger.lines()
    assert len({len(line) for line in table}) == 1
    headings, *rows = (re.split(r" {2,}", line) for line in table)
    bitcoin, ether, unseen = (dict(zip(headings, row, strict=True)) for row in rows)
    assert (
        bitcoin.items()
        >= {
            "symbol": "BTCUSDT",
            "trades": "4",
            "first id": "3735683259",
            "last id": "3735683265",
            "gaps": "2",
            "missing": "3",
            "duplicates": "1",
        }.items()
    )
    assert ether["last id"] == "8"
    assert ether["missing"] == "0"
    assert (unseen["trades"], unseen["first id"], unseen["last id"]) == ("0", "-", "-")
    assert named == "BTCUSDT lacks 3735683261-3735683262, 3735683264"
    assert verdict == "incomplete: 6 trades, 3 missing"


def test_a_complete_account_names_no_missing_ids() -> None:
    lines = filled(BTCUSDT=[1, 2]).lines()
    assert len(lines) == 3
    assert lines[-1] == "complete: 2 trades, nothing missing"


def test_very_many_gaps_are_named_in_part_and_counted_in_full() -> None:
    lines = filled(BTCUSDT=list(range(0, 3000, 2))).lines()
    assert lines[-1] == "incomplete: 1,500 trades, 1,499 missing"
    assert lines[-2].startswith("BTCUSDT lacks 1, 3, 5, ")
    assert lines[-2].endswith(", 39, and 1,479 more ranges")


def test_symbols_stand_in_the_order_given() -> None:
    lines = filled(ZZZ=[1], AAA=[1], MMM=[1]).lines()
    assert [line.split()[0] for line in lines[1:4]] == ["ZZZ", "AAA", "MMM"]


def test_it_says_how_many_trades_were_repaired() -> None:
    ledger = filled(BTCUSDT=[1, 4, 3, 2], ETHUSDT=[1, 2])
    assert ledger.repaired == 0
    assert ledger.verdict() == "complete: 6 trades, nothing missing"
    ledger.trackers["BTCUSDT"].repaired = 2
    assert ledger.repaired == 2
    assert ledger.verdict() == (
        "complete: 6 trades, 2 of them repaired, nothing missing"
    )
    headings, bitcoin, ether, _ = (re.split(r" {2,}", line) for line in ledger.lines())
    column = headings.index("repaired")
    assert (bitcoin[column], ether[column]) == ("2", "0")


def test_what_is_lost_is_named_like_what_is_open() -> None:
    ledger = filled(BTCUSDT=[1, 6, 9])
    ledger.trackers["BTCUSDT"].give_up(2, 3)
    assert ledger.missing == 6
    assert ledger.lines()[-2] == "BTCUSDT lacks 2-5, 7-8"
