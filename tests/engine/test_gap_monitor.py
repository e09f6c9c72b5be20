"""What a run says about gaps: enough for a person, not a line for each symbol."""

from __future__ import annotations

from structlog.testing import capture_logs

from k2cli.completeness.id_ranges import IdRange
from k2cli.engine.gap_log import LogThrottle, RangeLog


def test_of_many_lines_of_a_kind_the_first_of_each_minute_are_worth_it() -> None:
    lines = LogThrottle(most=2, seconds=60.0)
    times = (5.0, 5.5, 6.0, 64.9, 65.0, 66.0, 67.0)
    assert [now for now in times if lines.allows(now)] == [5.0, 5.5, 65.0, 66.0]


def test_gaps_of_thousands_of_symbols_are_summed_up_in_one_line() -> None:
    gaps = RangeLog("Sequence gap", "info", most=2, pause_seconds=10.0)
    with capture_logs() as logs:
        for number in range(3000):
            gaps.note(f"S{number}USDT", IdRange(5, 9), 100.0, repairing=True)
        gaps.sum_up(100.0)
        gaps.note("BTCUSDT", IdRange(1, 1), 101.0, repairing=True)
        gaps.sum_up(109.9)
        gaps.sum_up(110.0)
        gaps.sum_up(120.0)
    assert [one for one in logs if one["log_level"] == "info"] == [
        *(
            {
                "event": "Sequence gap",
                "log_level": "info",
                "symbol": symbol,
                "first_id": 5,
                "last_id": 9,
                "trades": 5,
                "repairing": True,
            }
            for symbol in ("S0USDT", "S1USDT")
        ),
        *(
            {
                "event": "Sequence gap: more of them",
                "log_level": "info",
                "ranges": ranges,
                "symbols": ranges,
                "trades": trades,
            }
            for ranges, trades in ((2998, 14990), (1, 1))
        ),
    ]
