"""Each trade once and in order, whatever the exchange, the wire and the history do."""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from k2cli.capture.pending import PendingJournal
from k2cli.completeness.backfill import PAGE_TRADES, BackfillPlan, BackfillRequest
from k2cli.completeness.doubts import Doubts
from k2cli.completeness.id_ranges import IdRange
from k2cli.completeness.ledger import Ledger
from k2cli.completeness.reorder import ReorderBuffer
from k2cli.completeness.sequencer import Sequencer
from k2cli.trade import TradeBatch
from tests.batches import BTC, ETH, FIRST_TIME_US, ids_of, trade_batch
from tests.waiting import JournalDisk, MemoryBuffer, MemoryDisk


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
        self.order: list[tuple[str, int]] = []
        self._read = asyncio.Event()
        self._read.set()

    def take(self, batch: TradeBatch) -> Awaitable[None] | None:
        for symbol, trade_id in zip(batch.symbols, ids_of(batch), strict=True):
            self.ids[symbol].append(trade_id)
            self.order.append((symbol, trade_id))
        return None if self._read.is_set() else asyncio.ensure_future(self._wait())

    def stop_reading(self) -> None:
        self._read.clear()

    def resume_reading(self) -> None:
        self._read.set()

    async def _wait(self) -> None:
        await self._read.wait()


class Sequenced:
    """A sequencer with a receiver of each kind, and a note of what it reports."""

    def __init__(
        self,
        *,
        repairing: bool = True,
        at_once: bool = True,
        waiting: MemoryBuffer | None = None,
    ) -> None:
        self.ledger = Ledger([BTC, ETH])
        self.waiting = waiting or MemoryBuffer()
        self.at_once, self.in_order = Receiver(), Receiver()
        self.gaps: list[tuple[str, IdRange]] = []
        self.lost: list[tuple[str, IdRange]] = []
        self.room = sys.maxsize
        self._repairing = repairing
        self.sequencer = Sequencer(
            self.ledger,
            self.waiting,
            at_once=self.at_once.take if at_once else None,
            in_order=self.in_order.take,
            on_gap=self._gap,
            on_lost=lambda symbol, ids: self.lost.append((symbol, ids)),
            room=lambda: max(self.room - len(self.in_order.order), 0),
        )

    def _gap(self, symbol: str, ids: IdRange) -> bool:
        self.gaps.append((symbol, ids))
        return self._repairing

    def arrive(self, *ids: int, symbol: str = BTC) -> None:
        assert self.receive(*ids, symbol=symbol) is None

    def backfill(self, *ids: int, symbol: str = BTC) -> None:
        page = arriving([*ids], symbol, is_backfill=True)
        assert self.sequencer.receive(page) is None

    def receive(self, *ids: int, symbol: str = BTC) -> Awaitable[None] | None:
        return self.sequencer.receive(arriving([*ids], symbol))

    def recover(self) -> None:
        for trade in self.waiting.recover():
            assert self.sequencer.recover(trade) is None


@pytest.fixture
def sequenced() -> Sequenced:
    return Sequenced()


def test_trades_in_sequence_pass_at_once(sequenced: Sequenced) -> None:
    sequenced.arrive(7, 8, 9)
    assert sequenced.at_once.ids[BTC] == sequenced.in_order.ids[BTC] == [7, 8, 9]
    assert sequenced.waiting.trades == 0
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
    assert sequenced.waiting.trades == 2
    sequenced.arrive(3)
    assert sequenced.in_order.ids[BTC] == [1]
    sequenced.arrive(2)
    assert sequenced.in_order.ids[BTC] == [1, 2, 3, 4, 5]
    assert sequenced.at_once.ids[BTC] == [1, 4, 5, 3, 2]
    assert sequenced.waiting.trades == 0


