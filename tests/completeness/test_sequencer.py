"""Each trade once and in order, whatever the exchange, the wire and the history do."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from k2cli.capture.delivery import HOLD_SECONDS, Delivery
from k2cli.capture.ledger import Ledger
from k2cli.capture.sequence import IdRange

from k2cli.binance.budget import WeightBudget
from k2cli.capture import delivery as delivery_module
from k2cli.cli import repairer as repairer_module
from k2cli.cli.repairer import Repairer
from k2cli.errors import (
    AccessBlocked,
    AddressBanned,
    ConnectFailed,
    ExchangeRefused,
    RestrictedLocation,
    TooManyRequests,
)
from k2cli.trade import TradeV2

if TYPE_CHECKING:
    from k2cli.capture.repair import Piece

BTC, ETH = "BTCUSDT", "ETHUSDT"


def trade(trade_id: int, symbol: str = BTC, time_us: int | None = None) -> TradeV2:
    return TradeV2(
        message_id="f3b0c4ce-5d0a-4a7e-9f0e-0d5c2f9f2b11",
        trade_id=f"SIM-{trade_id}",
        symbol=symbol,
        exchange="SIM",
        asset_class="crypto",
        # Trades of one order share a time.
        timestamp=1000 + trade_id // 3 if time_us is None else time_us,
        price="1",
        quantity="1",
        currency="USDT",
        side="SELL",
        trade_conditions=[],
        source_sequence=trade_id,
        ingestion_timestamp=1,
        platform_sequence=None,
        vendor_data={},
    )


class Receiver:
    """Keeps the ids it gets, and holds back who brings them while it is slow."""

    def __init__(self) -> None:
        self.ids: dict[str, list[int]] = {BTC: [], ETH: []}
        self._read = asyncio.Event()
        self._read.set()

    def take(self, trade: TradeV2) -> Awaitable[None] | None:
        self.ids[trade.symbol].append(trade.source_sequence or 0)
        return None if self._read.is_set() else asyncio.ensure_future(self._wait())

    def stop_reading(self) -> None:
        self._read.clear()

    def read_on(self) -> None:
        self._read.set()

    @property
    def is_slow(self) -> bool:
        return not self._read.is_set()

    async def _wait(self) -> None:
        await self._read.wait()


class Capture:
    """A delivery with a receiver of each kind, and a note of what it reports."""

    def __init__(self, *, repairing: bool = True, at_once: bool = True) -> None:
        self.ledger = Ledger([BTC, ETH])
        self.at_once, self.in_order = Receiver(), Receiver()
        self.gaps: list[tuple[str, IdRange]] = []
        self.lost: list[tuple[str, IdRange]] = []
        self._repairing = repairing
        self.delivery = Delivery(
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
        for trade_id in ids:
            assert self.delivery.arrived(trade(trade_id, symbol), now_seconds) is None


@pytest.fixture
def capture() -> Capture:
    return Capture()


def test_trades_in_sequence_pass_at_once(capture: Capture) -> None:
    capture.arrive(7, 8, 9)
    assert capture.at_once.ids[BTC] == capture.in_order.ids[BTC] == [7, 8, 9]
    assert capture.delivery.held == 0
    assert capture.gaps == capture.lost == []


def test_a_trade_that_came_before_is_left_out(capture: Capture) -> None:
    capture.arrive(7, 8, 8, 7, 9)
    assert capture.at_once.ids[BTC] == capture.in_order.ids[BTC] == [7, 8, 9]
    assert capture.ledger.duplicates == 2


def test_later_trades_wait_until_the_gap_before_them_is_filled(
    capture: Capture,
) -> None:
    capture.arrive(1, 4, 5)
    assert capture.gaps == [(BTC, (2, 3))]
    assert capture.in_order.ids[BTC] == [1]
    assert capture.delivery.held == 2
    capture.arrive(3)
    assert capture.in_order.ids[BTC] == [1]
    capture.arrive(2)
    assert capture.in_order.ids[BTC] == [1, 2, 3, 4, 5]
    assert capture.at_once.ids[BTC] == [1, 4, 5, 3, 2]
    assert capture.delivery.held == 0


def test_only_what_nothing_is_missing_before_goes_on(capture: Capture) -> None:
    capture.arrive(1, 3, 5, 2)
    assert capture.in_order.ids[BTC] == [1, 2, 3]
    assert capture.delivery.held == 1


def test_a_gap_of_one_symbol_holds_no_other(capture: Capture) -> None:
    capture.arrive(1, 5)
    capture.arrive(1, 2, symbol=ETH)
    assert capture.in_order.ids[ETH] == [1, 2]
    assert capture.in_order.ids[BTC] == [1]


def test_a_gap_that_nobody_repairs_is_lost_and_holds_nothing() -> None:
    capture = Capture(repairing=False)
    capture.arrive(1, 4, 3, 5)
    assert capture.lost == [(BTC, (2, 3))]
    assert capture.in_order.ids[BTC] == capture.at_once.ids[BTC] == [1, 4, 5]
    assert capture.ledger.trackers[BTC].missing_ranges == [(2, 3)]


def test_ids_given_up_are_reported_and_what_waited_for_them_goes_on(
    capture: Capture,
) -> None:
    capture.arrive(1, 9, 5)
    assert capture.delivery.lost(BTC, (3, 7)) is None
    assert capture.lost == [(BTC, (3, 4)), (BTC, (6, 7))]
    assert capture.in_order.ids[BTC] == [1]
    capture.arrive(2, 8)
    assert capture.in_order.ids[BTC] == [1, 2, 5, 8, 9]
    assert capture.ledger.missing == 4


def test_repaired_trades_are_counted_once(capture: Capture) -> None:
    capture.arrive(1, 4)
    for trade_id in (2, 3, 2):
        capture.delivery.arrived(trade(trade_id), 0.0, repaired=True)
    assert capture.ledger.repaired == 2
    assert capture.ledger.duplicates == 1


def test_a_gap_known_from_elsewhere_is_filled_in_order(capture: Capture) -> None:
    capture.arrive(1)
    assert capture.delivery.unseen(BTC, 4, 0.0) == (2, 4)
    assert capture.delivery.unseen(BTC, 4, 0.0) is None
    assert capture.delivery.unseen(ETH, 4, 0.0) is None
    capture.arrive(5, 3, 4)
    assert capture.in_order.ids[BTC] == [1]
    capture.arrive(2)
    assert capture.in_order.ids[BTC] == [1, 2, 3, 4, 5]
    assert capture.gaps == [(BTC, (2, 4))]


def test_a_gap_is_given_up_when_nothing_of_it_comes_for_long(capture: Capture) -> None:
    capture.arrive(1, 5)
    capture.delivery.give_up_stale(HOLD_SECONDS)
    assert capture.lost == []
    capture.delivery.arrived(trade(2), HOLD_SECONDS, repaired=True)
    capture.delivery.give_up_stale(2 * HOLD_SECONDS)
    assert capture.lost == []
    capture.delivery.give_up_stale(2 * HOLD_SECONDS + 1)
    assert capture.lost == [(BTC, (3, 4))]
    assert capture.in_order.ids[BTC] == [1, 2, 5]


def test_a_gap_waits_for_its_turn_while_others_are_repaired(capture: Capture) -> None:
    for each in (BTC, ETH):
        for trade_id in (1, 5):
            capture.delivery.arrived(trade(trade_id, each), 0.0)
    capture.delivery.arrived(trade(2, ETH), HOLD_SECONDS, repaired=True)
    capture.delivery.give_up_stale(2 * HOLD_SECONDS)
    assert capture.lost == []
    capture.delivery.give_up_stale(2 * HOLD_SECONDS + 1)
    assert capture.lost == [(BTC, (2, 4)), (ETH, (3, 4))]


def test_no_more_gaps_are_open_than_can_be_followed(
    capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k2cli.capture.delivery.MOST_OPEN_GAPS", 2)
    capture.arrive(1, 3, 5)
    assert capture.lost == []
    capture.arrive(7)
    assert capture.lost == [(BTC, (2, 2))]
    assert capture.in_order.ids[BTC] == [1, 3]


def test_a_gap_that_was_filled_is_forgotten(capture: Capture) -> None:
    capture.arrive(1, 3, 2)
    capture.delivery.give_up_stale(1.0)
    capture.arrive(5, now_seconds=HOLD_SECONDS)
    capture.delivery.give_up_stale(HOLD_SECONDS + 1)
    assert capture.lost == []


def test_no_more_is_held_than_may_be(
    capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "HOLD_TRADES", 5)
    capture.arrive(1)
    capture.arrive(1, 3, symbol=ETH)
    capture.arrive(3, 4, 6, 7)
    assert capture.delivery.held == 5
    assert capture.lost == []
    # The symbol that holds the most gives up its first gap.
    capture.arrive(4, symbol=ETH)
    assert capture.lost == [(BTC, (2, 2))]
    assert capture.in_order.ids == {BTC: [1, 3, 4], ETH: [1]}
    assert capture.delivery.held == 4


async def test_a_slow_receiver_gets_what_was_held_in_order(capture: Capture) -> None:
    capture.arrive(1, 3, 4, 5)
    capture.in_order.stop_reading()
    waiting = capture.delivery.arrived(trade(2), 0.0)
    assert waiting is not None
    later = capture.delivery.arrived(trade(6), 0.0)
    assert later is not None
    assert capture.in_order.ids[BTC] == [1, 2]
    capture.in_order.read_on()
    await waiting
    await later
    assert capture.in_order.ids[BTC] == [1, 2, 3, 4, 5, 6]


async def test_a_slow_receiver_holds_back_all_rather_than_more_than_may_be_held(
    capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "HOLD_TRADES", 4)
    capture.arrive(1, symbol=ETH)
    capture.arrive(1, 3, 4, 5)
    capture.in_order.stop_reading()
    draining = capture.delivery.arrived(trade(2), 0.0)
    assert draining is not None
    capture.arrive(3, symbol=ETH)
    held_back = capture.delivery.arrived(trade(4, ETH), 0.0)
    assert held_back is not None
    assert capture.lost == []
    capture.in_order.read_on()
    await draining
    await held_back
    assert capture.in_order.ids == {BTC: [1, 2, 3, 4, 5], ETH: [1]}
    assert capture.delivery.held == 2


async def test_a_new_count_does_not_mix_with_what_is_held_of_the_old(
    capture: Capture,
) -> None:
    capture.arrive(1, 50, 51, 52)
    capture.in_order.stop_reading()
    waiting = [
        capture.delivery.arrived(trade(trade_id, time_us=9_000_000 + trade_id), 0.0)
        for trade_id in (1, 3, 51, 2, 4)
    ]
    capture.in_order.read_on()
    for each in waiting:
        if each is not None:
            await each
    assert capture.in_order.ids[BTC] == [1, 50, 51, 52, 1, 2, 3, 4]
    assert capture.ledger.trackers[BTC].resets == 1
    await capture.delivery.finish(whole=True)
    assert capture.in_order.ids[BTC][4:] == [1, 2, 3, 4, 51]
    assert capture.lost == [(BTC, (5, 50))]


async def test_at_the_end_what_is_open_is_lost_and_what_is_held_goes_on(
    capture: Capture,
) -> None:
    capture.arrive(1, 4, 7)
    capture.arrive(1, 2, symbol=ETH)
    await capture.delivery.finish(whole=True)
    assert capture.lost == [(BTC, (2, 3)), (BTC, (5, 6))]
    assert capture.in_order.ids == {BTC: [1, 4, 7], ETH: [1, 2]}
    assert capture.delivery.held == 0
    assert (capture.ledger.trades, capture.ledger.missing) == (5, 4)


async def test_the_end_waits_for_a_slow_receiver(capture: Capture) -> None:
    capture.arrive(1, 3, 4)
    capture.in_order.stop_reading()
    ending = asyncio.ensure_future(capture.delivery.finish(whole=True))
    await asyncio.sleep(0)
    assert capture.in_order.ids[BTC] == [1, 3]
    capture.in_order.read_on()
    await ending
    assert capture.in_order.ids[BTC] == [1, 3, 4]


async def test_gaps_behind_the_last_trade_wanted_are_no_part_of_the_account() -> None:
    capture = Capture(at_once=False)
    capture.arrive(1, 2, 5, 6)
    await capture.delivery.finish(whole=False)
    assert capture.lost == []
    assert capture.in_order.ids[BTC] == [1, 2]
    assert (capture.ledger.trades, capture.ledger.missing) == (2, 0)


async def test_an_error_of_a_receiver_reaches_whoever_brought_the_trade(
    capture: Capture,
) -> None:
    async def refuse() -> None:
        raise BrokenPipeError

    def fail(_: TradeV2) -> Awaitable[None]:
        return refuse()

    capture.arrive(1, 3)
    with patch.object(capture.delivery, "_in_order", fail):
        waiting = capture.delivery.arrived(trade(2), 0.0)
        assert waiting is not None
        with pytest.raises(BrokenPipeError):
            await waiting


# The whole machinery, with time and chance in the hands of hypothesis.

LAG_SECONDS = 2.0
symbols = st.sampled_from([BTC, ETH])
lines = st.sampled_from([0, 1])
few = st.integers(1, 12)


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    time = monotonic


class History:
    """What the exchange has published, and what it has kept of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.published: dict[str, list[int]] = {BTC: [], ETH: []}
        self._kept: dict[str, list[tuple[int, float]]] = {BTC: [], ETH: []}
        self.lacking: dict[str, set[int]] = {BTC: set(), ETH: set()}
        self.longest_page = 1000
        self.failures: list[Exception] = []

    def publish(self, symbol: str, count: int, lacking: set[int]) -> list[int]:
        ids = self.published[symbol]
        first = ids[-1] + 1 if ids else 100
        new = list(range(first, first + count))
        ids += new
        for position, trade_id in enumerate(new):
            if position in lacking:
                self.lacking[symbol].add(trade_id)
            else:
                seen_from = self._clock.seconds + LAG_SECONDS
                self._kept[symbol].append((trade_id, seen_from))
        return new

    def page(self, symbol: str, from_id: int, limit: int) -> list[int]:
        if self.failures:
            raise self.failures.pop(0)
        ids = [
            trade_id
            for trade_id, seen_from in self._kept[symbol]
            if trade_id >= from_id and seen_from <= self._clock.seconds
        ]
        return ids[: min(limit, self.longest_page)]


