from __future__ import annotations

import pytest

from k2cli.completeness.backfill import (
    MOST_REFUSED_SECONDS,
    PAGE_TRADES,
    REFUSED_SECONDS,
    RETRY_SECONDS,
    SETTLE_SECONDS,
    BackfillPlan,
    BackfillRequest,
)

NOW = 1000.0
SETTLED = NOW + SETTLE_SECONDS
LATER = NOW + 100


def planned(*gaps: tuple[int, int], symbol: str = "BTCUSDT") -> BackfillPlan:
    plan = BackfillPlan()
    for gap in gaps:
        plan.add(symbol, *gap, NOW)
    return plan


def taken(plan: BackfillPlan, now_seconds: float = SETTLED) -> BackfillRequest:
    request = plan.take(now_seconds)
    assert request is not None
    return request


def test_nothing_is_to_be_done_at_first() -> None:
    plan = BackfillPlan()
    assert not plan
    assert plan.take(NOW) is None
    assert plan.due_in_seconds(NOW) is None


def test_a_gap_is_asked_for_when_its_trades_have_not_come_by_themselves() -> None:
    plan = planned((5, 9))
    assert plan
    assert plan.take(NOW) is None
    assert plan.due_in_seconds(NOW) == SETTLED - NOW
    assert plan.due_in_seconds(LATER) == 0
    request = taken(plan)
    assert (request.symbol, request.first_id, request.last_id) == ("BTCUSDT", 5, 9)
    assert not plan


def test_what_is_due_first_is_asked_for_first() -> None:
    plan = BackfillPlan()
    plan.add("AUSDT", 1, 1, NOW + 2)
    plan.add("BUSDT", 1, 1, NOW)
    plan.add("CUSDT", 1, 1, NOW + 1)
    assert [taken(plan, LATER).symbol for _ in range(3)] == ["BUSDT", "CUSDT", "AUSDT"]


def test_of_what_is_due_the_busiest_symbol_is_asked_for_first() -> None:
    plan = BackfillPlan()
    plan.add("QUIETUSDT", 1, 1, NOW)
    plan.add("BUSYUSDT", 1, 1, NOW + 1)
    plan.add("NOTYETUSDT", 1, 1, LATER)
    trades = {"QUIETUSDT": 1, "BUSYUSDT": 500, "NOTYETUSDT": 9_000}
    order = [plan.take(NOW + 9, trades.__getitem__) for _ in range(3)]
    symbols = [request.symbol if request else None for request in order]
    assert symbols == ["BUSYUSDT", "QUIETUSDT", None]


def test_small_gaps_of_a_symbol_are_asked_for_together() -> None:
    plan = planned(*((i, i) for i in range(10, 500, 2)))
    plan.add("ETHUSDT", 1, 1, NOW)
    request = taken(plan)
    assert request.ranges == [(i, i) for i in range(10, 500, 2)]
    assert taken(plan).symbol == "ETHUSDT"
    assert not plan


def test_a_gap_that_has_not_settled_is_not_asked_for_with_others() -> None:
    plan = planned((5, 9))
    plan.add("BTCUSDT", 20, 29, NOW + 1)
    assert taken(plan).ranges == [(5, 9)]
    assert plan.take(SETTLED) is None


def test_gaps_asked_for_before_keep_their_own_schedule() -> None:
    plan = planned((5, 9))
    assert plan.answered(taken(plan), [10], [(5, 9)], NOW) == []
    plan.add("BTCUSDT", 20, 29, NOW)
    assert taken(plan, LATER).ranges == [(20, 29)]
    assert taken(plan, LATER).ranges == [(5, 9)]


def test_an_answer_with_everything_leaves_nothing_to_be_done() -> None:
    plan = planned((5, 9))
    assert plan.answered(taken(plan), [5, 6, 7, 8, 9], [], NOW) == []
    assert not plan


