from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.completeness.sequence import (
    SequenceTracker,
    Verdict,
    accept_contiguous,
)
from tests.batches import BTC, ETH, trade_batch

FIRST, NEXT, GAP = Verdict.FIRST, Verdict.NEXT, Verdict.GAP
LATE, DUPLICATE, RESET = Verdict.LATE, Verdict.DUPLICATE, Verdict.RESET


def observed(tracker: SequenceTracker, *ids: int) -> list[Verdict]:
    """Observe trades whose times rise with their ids, as the exchange's do."""
    return [tracker.observe(trade_id, 1000 + trade_id) for trade_id in ids]


def adds_up(tracker: SequenceTracker) -> bool:
    """Return whether each id of the account came or is missing."""
    if tracker.first_id is None or tracker.last_id is None:
        return tracker.trades == tracker.missing == 0
    return tracker.trades + tracker.missing == tracker.last_id - tracker.first_id + 1


@pytest.mark.parametrize(
    ("ids", "verdicts", "missing"),
    [
        ([7], [FIRST], []),
        ([0, 1], [FIRST, NEXT], []),
        ([7, 8, 9], [FIRST, NEXT, NEXT], []),
        ([7, 9], [FIRST, GAP], [(8, 8)]),
        ([7, 8, 12, 13], [FIRST, NEXT, GAP, NEXT], [(9, 11)]),
        ([7, 7], [FIRST, DUPLICATE], []),
        ([7, 8, 7, 9], [FIRST, NEXT, DUPLICATE, NEXT], []),
        ([7, 6], [FIRST, DUPLICATE], []),
        ([7, 9, 8, 10], [FIRST, GAP, LATE, NEXT], []),
        ([7, 9, 8, 8], [FIRST, GAP, LATE, DUPLICATE], []),
        ([1, 6, 4], [FIRST, GAP, LATE], [(2, 3), (5, 5)]),
        ([1, 6, 2, 5], [FIRST, GAP, LATE, LATE], [(3, 4)]),
        ([1, 4, 8, 3, 6], [FIRST, GAP, GAP, LATE, LATE], [(2, 2), (5, 5), (7, 7)]),
    ],
)
def test_each_trade_is_judged_by_its_id(
    ids: list[int], verdicts: list[Verdict], missing: list[tuple[int, int]]
) -> None:
    tracker = SequenceTracker()
    assert observed(tracker, *ids) == verdicts
    assert tracker.missing_ranges == missing
    assert tracker.missing == sum(last - first + 1 for first, last in missing)


def test_it_counts_what_it_saw() -> None:
    tracker = SequenceTracker()
    observed(tracker, 5, 6, 9, 9, 7, 20, 5)
    assert (tracker.first_id, tracker.last_id) == (5, 20)
    assert tracker.trades == 5
    assert tracker.gaps == 2
    assert tracker.duplicates == 2
    assert tracker.resets == 0
    assert tracker.missing_ranges == [(8, 8), (10, 19)]


def test_nothing_was_seen_at_first() -> None:
    tracker = SequenceTracker()
    assert tracker.first_id is None
    assert tracker.last_id is None
    assert tracker.missing_ranges == []


def test_the_ranges_given_are_the_callers_own() -> None:
    tracker = SequenceTracker()
    observed(tracker, 1, 5)
    tracker.missing_ranges.clear()
    assert tracker.missing == 3


