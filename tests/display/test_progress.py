from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from k2cli.display.lag import lag_text
from k2cli.display.progress import Progress, progress_line

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
    missing=0,
    simulated=False,
)


def test_it_tells_at_a_glance_that_all_is_well() -> None:
    assert progress_line(WELL, 120).plain == (
        "● live  02:03:04  12,345 trades  118/s  nothing missing  trades.jsonl"
        "  2.3 MB  lag 38 ms"
    )


def test_it_tells_what_is_wrong() -> None:
    line = progress_line(
        replace(WELL, connection="reconnecting in 5 s", missing=3, repaired=1200), 120
    ).plain
    assert "reconnecting in 5 s" in line
    assert "3 missing" in line
    assert "1,200 repaired" in line
    assert "nothing missing" not in line


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


@pytest.mark.parametrize(
    ("lag_us", "text"),
    [
        (0, "lag 0 ms"),
        (38_400, "lag 38 ms"),
        (1_270_000, "lag 1.3 s"),
        (-1_270_000, "clock behind by 1.3 s"),
    ],
)
def test_lag_is_told_with_its_sign(lag_us: int, text: str) -> None:
    assert lag_text(lag_us) == text
