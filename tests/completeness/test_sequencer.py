"""Each trade once and in order, whatever the exchange, the wire and the history do."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from k2cli.completeness.backfill import PAGE_TRADES, BackfillPlan, BackfillRequest
from k2cli.completeness.id_ranges import IdRange
from k2cli.completeness.ledger import Ledger
from k2cli.completeness.sequencer import MOST_WAITING_SECONDS, Sequencer
from k2cli.trade import TradeBatch
from tests.batches import BTC, ETH, FIRST_TIME_US, ids_of, trade_batch


def arriving(
    ids: list[int],
    symbols: str | list[str] = BTC,
    *,
    is_backfill: bool = False,
    is_plain: bool = True,
) -> TradeBatch:
    """Make trades; those of one order share a time."""
    return trade_batch(
        ids,
        symbols,
        times_us=[FIRST_TIME_US + trade_id // 3 for trade_id in ids],
        is_backfill=is_backfill,
        is_plain=is_plain,
    )


class Receiver:
    """Keeps the ids it gets, and holds back who brings them while it is slow."""

    def __init__(self) -> None:
        self.ids: dict[str, list[int]] = {BTC: [], ETH: []}
        self._read = asyncio.Event()
        self._read.set()

    def take(self, batch: TradeBatch) -> Awaitable[None] | None:
        for symbol, trade_id in zip(batch.symbols, ids_of(batch), strict=True):
            self.ids[symbol].append(trade_id)
        return None if self._read.is_set() else asyncio.ensure_future(self._wait())

    def stop_reading(self) -> None:
        self._read.clear()

    def resume_reading(self) -> None:
        self._read.set()

    async def _wait(self) -> None:
        await self._read.wait()


class Sequenced:
    """A sequencer with a receiver of each kind, and a note of what it reports."""

    def __init__(self, *, repairing: bool = True, at_once: bool = True) -> None:
        self.ledger = Ledger([BTC, ETH])
        self.at_once, self.in_order = Receiver(), Receiver()
        self.gaps: list[tuple[str, IdRange]] = []
        self.lost: list[tuple[str, IdRange]] = []
        self._repairing = repairing
        self.sequencer = Sequencer(
            self.ledger,
            at_once=self.at_once.take if at_once else None,
            in_order=self.in_order.take,
            on_gap=self._gap,
            on_lost=lambda symbol, ids: self.lost.append((symbol, ids)),
        )

    def _gap(self, symbol: str, ids: IdRange) -> bool:
        self.gaps.append((symbol, ids))
        return self._repairing

    def arrive(self, *ids: int, symbol: str = BTC, now_seconds: float = 0.0) -> None:
        assert self.receive(*ids, symbol=symbol, now_seconds=now_seconds) is None

    def backfill(self, *ids: int, symbol: str = BTC, now_seconds: float = 0.0) -> None:
        page = arriving([*ids], symbol, is_backfill=True)
        assert self.sequencer.receive(page, now_seconds) is None

    def receive(
        self, *ids: int, symbol: str = BTC, now_seconds: float = 0.0
    ) -> Awaitable[None] | None:
        return self.sequencer.receive(arriving([*ids], symbol), now_seconds)


@pytest.fixture
def sequenced() -> Sequenced:
    return Sequenced()


def test_trades_in_sequence_pass_at_once(sequenced: Sequenced) -> None:
    sequenced.arrive(7, 8, 9)
    assert sequenced.at_once.ids[BTC] == sequenced.in_order.ids[BTC] == [7, 8, 9]
    assert sequenced.sequencer.waiting_trades == 0
    assert sequenced.gaps == sequenced.lost == []


def test_a_trade_that_came_before_is_left_out(sequenced: Sequenced) -> None:
    sequenced.arrive(7, 8, 8, 7, 9)
    assert sequenced.at_once.ids[BTC] == sequenced.in_order.ids[BTC] == [7, 8, 9]
    assert sequenced.ledger.duplicates == 2


def test_later_trades_wait_until_the_gap_before_them_is_filled(
    sequenced: Sequenced,
) -> None:
    sequenced.arrive(1, 4, 5)
    assert sequenced.gaps == [(BTC, (2, 3))]
    assert sequenced.in_order.ids[BTC] == [1]
    assert sequenced.sequencer.waiting_trades == 2
    sequenced.arrive(3)
    assert sequenced.in_order.ids[BTC] == [1]
    sequenced.arrive(2)
    assert sequenced.in_order.ids[BTC] == [1, 2, 3, 4, 5]
    assert sequenced.at_once.ids[BTC] == [1, 4, 5, 3, 2]
    assert sequenced.sequencer.waiting_trades == 0


def test_only_what_nothing_is_missing_before_goes_on(sequenced: Sequenced) -> None:
    sequenced.arrive(1, 3, 5, 2)
    assert sequenced.in_order.ids[BTC] == [1, 2, 3]
    assert sequenced.sequencer.waiting_trades == 1


def test_a_gap_of_one_symbol_holds_up_no_other(sequenced: Sequenced) -> None:
    sequenced.arrive(1, 5)
    sequenced.arrive(1, 2, symbol=ETH)
    assert sequenced.in_order.ids[ETH] == [1, 2]
    assert sequenced.in_order.ids[BTC] == [1]


def test_a_gap_that_nobody_repairs_is_lost_and_holds_up_nothing() -> None:
    sequenced = Sequenced(repairing=False)
    sequenced.arrive(1, 4, 3, 5)
    assert sequenced.lost == [(BTC, (2, 3))]
    assert sequenced.in_order.ids[BTC] == sequenced.at_once.ids[BTC] == [1, 4, 5]
    assert sequenced.ledger.trackers[BTC].missing_ranges == [(2, 3)]


def test_ids_given_up_are_reported_and_what_waited_for_them_goes_on(
    sequenced: Sequenced,
) -> None:
    sequenced.arrive(1, 9, 5)
    assert sequenced.sequencer.give_up(BTC, IdRange(3, 7)) is None
    assert sequenced.lost == [(BTC, (3, 4)), (BTC, (6, 7))]
    assert sequenced.in_order.ids[BTC] == [1]
    sequenced.arrive(2, 8)
    assert sequenced.in_order.ids[BTC] == [1, 2, 5, 8, 9]
    assert sequenced.ledger.missing == 4


def test_repaired_trades_are_counted_once(sequenced: Sequenced) -> None:
    sequenced.arrive(1, 4)
    sequenced.backfill(2, 3, 2)
    assert sequenced.ledger.repaired == 2
    assert sequenced.in_order.ids[BTC] == [1, 2, 3, 4]


def test_a_gap_known_from_elsewhere_is_filled_in_order(sequenced: Sequenced) -> None:
    sequenced.arrive(1)
    for each in (BTC, BTC, ETH):
        sequenced.sequencer.expect(each, 4, 0.0)
    assert sequenced.gaps == [(BTC, (2, 4))]
    sequenced.arrive(5, 3, 4)
    assert sequenced.in_order.ids[BTC] == [1]
    sequenced.arrive(2)
    assert sequenced.in_order.ids[BTC] == [1, 2, 3, 4, 5]
    assert sequenced.gaps == [(BTC, (2, 4))]


def test_a_gap_is_given_up_when_nothing_of_it_comes(
    sequenced: Sequenced,
) -> None:
    sequenced.arrive(1, 5)
    sequenced.sequencer.give_up_stale(MOST_WAITING_SECONDS)
    assert sequenced.lost == []
    sequenced.backfill(2, now_seconds=MOST_WAITING_SECONDS)
    sequenced.sequencer.give_up_stale(2 * MOST_WAITING_SECONDS)
    assert sequenced.lost == []
    sequenced.sequencer.give_up_stale(2 * MOST_WAITING_SECONDS + 1)
    assert sequenced.lost == [(BTC, (3, 4))]
    assert sequenced.in_order.ids[BTC] == [1, 2, 5]


def test_a_gap_waits_while_others_are_repaired(
    sequenced: Sequenced,
) -> None:
    for each in (BTC, ETH):
        sequenced.arrive(1, 5, symbol=each)
    sequenced.backfill(2, symbol=ETH, now_seconds=MOST_WAITING_SECONDS)
    sequenced.sequencer.give_up_stale(2 * MOST_WAITING_SECONDS)
    assert sequenced.lost == []
    sequenced.sequencer.give_up_stale(2 * MOST_WAITING_SECONDS + 1)
    assert sequenced.lost == [(BTC, (2, 4)), (ETH, (3, 4))]


def test_no_more_gaps_are_open_than_can_be_followed(
    sequenced: Sequenced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k2cli.completeness.sequencer.MOST_OPEN_GAPS", 2)
    sequenced.arrive(1, 3, 5)
    assert sequenced.lost == []
    sequenced.arrive(7)
    assert sequenced.lost == [(BTC, (2, 2))]
    assert sequenced.in_order.ids[BTC] == [1, 3]


def test_a_gap_that_was_filled_is_forgotten(sequenced: Sequenced) -> None:
    sequenced.arrive(1, 3, 2)
    sequenced.sequencer.give_up_stale(1.0)
    sequenced.arrive(5, now_seconds=MOST_WAITING_SECONDS)
    sequenced.sequencer.give_up_stale(MOST_WAITING_SECONDS + 1)
    assert sequenced.lost == []


def test_no_more_trades_wait_than_may(
    sequenced: Sequenced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k2cli.completeness.sequencer.MOST_WAITING_TRADES", 5)
    sequenced.arrive(1)
    sequenced.arrive(1, 3, symbol=ETH)
    sequenced.arrive(3, 4, 6, 7)
    assert sequenced.sequencer.waiting_trades == 5
    assert sequenced.lost == []
    # The symbol with the most trades waiting gives up its first gap.
    sequenced.arrive(4, symbol=ETH)
    assert sequenced.lost == [(BTC, (2, 2))]
    assert sequenced.in_order.ids == {BTC: [1, 3, 4], ETH: [1]}
    assert sequenced.sequencer.waiting_trades == 4


async def test_a_slow_receiver_gets_what_waited_in_order(
    sequenced: Sequenced,
) -> None:
    sequenced.arrive(1, 3, 4, 5)
    sequenced.in_order.stop_reading()
    waiting = sequenced.receive(2)
    assert waiting is not None
    later = sequenced.receive(6)
    assert later is not None
    assert sequenced.in_order.ids[BTC] == [1, 2]
    sequenced.in_order.resume_reading()
    await waiting
    await later
    assert sequenced.in_order.ids[BTC] == [1, 2, 3, 4, 5, 6]


async def test_a_slow_receiver_holds_back_all_rather_than_let_more_wait(
    sequenced: Sequenced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k2cli.completeness.sequencer.MOST_WAITING_TRADES", 4)
    sequenced.arrive(1, symbol=ETH)
    sequenced.arrive(1, 3, 4, 5)
    sequenced.in_order.stop_reading()
    draining = sequenced.receive(2)
    assert draining is not None
    sequenced.arrive(3, symbol=ETH)
    held_back = sequenced.receive(4, symbol=ETH)
    assert held_back is not None
    assert sequenced.lost == []
    sequenced.in_order.resume_reading()
    await draining
    await held_back
    assert sequenced.in_order.ids == {BTC: [1, 2, 3, 4, 5], ETH: [1]}
    assert sequenced.sequencer.waiting_trades == 2


async def test_trades_after_a_reset_do_not_mix_with_those_waiting_before_it(
    sequenced: Sequenced,
) -> None:
    sequenced.arrive(1, 50, 51, 52)
    sequenced.in_order.stop_reading()
    waiting = [
        sequenced.sequencer.receive(
            trade_batch([each], times_us=[FIRST_TIME_US + 9_000_000 + each]), 0.0
        )
        for each in (1, 3, 51, 2, 4)
    ]
    sequenced.in_order.resume_reading()
    for each in waiting:
        if each is not None:
            await each
    assert sequenced.in_order.ids[BTC] == [1, 50, 51, 52, 1, 2, 3, 4]
    assert sequenced.ledger.trackers[BTC].resets == 1
    await sequenced.sequencer.finish(whole=True)
    assert sequenced.in_order.ids[BTC][4:] == [1, 2, 3, 4, 51]
    assert sequenced.lost == [(BTC, (5, 50))]


async def test_at_the_end_what_is_open_is_lost_and_what_waits_goes_on(
    sequenced: Sequenced,
) -> None:
    sequenced.arrive(1, 4, 7)
    sequenced.arrive(1, 2, symbol=ETH)
    await sequenced.sequencer.finish(whole=True)
    assert sequenced.lost == [(BTC, (2, 3)), (BTC, (5, 6))]
    assert sequenced.in_order.ids == {BTC: [1, 4, 7], ETH: [1, 2]}
    assert sequenced.sequencer.waiting_trades == 0
    assert (sequenced.ledger.trades, sequenced.ledger.missing) == (5, 4)


async def test_the_end_waits_for_a_slow_receiver(sequenced: Sequenced) -> None:
    sequenced.arrive(1, 3, 4)
    sequenced.in_order.stop_reading()
    ending = asyncio.ensure_future(sequenced.sequencer.finish(whole=True))
    await asyncio.sleep(0)
    assert sequenced.in_order.ids[BTC] == [1, 3]
    sequenced.in_order.resume_reading()
    await ending
    assert sequenced.in_order.ids[BTC] == [1, 3, 4]


async def test_gaps_behind_the_last_trade_wanted_are_no_part_of_the_account() -> None:
    sequenced = Sequenced(at_once=False)
    sequenced.arrive(1, 2, 5, 6)
    await sequenced.sequencer.finish(whole=False)
    assert sequenced.lost == []
    assert sequenced.in_order.ids[BTC] == [1, 2]
    assert (sequenced.ledger.trades, sequenced.ledger.missing) == (2, 0)


async def test_an_error_of_a_receiver_reaches_whoever_brought_the_trade() -> None:
    async def refuse() -> None:
        raise BrokenPipeError

    sequencer = Sequencer(
        Ledger([BTC]),
        at_once=None,
        in_order=lambda batch: refuse() if 2 in ids_of(batch) else None,
        on_gap=lambda _, __: True,
        on_lost=lambda _, __: None,
    )
    assert sequencer.receive(arriving([1, 3]), 0.0) is None
    waiting = sequencer.receive(arriving([2]), 0.0)
    assert waiting is not None
    with pytest.raises(BrokenPipeError):
        await waiting


async def test_a_slow_receiver_gets_the_rest_of_a_batch_when_it_has_read(
    sequenced: Sequenced,
) -> None:
    sequenced.in_order.stop_reading()
    waiting = sequenced.receive(1, 2, 2, 3, 4)
    assert waiting is not None
    assert sequenced.in_order.ids[BTC] == [1]
    sequenced.in_order.resume_reading()
    await waiting
    assert sequenced.in_order.ids[BTC] == [1, 2, 3, 4]


async def test_a_receiver_may_be_slow_at_every_part_of_a_batch() -> None:
    received: list[list[int]] = []

    async def take(batch: TradeBatch) -> None:
        await asyncio.sleep(0)
        received.append(ids_of(batch))

    sequencer = Sequencer(
        Ledger([BTC]),
        at_once=take,
        in_order=None,
        on_gap=lambda _, __: True,
        on_lost=lambda _, __: None,
    )
    waiting = sequencer.receive(arriving([1, 2, 3, 5, 6, 4]), 0.0)
    assert waiting is not None
    await waiting
    assert received == [[1], [2, 3], [5], [6], [4]]


def test_contiguous_trades_are_handed_on_together() -> None:
    batches: list[list[int]] = []
    sequencer = Sequencer(
        Ledger([BTC]),
        at_once=None,
        in_order=lambda batch: batches.append(ids_of(batch)),
        on_gap=lambda _, __: True,
        on_lost=lambda _, __: None,
    )
    sequencer.receive(arriving([1, 2, 3, 4, 6, 7]), 0.0)
    sequencer.receive(arriving([5]), 0.0)
    sequencer.receive(arriving([8, 9, 10]), 0.0)
    assert batches == [[1], [2, 3, 4], [5], [6], [7], [8, 9, 10]]


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from(["stream", "stream", "stream", "history"]),
                st.sampled_from([BTC, ETH]),
                st.sampled_from([1, 1, 1, 1, 2, 4, 0, -1, -2, -5]),
            ),
            st.tuples(
                st.sampled_from(["expect", "give up"]),
                st.sampled_from([BTC, ETH]),
                st.integers(1, 5),
            ),
        ),
        max_size=60,
    ),
    st.sets(st.integers(0, 60)),
    st.sampled_from([(True, False), (False, True), (True, True)]),
    st.booleans(),
)
def test_batches_cut_anywhere_are_the_same_as_single_trades(
    steps: list[tuple[str, str, int]],
    cuts: set[int],
    modes: tuple[bool, bool],
    repairing: bool,
) -> None:
    def outcome(*, cut_at: set[int], is_plain: bool) -> tuple[object, ...]:
        received: dict[str, list[tuple[str, int]]] = {"at once": [], "in order": []}
        reported: list[tuple[str, str, IdRange]] = []

        def receiver(name: str) -> Callable[[TradeBatch], None]:
            return lambda batch: received[name].extend(
                zip(batch.symbols, ids_of(batch), strict=True)
            )

        def gap(symbol: str, ids: IdRange) -> bool:
            reported.append(("gap", symbol, ids))
            return repairing

        ledger = Ledger([BTC, ETH])
        sequencer = Sequencer(
            ledger,
            at_once=receiver("at once") if modes[0] else None,
            in_order=receiver("in order") if modes[1] else None,
            on_gap=gap,
            on_lost=lambda symbol, ids: reported.append(("lost", symbol, ids)),
        )
        newest = {BTC: 50, ETH: 50}
        ids: list[int] = []
        symbols: list[str] = []
        kind = "stream"

        def send() -> None:
            if ids:
                batch = arriving(
                    [*ids],
                    [*symbols],
                    is_backfill=kind == "history",
                    is_plain=is_plain,
                )
                assert sequencer.receive(batch, 0.0) is None
            ids.clear()
            symbols.clear()

        for at, (what, symbol, step) in enumerate(steps):
            if at in cut_at or what != kind:
                send()
            kind = what
            if what == "expect":
                newest[symbol] += step
                sequencer.expect(symbol, newest[symbol], 0.0)
            elif what == "give up":
                until = IdRange(0, newest[symbol] - step)
                assert sequencer.give_up(symbol, until) is None
            else:
                ids.append(max(newest[symbol] + step, 1))
                symbols.append(symbol)
                newest[symbol] = max(newest[symbol], ids[-1])
        send()
        return received, reported, ledger.to_dict(), sequencer.waiting_trades

    singly = outcome(cut_at=set(range(len(steps))), is_plain=False)
    assert outcome(cut_at=cuts, is_plain=True) == singly
    assert outcome(cut_at=cuts, is_plain=False) == singly


# All rules together, with time and chance in the hands of hypothesis.

LAG_SECONDS = 2.0
symbols = st.sampled_from([BTC, ETH])
connections = st.sampled_from([0, 1])
few = st.integers(1, 12)


class Unavailable(Exception):
    """The history does not answer now."""


class History:
    """What the exchange has published, and what it has kept of it."""

    def __init__(self) -> None:
        self.published: dict[str, list[int]] = {BTC: [], ETH: []}
        self.lacking: dict[str, set[int]] = {BTC: set(), ETH: set()}
        self.longest_page = PAGE_TRADES
        self.failures = 0
        self._kept: dict[str, list[tuple[int, float]]] = {BTC: [], ETH: []}

    def publish(
        self, symbol: str, count: int, lacking: set[int], now_seconds: float
    ) -> list[int]:
        ids = self.published[symbol]
        first = ids[-1] + 1 if ids else 100
        new = list(range(first, first + count))
        ids += new
        for position, trade_id in enumerate(new):
            if position in lacking:
                self.lacking[symbol].add(trade_id)
            else:
                self._kept[symbol].append((trade_id, now_seconds + LAG_SECONDS))
        return new

    def page(
        self, symbol: str, from_id: int, most: int, now_seconds: float
    ) -> list[int]:
        if self.failures:
            self.failures -= 1
            raise Unavailable
        ids = [
            trade_id
            for trade_id, seen_from in self._kept[symbol]
            if trade_id >= from_id and seen_from <= now_seconds
        ]
        return ids[: min(most, self.longest_page)]


class Run:
    """One life of k2: killed, it leaves only what its in-order receiver got."""

    def __init__(self, history: History, in_order: Receiver) -> None:
        self.history = history
        self.in_order = in_order
        self.at_once = Receiver()
        self.ledger = Ledger([BTC, ETH])
        self.lost: dict[str, set[int]] = {BTC: set(), ETH: set()}
        self.first: dict[str, int] = {}
        self.plan = BackfillPlan()
        self.now_seconds = 1000.0
        for symbol, ids in in_order.ids.items():
            if ids:
                time_us = arriving(ids[-1:]).timestamp_us(0)
                self.ledger.trackers[symbol].resume(ids[-1], time_us)
        self.resumed = {symbol: list(ids) for symbol, ids in in_order.ids.items()}
        self.sequencer = Sequencer(
            self.ledger,
            at_once=self.at_once.take,
            in_order=in_order.take,
            on_gap=self._gap,
            on_lost=self._lose,
        )
        # What is on its way on each of two connections; None: not connected.
        self.wires: list[list[tuple[str, int]] | None] = [[], None]
        self.tasks: dict[object, asyncio.Task[None]] = {}

    def _gap(self, symbol: str, ids: IdRange) -> bool:
        self.plan.add(symbol, *ids, self.now_seconds)
        return True

    def _lose(self, symbol: str, ids: IdRange) -> None:
        lost = set(range(ids.first_id, ids.last_id + 1))
        assert not lost & self.lost[symbol]
        self.lost[symbol] |= lost

    def busy(self, who: object) -> bool:
        task = self.tasks.get(who)
        if task is None or not task.done():
            return task is not None
        del self.tasks[who]
        task.result()
        return False

    async def read(
        self, wire: list[tuple[str, int]], count: int, *, is_plain: bool
    ) -> None:
        came, wire[:count] = wire[:count], []
        if not came:
            return
        for symbol, trade_id in came:
            self.first.setdefault(symbol, trade_id)
        batch = arriving(
            [trade_id for _, trade_id in came],
            [symbol for symbol, _ in came],
            is_plain=is_plain,
        )
        held_back = self.sequencer.receive(batch, self.now_seconds)
        if held_back is not None:
            await held_back

    async def repair(self) -> None:
        """Ask the history for what is due, as the engine does."""
        request = self.plan.take(self.now_seconds)
        if request is None:
            return
        request.ranges = self._still_open(request)
        if not request.ranges:
            return
        most = min(request.last_id - request.first_id + 1, PAGE_TRADES)
        try:
            page = self.history.page(
                request.symbol, request.first_id, most, self.now_seconds
            )
        except Unavailable:
            self.plan.put_back(request)
            self.plan.not_before(self.now_seconds + 2.0)
            return
        batch = arriving(page, request.symbol, is_backfill=True)
        held_back = self.sequencer.receive(batch, self.now_seconds)
        if held_back is not None:
            await held_back
        missing = self._still_open(request)
        for ids in self.plan.answered(request, page, missing, self.now_seconds):
            held_back = self.sequencer.give_up(request.symbol, ids)
            if held_back is not None:
                await held_back

    def _still_open(self, request: BackfillRequest) -> list[IdRange]:
        open_ids = self.ledger.trackers[request.symbol].open
        return [part for ids in request.ranges for part in open_ids.within(*ids)]

    def check(self) -> None:
        """Check what is true at every moment."""
        for symbol, tracker in self.ledger.trackers.items():
            handed_on = self.in_order.ids[symbol]
            assert all(a < b for a, b in itertools.pairwise(handed_on))
            at_once = self.at_once.ids[symbol]
            assert len(at_once) == len(set(at_once)) == tracker.trades
            assert not set(at_once) & self.lost[symbol]
            assert tracker.resets == 0
            if tracker.first_id is not None and tracker.last_id is not None:
                span = tracker.last_id - tracker.first_id + 1
                assert tracker.trades + tracker.missing == span

    def check_end(self) -> None:
        """Check what is true when everything has come to rest."""
        assert self.sequencer.waiting_trades == 0
        for symbol, tracker in self.ledger.trackers.items():
            before = self.resumed[symbol]
            lost = self.lost[symbol]
            assert not tracker.open
            assert tracker.missing == len(lost)
            assert {
                trade_id
                for first, last in tracker.missing_ranges
                for trade_id in range(first, last + 1)
            } == lost
            # Given up is only what the history will never have.
            assert lost <= self.history.lacking[symbol]
            if tracker.first_id is None or tracker.last_id is None:
                assert self.in_order.ids[symbol] == before
                continue
            first = before[-1] + 1 if before else self.first[symbol]
            assert tracker.first_id == first
            expected = [
                trade_id
                for trade_id in self.history.published[symbol]
                if first <= trade_id <= tracker.last_id and trade_id not in lost
            ]
            assert self.in_order.ids[symbol] == before + expected
            assert sorted(self.at_once.ids[symbol]) == expected


async def test_what_a_page_has_between_the_gaps_is_no_duplicate() -> None:
    run = Run(History(), Receiver())
    ids = run.history.publish(BTC, 9, set(), run.now_seconds)
    await run.read([(BTC, each) for each in ids[::2]], 9, is_plain=True)
    run.now_seconds += LAG_SECONDS
    await run.repair()
    assert run.in_order.ids[BTC] == ids
    assert run.ledger.repaired == 4
    assert run.ledger.duplicates == 0


class Promise(RuleBasedStateMachine):
    """Exchange, two connections, history, slow readers and kills at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.history = History()
        self.current = Run(self.history, Receiver())

    def turn(self) -> None:
        """Let every task continue that can."""
        for _ in range(4):
            self.loop.run_until_complete(asyncio.sleep(0))

    def begin(self, who: object, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self.current.busy(who):
            self.current.tasks[who] = self.loop.create_task(work())
        self.turn()

    @rule(
        symbol=symbols,
        count=few,
        lacking=st.sets(st.integers(0, 11), max_size=2),
        dropped=st.sets(st.integers(0, 23), max_size=8),
    )
    def publish(
        self, symbol: str, count: int, lacking: set[int], dropped: set[int]
    ) -> None:
        places = itertools.count()
        new = self.history.publish(symbol, count, lacking, self.current.now_seconds)
        for wire in self.current.wires:
            if wire is not None:
                wire += [(symbol, each) for each in new if next(places) not in dropped]

    @rule(connection=connections)
    def connect(self, connection: int) -> None:
        if self.current.wires[connection] is None and not self.current.busy(connection):
            self.current.wires[connection] = []

    @rule(connection=connections)
    def drop(self, connection: int) -> None:
        if not self.current.busy(connection):
            self.current.wires[connection] = None

    @rule(connection=connections, at=st.integers(0, 20), shift=st.integers(1, 5))
    def repeat(self, connection: int, at: int, shift: int) -> None:
        wire = self.current.wires[connection]
        if wire is not None and at < len(wire):
            wire.insert(at + shift, wire[at])

    @rule(connection=connections, at=st.integers(0, 20), shift=st.integers(1, 5))
    def reorder(self, connection: int, at: int, shift: int) -> None:
        wire = self.current.wires[connection]
        if wire is not None and at < len(wire):
            wire.insert(at + shift, wire.pop(at))

    @rule(connection=connections, count=few, is_plain=st.booleans())
    def read(self, connection: int, count: int, is_plain: bool) -> None:
        wire = self.current.wires[connection]
        if wire is not None:
            run = self.current
            self.begin(connection, lambda: run.read(wire, count, is_plain=is_plain))

    @rule(seconds=st.sampled_from([0.1, 0.4, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        self.current.now_seconds += seconds
        self.current.sequencer.give_up_stale(self.current.now_seconds)

    @rule()
    def repair(self) -> None:
        self.begin("repair", self.current.repair)

    @rule()
    def history_fails(self) -> None:
        self.history.failures = min(self.history.failures + 1, 3)

    @rule(longest=st.sampled_from([1, 2, PAGE_TRADES]))
    def pages_get_short(self, longest: int) -> None:
        self.history.longest_page = longest

    @rule(symbol=symbols)
    def learn_of_newer_trades(self, symbol: str) -> None:
        published = self.history.published[symbol]
        run = self.current
        if published and run.ledger.trackers[symbol].last_id is not None:
            run.sequencer.expect(symbol, published[-1], self.current.now_seconds)

    @rule()
    def reader_gets_slow(self) -> None:
        self.current.in_order.stop_reading()

    @rule()
    def reader_resumes(self) -> None:
        self.current.in_order.resume_reading()
        self.turn()

    @rule()
    def kill(self) -> None:
        self._cancel()
        in_order = Receiver()
        in_order.ids = {s: list(ids) for s, ids in self.current.in_order.ids.items()}
        now_seconds = self.current.now_seconds
        self.current = Run(self.history, in_order)
        self.current.now_seconds = now_seconds

    @invariant()
    def holds(self) -> None:
        self.current.check()

    def teardown(self) -> None:
        try:
            self._come_to_rest()
        finally:
            self._cancel()
            self.loop.close()

    def _come_to_rest(self) -> None:
        run = self.current
        self.reader_resumes()
        for connection, wire in enumerate(run.wires):
            if wire is not None:
                rest = partial(run.read, wire, len(wire), is_plain=True)
                self.begin(connection, rest)
                assert not run.busy(connection)
        for _ in range(2000):
            if not run.plan:
                break
            self.repair()
            due = run.plan.due_in_seconds(self.current.now_seconds)
            self.current.now_seconds += due or 0.0
        # It is not asked forever for what the history does not have.
        assert not run.plan
        assert not run.busy("repair")
        run.check()
        assert all(not each.open for each in run.ledger.trackers.values())
        self.loop.run_until_complete(run.sequencer.finish(whole=True))
        run.check_end()

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.turn()


TestPromise = Promise.TestCase
TestPromise.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
