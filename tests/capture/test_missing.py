from __future__ import annotations

from pathlib import Path

import pytest

from k2cli.capture.missing import MissingRanges
from k2cli.completeness.id_ranges import IdRange
from k2cli.completeness.sequence import SequenceTracker
from k2cli.errors import OutputError


def test_what_was_given_up_is_found_again(tmp_path: Path) -> None:
    missing = MissingRanges(tmp_path / "t.jsonl")
    assert missing.read() == {}
    missing.add("BTCUSDT", IdRange(5, 9))
    missing.add("ETHUSDT", IdRange(1, 1))
    missing.add("BTCUSDT", IdRange(20, 21))
    assert MissingRanges(tmp_path / "t.jsonl").read() == {
        "BTCUSDT": [(5, 9), (20, 21)],
        "ETHUSDT": [(1, 1)],
    }


def test_a_line_cut_short_at_any_byte_hurts_no_other(tmp_path: Path) -> None:
    missing = MissingRanges(tmp_path / "t.jsonl")
    missing.add("BTCUSDT", IdRange(5, 9))
    missing.add("ETHUSDT", IdRange(1, 1))
    file = tmp_path / ".t.jsonl.missing"
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole) - 1):
        file.write_bytes(whole[:cut])
        missing.add("BNBBTC", IdRange(7, 7))
        found = missing.read()
        assert found["BTCUSDT"] == [(5, 9)]
        assert found["BNBBTC"] == [(7, 7)]


def test_it_is_forgotten_when_the_capture_begins_anew(tmp_path: Path) -> None:
    missing = MissingRanges(tmp_path / "t.jsonl")
    missing.forget()
    missing.add("BTCUSDT", IdRange(5, 9))
    missing.forget()
    assert missing.read() == {}
    assert list(tmp_path.iterdir()) == []


def test_a_range_that_cannot_be_noted_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".t.jsonl.missing").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        MissingRanges(tmp_path / "t.jsonl").add("BTCUSDT", IdRange(5, 9))


def test_a_tracker_remembers_only_gaps_that_have_trades_behind_them() -> None:
    tracker = SequenceTracker()
    tracker.resume(100, 1)
    tracker.remember_lost([(50, 52), (50, 52), (99, 99), (101, 105)])
    assert tracker.missing_ranges == [(50, 52), (99, 99)]
    assert tracker.missing == 4


def test_what_lies_beyond_the_end_is_forgotten(tmp_path: Path) -> None:
    missing = MissingRanges(tmp_path / "trades.jsonl")
    missing.add("BTCUSDT", IdRange(5, 9))
    missing.add("BTCUSDT", IdRange(20, 29))
    missing.add("ETHUSDT", IdRange(1, 3))
    missing.drop_beyond({"BTCUSDT": 15})
    assert missing.read() == {"BTCUSDT": [(5, 9)], "ETHUSDT": [(1, 3)]}
    assert [each.name for each in tmp_path.iterdir()] == [".trades.jsonl.missing"]