@given(
    st.lists(st.integers(50, 90), min_size=1, max_size=80),
    st.sampled_from([1, 3, 1000]),
)
def test_accepted_and_missing_partition_the_range_seen(
    ids: list[int], ids_with_equal_time: int
) -> None:
    # Any order, any repetition, anything left out; trades of one order share a time.
    tracker = SequenceTracker()
    accepted = [
        trade_id
        for trade_id in ids
        if tracker.observe(trade_id, trade_id // ids_with_equal_time)
        is not Verdict.DUPLICATE
    ]
    missing = [
        trade_id
        for first, last in tracker.missing_ranges
        for trade_id in range(first, last + 1)
    ]
    assert tracker.first_id == ids[0]
    assert tracker.last_id == max(ids)
    assert sorted(accepted + missing) == list(range(ids[0], max(ids) + 1))
    assert missing == sorted(missing)
    assert len(accepted) == len(set(accepted)) == tracker.trades
    assert len(ids) == tracker.trades + tracker.duplicates
    assert len(missing) == tracker.missing
    assert tracker.resets == 0
    # Each id that came and is not below the first was accepted.
    assert set(accepted) == {each for each in ids if each >= ids[0]}


@given(st.permutations(range(2, 30)))
def test_late_trades_fill_every_gap(order: list[int]) -> None:
    tracker = SequenceTracker()
    observed(tracker, 1, 30)
    assert set(observed(tracker, *order)) == {LATE}
    assert tracker.missing_ranges == []
    assert tracker.trades == 30
    assert tracker.gaps == 1


@given(st.lists(st.integers(1, 40), unique=True, min_size=2))
def test_ascending_ids_have_a_gap_for_each_jump(ids: list[int]) -> None:
    ids.sort()
    tracker = SequenceTracker()
    observed(tracker, *ids)
    jumps = sum(b - a > 1 for a, b in pairwise(ids))
    assert tracker.gaps == len(tracker.missing_ranges) == jumps
    assert tracker.trades == len(ids)


def test_a_capture_is_resumed_where_it_ended() -> None:
    tracker = SequenceTracker()
    tracker.resume(100, 5000)
    assert tracker.observe(101, 5001) is NEXT
    assert tracker.first_id == 101


def test_trades_missed_between_two_runs_are_missing() -> None:
    tracker = SequenceTracker()
    tracker.resume(100, 5000)
    assert tracker.observe(104, 5001) is GAP
    assert tracker.missing_ranges == [(101, 103)]
    assert tracker.trades == 1
    assert adds_up(tracker)
    assert observed(tracker, 102, 101) == [LATE, LATE]
    assert (tracker.first_id, tracker.last_id) == (101, 104)
    assert adds_up(tracker)


def test_a_trade_that_the_capture_has_is_a_duplicate() -> None:
    tracker = SequenceTracker()
    tracker.resume(100, 5000)
    assert tracker.observe(100, 5000) is DUPLICATE
    assert tracker.observe(99, 4999) is DUPLICATE
    assert tracker.first_id is None
    assert tracker.observe(101, 5000) is NEXT
    assert adds_up(tracker)


def test_a_reset_between_two_runs_is_accounted_for() -> None:
    tracker = SequenceTracker()
    tracker.resume(100, 5000)
    assert tracker.observe(7, 6000) is RESET
    assert (tracker.first_id, tracker.last_id, tracker.trades) == (7, 7, 1)
    assert adds_up(tracker)


def test_a_lower_id_made_later_is_a_reset() -> None:
    tracker = SequenceTracker()
    observed(tracker, 1000, 1001)
    assert tracker.observe(1, 2_000_000) is RESET
    assert tracker.observe(2, 2_000_001) is NEXT
    assert tracker.observe(1, 2_000_000) is DUPLICATE
    assert (tracker.resets, tracker.trades, tracker.last_id) == (1, 4, 2)


def test_a_duplicate_of_the_same_time_is_no_reset() -> None:
    tracker = SequenceTracker()
    assert [tracker.observe(i, 1000) for i in (5, 6, 5)] == [FIRST, NEXT, DUPLICATE]


def test_what_was_missing_before_a_reset_stays_missing() -> None:
    tracker = SequenceTracker()
    observed(tracker, 1, 5)
    tracker.observe(0, 9000)
    assert tracker.observe(3, 9003) is GAP
    # The 2 of after the reset.
    assert tracker.observe(2, 9002) is LATE
    assert tracker.missing_ranges == [(2, 4), (1, 1)]


def test_late_trades_fill_gaps_after_a_reset() -> None:
    tracker = SequenceTracker()
    observed(tracker, 1000, 1005, 1100, 1105, 1200, 1205)
    lost = tracker.missing_ranges
    tracker.observe(1, 9_000_000)
    tracker.observe(5, 9_000_004)
    assert tracker.observe(3, 9_000_002) is LATE
    assert tracker.missing_ranges == [*lost, (2, 2), (4, 4)]


@given(
    st.lists(st.integers(50, 70), min_size=1, max_size=30),
    st.lists(st.integers(0, 40), min_size=1, max_size=30),
)
def test_ids_before_and_after_a_reset_are_partitioned(
    old: list[int], new: list[int]
) -> None:
    tracker = SequenceTracker()
    for trade_id in old:
        tracker.observe(trade_id, trade_id)
    before = tracker.missing_ranges
    accepted = [
        trade_id
        for trade_id in new
        if tracker.observe(trade_id, 1000 + trade_id) is not Verdict.DUPLICATE
    ]
    missing = [
        trade_id
        for first, last in tracker.missing_ranges[len(before) :]
        for trade_id in range(first, last + 1)
    ]
    assert tracker.resets == 1
    assert tracker.missing_ranges[: len(before)] == before
    assert sorted(accepted + missing) == list(range(new[0], max(new) + 1))


def test_ids_that_were_jumped_over_are_open_until_they_come() -> None:
    tracker = SequenceTracker()
    observed(tracker, 1)
    assert tracker.open.first_id is None
    observed(tracker, 5, 9)
    assert tracker.open.first_id == 2
    observed(tracker, 2, 4)
    assert tracker.open.first_id == 3
    observed(tracker, 3)
    assert tracker.open.first_id == 6
    observed(tracker, 8, 7, 6)
    assert tracker.open.first_id is None


@pytest.mark.parametrize(
    ("first", "last", "ranges"),
    [
        (0, 99, [(2, 4), (6, 6), (8, 9)]),
        (2, 9, [(2, 4), (6, 6), (8, 9)]),
        (3, 3, [(3, 3)]),
        (4, 8, [(4, 4), (6, 6), (8, 8)]),
        (5, 7, [(6, 6)]),
        (5, 5, []),
        (0, 1, []),
        (10, 99, []),
    ],
)
def test_a_part_of_what_is_open_can_be_asked_for_and_given_up(
    first: int, last: int, ranges: list[tuple[int, int]]
) -> None:
    tracker = SequenceTracker()
    observed(tracker, 1, 5, 7, 10)
    assert tracker.open.within(first, last) == ranges
    assert tracker.give_up(first, last) == ranges
    assert tracker.open.within(first, last) == []
    # Missing all the same.
    assert tracker.missing_ranges == [(2, 4), (6, 6), (8, 9)]
    assert tracker.missing == 6
    assert adds_up(tracker)


def test_a_trade_that_was_given_up_is_left_out_when_it_comes() -> None:
    tracker = SequenceTracker()
    observed(tracker, 1, 5)
    tracker.give_up(2, 3)
    assert observed(tracker, 3, 4) == [DUPLICATE, LATE]
    assert tracker.missing_ranges == [(2, 3)]
    assert adds_up(tracker)


def test_missing_ids_that_adjoin_are_one_range() -> None:
    tracker = SequenceTracker()
    observed(tracker, 1, 10)
    for first, last in ((6, 7), (2, 3), (4, 5)):
        tracker.give_up(first, last)
    assert tracker.missing_ranges == [(2, 9)]


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(50, 90), st.integers(0, 5)),
        min_size=1,
        max_size=60,
    )
)
def test_what_came_is_open_or_is_lost_always_adds_up(
    steps: list[tuple[bool, int, int]],
) -> None:
    tracker = SequenceTracker()
    came: set[int] = set()
    lost: set[int] = set()
    for gives_up, trade_id, more in steps:
        if gives_up:
            for first, last in tracker.give_up(trade_id, trade_id + more):
                lost |= set(range(first, last + 1))
        elif tracker.observe(trade_id, trade_id) is not DUPLICATE:
            assert trade_id not in came | lost
            came.add(trade_id)
        assert adds_up(tracker)
    ids = [i for a, b in tracker.missing_ranges for i in range(a, b + 1)]
    still_open = [i for a, b in tracker.open for i in range(a, b + 1)]
    assert lost == set(ids) - set(still_open)
    assert len(came) == tracker.trades


