"""A set of ids kept as ranges behaves as the plain set of the same ids."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from k2cli.completeness.id_ranges import IdRange, IdRanges

ranges = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(
    lambda each: IdRange(each[0], each[0] + each[1])
)


def ids_in(*some: IdRange) -> set[int]:
    return {trade_id for one in some for trade_id in range(one.first_id, one[1] + 1)}


def check_is(kept: IdRanges, ids: set[int]) -> None:
    assert ids_in(*kept) == ids
    assert kept.ids == len(ids)
    assert kept.first_id == min(ids, default=None)
    assert len(kept) == len(list(kept))
    # Ascending, and with at least one id between two of them.
    assert all(one.last_id + 1 < other.first_id for one, other in pairwise(kept))
    assert {trade_id for trade_id in range(60) if trade_id in kept} == ids


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "within"]), ranges)))
def test_it_is_the_same_as_a_set(steps: list[tuple[str, IdRange]]) -> None:
    kept, ids = IdRanges(), set[int]()
    for step, one in steps:
        common = ids & ids_in(one)
        if step == "add":
            kept.add(*one)
            ids |= ids_in(one)
        elif step == "remove":
            removed = kept.remove(*one)
            assert ids_in(*removed) == common
            ids -= common
        else:
            part = kept.within(*one)
            assert ids_in(*part) == common
            assert part == sorted(part)
        check_is(kept, ids)


@given(st.lists(ranges))
def test_it_can_begin_with_any_ranges(some: list[IdRange]) -> None:
    check_is(IdRanges(some), ids_in(*some))


def test_an_empty_one_is_false() -> None:
    assert not IdRanges()
    assert IdRanges([(0, 0)])


def test_ranges_that_adjoin_become_one() -> None:
    assert list(IdRanges([(1, 2), (5, 6), (3, 4)])) == [(1, 6)]


def test_only_numbers_can_be_in_it() -> None:
    assert "1" not in IdRanges([(1, 2)])


def test_a_range_knows_how_many_ids_it_has() -> None:
    assert IdRange(7, 9).ids == 3
