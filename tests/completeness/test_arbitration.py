"""Two feeds: each trade once, in order, from whichever brings it first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.completeness.arbitration import WAIT_SECONDS, Arbiter, Feed
from k2cli.trade import TradeBatch
from tests.batches import BTC, ETH, ids_of, trade_batch


class Clock:
    def __init__(self) -> None:
        self.now_seconds = 0.0

    def __call__(self) -> float:
        return self.now_seconds


class Feeds:
    """An arbiter whose feeds are live, and what it has handed on."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.first_with: Counter[tuple[str, str]] = Counter()
        self.arbiter = Arbiter(self.first_with, clock=self.clock)
        self.a, self.b = self.arbiter.feeds
        self.a.is_live = self.b.is_live = True

    def bring(
        self, feed: Feed, *ids: int, symbols: str | Sequence[str] = BTC
    ) -> list[int]:
        batch = trade_batch(ids, symbols)
        return _ids(
            self.arbiter.receive(feed, batch.symbols, batch.trade_ids, batch.select)
        )

    def due(self) -> list[int]:
        return _ids(self.arbiter.due())


def _ids(batches: list[TradeBatch]) -> list[int]:
    return [trade_id for batch in batches for trade_id in ids_of(batch)]


@pytest.fixture
def feeds() -> Feeds:
    """Both feeds have come to id 10."""
    feeds = Feeds()
    feeds.b.is_live = False
    assert feeds.bring(feeds.a, 9, 10) == [9, 10]
    feeds.b.is_live = True
    assert feeds.bring(feeds.b, 10) == []
    return feeds


def test_each_trade_comes_from_the_feed_that_is_first(feeds: Feeds) -> None:
    feeds.a.host, feeds.b.host = "one", "two"
    assert feeds.bring(feeds.a, 11, 12) == [11, 12]
    assert feeds.bring(feeds.b, 11, 12, 13) == [13]
    assert feeds.bring(feeds.a, 13, 14) == [14]
    assert feeds.bring(feeds.b, 14) == []
    assert feeds.first_with["A", "one"] == 3
    assert feeds.first_with["B", "two"] == 1


def test_symbols_are_told_apart(feeds: Feeds) -> None:
    feeds.b.is_live = False
    feeds.bring(feeds.a, 500, symbols=ETH)
    feeds.b.is_live = True
    assert feeds.bring(feeds.b, 500, 11, 501, symbols=[ETH, BTC, ETH]) == [11, 501]
    assert feeds.bring(feeds.a, 11, 501, 12, symbols=[BTC, ETH, BTC]) == [12]


def test_what_is_jumped_over_comes_from_the_other_feed(feeds: Feeds) -> None:
    assert feeds.bring(feeds.a, 14, 15) == []
    assert feeds.bring(feeds.b, 11, 12) == [11, 12]
    assert feeds.bring(feeds.a, 16) == []
    assert feeds.bring(feeds.b, 13) == [13, 14, 15, 16]
    assert feeds.bring(feeds.b, 14, 15, 16, 17) == [17]
    assert feeds.arbiter.due_in_seconds() is None


def test_a_feed_that_was_away_and_missed_nothing_new_does_not_wait(
    feeds: Feeds,
) -> None:
    assert feeds.bring(feeds.b, *range(11, 20)) == [*range(11, 20)]
    assert feeds.bring(feeds.a, 20, 21) == [20, 21]
    assert feeds.bring(feeds.b, 20, 21, 22) == [22]


def test_several_jumps_wait_each_for_its_own(feeds: Feeds) -> None:
    assert feeds.bring(feeds.a, 13, 14, 17) == []
    assert feeds.bring(feeds.b, 11, 12) == [11, 12, 13, 14]
    assert feeds.bring(feeds.b, 13, 14, 15, 16) == [15, 16, 17]


def test_nothing_waits_for_a_feed_that_has_come_as_far_without(feeds: Feeds) -> None:
    assert feeds.bring(feeds.a, 14) == []
    assert feeds.bring(feeds.b, 15) == [14, 15]
    assert feeds.bring(feeds.a, 15, 16) == [16]


def test_nothing_waits_for_a_feed_that_is_down(feeds: Feeds) -> None:
    feeds.b.is_live = False
    assert feeds.bring(feeds.a, 14) == [14]
    feeds.b.is_live = True
    assert feeds.bring(feeds.a, 17) == []
    feeds.b.is_live = False
    assert feeds.arbiter.due_in_seconds() == 0
    assert feeds.due() == [17]


def test_nothing_waits_for_long(feeds: Feeds) -> None:
    assert feeds.bring(feeds.a, 14) == []
    feeds.clock.now_seconds += 1
    assert feeds.bring(feeds.a, 17) == []
    assert feeds.due() == []
    assert feeds.arbiter.due_in_seconds() == WAIT_SECONDS - 1
    feeds.clock.now_seconds += WAIT_SECONDS - 1
    assert feeds.due() == [14]
    assert feeds.bring(feeds.b, 11, 12, 13, 14, 15, 16) == [11, 12, 13, 15, 16, 17]