class Repairs(Repairer):
    """The repairer with a history at hand instead of a connection to one."""

    def __init__(self, history: History, clock: Clock, *arguments: Any) -> None:
        lookup: Any = SimpleNamespace(symbols=[], pair=None)
        source: Any = None
        super().__init__(source, lookup, *arguments)
        self._history = history
        self._budget = WeightBudget(10**9)
        self._clock = clock

    async def _fetch(self, piece: Piece) -> list[TradeV2]:
        limit = min(piece.last_id - piece.first_id + 1, 1000)
        page = self._history.page(piece.symbol, piece.first_id, limit)
        assert len(page) == len(set(page))
        return [trade(trade_id, piece.symbol) for trade_id in page]

    @property
    def plan(self) -> Any:
        return self._plan

    async def look(self) -> None:
        piece = self._plan.take(self._clock.seconds)
        if piece is not None:
            await self._look(piece)


class Run:
    """One life of k2: killed, it leaves only what its in-order receiver got."""

    def __init__(self, history: History, clock: Clock, in_order: Receiver) -> None:
        self.history = history
        self.clock = clock
        self.in_order = in_order
        self.at_once = Receiver()
        self.ledger = Ledger([BTC, ETH])
        self.lost: dict[str, set[int]] = {BTC: set(), ETH: set()}
        self.first: dict[str, int] = {}
        for symbol, ids in in_order.ids.items():
            if ids:
                self.ledger.trackers[symbol].resume(ids[-1], trade(ids[-1]).timestamp)
        self.resumed = {symbol: list(ids) for symbol, ids in in_order.ids.items()}
        self.delivery = Delivery(
            self.ledger,
            at_once=self.at_once.take,
            in_order=in_order.take,
            on_gap=self._gap,
            on_lost=self._lose,
        )
        self.repairs = Repairs(
            history,
            clock,
            self.ledger,
            lambda each: self.delivery.arrived(each, clock.seconds, repaired=True),
            self.delivery.lost,
        )
        # What is on its way on each of two connections; None: not connected.
        self.wires: list[list[tuple[str, int]] | None] = [[], None]
        self.tasks: dict[object, asyncio.Task[None]] = {}

    def _gap(self, symbol: str, ids: IdRange) -> bool:
        self.repairs.repair(symbol, ids)
        return True

    def _lose(self, symbol: str, ids: IdRange) -> None:
        lost = set(range(ids[0], ids[1] + 1))
        assert not lost & self.lost[symbol]
        self.lost[symbol] |= lost

    def busy(self, who: object) -> bool:
        task = self.tasks.get(who)
        if task is None or not task.done():
            return task is not None
        del self.tasks[who]
        task.result()
        return False

    async def read(self, wire: list[tuple[str, int]], count: int) -> None:
        for _ in range(min(count, len(wire))):
            symbol, trade_id = wire.pop(0)
            self.first.setdefault(symbol, trade_id)
            arrived = self.delivery.arrived(trade(trade_id, symbol), self.clock.seconds)
            if arrived is not None:
                await arrived

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
        assert self.delivery.held == 0
        for symbol, tracker in self.ledger.trackers.items():
            before = self.resumed[symbol]
            lost = self.lost[symbol]
            assert tracker.first_open_id is None
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


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    clock = Clock()
    monkeypatch.setattr(repairer_module, "time", clock)
    return Run(History(clock), clock, Receiver())


