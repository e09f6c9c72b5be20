from __future__ import annotations

from pathlib import Path

import pytest

from k2cli.capture.losses import Losses
from k2cli.capture.sequence import SequenceTracker
from k2cli.errors import OutputError


def test_what_was_given_up_is_found_again(tmp_path: Path) -> None:
    losses = Losses(tmp_path / "t.jsonl")
    assert losses.read() == {}
    losses.add("BTCUSDT", (5, 9))
    losses.add("ETHUSDT", (1, 1))
    losses.add("BTCUSDT", (20, 21))
    assert Losses(tmp_path / "t.jsonl").read() == {
        "BTCUSDT": [(5, 9), (20, 21)],
        "ETHUSDT": [(1, 1)],
    }


def test_a_line_cut_short_at_any_byte_hurts_no_other(tmp_path: Path) -> None:
    losses = Losses(tmp_path / "t.jsonl")
    losses.add("BTCUSDT", (5, 9))
    losses.add("ETHUSDT", (1, 1))
    file = tmp_path / ".t.jsonl.missing"
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole) - 1):
        file.write_bytes(whole[:cut])
        losses.add("BNBBTC", (7, 7))
        found = losses.read()
        assert found["BTCUSDT"] == [(5, 9)]
        assert found["BNBBTC"] == [(7, 7)]


def test_it_is_forgotten_when_the_capture_begins_anew(tmp_path: Path) -> None:
    losses = Losses(tmp_path / "t.jsonl")
    losses.forget()
    losses.add("BTCUSDT", (5, 9))
    losses.forget()
    assert losses.read() == {}
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_cannot_be_noted_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".t.jsonl.missing").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        Losses(tmp_path / "t.jsonl").add("BTCUSDT", (5, 9))


def test_a_tracker_remembers_only_holes_that_have_trades_behind_them() -> None:
    tracker = SequenceTracker()
    tracker.resume(100, 1)
    tracker.remember([(50, 52), (50, 52), (99, 99), (101, 105)])
    assert tracker.missing_ranges == [(50, 52), (99, 99)]
    assert tracker.missing == 4
