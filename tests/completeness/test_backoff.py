from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.completeness.backoff import AttemptWindow, Backoff, HostRotation

EVERY_DELAY = [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]


def backoff(max_failures: int = 10, draw: float = 0.5, first: float = 5.0) -> Backoff:
    return Backoff(first, max_failures=max_failures, random=lambda: draw)


def test_the_delays_double_up_to_a_minute() -> None:
    rules = backoff()
    assert [rules.next_delay_seconds() for _ in EVERY_DELAY] == EVERY_DELAY


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=7, max_size=7))
def test_each_delay_has_at_most_ten_percent_of_jitter(draws: list[float]) -> None:
    random = iter(draws)
    rules = Backoff(5.0, max_failures=10, random=lambda: next(random))
    for expected in EVERY_DELAY:
        delay = rules.next_delay_seconds()
        assert 0.9 * expected <= delay <= 1.1 * expected


def test_the_jitter_is_as_wide_as_it_may_be() -> None:
    assert backoff(draw=0.0).next_delay_seconds() == pytest.approx(4.5)
    assert backoff(draw=0.999999).next_delay_seconds() == pytest.approx(5.5, abs=1e-4)


@given(st.integers(1, 30))
def test_it_is_exhausted_after_as_many_failures_as_are_allowed(allowed: int) -> None:
    rules = backoff(max_failures=allowed)
    for _ in range(allowed - 1):
        rules.failed()
    assert not rules.exhausted
    rules.failed()
    assert rules.exhausted
    assert rules.failures == allowed


def test_zero_never_gives_up() -> None:
    rules = backoff(max_failures=0)
    for _ in range(5000):
        rules.failed()
        assert 0 < rules.next_delay_seconds() <= 66
    assert not rules.exhausted


def test_a_connection_that_proved_good_starts_over() -> None:
    rules = backoff(max_failures=3)
    for _ in range(3):
        rules.failed()
        rules.next_delay_seconds()
    rules.proved()
    assert rules.failures == 0
    assert not rules.exhausted
    assert rules.next_delay_seconds() == 5.0


def test_delays_go_on_doubling_while_nothing_proves_good() -> None:
    # A server that accepts and then closes gives no reason to hurry.
    rules = backoff()
    rules.next_delay_seconds()
    rules.failed()
    assert rules.next_delay_seconds() == 10.0


def test_what_the_exchange_asks_for_is_waited() -> None:
    rules = backoff()
    assert rules.next_delay_seconds(at_least_seconds=120.0) == 120.0
    assert rules.next_delay_seconds(at_least_seconds=3.0) == 10.0


def test_attempts_within_the_limit_wait_for_nothing() -> None:
    window = AttemptWindow(limit=3, window_seconds=10.0)
    assert [window.reserve(at) for at in (0.0, 1.0, 2.0)] == [0.0, 0.0, 0.0]


def test_an_attempt_beyond_the_limit_waits_for_the_oldest_to_leave_the_window() -> None:
    window = AttemptWindow(limit=3, window_seconds=10.0)
    for at in (0.0, 1.0, 2.0):
        window.reserve(at)
    assert window.reserve(4.0) == 6.0
    assert window.reserve(4.0) == 7.0
    assert window.reserve(30.0) == 0.0


def test_three_hundred_attempts_are_allowed_in_five_minutes() -> None:
    window = AttemptWindow()
    waits = [window.reserve(0.0) for _ in range(700)]
    assert waits == [0.0] * 300 + [300.0] * 300 + [600.0] * 100


@given(
    st.integers(1, 5),
    st.lists(st.floats(0, 8), min_size=1, max_size=60),
)
def test_there_are_never_more_attempts_in_a_window_than_the_limit(
    limit: int, pauses: list[float]
) -> None:
    window = AttemptWindow(limit=limit, window_seconds=10.0)
    now = 0.0
    made: list[float] = []
    for pause in pauses:
        now += pause
        made.append(now + window.reserve(now))
    for first, last in zip(made, made[limit:], strict=False):
        assert last - first >= 10.0 - 1e-9


@given(
    st.integers(1, 5),
    st.lists(st.floats(0, 20), min_size=1, max_size=60),
)
def test_an_attempt_waits_no_longer_than_it_must(
    limit: int, pauses: list[float]
) -> None:
    window = AttemptWindow(limit=limit, window_seconds=10.0)
    now = 0.0
    made: list[float] = []
    for pause in pauses:
        now += pause
        wait = window.reserve(now)
        earlier = made[-limit] if len(made) >= limit else float("-inf")
        assert wait == pytest.approx(max(0.0, earlier + 10.0 - now))
        made.append(now + wait)


def test_addresses_have_their_turn_after_failures() -> None:
    hosts = HostRotation(["a", "b", "c"], well_seconds=3600)
    seen = [hosts.url]
    for _ in range(3):
        hosts.failed()
        seen.append(hosts.url)
    assert seen == ["a", "b", "c", "a"]
    assert hosts.all_failed


def test_the_first_address_has_its_turn_again_after_an_hour_that_was_well() -> None:
    hosts = HostRotation(["a", "b"], well_seconds=3600)
    hosts.failed()
    hosts.ended(3599)
    assert (hosts.url, hosts.all_failed) == ("b", False)
    hosts.ended(3600)
    assert hosts.url == "a"


def test_a_single_address_has_failed_at_once() -> None:
    hosts = HostRotation(["a"])
    hosts.failed()
    assert (hosts.url, hosts.all_failed) == ("a", True)
