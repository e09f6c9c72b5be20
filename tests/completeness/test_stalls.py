from __future__ import annotations

from itertools import pairwise

import pytest

from k2cli.binance.api import tickers_weight
from k2cli.completeness.sequence import SequenceTracker
from k2cli.completeness.stalls import (
    LEAST_SILENCE_SECONDS,
    MOST_SILENCE_SECONDS,
    StallDetector,
)

BUSY = 2000
FEW = 20


def silent_since(trades: int, seconds: float) -> StallDetector:
    """Return a detector of a symbol that has traded until this moment."""
    detector = StallDetector(0.0)
    assert detector.suspects({"BTCUSDT": trades}, seconds) == []
    return detector


def test_a_busy_symbol_that_falls_silent_is_suspected() -> None:
    detector = silent_since(BUSY, 10.0)
    before = 10.0 + LEAST_SILENCE_SECONDS - 0.1
    assert detector.suspects({"BTCUSDT": BUSY}, before) == []
    assert detector.suspects({"BTCUSDT": BUSY}, before + 0.1) == ["BTCUSDT"]


def test_a_symbol_that_trades_is_not_suspected() -> None:
    detector = silent_since(BUSY, 10.0)
    for minute in range(1, 10):
        assert detector.suspects({"BTCUSDT": BUSY + minute}, 60.0 * minute) == []


def test_a_quiet_symbol_is_given_many_of_its_usual_pauses() -> None:
    # A trade a minute.
    detector = silent_since(FEW, 60.0 * FEW)
    now = 60.0 * FEW
    assert detector.suspects({"BTCUSDT": FEW}, now + 19 * 60) == []
    assert detector.suspects({"BTCUSDT": FEW}, now + 20 * 60) == ["BTCUSDT"]


def test_a_symbol_that_has_traded_once_is_suspected() -> None:
    detector = silent_since(1, 1.0)
    assert detector.suspects({"BTCUSDT": 1}, 30.9) == []
    assert detector.suspects({"BTCUSDT": 1}, 31.0) == ["BTCUSDT"]


def test_a_symbol_that_has_not_traded_is_looked_up_at_once_and_then_like_others() -> (
    None
):
    detector = StallDetector(0.0)
    looks = [
        now for now in range(1, 300) if detector.suspects({"BTCUSDT": 0}, float(now))
    ]
    assert looks == [1, 30, 60, 120, 240]


@pytest.mark.slow
def test_thousands_of_quiet_symbols_are_looked_up_together_and_seldom() -> None:
    detector = StallDetector(0.0)
    trades = {f"S{number}USDT": number % 3 for number in range(3500)}
    looks = [
        (now, len(found))
        for now in range(1, 7200)
        if (found := detector.suspects(trades, float(now)))
    ]
    # All of them cost as much as a hundred do.
    assert all(count > 1000 for _, count in looks)
    assert len(looks) < 20


@pytest.mark.slow
def test_looks_take_a_small_part_of_the_request_budget() -> None:
    detector = StallDetector(0.0)
    trades = {f"S{number}USDT": 1 for number in range(3500)}
    weight = 0
    for now in range(1, 3600):
        trades[f"S{now % 3500}USDT"] += 1
        found = detector.suspects(trades, float(now))
        weight += tickers_weight(len(found)) if found else 0
    # Of 3,000 a minute.
    assert weight / 60 < 150


def tracker_of(trades: int, last_id: int | None) -> SequenceTracker:
    tracker = SequenceTracker()
    if last_id is not None:
        tracker.resume(last_id - trades, 0)
        for trade_id in range(last_id - trades + 1, last_id + 1):
            tracker.observe(trade_id, trade_id)
    return tracker


@pytest.mark.parametrize(
    ("trades", "last_id", "newest", "stalled"),
    [
        (1, 7, [7, None, 8], [False, False, True]),
        # What was traded before the connection was made is none.
        (0, 7, [9, 9, 10], [False, False, True]),
        (0, None, [9, 9, 10], [False, False, True]),
        (0, None, [None, None, 10], [False, False, True]),
    ],
)
def test_what_the_exchange_has_and_the_stream_has_not_is_a_stall(
    trades: int, last_id: int | None, newest: list[int | None], stalled: list[bool]
) -> None:
    detector, tracker = StallDetector(0.0), tracker_of(trades, last_id)
    found = [detector.has_stalled("BTCUSDT", tracker, each) for each in newest]
    assert found == stalled
    known = detector.known_id("BTCUSDT", tracker, newest[-1] or 0)
    assert known == (7 if trades else 9)


def test_a_symbol_that_stays_silent_is_suspected_less_and_less_often() -> None:
    detector = silent_since(BUSY, 0.0)
    looks = [
        now for now in range(20_000) if detector.suspects({"BTCUSDT": BUSY}, float(now))
    ]
    pauses = [b - a for a, b in pairwise(looks)]
    assert looks[0] == LEAST_SILENCE_SECONDS
    assert pauses == sorted(pauses)
    assert pauses[0] == LEAST_SILENCE_SECONDS
    assert pauses[-1] == MOST_SILENCE_SECONDS


def test_a_symbol_that_traded_again_is_judged_anew() -> None:
    detector = silent_since(BUSY, 0.0)
    assert detector.suspects({"BTCUSDT": BUSY}, 1000.0) == ["BTCUSDT"]
    assert detector.suspects({"BTCUSDT": BUSY + 1}, 1500.0) == []
    assert detector.suspects({"BTCUSDT": BUSY + 1}, 1529.0) == []
    assert detector.suspects({"BTCUSDT": BUSY + 1}, 1530.0) == ["BTCUSDT"]


def test_each_symbol_is_judged_on_its_own() -> None:
    detector = StallDetector(0.0)
    detector.suspects({"BTCUSDT": BUSY, "ETHUSDT": BUSY}, 10.0)
    trades = {"BTCUSDT": BUSY, "ETHUSDT": BUSY + 1}
    assert detector.suspects(trades, 50.0) == ["BTCUSDT"]