def test_trades_known_from_elsewhere_are_open() -> None:
    tracker = SequenceTracker()
    assert tracker.expect(9) is None
    observed(tracker, 5)
    assert tracker.expect(5) is None
    assert tracker.expect(8) == (6, 8)
    assert tracker.expect(8) is None
    assert tracker.expect(9) == (9, 9)
    assert (tracker.last_id, tracker.missing, tracker.gaps) == (9, 4, 2)
    assert adds_up(tracker)
    assert observed(tracker, 10, 7, 6, 9, 8) == [NEXT, LATE, LATE, LATE, LATE]
    assert tracker.missing == 0
    assert adds_up(tracker)


def test_trades_known_from_elsewhere_count_from_the_end_of_the_capture_on() -> None:
    tracker = SequenceTracker()
    tracker.resume(100, 1100)
    tracker.expect(103)
    assert observed(tracker, 103) == [LATE]
    assert tracker.first_id == 101
    assert adds_up(tracker)


def test_no_repeated_trade_is_taken_for_a_reset() -> None:
    # Of the trades known from elsewhere, the times are not known.
    tracker = SequenceTracker()
    observed(tracker, 5)
    tracker.expect(9)
    tracker.give_up(8, 8)
    assert observed(tracker, 6, 6, 7, 6, 8, 9, 7, 10, 9) == [
        LATE,
        DUPLICATE,
        LATE,
        DUPLICATE,
        DUPLICATE,
        LATE,
        DUPLICATE,
        NEXT,
        DUPLICATE,
    ]
    assert tracker.resets == 0
    assert tracker.observe(1, 2_000_000) is RESET