def test_the_first_trade_of_a_symbol_waits_for_older_ones() -> None:
    feeds = Feeds()
    assert feeds.bring(feeds.a, 20) == []
    assert feeds.bring(feeds.b, 18) == [18]
    assert feeds.bring(feeds.a, 21) == []
    assert feeds.bring(feeds.b, 19) == [19, 20, 21]


def test_a_stray_id_takes_nothing_with_it(feeds: Feeds) -> None:
    assert feeds.bring(feeds.a, 10**12) == []
    assert feeds.bring(feeds.a, 11) == [11, 10**12]
    assert feeds.bring(feeds.b, 11, 12) == [12]
    assert feeds.bring(feeds.a, 12, 13) == [13]


def test_what_changed_places_is_put_right(feeds: Feeds) -> None:
    assert feeds.bring(feeds.a, 12, 11, 13) == [11, 12, 13]
    assert feeds.bring(feeds.b, 12, 11, 13) == []


def test_what_a_feed_repeats_is_left_to_others_to_judge(feeds: Feeds) -> None:
    assert feeds.bring(feeds.a, 10) == [10]
    assert feeds.bring(feeds.b, 10) == [10]
    assert feeds.bring(feeds.a, 11) == [11]
    assert feeds.first_with.total() == 3


def test_a_new_count_is_followed(feeds: Feeds) -> None:
    assert feeds.bring(feeds.a, 1, 2) == [1, 2]
    assert feeds.bring(feeds.b, 1, 2, 3) == [3]
    assert feeds.bring(feeds.a, *range(3, 12)) == [*range(4, 12)]
    assert feeds.bring(feeds.b, *range(4, 13)) == [12]


def test_what_waits_is_bounded(feeds: Feeds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k2cli.completeness.arbitration.MOST_WAITING", 100)
    many = range(12, 112)
    assert feeds.bring(feeds.a, *many) == []
    assert feeds.bring(feeds.a, many.stop) == [*many, many.stop]
    assert feeds.arbiter.waiting == 0


def looks(feeds: Feeds) -> list[tuple[str, str]]:
    feeds.clock.now_seconds += 1
    return [(feed.name, symbol) for feed, symbol in feeds.arbiter.look()]


def test_a_feed_that_lacks_a_symbol_is_found(feeds: Feeds) -> None:
    assert looks(feeds) == []
    feeds.bring(feeds.a, 11, 12)
    assert looks(feeds) == []
    # What has just come may be on its way, and a slow feed is not a deaf one.
    feeds.bring(feeds.a, 13)
    feeds.bring(feeds.b, 11, 12)
    assert looks(feeds) == []
    assert looks(feeds) == [("B", BTC)]
    feeds.bring(feeds.b, 13)
    assert looks(feeds) == []


def test_a_feed_lacks_nothing_of_the_time_before_it_was_live(feeds: Feeds) -> None:
    looks(feeds)
    feeds.b.is_live = False
    feeds.bring(feeds.a, 11, 12)
    looks(feeds)
    feeds.b.is_live, feeds.b.since_seconds = True, feeds.clock.now_seconds
    assert looks(feeds) == looks(feeds) == []
    feeds.bring(feeds.a, 13)
    assert looks(feeds) == []
    assert looks(feeds) == [("B", BTC)]


TAPE = range(100, 130)


@st.composite
def turns(draw: st.DrawFn, *, each_is_brought: bool) -> list[tuple[str, int]]:
    """Two feeds of the same tape, each with losses of its own, in any order."""
    losses = st.sets(st.sampled_from(TAPE))
    lost = {"a": draw(losses), "b": draw(losses)}
    if each_is_brought:
        lost["b"] -= lost["a"]
    left = {name: [one for one in TAPE if one not in lost[name]] for name in lost}
    order = draw(st.permutations("a" * len(left["a"]) + "b" * len(left["b"])))
    return [(name, left[name].pop(0)) for name in order]


def handed_on(turns: list[tuple[str, int]]) -> list[int]:
    feeds = Feeds()
    seen = []
    for name, trade_id in turns:
        seen += feeds.bring(feeds.a if name == "a" else feeds.b, trade_id)
    seen += _ids(feeds.arbiter.rest())
    assert feeds.arbiter.waiting == 0
    assert feeds.first_with.total() == len(seen)
    return seen


@given(turns(each_is_brought=True))
def test_no_gap_is_seen_that_one_of_both_can_fill(turns: list[tuple[str, int]]) -> None:
    seen = handed_on(turns)
    assert seen == sorted({trade_id for _, trade_id in turns})


@given(turns(each_is_brought=False))
def test_what_any_of_both_brings_is_handed_on_once(
    turns: list[tuple[str, int]],
) -> None:
    assert sorted(handed_on(turns)) == sorted({trade_id for _, trade_id in turns})