def test_a_long_gap_is_asked_for_page_by_page() -> None:
    last = 2 * PAGE_TRADES + 300
    plan = planned((1, last))
    assert plan.take(NOW) is None
    assert plan.requests == 1
    # All may be asked for at once.
    requests = [taken(plan) for _ in range(3)]
    assert [each.ranges for each in requests] == [
        [(1, PAGE_TRADES)],
        [(PAGE_TRADES + 1, 2 * PAGE_TRADES)],
        [(2 * PAGE_TRADES + 1, last)],
    ]
    assert not plan
    for request in reversed(requests):
        page = list(range(request.first_id, request.last_id + 1))
        assert plan.answered(request, page, [], SETTLED) == []
    assert not plan


def test_how_many_requests_are_left_is_known_about() -> None:
    plan = planned((1, 10 * PAGE_TRADES), *((i, i) for i in range(10**6, 10**7, 10**6)))
    plan.add("ETHUSDT", 1, 5, NOW)
    asked = 0
    while plan.take(SETTLED):
        asked += 1
        assert abs(plan.requests - (20 - asked)) <= 1
    assert asked == 20


def test_a_symbol_that_is_refused_takes_few_requests_however_long_its_gap() -> None:
    plan = planned((1, 1000 * PAGE_TRADES))
    under_way = [taken(plan) for _ in range(8)]
    for request in under_way:
        plan.refused(request, SETTLED)
    assert plan.take(SETTLED) is None
    asked, now = 0, SETTLED
    while now < SETTLED + 600:
        now += plan.due_in_seconds(now) or 0.0
        if (due := plan.take(now)) is not None:
            plan.refused(due, now)
            asked += 1
    assert asked < 20


def test_small_gaps_far_apart_cost_a_page_each_and_no_more() -> None:
    plan = planned((1, 1), (900, 900), (500_000, 500_000))
    request = taken(plan)
    page = [1, *range(2, 1001)]
    assert plan.answered(request, page, [(500_000, 500_000)], SETTLED) == []
    assert taken(plan).ranges == [(500_000, 500_000)]
    assert not plan


def test_a_page_that_ends_early_is_continued_where_it_ended() -> None:
    # The exchange gives fewer than asked for, or an entry of it could not be read.
    plan = planned((1, 5000))
    request = taken(plan)
    assert plan.answered(request, [1, 2, 4], [(3, 3), (5, 5000)], SETTLED) == []
    rest = [taken(plan).ranges for _ in range(5)]
    assert [(each[0][0], each[-1][1]) for each in rest] == [
        (5, 1004),
        *((first, first + 999) for first in (1005, 2005, 3005)),
        (4005, 5000),
    ]
    assert plan.take(SETTLED) is None
    again = taken(plan, LATER)
    assert (again.ranges, again.misses) == ([(3, 3)], 1)


def test_what_the_history_lacks_is_asked_for_again_and_then_given_up() -> None:
    plan = planned((5, 9))
    now = SETTLED
    waits = []
    for _ in RETRY_SECONDS:
        assert plan.answered(taken(plan, now), [10], [(5, 9)], now) == []
        wait = plan.due_in_seconds(now)
        assert wait is not None
        waits.append(wait)
        assert plan.take(now + wait - 0.01) is None
        now += wait
    assert waits == [*RETRY_SECONDS]
    # A history may be late by a second or two.
    assert sum(waits) > 5
    assert plan.answered(taken(plan, now), [10], [(5, 9)], now) == [(5, 9)]
    assert not plan


def test_only_what_is_still_missing_is_given_up() -> None:
    plan = planned((1, 10))
    request = taken(plan)
    request.misses = len(RETRY_SECONDS)
    assert plan.answered(request, [*range(1, 11)], [(2, 3), (7, 7)], NOW) == [
        (2, 3),
        (7, 7),
    ]
    assert not plan


def test_a_part_that_was_not_asked_for_is_not_given_up_with_the_rest() -> None:
    plan = planned((1, 10))
    request = taken(plan)
    request.misses = len(RETRY_SECONDS)
    assert plan.answered(request, [2, 4], [(1, 1), (3, 3), (5, 10)], NOW) == [
        (1, 1),
        (3, 3),
    ]
    rest = taken(plan)
    assert (rest.ranges, rest.misses) == ([(5, 10)], request.misses)


