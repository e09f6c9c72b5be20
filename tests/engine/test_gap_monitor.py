"""What a run says about gaps: enough for a person, not a line for each symbol."""

from __future__ import annotations

from k2cli.engine.gap_monitor import LogThrottle


def test_of_many_lines_of_a_kind_the_first_of_each_minute_are_worth_it() -> None:
    lines = LogThrottle(most=2, seconds=60.0)
    times = (5.0, 5.5, 6.0, 64.9, 65.0, 66.0, 67.0)
    assert [now for now in times if lines.allows(now)] == [5.0, 5.5, 65.0, 66.0]