def test_a_reset_is_noticed_again_when_the_newest_trade_has_come() -> None:
    tracker = SequenceTracker()
    observed(tracker, 5)
    tracker.expect(9)
    observed(tracker, 9)
    assert tracker.observe(1, 2_000_000) is RESET


def test_of_very_many_lost_ranges_the_oldest_are_only_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("k2cli.completeness.sequence.MOST_LOST_RANGES", 2)
    tracker = SequenceTracker()
    for trade_id in (1, 3, 6, 8, 10):
        observed(tracker, trade_id)
        tracker.give_up(0, trade_id)
    assert tracker.missing_ranges == [(7, 7), (9, 9)]
    assert (tracker.unnamed, tracker.missing) == (3, 5)
    assert adds_up(tracker)


def test_of_lost_ranges_behind_an_open_one_the_newest_stay_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("k2cli.completeness.sequence.MOST_LOST_RANGES", 1)
    tracker = SequenceTracker()
    observed(tracker, 1, 3, 5, 7)
    tracker.give_up(4, 6)
    assert tracker.missing_ranges == [(2, 2), (6, 6)]
    assert (tracker.unnamed, tracker.missing, tracker.open.ids) == (1, 3, 1)
    assert adds_up(tracker)


def test_of_very_many_ranges_from_before_a_reset_the_oldest_are_only_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("k2cli.completeness.sequence.MOST_LOST_RANGES", 2)
    tracker = SequenceTracker()
    observed(tracker, 10, 12, 15, 17)
    assert tracker.observe(1, 9_000_000) is RESET
    assert tracker.missing_ranges == [(13, 14), (16, 16)]
    assert (tracker.unnamed, tracker.missing) == (1, 4)


def test_what_an_earlier_run_lost_stays_missing() -> None:
    tracker = SequenceTracker()
    tracker.resume(100, 5000)
    # The last range is behind the end of the capture: it will be noticed again.
    tracker.remember_lost([(20, 29), (5, 5), (101, 103)])
    assert tracker.missing_ranges == [(5, 5), (20, 29)]
    assert tracker.missing == 11
    assert tracker.observe(104, 5001) is GAP
    assert tracker.missing_ranges == [(5, 5), (20, 29), (101, 103)]


def account(tracker: SequenceTracker) -> tuple[object, ...]:
    return (
        tracker.trades,
        tracker.first_id,
        tracker.last_id,
        tracker.first_time_us,
        tracker.last_time_us,
        tracker.gaps,
        tracker.duplicates,
        tracker.resets,
        tracker.missing_ranges,
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from([BTC, ETH]),
            st.sampled_from([1, 1, 1, 1, 2, 0, -1, -5]),
            st.sampled_from([0, 0, 1, 5, -3]),
        ),
        max_size=40,
    ),
    st.booleans(),
)
def test_contiguous_trades_are_accounted_for_as_one_by_one(
    steps: list[tuple[str, int, int]], resumed: bool
) -> None:
    symbols, ids, times_us = [], [], []
    last, time_us = {BTC: 10, ETH: 10}, 2 * 10**15
    for symbol, step, later in steps:
        last[symbol] = max(last[symbol] + step, 1)
        time_us += later
        symbols.append(symbol)
        ids.append(last[symbol])
        times_us.append(time_us)

    def trackers() -> dict[str, SequenceTracker]:
        made = {symbol: SequenceTracker() for symbol in last}
        if resumed:
            made[BTC].resume(10, 2 * 10**15)
        return made

    singly, together = trackers(), trackers()
    verdicts = [
        singly[symbol].observe(trade_id, made_us)
        for symbol, trade_id, made_us in zip(symbols, ids, times_us, strict=True)
    ]
    batch = trade_batch(ids, symbols, times_us=times_us)
    start = 0
    while start < len(batch):
        stop = accept_contiguous(together, batch, start)
        assert set(verdicts[start:stop]) <= {NEXT}
        if stop < len(batch):
            verdict = together[symbols[stop]].observe(ids[stop], times_us[stop])
            assert verdict is verdicts[stop]
        start = stop + 1
    for symbol in last:
        assert account(together[symbol]) == account(singly[symbol])


def test_a_symbol_of_which_trades_wait_is_not_accepted() -> None:
    trackers = {BTC: SequenceTracker(), ETH: SequenceTracker()}
    for tracker in trackers.values():
        observed(tracker, 1)
    batch = trade_batch([2, 3, 2, 4], [BTC, BTC, ETH, BTC])
    assert accept_contiguous(trackers, batch, 0, waiting={ETH}) == 2
    assert (trackers[BTC].last_id, trackers[ETH].last_id) == (3, 1)
