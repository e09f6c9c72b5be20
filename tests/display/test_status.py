from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from k2cli.display.status import (
    NOTICE_SECONDS,
    Notice,
    Status,
    footer_lines,
    header_line,
    message_line,
)
from tests.display.trading import LIVE

KEYS = (("q", "quit"), ("?", "help"), ("space", "pause"))


def footer(status: Status, width: int = 120, most: int = 1) -> str:
    lines = footer_lines(status, KEYS, width, most)
    return "\n".join(line.plain for line in lines)


def test_the_header_tells_where_from_and_how_it_does() -> None:
    line = header_line(LIVE, 100).plain
    shown = "k2 Binance Spot stream.binance.com ● live 00:02:14 1,284 trades/s"
    assert line.split() == f"{shown} lag 38 ms".split()
    assert cell_len(line) == 99


def test_the_lag_goes_before_the_connection() -> None:
    assert "lag" not in header_line(LIVE, 50).plain
    assert "● live" in header_line(LIVE, 50).plain
    assert "lag" not in header_line(replace(LIVE, lag_us=None), 100).plain
    behind = header_line(replace(LIVE, lag_us=-5_000), 100).plain
    assert "clock behind by 5 ms" in behind


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_made_up_data_always_says_so(width: int) -> None:
    header = header_line(replace(LIVE, exchange="SIM"), width).plain
    assert ("SIMULATED" if width >= 40 else "SIM") in header
    assert "Binance" not in header
    assert "REPLAY" in header_line(replace(LIVE, label="REPLAY"), width).plain


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_lost_connection_is_not_called_live(width: int) -> None:
    words = "reconnecting in 5 s (attempt 2 of 10)"
    header = header_line(replace(LIVE, connection=words), width).plain
    assert f"○ {words}" in header
    assert "live" not in header


def test_the_header_tells_whether_a_connection_may_be_lost() -> None:
    assert (
        "● live  redundant"
        in header_line(replace(LIVE, redundancy="redundant"), 120).plain
    )
    words = "not redundant: 1 of 2 live, connecting"
    assert words in header_line(replace(LIVE, redundancy=words), 120).plain


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_picture_that_stands_still_says_so(width: int) -> None:
    assert "PAUSED" in header_line(replace(LIVE, is_paused=True), width).plain


def test_the_footer_tells_whether_anything_is_missing() -> None:
    repaired = replace(LIVE, gaps=1, repaired=37, reconnects=1, duplicates=2)
    assert footer(repaired).startswith(
        " ✓ complete  204,118 trades  1 gap  37 repaired  0 missing  "
        "2 duplicates  1 reconnect"
    )
    for width in (14, 20, 80):
        lost = footer(replace(LIVE, gaps=1, lost=2), width)
        assert "✗ 2 missing" in lost
        assert "complete" not in lost


def test_what_is_being_repaired_is_not_called_missing() -> None:
    repairing = footer(replace(LIVE, gaps=1, repairing=12))
    assert "↺ repairing 12" in repairing
    assert "missing" not in repairing
    both = footer(replace(LIVE, gaps=1, repairing=12, lost=3))
    assert both.split()[:5] == ["✗", "3", "missing", "↺", "repairing"]


def test_zeros_are_told_where_nothing_else_needs_the_room() -> None:
    counts = "0 gaps  0 repaired  0 missing  0 duplicates  0 reconnects"
    assert footer(LIVE, 140).startswith(f" ✓ complete  204,118 trades  {counts}   ")
    words = "✓ complete 204,118 trades 0 missing q quit ? help space pause"
    assert footer(LIVE, 70, 2).split() == words.split()
    assert footer(LIVE, 60).split() == words.replace("0 missing ", "").split()


def test_only_what_has_come_and_goes_on_is_complete() -> None:
    assert footer(replace(LIVE, trades=0)).startswith(" no trades yet     ")
    dropped = replace(LIVE, connection="reconnecting in 5 s")
    assert footer(dropped).startswith(" complete so far  204,118 trades ")


def test_an_exchange_that_nobody_knows_yet_is_not_named() -> None:
    header = header_line(replace(LIVE, exchange=""), 100).plain
    assert header.split()[:2] == ["k2", "stream.binance.com"]


def test_the_way_out_is_shown_even_if_there_is_little_room() -> None:
    assert footer(LIVE, 24).rstrip().endswith("q quit")
    assert footer(LIVE, 36).rstrip().endswith("q quit  ? help")
    assert footer(LIVE).rstrip().endswith("q quit  ? help  space pause")


def test_two_lines_are_taken_only_where_one_is_too_short() -> None:
    assert footer(LIVE, 50, 2).count("\n") == 1
    keys = footer(LIVE, 50, 2).splitlines()[1]
    assert keys.split() == "q quit ? help space pause".split()
    assert footer(LIVE, 80, 2).count("\n") == 0


def test_recording_and_message_are_shown_and_a_note_behind_them() -> None:
    status = replace(LIVE, recording="a.jsonl", recorded=1234, log_message="rotated")
    line = message_line(status, "1–17 of 300", 80).plain
    assert line.startswith(" ● 1,234 written to a.jsonl  ! rotated  ")
    assert line.endswith(" 1–17 of 300 ")
    assert cell_len(line) == 80


def test_where_nothing_is_said_there_is_a_rule() -> None:
    assert message_line(LIVE, "", 20).plain == "─" * 20
    assert message_line(LIVE, "by age", 40).plain == "─" * 32 + " by age "


def test_a_long_message_is_cut_before_the_note() -> None:
    line = message_line(replace(LIVE, log_message="x" * 300), "by age", 41).plain
    assert line.endswith("… by age ")
    assert cell_len(line) == 41


def test_a_message_goes_after_a_while_and_comes_back_if_said_again() -> None:
    notice = Notice()
    first, again = str(b"lost", "ascii"), str(b"lost", "ascii")
    day_us = 1723161255342000

    def look(message: str | None, now_seconds: float) -> str | None:
        return notice.text(message, now_seconds=now_seconds, time_us=day_us)

    assert look(None, 0.0) is None
    assert look(first, 1.0) == "23:54:15 lost"
    assert look(first, NOTICE_SECONDS) == "23:54:15 lost"
    assert look(first, 1.0 + NOTICE_SECONDS) is None
    assert look(again, 40.0) == "23:54:15 lost"
