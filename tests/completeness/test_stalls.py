from __future__ import annotations

from itertools import pairwise

from k2cli.completeness.stalls import (
    LEAST_SILENCE_SECONDS,
    LEAST_TRADES,
    MOST_SILENCE_SECONDS,
    StallDetector,
)

BUSY = 100 * LEAST_TRADES


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
    detector = silent_since(LEAST_TRADES, 60.0 * LEAST_TRADES)
    now = 60.0 * LEAST_TRADES
    assert detector.suspects({"BTCUSDT": LEAST_TRADES}, now + 19 * 60) == []
    assert detector.suspects({"BTCUSDT": LEAST_TRADES}, now + 20 * 60) == ["BTCUSDT"]


def test_a_symbol_with_few_trades_has_no_usual_pause() -> None:
    detector = silent_since(LEAST_TRADES - 1, 1.0)
    assert detector.suspects({"BTCUSDT": LEAST_TRADES - 1}, 1e6) == []


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
