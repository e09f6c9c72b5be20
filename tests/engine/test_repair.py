"""What is fetched for a repair, what is proven, and what stays open."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from k2cli.completeness.id_ranges import IdRange, IdRanges
from k2cli.completeness.repair_plan import Hole, RepairPlan, SymbolDay
from k2cli.engine.protocols import SymbolSet
from k2cli.engine.repair import RepairFetcher
from k2cli.errors import (
    AddressBanned,
    ApiError,
    ConnectFailed,
    K2Error,
    MalformedMessage,
    RestrictedLocation,
    TooManyRequests,
)
from k2cli.trade import Instrument, TradeBatch

SYMBOL = "BTCUSDT"
INSTRUMENT = Instrument(SYMBOL, "SIM", "BTC", "USDT")
DAY = SymbolDay(SYMBOL, 19_000)


def batch(*ids: int) -> TradeBatch | None:
    if not ids:
        return None
    n = len(ids)
    return TradeBatch(
        instruments={SYMBOL: INSTRUMENT},
        received_us=1,
        symbols=[SYMBOL] * n,
        trade_ids=[str(each) for each in ids],
        prices=["1.0"] * n,
        quantities=["1.0"] * n,
        trade_times=["1723161255342000"] * n,
        event_times=[None] * n,
        buyer_is_maker=["true"] * n,
        best_match=["true"] * n,
        message_ids=["f3b0c4ce-5d0a-4a7e-9f0e-000000000001"] * n,
        is_backfill=True,
    )


class History:
    """Has some ids, and fails as told."""

    requests_per_minute = 120.0

    def __init__(self, *ids: int, failures: list[K2Error] | None = None) -> None:
        self.ids: Sequence[int] = ids
        self.failures = failures or []
        self.waits = [0.0]
        self.asked: list[tuple[int, int]] = []
        self.on_asked: Callable[[], None] = lambda: None

    def reserve(self) -> float:
        return self.waits.pop() if len(self.waits) > 1 else self.waits[0]

    async def page(self, symbol: str, first_id: int, most: int) -> TradeBatch | None:
        assert symbol == SYMBOL
        self.asked.append((first_id, most))
        self.on_asked()
        if self.failures:
            raise self.failures.pop(0)
        return batch(*[each for each in self.ids if each >= first_id][:most])

    def extend(self, symbols: SymbolSet) -> None:
        raise NotImplementedError

    async def newest(self, symbol: str) -> TradeBatch | None:
        raise NotImplementedError

    async def newest_ids(self, symbols: Sequence[str]) -> dict[str, int]:
        raise NotImplementedError

    async def ids_since(self, symbol: str, time_us: int) -> IdRange | None:
        raise NotImplementedError

    async def close(self) -> None:
        pass


class Archives:
    """Has some ids of one day."""

    def __init__(self, *ids: int, error: K2Error | None = None) -> None:
        self.ids = ids
        self.error = error
        self.read_days: list[int] = []

    async def read(
        self,
        instrument: Instrument,
        day: int,
        wanted: IdRanges,
        on_batch: Callable[[TradeBatch], object],
    ) -> IdRange | None:
        assert instrument is INSTRUMENT
        self.read_days.append(day)
        if self.error is not None:
            raise self.error
        found = batch(*[each for each in self.ids if each in wanted])
        if found is not None:
            on_batch(found)
        return IdRange(self.ids[0], self.ids[-1]) if self.ids else None


class Repair:
    """What is wanted, and what has come."""

    def __init__(
        self,
        *wanted: tuple[int, int],
        history: History,
        archives: Archives | None = None,
        archives_first: bool = False,
    ) -> None:
        self.wanted = {SYMBOL: IdRanges(wanted)}
        self.got: list[int] = []
        self.slept: list[float] = []
        holes = [Hole(SYMBOL, *ids, 1, 2) for ids in wanted]
        days = [DAY] if archives is not None else []
        self.plan = RepairPlan(holes, days if archives_first else [], days, 1)

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        self.fetcher = RepairFetcher(
            self.wanted, {SYMBOL: INSTRUMENT}, history, archives, self.take, sleep=sleep
        )

    def take(self, found: TradeBatch) -> None:
        for trade_id in map(int, found.trade_ids):
            if self.wanted[SYMBOL].remove(trade_id, trade_id):
                self.got.append(trade_id)

    async def run(self) -> None:
        await self.fetcher.fetch(self.plan)

    @property
    def absent(self) -> list[IdRange]:
        return list(self.fetcher.absent.get(SYMBOL, ()))


async def test_one_page_fills_neighbouring_holes() -> None:
    history = History(*range(1, 100))
    repair = Repair((10, 12), (20, 20), history=history)
    await repair.run()
    assert repair.got == [10, 11, 12, 20]
    assert history.asked == [(10, 11)]
    assert repair.fetcher.error is None


async def test_only_a_page_that_reaches_beyond_an_id_proves_that_it_is_not_there() -> (
    None
):
    repair = Repair((10, 15), (30, 40), history=History(10, 11, 14, 16, 17, 18, 19, 35))
    await repair.run()
    assert repair.got == [10, 11, 14, 35]
    assert repair.absent == [(12, 13), (15, 15), (30, 34)]
    assert list(repair.wanted[SYMBOL]) == [(12, 13), (15, 15), (30, 34), (36, 40)]


async def test_an_empty_history_proves_nothing() -> None:
    repair = Repair((10, 15), history=History(1, 2))
    await repair.run()
    assert repair.absent == []
    assert repair.fetcher.error is None


async def test_a_history_that_is_empty_for_a_while_is_asked_again() -> None:
    history = History()
    repair = Repair((10, 15), history=history)
    history.on_asked = lambda: setattr(
        history, "ids", range(1, 20) if len(history.asked) == 3 else ()
    )
    await repair.run()
    assert repair.got == [*range(10, 16)]
    assert sum(repair.slept) > 2


async def test_the_budget_is_waited_for() -> None:
    history = History(10)
    history.waits = [0.0, 7.0]
    repair = Repair((10, 10), history=history)
    await repair.run()
    assert repair.slept == [7.0]
    assert repair.got == [10]


LOST = ConnectFailed("lost", permanent=False)


@pytest.mark.parametrize(
    "failure",
    [
        LOST,
        MalformedMessage("no page"),
        ApiError("later", status=503, code=None),
        *(ApiError("not now", status=status, code=None) for status in (400, 403, 408)),
        TooManyRequests("slow down", retry_after_seconds=5),
        AddressBanned("slow down"),
    ],
)
async def test_a_failure_that_may_pass_is_waited_for(failure: K2Error) -> None:
    repair = Repair((10, 10), history=History(10, failures=[failure]))
    await repair.run()
    assert repair.got == [10]
    assert len(repair.slept) == 1
    assert repair.fetcher.error is None


@pytest.mark.parametrize(
    ("failures", "requests"),
    [
        ([LOST] * 9, 4),
        ([ConnectFailed("no such host", permanent=True)], 1),
        ([RestrictedLocation("not here")], 1),
        ([AddressBanned("go away", retry_after_seconds=9999)], 1),
        ([ApiError("unknown symbol", status=400, code=-1121)], 1),
    ],
)
async def test_a_failure_that_stays_ends_it_and_proves_nothing(
    failures: list[K2Error], requests: int
) -> None:
    history = History(10, failures=list(failures))
    repair = Repair((10, 10), history=history)
    await repair.run()
    assert repair.fetcher.error is failures[0]
    assert len(history.asked) == requests
    assert repair.absent == []


async def test_what_an_archive_lacks_is_asked_of_the_history() -> None:
    archives = Archives(8, 9, 10, 13, 14)
    history = History(11, 13)
    repair = Repair((10, 13), history=history, archives=archives, archives_first=True)
    await repair.run()
    assert repair.got == [10, 13, 11]
    assert repair.absent == [(12, 12)]


async def test_without_the_history_archives_fill_and_prove() -> None:
    archives = Archives(8, 9, 10, 13, 14)
    refusal = RestrictedLocation("not here")
    history = History(failures=[refusal])
    repair = Repair((10, 13), history=history, archives=archives)
    await repair.run()
    assert repair.got == [10, 13]
    assert repair.absent == [(11, 12)]
    assert repair.fetcher.error is refusal


async def test_archives_that_have_all_make_the_refusal_forgotten() -> None:
    history = History(failures=[RestrictedLocation("not here")])
    repair = Repair((10, 13), history=history, archives=Archives(*range(1, 20)))
    await repair.run()
    assert repair.fetcher.error is None


@pytest.mark.parametrize("error", [LOST, MalformedMessage("wrong checksum")])
async def test_a_bad_archive_leaves_it_to_the_history(error: K2Error) -> None:
    repair = Repair(
        (10, 13),
        history=History(*range(1, 20)),
        archives=Archives(error=error),
        archives_first=True,
    )
    await repair.run()
    assert repair.got == [10, 11, 12, 13]