def test_only_what_nothing_is_missing_before_goes_on(sequenced: Sequenced) -> None:
    sequenced.arrive(1, 3, 5, 2)
    assert sequenced.in_order.ids[BTC] == [1, 2, 3]
    assert sequenced.waiting.trades == 1


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
        sequenced.sequencer.expect(each, 4)
    assert sequenced.gaps == [(BTC, (2, 4))]
    sequenced.arrive(5, 3, 4)
    assert sequenced.in_order.ids[BTC] == [1]
    sequenced.arrive(2)
    assert sequenced.in_order.ids[BTC] == [1, 2, 3, 4, 5]
    assert sequenced.gaps == [(BTC, (2, 4))]


class ReadList(list[Any]):
    """A list that counts how many of its items are read."""

    read = 0

    def __iter__(self) -> Iterator[Any]:
        self.read += len(self)
        return super().__iter__()

    def __getitem__(self, where: Any) -> Any:
        found = super().__getitem__(where)
        self.read += len(found) if isinstance(where, slice) else 1
        return found


@pytest.mark.parametrize("ordered", [True, False])
def test_any_number_of_gaps_is_followed_and_costs_no_more_for_each(
    *, ordered: bool
) -> None:
    trades = 10_500
    given, journal = Sequenced(), PendingJournal(None)
    sequencer = Sequencer(
        given.ledger,
        journal,
        at_once=None if ordered else given.at_once.take,
        in_order=given.in_order.take if ordered else None,
        on_gap=lambda *_: True,
        on_lost=lambda *lost: given.lost.append(lost),
        room=lambda: sys.maxsize,
        doubts=Doubts(lambda _: False),
    )
    batch = arriving([*range(1, 2 * trades, 2)])
    columns = ReadList(batch.symbols), ReadList(batch.trade_times)
    batch.symbols, batch.trade_times = columns
    assert sequencer.receive(batch) is None
    assert len(given.ledger.trackers[BTC].open) == trades - 1
    assert given.lost == []
    # Quadratic would be 55,000,000.
    assert sum(column.read for column in columns) < 600 * trades
    journal.close()


def test_when_no_more_trades_may_wait_the_oldest_gap_is_given_up() -> None:
    sequenced = Sequenced(waiting=MemoryBuffer(most=5))
    sequenced.arrive(1)
    sequenced.arrive(1, 3, symbol=ETH)
    sequenced.arrive(3, 4, 6)
    assert sequenced.waiting.trades == 4
    assert sequenced.lost == []
    sequenced.arrive(7)
    assert sequenced.lost == [(ETH, (2, 2))]
    assert sequenced.in_order.ids == {BTC: [1], ETH: [1, 3]}
    sequenced.arrive(8)
    assert sequenced.lost[1:] == [(BTC, (2, 2))]
    assert sequenced.in_order.ids[BTC] == [1, 3, 4]
    assert sequenced.waiting.trades == 3


def test_a_gap_that_was_filled_makes_no_later_one_older() -> None:
    sequenced = Sequenced(waiting=MemoryBuffer(most=3))
    sequenced.arrive(1, 3, 2)
    sequenced.arrive(1, 3, symbol=ETH)
    sequenced.arrive(5, 6)
    assert sequenced.lost == [(ETH, (2, 2))]


def test_what_is_full_without_a_gap_gives_nothing_up() -> None:
    sequenced = Sequenced(waiting=MemoryBuffer(most=3))
    sequenced.arrive(1, 5)
    sequenced.room = 2
    sequenced.backfill(2, 3, 4)
    assert sequenced.lost == []
    assert sequenced.in_order.ids[BTC] == [1, 2]
    assert sequenced.waiting.trades == 3


