"""What a repair takes, and where it gets it."""

from __future__ import annotations

import pytest

from k2cli.completeness.repair_plan import (
    DAY_US,
    Hole,
    RepairPlan,
    SymbolDay,
    count_pages,
    plan_repair,
)

TODAY = 20_000
HOUR_US = DAY_US // 24


def hole(first_id: int, last_id: int, since_us: int, until_us: int) -> Hole:
    return Hole("BTCUSDT", first_id, last_id, since_us, until_us)


def at(day: int, hour: int = 0) -> int:
    return day * DAY_US + hour * HOUR_US


@pytest.mark.parametrize(
    ("ranges", "pages"),
    [
        ([], 0),
        ([(1, 1)], 1),
        ([(1, 1000)], 1),
        ([(1, 1001)], 2),
        ([(1, 5), (900, 1000)], 1),
        ([(1, 5), (900, 1001)], 2),
        ([(1, 5), (5000, 5001), (5900, 6100)], 3),
    ],
)
def test_pages_have_room_for_many_ranges(
    ranges: list[tuple[int, int]], pages: int
) -> None:
    assert count_pages(ranges) == pages


def test_a_small_hole_is_asked_of_the_history() -> None:
    plan = plan_repair([hole(1, 2500, at(TODAY - 3), at(TODAY - 3, 1))], TODAY)
    assert plan == RepairPlan(
        plan.holes, [], [SymbolDay("BTCUSDT", TODAY - 3)], requests=3
    )
    assert plan.ids == 2500


def test_a_large_hole_of_a_past_day_is_taken_from_its_archive() -> None:
    plan = plan_repair([hole(1, 50_000, at(TODAY - 3), at(TODAY - 3, 1))], TODAY)
    assert plan.archives == [SymbolDay("BTCUSDT", TODAY - 3)]
    assert plan.requests == 0


def test_of_a_hole_over_several_days_today_is_asked_of_the_history() -> None:
    plan = plan_repair([hole(1, 100_000, at(TODAY - 1), at(TODAY + 1))], TODAY)
    assert plan.archives == [SymbolDay("BTCUSDT", TODAY - 1)]
    assert plan.requests == pytest.approx(50, abs=1)


@pytest.mark.parametrize("since_us", [0, at(TODAY)])
def test_without_a_past_day_there_is_no_archive(since_us: int) -> None:
    plan = plan_repair([hole(1, 50_000, since_us, at(TODAY, 1))], TODAY)
    assert plan.archives == []
    assert plan.requests == 50


def test_archives_can_be_left_out() -> None:
    holes = [hole(1, 50_000, at(TODAY - 3), at(TODAY - 3, 1))]
    plan = plan_repair(holes, TODAY, with_archives=False)
    assert (plan.archives, plan.past_days, plan.requests) == ([], [], 50)


def test_times_beyond_belief_do_no_harm() -> None:
    plan = plan_repair([hole(1, 10**15, 5, 10**17)], TODAY)
    assert all(17_000 < day < TODAY for _, day in plan.archives)
