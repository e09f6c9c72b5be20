from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from k2cli.display.progress import (
    Progress,
    Repairing,
    progress_line,
    repairing_line,
)

WELL = Progress(
    connection="live",
    uptime_seconds=7384,
    name="trades.jsonl",
    size_bytes=2_300_000,
    trades=12_345,
    trades_per_second=118.4,
    lag_us=38_400,
    gaps=0,
    repaired=0,
    repairing=0,
    lost=0,
    simulated=False,
)


def test_it_tells_at_a_glance_that_all_is_well() -> None:
    assert progress_line(WELL, 120).plain == (
        "● live  02:03:04  12,345 trades    118/s  nothing missing  lag 38 ms  2.3 MB"
        "  trades.jsonl"
    )


def test_it_tells_how_far_there_is_to_go() -> None:
    line = progress_line(replace(WELL, most_trades=20_000, most_seconds=9000), 140)
    assert "12,345 of 20,000 trades" in line.plain
    assert "02:03:04 of 02:30:00" in line.plain


def test_it_tells_whether_a_connection_may_be_lost() -> None:
    assert (
        "● live  redundant  02:"
        in progress_line(replace(WELL, redundancy="redundant"), 140).plain
    )
    words = "not redundant: 1 of 2 live, connecting"
    line = progress_line(replace(WELL, redundancy=words), 140).plain
    assert f"● live  {words}" in line


def test_it_tells_what_is_being_mended() -> None:
    line = progress_line(replace(WELL, gaps=2, repairing=37, repaired=1200), 120).plain
    assert " repairing 37   2 gaps, 1,200 repaired" in line
    assert "missing" not in line


def test_it_tells_what_is_wrong() -> None:
    wrong = replace(WELL, connection="reconnecting in 5 s", gaps=1, lost=3, repairing=9)
    line = progress_line(wrong, 120).plain
    assert line.startswith("○ reconnecting in 5 s")
    assert "3 missing  1 gap, 0 repaired" in line
    assert "nothing missing" not in line


def test_without_a_connection_nobody_knows_what_is_missing() -> None:
    line = progress_line(replace(WELL, connection="connecting"), 120)
    assert "nothing missing so far" in line.plain


def test_a_made_up_market_is_called_so() -> None:
    assert "SIMULATED" in progress_line(replace(WELL, simulated=True), 120).plain


@pytest.mark.parametrize("width", [6, 20, 40, 60, 80, 200])
def test_it_fits_and_what_matters_most_stays(width: int) -> None:
    line = progress_line(WELL, width).plain
    assert cell_len(line) <= width
    assert line.startswith("● live")


def test_a_file_name_cannot_reach_a_terminal_raw() -> None:
    line = progress_line(replace(WELL, name="a\x1b[2Jb\n"), 200).plain
    assert line.isprintable()


REPAIRING = Repairing(
    name="trades.jsonl",
    activity="history of BTCUSDT",
    fetched=250,
    wanted=1000,
    left_seconds=95,
)


def test_it_tells_how_far_a_repair_has_come() -> None:
    assert repairing_line(REPAIRING, 120).plain == (
        "━━━━━━━━━━━━━━━━━━━━━━━━  25%  250 of 1,000 trades  history of BTCUSDT"
        "  trades.jsonl  00:01:35 left"
    )
    reading = replace(REPAIRING, activity="reading", wanted=0, left_seconds=None)
    assert repairing_line(reading, 120).plain == "reading  trades.jsonl"


def test_a_narrow_terminal_still_tells_how_long_a_repair_takes() -> None:
    line = repairing_line(REPAIRING, 70).plain
    assert "25%" in line
    assert "00:01:35 left" in line
    assert cell_len(line) <= 70