@pytest.mark.parametrize("page", [[], [1, 2, 3], [99]])
def test_only_a_page_that_reaches_the_ids_proves_that_they_are_not_there(
    page: list[int],
) -> None:
    plan = planned((100, 109))
    now = SETTLED
    waits = []
    for _ in range(20):
        assert plan.answered(taken(plan, now), page, [(100, 109)], now) == []
        wait = plan.due_in_seconds(now)
        assert wait is not None
        waits.append(wait)
        now += wait
    assert waits[:3] == pytest.approx([REFUSED_SECONDS * each for each in (1, 2, 4)])
    # It is asked for ever, but seldom.
    assert waits[8:] == pytest.approx([MOST_REFUSED_SECONDS] * 12)
    request = taken(plan, now)
    assert (request.ranges, request.misses) == ([(100, 109)], 0)


def test_misses_before_an_answer_that_tells_nothing_count_on() -> None:
    plan = planned((5, 9))
    now = SETTLED
    for page in ([10], [], [10], [], [10], [10]):
        assert plan.answered(taken(plan, now), page, [(5, 9)], now) == []
        now += plan.due_in_seconds(now) or 0
    assert plan.answered(taken(plan, now), [10], [(5, 9)], now) == [(5, 9)]


def test_of_a_page_that_ends_within_a_gap_only_the_first_ids_are_proved_missing() -> (
    None
):
    plan = planned((5, 9))
    now = SETTLED
    assert plan.answered(taken(plan, now), [6], [(5, 5), (7, 9)], now) == []
    assert taken(plan, now).ranges == [(7, 9)]
    assert taken(plan, LATER).ranges == [(5, 5)]


def test_a_refusal_is_asked_again_later_and_ever_later() -> None:
    plan = planned((5, 9))
    now = SETTLED
    waits = []
    for _ in range(9):
        plan.refused(taken(plan, now), now)
        wait = plan.due_in_seconds(now)
        assert wait is not None
        waits.append(wait)
        now += wait
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60, 60])
    request = taken(plan, now)
    assert (request.ranges, request.misses) == ([(5, 9)], 0)


def test_a_refusal_of_one_symbol_holds_up_no_other() -> None:
    plan = planned((5, 9))
    plan.refused(taken(plan), SETTLED)
    plan.add("ETHUSDT", 1, 2, NOW)
    assert taken(plan).symbol == "ETHUSDT"
    assert plan.take(SETTLED) is None


def test_a_page_of_later_trades_only_shows_that_the_ids_are_not_there() -> None:
    plan = planned((5, 9))
    request = taken(plan)
    request.misses = len(RETRY_SECONDS)
    assert plan.answered(request, [20, 21], [(5, 9)], NOW) == [(5, 9)]


def test_a_request_without_an_answer_is_asked_for_again_as_it_was() -> None:
    plan = planned((5, 9))
    request = taken(plan)
    plan.put_back(request)
    plan.not_before(SETTLED + 10)
    assert plan.take(SETTLED + 9) is None
    assert plan.due_in_seconds(SETTLED) == 10
    again = taken(plan, SETTLED + 10)
    assert (again.ranges, again.misses) == ([(5, 9)], 0)


def test_all_wait_as_long_as_the_exchange_asks_for() -> None:
    plan = planned((5, 9))
    plan.not_before(NOW + 60)
    plan.not_before(NOW + 30)
    # Gaps that open meanwhile are no reason to ask.
    plan.add("ETHUSDT", 1, 2, NOW + 10)
    assert plan.waits(NOW + 59)
    assert plan.take(NOW + 59) is None
    assert plan.due_in_seconds(NOW + 59) == 1
    assert not plan.waits(NOW + 60)
    assert {taken(plan, NOW + 60).symbol, taken(plan, NOW + 60).symbol} == {
        "BTCUSDT",
        "ETHUSDT",
    }