async def test_what_a_page_has_between_the_gaps_is_no_duplicate(run: Run) -> None:
    ids = run.history.publish(BTC, 9, set())
    await run.read([(BTC, each) for each in ids[::2]], 9)
    run.clock.seconds += LAG_SECONDS
    await run.repairs.look()
    assert run.in_order.ids[BTC] == ids
    assert run.ledger.repaired == 4
    assert run.ledger.duplicates == 0


@pytest.mark.parametrize(
    "refusal",
    [
        TooManyRequests("slow down", retry_after_seconds=60.0),
        AddressBanned("banned", retry_after_seconds=60.0),
        AccessBlocked("blocked", retry_after_seconds=60.0),
    ],
)
async def test_nothing_is_asked_for_while_the_exchange_wants_to_be_left_alone(
    run: Run, refusal: ExchangeRefused
) -> None:
    ids = run.history.publish(BTC, 9, set())
    await run.read([(BTC, each) for each in ids[:8:3]], 9)
    run.clock.seconds += LAG_SECONDS
    run.history.failures = [refusal, AssertionError("it was asked all the same")]
    await run.repairs.look()
    await run.read([(BTC, ids[8])], 1)
    run.clock.seconds += 59
    await run.repairs.look()
    assert await run.repairs.newest_id(BTC) is None
    run.history.failures.clear()
    run.clock.seconds += 2
    await run.repairs.look()
    assert run.in_order.ids[BTC] == ids


