from __future__ import annotations

from collections.abc import Iterable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.capture import report as reporting
from k2cli.capture.report import (
    Conclusion,
    FileFigures,
    Kind,
    MissingRange,
    Place,
    Problem,
    Report,
    SymbolAccount,
)
from k2cli.completeness.sequence import Verdict


def account_of(ids: Iterable[int]) -> SymbolAccount:
    """Observe trades that were all made at the same time, one a line."""
    first, *others = ids
    account = SymbolAccount(first, 0)
    for line, trade_id in enumerate(others, 2):
        account.observe(trade_id, 0, Place(0, line))
    return account


def ranges_of(account: SymbolAccount) -> list[tuple[int, int, int]]:
    """First id, last id and line."""
    return [
        (one.first_id, one.last_id, one.place.line) for one in account.missing_ranges
    ]


def test_a_missing_range_keeps_its_place_however_it_is_filled() -> None:
    assert ranges_of(account_of([10, 20])) == [(11, 19, 2)]
    assert ranges_of(account_of([10, 20, 15])) == [(11, 14, 2), (16, 19, 2)]
    assert ranges_of(account_of([10, 20, 11, 19, 12])) == [(13, 18, 2)]
    assert ranges_of(account_of([10, 20, 30, 5, 25])) == [
        (6, 9, 4),
        (11, 19, 2),
        (21, 24, 3),
        (26, 29, 3),
    ]
    filled = account_of([10, 13, 12, 11, 14])
    assert ranges_of(filled) == []
    assert (filled.missing, filled.trades, filled.gaps, filled.disorders) == (
        0,
        5,
        1,
        2,
    )


def test_what_is_missing_of_an_earlier_count_stays_missing() -> None:
    account = account_of([10, 13, 15])
    assert account.observe(1, 5, Place(0, 4)) is Verdict.RESET
    assert account.observe(4, 6, Place(0, 5)) is Verdict.GAP
    assert account.observe(12, 7, Place(0, 6)) is Verdict.GAP
    assert account.observe(11, 8, Place(0, 7)) is Verdict.LATE
    assert ranges_of(account) == [(11, 12, 2), (14, 14, 3), (2, 3, 5), (5, 10, 6)]
    assert (account.missing, account.trades, account.resets) == (11, 7, 1)


def test_missing_ranges_are_counted_beyond_those_that_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "MOST_RANGES", 3)
    account = account_of(range(10, 30, 2))
    assert [ids.first_id for ids in account.missing_ranges] == [11, 13, 15]
    assert (account.unnamed_ranges, account.missing, account.gaps) == (6, 9, 9)


def test_a_range_that_is_split_without_end_needs_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "MOST_RANGES", 3)
    account = account_of([10, 100, *range(20, 90, 2)])
    assert len(account.missing_ranges) == 3
    assert account.unnamed_ranges
    assert account.disorders == 35
    assert account.missing


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40))
def test_ids_there_and_ids_missing_are_all_ids(ids: list[int]) -> None:
    account = account_of(ids)
    seen = set(ids)
    missing = set(range(min(ids), max(ids))) - seen
    named = [
        trade_id
        for one in account.missing_ranges
        for trade_id in range(one.first_id, one.last_id + 1)
    ]
    assert named == sorted(missing)
    assert (account.missing, account.trades) == (len(missing), len(seen))
    assert account.duplicates == len(ids) - len(seen)
    assert account.last_id == max(ids)
    # Each was noticed at the trade that first had others on both sides of it.
    for one in account.missing_ranges:
        before = ids[: one.place.line - 1]
        there = ids[: one.place.line]
        assert min(there) < one.first_id <= one.last_id < max(there)
        assert not min(before) < one.first_id < max(before)


def test_a_report_says_whether_the_capture_is_whole() -> None:
    report = Report()
    assert report.conclusion is Conclusion.EMPTY
    assert not report.whole
    report.symbols["BTCUSDT"] = account_of([10, 11])
    assert report.whole
    assert report.missing == 0
    report.counts[Kind.TORN] += 1
    assert report.conclusion is Conclusion.NOT_WHOLE
    report.counts[Kind.TORN] -= 1
    report.symbols["ETHUSDT"] = account_of([10, 13])
    assert not report.whole
    assert (report.missing, report.trades, report.findings) == (2, 4, 1)


def test_a_report_as_json() -> None:
    report = Report(files=[FileFigures("file0", 3, 1800)], exchange="BINANCE")
    report.symbols["BTCUSDT"] = account_of([10, 12, 12])
    report.counts[Kind.DUPLICATE] = 1
    report.problems[Kind.DUPLICATE] = [
        Problem(Kind.DUPLICATE, Place(0, 3), "BTCUSDT 12 once more")
    ]
    assert report.symbols["BTCUSDT"].missing_ranges == [
        MissingRange(11, 11, Place(0, 2))
    ]
    found = report.to_dict()
    assert orjson.loads(orjson.dumps(found)) == found
    assert found["verdict"] == "not whole"
    assert found["counts"]["duplicate"] == 1
    assert found["symbols"][0]["missing_ranges"] == [
        {"first_id": 11, "last_id": 11, "file": "file0", "line": 2}
    ]
    assert found["problems"] == [
        {
            "kind": "duplicate",
            "file": "file0",
            "line": 3,
            "text": "BTCUSDT 12 once more",
        }
    ]
