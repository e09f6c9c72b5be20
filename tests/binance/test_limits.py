from __future__ import annotations

from typing import Any

import pytest

from k2cli.binance.limits import SHARE, WeightBudget
from k2cli.binance.wire import ApiReply, RateLimit

MINUTE = 60 * 1000.0


def limits(count: Any, limit: Any = 6000, **changes: Any) -> list[dict[str, Any]]:
    entry = {
        "rateLimitType": "REQUEST_WEIGHT",
        "interval": "MINUTE",
        "intervalNum": 1,
        "limit": limit,
        "count": count,
    }
    return [entry | changes]


def read(rate_limits: object) -> list[RateLimit | None] | None:
    return ApiReply.model_validate({"id": 1, "rateLimits": rate_limits}).rate_limits


def requests_allowed(budget: WeightBudget, now_seconds: float, weight: int = 25) -> int:
    allowed = 0
    while not budget.reserve(weight, now_seconds):
        allowed += 1
    return allowed


def test_half_of_what_the_exchange_allows_is_used() -> None:
    assert SHARE == 0.5
    assert requests_allowed(WeightBudget(6000), MINUTE) == 120
    assert requests_allowed(WeightBudget(1200), MINUTE) == 24


def test_when_it_is_used_up_the_next_minute_is_waited_for() -> None:
    budget = WeightBudget(100)
    assert requests_allowed(budget, MINUTE + 13.5) == 2
    assert budget.reserve(25, MINUTE + 13.5) == 46.5
    assert budget.reserve(25, MINUTE + 59.75) == 0.25
    assert budget.reserve(1, MINUTE + 59.75) == 0.25
    assert requests_allowed(budget, MINUTE + 60) == 2


def test_what_is_refused_takes_nothing() -> None:
    budget = WeightBudget(100)
    assert budget.reserve(60, MINUTE) == 60
    assert budget.reserve(50, MINUTE) == 0


def test_replies_tell_what_all_clients_of_the_address_have_used() -> None:
    budget = WeightBudget()
    budget.note(read(limits(2990)), MINUTE + 1)
    assert budget.reserve(25, MINUTE + 2) == 58
    assert budget.reserve(10, MINUTE + 2) == 0
    budget.note(read(limits(70)), MINUTE + 3)
    assert budget.reserve(25, MINUTE + 3) == 0


def test_a_reply_does_not_count_what_is_under_way() -> None:
    budget = WeightBudget(100)
    assert budget.reserve(20, MINUTE) == 0
    assert budget.reserve(20, MINUTE) == 0
    budget.note(read(limits(20, limit=100)), MINUTE, reserved=20)
    assert budget.reserve(20, MINUTE) == 60
    # Lost without a reply: it may have been counted all the same.
    budget.note(None, MINUTE, reserved=20)
    assert budget.reserve(20, MINUTE) == 60
    assert budget.reserve(10, MINUTE) == 0


def test_replies_tell_the_limit() -> None:
    budget = WeightBudget(6000)
    budget.note(read(limits(0, limit=200)), MINUTE)
    assert requests_allowed(budget, MINUTE) == 4


def test_what_was_used_is_over_with_its_minute() -> None:
    budget = WeightBudget()
    budget.note(read(limits(6000)), MINUTE + 59)
    assert budget.reserve(25, MINUTE + 59) > 0
    assert budget.reserve(25, MINUTE + 60) == 0


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        "text",
        {},
        [],
        [None, 1, "x", []],
        [{}],
        limits(5000, rateLimitType="ORDERS"),
        limits(5000, interval="DAY"),
        limits(5000, intervalNum=5),
        limits(5000, limit=None),
        limits(5000, limit=0),
        limits(5000, limit=-1),
        limits(5000, limit="6000"),
        limits(None),
        limits("5000"),
        limits(-(10**9)),
    ],
)
def test_what_makes_no_sense_is_passed_over(nonsense: object) -> None:
    budget = WeightBudget(100)
    assert requests_allowed(budget, MINUTE) == 2
    budget.note(read(nonsense), MINUTE)
    assert budget.reserve(25, MINUTE) == 60


def test_the_right_limit_is_found_among_others() -> None:
    budget = WeightBudget()
    others = limits(1, limit=1, rateLimitType="RAW_REQUESTS", intervalNum=5)
    budget.note(read(others + limits(2975) + others), MINUTE)
    assert requests_allowed(budget, MINUTE) == 1