async def test_ids_out_of_reach_for_good_are_lost_at_once(run: Run) -> None:
    ids = run.history.publish(BTC, 5, set())
    await run.read([(BTC, ids[0]), (BTC, ids[4])], 2)
    run.clock.seconds += LAG_SECONDS
    run.history.failures = [RestrictedLocation("not from here")]
    await run.repairs.look()
    assert run.lost[BTC] == set(ids[1:4])
    assert run.in_order.ids[BTC] == [ids[0], ids[4]]


async def test_nobody_waits_for_repairs_that_have_ended(run: Run) -> None:
    async def fail(_: Piece) -> None:
        raise OSError("disk full")

    run.repairs.repair(BTC, (1, 2))
    run.clock.seconds += 1
    with (
        patch.object(run.repairs, "_look", fail),
        pytest.raises(OSError, match="disk full"),
    ):
        await run.repairs.run()
    async with asyncio.timeout(5):
        await run.repairs.until_idle(60)


class Promise(RuleBasedStateMachine):
    """Exchange, two connections, history, slow readers and kills at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.loop = asyncio.new_event_loop()
        self.clock_patch = patch.object(repairer_module, "time", self.clock)
        self.clock_patch.start()
        self.history = History(self.clock)
        self.run_now = Run(self.history, self.clock, Receiver())

    def turn(self) -> None:
        """Let everything go on that can."""
        for _ in range(4):
            self.loop.run_until_complete(asyncio.sleep(0))

    def begin(self, who: object, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self.run_now.busy(who):
            self.run_now.tasks[who] = self.loop.create_task(work())
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
        new = self.history.publish(symbol, count, lacking)
        for wire in self.run_now.wires:
            if wire is not None:
                wire += [(symbol, each) for each in new if next(places) not in dropped]

    @rule(line=lines)
    def connect(self, line: int) -> None:
        if self.run_now.wires[line] is None and not self.run_now.busy(line):
            self.run_now.wires[line] = []

    @rule(line=lines)
    def drop(self, line: int) -> None:
        if not self.run_now.busy(line):
            self.run_now.wires[line] = None

    @rule(line=lines, at=st.integers(0, 20), shift=st.integers(1, 5))
    def repeat(self, line: int, at: int, shift: int) -> None:
        wire = self.run_now.wires[line]
        if wire is not None and at < len(wire):
            wire.insert(at + shift, wire[at])

    @rule(line=lines, at=st.integers(0, 20), shift=st.integers(1, 5))
    def reorder(self, line: int, at: int, shift: int) -> None:
        wire = self.run_now.wires[line]
        if wire is not None and at < len(wire):
            wire.insert(at + shift, wire.pop(at))

    @rule(line=lines, count=few)
    def read(self, line: int, count: int) -> None:
        wire = self.run_now.wires[line]
        if wire is not None:
            run = self.run_now
            self.begin(line, lambda: run.read(wire, count))

    @rule(seconds=st.sampled_from([0.1, 0.4, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        self.clock.seconds += seconds
        self.run_now.delivery.give_up_stale(self.clock.seconds)

    @rule()
    def repair(self) -> None:
        self.begin("repair", self.run_now.repairs.look)

    @rule(
        failure=st.sampled_from(
            [
                ConnectFailed("lost", permanent=False),
                TooManyRequests("slow down", retry_after_seconds=2.0),
            ]
        )
    )
    def api_fails(self, failure: Exception) -> None:
        if len(self.history.failures) < 3:
            self.history.failures.append(failure)

    @rule(longest=st.sampled_from([1, 2, 1000]))
    def pages_get_short(self, longest: int) -> None:
        self.history.longest_page = longest

    @rule(symbol=symbols)
    def learn_of_newer_trades(self, symbol: str) -> None:
        published = self.history.published[symbol]
        run = self.run_now
        if published and run.ledger.trackers[symbol].last_id is not None:
            run.delivery.unseen(symbol, published[-1], self.clock.seconds)

    @rule()
    def reader_gets_slow(self) -> None:
        self.run_now.in_order.stop_reading()

    @rule()
    def reader_reads_on(self) -> None:
        self.run_now.in_order.read_on()
        self.turn()

    @rule()
    def kill(self) -> None:
        self._cancel()
        in_order = Receiver()
        in_order.ids = {s: list(ids) for s, ids in self.run_now.in_order.ids.items()}
        self.run_now = Run(self.history, self.clock, in_order)

    @invariant()
    def holds(self) -> None:
        self.run_now.check()

    def teardown(self) -> None:
        try:
            self._come_to_rest()
        finally:
            self._cancel()
            self.loop.close()
            self.clock_patch.stop()

    def _come_to_rest(self) -> None:
        run = self.run_now
        self.reader_reads_on()
        for line, wire in enumerate(run.wires):
            if wire is not None:
                self.begin(line, lambda wire=wire: run.read(wire, len(wire)))  # type: ignore[misc]
                assert not run.busy(line)
        for _ in range(2000):
            if not run.repairs.plan:
                break
            self.repair()
            due = run.repairs.plan.due_in_seconds(self.clock.seconds)
            self.clock.seconds += due or 0.0
        # It is not asked for ever for what the history does not have.
        assert not run.repairs.plan
        assert not run.busy("repair")
        run.check()
        assert all(t.first_open_id is None for t in run.ledger.trackers.values())
        self.loop.run_until_complete(run.delivery.finish(whole=True))
        run.check_end()

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.turn()


TestPromise = Promise.TestCase
TestPromise.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