async def test_a_slow_receiver_gets_what_waited_in_order(
    sequenced: Sequenced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k2cli.completeness.sequencer._DRAINED_AT_ONCE", 2)
    sequenced.arrive(1, 3, 4, 5, 6)
    sequenced.in_order.stop_reading()
    waiting = sequenced.receive(2)
    assert waiting is not None
    later = sequenced.receive(7)
    assert later is not None
    assert sequenced.in_order.ids[BTC] == [1, 2, 3, 4]
    sequenced.in_order.resume_reading()
    await waiting
    await later
    assert sequenced.in_order.ids[BTC] == [1, 2, 3, 4, 5, 6, 7]
    assert sequenced.ledger.pending == sequenced.waiting.trades == 0


async def test_others_have_their_turn_while_many_trades_go_on(
    sequenced: Sequenced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k2cli.completeness.sequencer._DRAINED_AT_ONCE", 2)
    sequenced.arrive(1, *range(3, 10))
    draining = sequenced.receive(2)
    assert draining is not None
    assert sequenced.in_order.ids[BTC] == [1, 2, 3, 4]
    sequenced.arrive(1, symbol=ETH)
    assert sequenced.in_order.ids[ETH] == [1]
    await draining
    assert sequenced.in_order.ids[BTC] == [*range(1, 10)]


async def test_a_slow_receiver_of_one_symbol_holds_up_no_other(
    sequenced: Sequenced,
) -> None:
    sequenced.arrive(1, 3, 4, 5)
    sequenced.arrive(1, 3, symbol=ETH)
    sequenced.in_order.stop_reading()
    draining = sequenced.receive(2)
    assert draining is not None
    sequenced.arrive(4, symbol=ETH)
    assert sequenced.lost == []
    sequenced.in_order.resume_reading()
    await draining
    assert sequenced.in_order.ids == {BTC: [1, 2, 3, 4, 5], ETH: [1]}
    assert sequenced.waiting.trades == 2


async def test_trades_after_a_reset_do_not_mix_with_those_waiting_before_it(
    sequenced: Sequenced,
) -> None:
    sequenced.arrive(1, 50, 51, 52)
    sequenced.in_order.stop_reading()
    waiting = [
        sequenced.sequencer.receive(
            trade_batch([each], times_us=[FIRST_TIME_US + 9_000_000 + each])
        )
        for each in (1, 3, 51, 2, 4)
    ]
    sequenced.in_order.resume_reading()
    for each in waiting:
        if each is not None:
            await each
    assert sequenced.in_order.ids[BTC] == [1, 50, 51, 52, 1, 2, 3, 4]
    assert sequenced.ledger.trackers[BTC].resets == 1
    sequenced.sequencer.give_up(BTC, IdRange(1, 50))
    assert sequenced.in_order.ids[BTC][4:] == [1, 2, 3, 4, 51]
    assert sequenced.lost == [(BTC, (5, 50))]


async def test_at_the_end_what_waits_is_left_to_the_next_run(
    sequenced: Sequenced,
) -> None:
    sequenced.arrive(1, 4, 7)
    sequenced.arrive(1, 2, symbol=ETH)
    await sequenced.sequencer.finish()
    assert sequenced.lost == []
    assert sequenced.in_order.ids == {BTC: [1], ETH: [1, 2]}
    ledger = sequenced.ledger
    assert (ledger.trades, ledger.missing, ledger.pending) == (5, 4, 2)
    assert ledger.verdict == "pending"
    assert ledger.trackers[BTC].pending == sequenced.waiting.trades == 2


async def test_without_a_next_run_what_is_open_is_lost_and_what_waits_goes_on() -> None:
    sequenced = Sequenced(waiting=MemoryBuffer(persists=False))
    sequenced.arrive(1, 4, 7)
    sequenced.arrive(1, 2, symbol=ETH)
    await sequenced.sequencer.finish()
    assert sequenced.lost == [(BTC, (2, 3)), (BTC, (5, 6))]
    assert sequenced.in_order.ids == {BTC: [1, 4, 7], ETH: [1, 2]}
    assert sequenced.waiting.trades == sequenced.ledger.pending == 0
    assert (sequenced.ledger.trades, sequenced.ledger.missing) == (5, 4)
    assert sequenced.ledger.verdict == "incomplete"


@pytest.mark.parametrize("persists", [True, False])
async def test_the_end_waits_for_a_slow_receiver(
    monkeypatch: pytest.MonkeyPatch, persists: bool
) -> None:
    monkeypatch.setattr("k2cli.completeness.sequencer._DRAINED_AT_ONCE", 1)
    sequenced = Sequenced(waiting=MemoryBuffer(persists=persists))
    sequenced.arrive(1, 3, 4)
    sequenced.in_order.stop_reading()
    filled = sequenced.receive(2)
    ending = asyncio.ensure_future(sequenced.sequencer.finish())
    await asyncio.sleep(0)
    assert sequenced.in_order.ids[BTC] == [1, 2, 3]
    sequenced.in_order.resume_reading()
    await ending
    assert sequenced.in_order.ids[BTC] == [1, 2, 3, 4]
    assert filled is not None
    await filled


def test_no_more_trades_go_on_than_are_wanted() -> None:
    sequenced = Sequenced(at_once=False)
    sequenced.room = 4
    sequenced.arrive(1, 2, 7, 8)
    sequenced.backfill(3, 4, 5, 6)
    assert sequenced.in_order.ids[BTC] == [1, 2, 3, 4]
    # What was received beyond that is not thrown away.
    assert sequenced.waiting.trades == sequenced.ledger.pending == 4
    assert sequenced.ledger.missing == 0
    sequenced.room = 6
    sequenced.arrive(9)
    assert sequenced.in_order.ids[BTC] == [1, 2, 3, 4, 5, 6]
    sequenced.room = sys.maxsize
    sequenced.arrive(10)
    assert sequenced.in_order.ids[BTC] == [*range(1, 11)]


async def test_trades_that_a_filter_leaves_out_take_no_room() -> None:
    sequencer: Sequencer
    even: list[int] = []
    waiting = MemoryBuffer()

    def take(batch: TradeBatch) -> None:
        even.extend(each for each in ids_of(batch) if each % 2 == 0)

    sequencer = Sequencer(
        Ledger([BTC]),
        waiting,
        at_once=None,
        in_order=take,
        on_gap=lambda _, __: True,
        on_lost=lambda _, __: None,
        room=lambda: 3 - len(even),
    )
    assert sequencer.receive(arriving([1, *range(3, 20)])) is None
    draining = sequencer.receive(arriving([2]))
    assert draining is not None
    await draining
    assert even == [2, 4, 6]
    assert waiting.first(BTC) == (0, 7)


def resumed(last_id: int, *left: int, most: int | None = None) -> Sequenced:
    """Continue a capture that ends with this id, and what a run before it left."""
    sequenced = Sequenced(
        waiting=MemoryBuffer([arriving([each]) for each in left], most=most)
    )
    time_us = arriving([last_id]).timestamp_us(0)
    sequenced.ledger.trackers[BTC].resume(last_id, time_us)
    return sequenced


def test_what_an_earlier_run_left_waits_for_its_gaps_again() -> None:
    sequenced = resumed(10, 20, 15, 21)
    sequenced.recover()
    assert sequenced.gaps == [(BTC, (11, 19))]
    assert sequenced.waiting.trades == sequenced.ledger.pending == 3
    assert sequenced.at_once.ids[BTC] == []
    sequenced.backfill(11, 12, 13, 14, 16)
    assert sequenced.in_order.ids[BTC] == [11, 12, 13, 14, 15, 16]
    sequenced.arrive(17, 18, 19)
    assert sequenced.in_order.ids[BTC] == [*range(11, 22)]
    assert sequenced.ledger.trackers[BTC].first_id == 11


def test_what_the_capture_has_got_from_there_is_not_taken_again() -> None:
    sequenced = resumed(12, 10, 11, 12, 13, 15)
    sequenced.recover()
    assert sequenced.in_order.ids[BTC] == [13]
    assert sequenced.gaps == [(BTC, (14, 14))]
    assert sequenced.ledger.trades == 2


def test_what_nothing_is_missing_before_goes_on_by_itself() -> None:
    sequenced = resumed(10, 13, 11, 12)
    sequenced.recover()
    assert sequenced.in_order.ids[BTC] == [11, 12, 13]
    assert sequenced.waiting.trades == sequenced.ledger.pending == 0


def test_of_what_was_left_no_more_goes_on_than_is_wanted() -> None:
    sequenced = resumed(10, 11, 12, 13)
    sequenced.room = 1
    sequenced.recover()
    assert sequenced.in_order.ids[BTC] == [11]
    assert sequenced.waiting.trades == sequenced.ledger.pending == 2


def test_a_gap_that_nobody_repairs_any_more_holds_up_nothing_that_was_left() -> None:
    sequenced = Sequenced(repairing=False, waiting=resumed(10, 13, 14).waiting)
    sequenced.ledger.trackers[BTC].resume(10, FIRST_TIME_US)
    sequenced.recover()
    assert sequenced.lost == [(BTC, (11, 12))]
    assert sequenced.in_order.ids[BTC] == [13, 14]


def test_less_may_wait_than_an_earlier_run_left() -> None:
    sequenced = resumed(10, 13, 14, 16, most=3)
    sequenced.recover()
    assert sequenced.lost == [(BTC, (11, 12))]
    assert sequenced.in_order.ids[BTC] == [13, 14]
    assert sequenced.waiting.trades == 1


def test_what_was_left_of_a_symbol_that_is_not_followed_waits_on() -> None:
    sequenced = Sequenced(waiting=MemoryBuffer([arriving([5], "SOLUSDT")]))
    sequenced.recover()
    sequenced.arrive(1, 2)
    assert sequenced.in_order.ids[BTC] == [1, 2]
    assert (sequenced.waiting.trades, sequenced.ledger.pending) == (1, 0)


def test_what_came_after_a_reset_is_left_too() -> None:
    after = [
        trade_batch([each], times_us=[FIRST_TIME_US + 9_000_000 + each])
        for each in (1, 3)
    ]
    sequenced = Sequenced(waiting=MemoryBuffer([arriving([52]), *after]))
    sequenced.ledger.trackers[BTC].resume(50, FIRST_TIME_US)
    sequenced.recover()
    assert sequenced.in_order.ids[BTC] == [52, 1]
    assert sequenced.gaps == [(BTC, (51, 51)), (BTC, (2, 2))]
    assert sequenced.waiting.first(BTC) == (1, 3)


async def test_an_error_of_a_receiver_reaches_whoever_brought_the_trade() -> None:
    async def refuse() -> None:
        raise BrokenPipeError

    sequencer = Sequencer(
        Ledger([BTC]),
        MemoryBuffer(),
        at_once=None,
        in_order=lambda batch: refuse() if 2 in ids_of(batch) else None,
        on_gap=lambda _, __: True,
        on_lost=lambda _, __: None,
        room=lambda: sys.maxsize,
    )
    assert sequencer.receive(arriving([1, 3])) is None
    waiting = sequencer.receive(arriving([2]))
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
        MemoryBuffer(),
        at_once=take,
        in_order=None,
        on_gap=lambda _, __: True,
        on_lost=lambda _, __: None,
        room=lambda: sys.maxsize,
    )
    waiting = sequencer.receive(arriving([1, 2, 3, 5, 6, 4]))
    assert waiting is not None
    await waiting
    assert received == [[1], [2, 3], [5], [6], [4]]


def test_contiguous_trades_are_handed_on_together() -> None:
    batches: list[list[int]] = []
    sequencer = Sequencer(
        Ledger([BTC]),
        MemoryBuffer(),
        at_once=None,
        in_order=lambda batch: batches.append(ids_of(batch)),
        on_gap=lambda _, __: True,
        on_lost=lambda _, __: None,
        room=lambda: sys.maxsize,
    )
    sequencer.receive(arriving([1, 2, 3, 4, 6, 7]))
    sequencer.receive(arriving([5]))
    sequencer.receive(arriving([8, 9, 10]))
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
        waiting = MemoryBuffer()
        sequencer = Sequencer(
            ledger,
            waiting,
            at_once=receiver("at once") if modes[0] else None,
            in_order=receiver("in order") if modes[1] else None,
            on_gap=gap,
            on_lost=lambda symbol, ids: reported.append(("lost", symbol, ids)),
            room=lambda: sys.maxsize,
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
                assert sequencer.receive(batch) is None
            ids.clear()
            symbols.clear()

        for at, (what, symbol, step) in enumerate(steps):
            if at in cut_at or what != kind:
                send()
            kind = what
            if what == "expect":
                newest[symbol] += step
                sequencer.expect(symbol, newest[symbol])
            elif what == "give up":
                until = IdRange(0, newest[symbol] - step)
                assert sequencer.give_up(symbol, until) is None
            else:
                ids.append(max(newest[symbol] + step, 1))
                symbols.append(symbol)
                newest[symbol] = max(newest[symbol], ids[-1])
        send()
        return received, reported, ledger.to_dict(), waiting.trades

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


class Capture(Receiver):
    """What is written, and of that, what was flushed: a kill leaves no less."""

    def __init__(self, order: list[tuple[str, int]] | None = None) -> None:
        super().__init__()
        self.flushed = 0
        for symbol, trade_id in order or []:
            self.ids[symbol].append(trade_id)
            self.order.append((symbol, trade_id))
            self.flushed += 1

    def take(self, batch: TradeBatch) -> Awaitable[None] | None:
        begins = any(not self.ids[symbol] for symbol in batch.symbols)
        held_back = super().take(batch)
        if begins:
            # Where a capture begins is not what this is about.
            self.flush()
        return held_back

    def flush(self) -> None:
        self.flushed = len(self.order)


class Run:
    """One life of k2: it leaves what is in its capture and its journal."""

    def __init__(
        self, history: History, in_order: Capture, waiting: ReorderBuffer
    ) -> None:
        self.history = history
        self.in_order = in_order
        self.at_once = Receiver()
        self.waiting = waiting
        self.ledger = Ledger([BTC, ETH])
        self.lost: dict[str, set[int]] = {BTC: set(), ETH: set()}
        self.recovered: dict[str, list[int]] = {BTC: [], ETH: []}
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
            waiting,
            at_once=self.at_once.take,
            in_order=in_order.take,
            on_gap=self._gap,
            on_lost=self._lose,
            room=lambda: sys.maxsize,
        )
        # What is on its way on each of two connections; None: not connected.
        self.wires: list[list[tuple[str, int]] | None] = [[], None]
        self.tasks: dict[object, asyncio.Task[None]] = {}

    async def recover(self) -> None:
        """Take what the run before has left, as the engine does at first."""
        for trade in self.waiting.recover():
            symbol, trade_id = trade.symbols[0], ids_of(trade)[0]
            before = self.ledger.trackers[symbol].trades
            held_back = self.sequencer.recover(trade)
            if self.ledger.trackers[symbol].trades > before:
                self.recovered[symbol].append(trade_id)
            if held_back is not None:
                await held_back

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
        held_back = self.sequencer.receive(batch)
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
        held_back = self.sequencer.receive(batch)
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

    def received(self, symbol: str) -> list[int]:
        """Return the ids of this run: those that came and those that were left."""
        return self.at_once.ids[symbol] + self.recovered[symbol]

    def check(self) -> None:
        """Check what is true at every moment."""
        for symbol, tracker in self.ledger.trackers.items():
            handed_on = self.in_order.ids[symbol]
            assert all(a < b for a, b in itertools.pairwise(handed_on))
            received = self.received(symbol)
            assert len(received) == len(set(received)) == tracker.trades
            assert not set(received) & self.lost[symbol]
            # What was received is handed on or waits.
            written = handed_on[len(self.resumed[symbol]) :]
            assert set(written) <= set(received)
            assert tracker.trades == len(written) + tracker.pending
            assert (symbol in self.waiting) == bool(tracker.pending)
            assert tracker.resets == 0
            if tracker.first_id is not None and tracker.last_id is not None:
                span = tracker.last_id - tracker.first_id + 1
                assert tracker.trades + tracker.missing == span
        assert self.waiting.trades == self.ledger.pending

    def check_end(self) -> None:
        """Check what is true when everything has come to rest."""
        assert self.waiting.trades == 0
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
            assert sorted(self.received(symbol)) == expected


async def test_what_a_page_has_between_the_gaps_is_no_duplicate() -> None:
    run = Run(History(), Capture(), MemoryBuffer())
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
        self.disk = self.make_disk()
        # Received before the last flush: no kill may lose it.
        self.safe: set[tuple[str, int]] = set()
        self.current = Run(self.history, Capture(), self.disk.buffer)

    def make_disk(self) -> MemoryDisk | JournalDisk:
        """Return where trades wait."""
        return MemoryDisk()

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
        if wire is not None and not self.current.busy("recover"):
            run = self.current
            self.begin(connection, lambda: run.read(wire, count, is_plain=is_plain))

    @rule(seconds=st.sampled_from([0.1, 0.4, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        self.current.now_seconds += seconds

    @rule()
    def repair(self) -> None:
        if not self.current.busy("recover"):
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
        known = run.ledger.trackers[symbol].last_id is not None
        if published and known and not run.busy("recover"):
            run.sequencer.expect(symbol, published[-1])

    @rule()
    def reader_gets_slow(self) -> None:
        self.current.in_order.stop_reading()

    @rule()
    def reader_resumes(self) -> None:
        self.current.in_order.resume_reading()
        self.turn()

    @rule()
    def flush(self) -> None:
        self.current.in_order.flush()
        self.disk.flush()
        for symbol in (BTC, ETH):
            self.safe |= {(symbol, each) for each in self.current.received(symbol)}

    @rule()
    def sync(self) -> None:
        if not self.current.busy("recover"):
            self.flush()
            self.disk.trim()

    @rule(torn=st.integers(0, 100))
    def kill(self, torn: int) -> None:
        self._cancel()
        capture = self.current.in_order
        self._begin_anew(capture.order[: capture.flushed + torn], killed=True)

    @rule()
    def stop(self) -> None:
        self.reader_resumes()
        if self.current.busy("recover"):
            return
        self.loop.run_until_complete(self.current.sequencer.finish())
        self.flush()
        self._cancel()
        self._begin_anew(self.current.in_order.order, killed=False)

    def _begin_anew(self, written: list[tuple[str, int]], *, killed: bool) -> None:
        self.disk.restart(killed=killed)
        now_seconds = self.current.now_seconds
        self.current = Run(self.history, Capture(written), self.disk.buffer)
        self.current.now_seconds = now_seconds
        self.begin("recover", self.current.recover)
        assert not self.current.busy("recover")
        found = set(self.current.in_order.order)
        for symbol in (BTC, ETH):
            found |= {(symbol, each) for each in self.current.recovered[symbol]}
        assert self.safe <= found

    @invariant()
    def holds(self) -> None:
        self.current.check()

    def teardown(self) -> None:
        try:
            self._come_to_rest()
        finally:
            self._cancel()
            self.loop.close()
            self.disk.close()

    def _come_to_rest(self) -> None:
        run = self.current
        self.reader_resumes()
        assert not run.busy("recover")
        for connection, wire in enumerate(run.wires):
            if wire is not None:
                rest = partial(run.read, wire, len(wire), is_plain=True)
                self.begin(connection, rest)
                assert not run.busy(connection)
        # Only a later trade shows that the history lacks the last ones.
        for symbol in (BTC, ETH):
            self.history.publish(symbol, 1, set(), run.now_seconds - LAG_SECONDS)
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
        self.loop.run_until_complete(run.sequencer.finish())
        run.check_end()

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.turn()


class PromiseOnDisk(Promise):
    """The same with the journal that a capture has."""

    def make_disk(self) -> JournalDisk:
        self.folder = tempfile.TemporaryDirectory()
        return JournalDisk(Path(self.folder.name))

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.folder.cleanup()


TestPromise = Promise.TestCase
TestPromise.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestPromiseOnDisk = PromiseOnDisk.TestCase
TestPromiseOnDisk.settings = settings(
    max_examples=25, stateful_step_count=50, deadline=None
)
