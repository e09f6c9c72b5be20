"""Every fault alone, in pairs, and at random with kill -9 among them.

The assertion is always the same: ids on disk == ids the exchange published.
"""

from __future__ import annotations

import sys
from random import Random

import pytest

import k2cli
from k2cli.simulator import parse_fault

from .conftest import SYMBOLS, SiegeMaker, random_faults

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="SIGTERM and SIGKILL are not to be had there"
)

ALONE = [
    "drop@1500",
    "cut@1500",
    "close@1500:1000",
    "close@1500:1001",
    "close@1500:1008",
    "skip@1500:1",
    "skip@1500:1200",
    "skip@1500:7:ETHUSDT",
    "duplicate@1500:500",
    "reorder@1500:20",
    "junk@1500:26",
    "stall@1500:1s",
    "shutdown@1500:0ms",
    "shutdown@1500:300ms",
    "shutdown@1500:never",
]
PAIRS = [
    ("drop@1500", "refuse@1500:503:500ms"),
    ("drop@1500", "hang@1500:300ms:streams"),
    ("drop@1500", "api-down@1500:1s"),
    ("drop@1500", "history-lag@1500:1s"),
    ("drop@1500", "skip@1800:200"),
    ("skip@1500:900", "api-down@1500:1s"),
    ("skip@1500:50", "api-error@1500:503:3"),
    ("skip@1500:50", "api-error@1500:429:1"),
    ("skip@1500:900", "drop@2400"),
    ("shutdown@1500:300ms", "skip@1501:40"),
    ("shutdown@1500:never", "drop@1600"),
    ("stall@1500", "skip@1400:30"),
    ("duplicate@1500:300", "drop@1501"),
    ("junk@1500:13", "cut@1502"),
]


async def play(siege: SiegeMaker, *faults: str) -> None:
    besieged = await siege.in_process(faults)
    await besieged.start()
    await besieged.exchange.finished.wait()
    await besieged.caught_up()

    assert await besieged.stop() == 0
    besieged.assert_whole()
    assert besieged.ledger.verdict == "complete"
    assert not besieged.journal.exists()


@pytest.mark.parametrize("fault", ALONE)
async def test_each_fault_alone(siege: SiegeMaker, fault: str) -> None:
    await play(siege, fault)


@pytest.mark.slow
async def test_a_half_open_connection_is_noticed_by_its_pings(
    siege: SiegeMaker,
) -> None:
    besieged = await siege([parse_fault("stall@1500")])
    await besieged.start()
    await besieged.exchange.finished.wait()
    await besieged.caught_up()

    assert await besieged.stop() == 0
    besieged.assert_whole()
    # The history of a silent symbol would show it too, but only after half a minute.
    assert b"not even answers to pings" in besieged.errors


@pytest.mark.slow
@pytest.mark.parametrize("faults", PAIRS, ids="+".join)
async def test_faults_in_pairs(siege: SiegeMaker, faults: tuple[str, str]) -> None:
    await play(siege, *faults)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))]
)
async def test_random_faults_and_kill_9(siege: SiegeMaker, seed: int) -> None:
    faults = random_faults(seed, trades=12_000)
    random = Random(seed)  # noqa: S311 - a schedule, not a secret
    besieged = await siege(
        [parse_fault(fault) for fault in faults], trades=12_000, rate=4000
    )
    for kill_at in sorted(random.sample(range(500, 11_500), 3)):
        await besieged.start()
        await besieged.exchange.wait_published(kill_at)
        await besieged.kill()
    await besieged.start()
    await besieged.exchange.finished.wait()
    await besieged.caught_up()

    assert await besieged.stop() == 0, (faults, besieged.errors.decode())
    besieged.assert_whole()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
async def test_kill_9_with_gaps_open_loses_nothing_that_was_on_disk(
    siege: SiegeMaker, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 - a schedule, not a secret
    gaps = [
        f"skip@{random.randrange(100, 11_900)}:{random.randrange(1, 300)}"
        for _ in range(8)
    ]
    faults = ["history-lag@0:1h", "skip@50:5", *gaps, "drop@6000"]
    besieged = await siege([parse_fault(fault) for fault in faults], trades=12_000)
    held: set[tuple[str, int]] = set()
    had_journal = False
    for kill_at in sorted(random.sample(range(2000, 11_500), 3)):
        await besieged.start()
        await besieged.exchange.wait_published(kill_at)
        held |= besieged.on_disk()
        await besieged.kill()
        assert held <= besieged.on_disk()
        had_journal |= besieged.journal.exists()
    await besieged.start()
    await besieged.exchange.finished.wait()
    besieged.exchange.add_fault("history-lag@0:0s")
    await besieged.caught_up()

    assert await besieged.stop() == 0, (faults, besieged.errors.decode())
    assert held <= besieged.on_disk()
    besieged.assert_whole()
    assert had_journal
    assert not besieged.journal.exists()
    assert k2cli.verify(besieged.file).whole


@pytest.mark.slow
async def test_what_the_history_lacks_too_is_named_exactly(siege: SiegeMaker) -> None:
    besieged = await siege.in_process(
        ["skip@1500:40", "short-history@1500:40", "skip@1600:300", "drop@2500"]
    )
    await besieged.start()
    await besieged.exchange.finished.wait()
    await besieged.caught_up()
    status = await besieged.stop()

    withheld = {s: besieged.exchange.log.withheld_ids(s) for s in SYMBOLS}
    named = {
        symbol: [
            trade_id
            for first, last in besieged.ledger.trackers[symbol].missing_ranges
            for trade_id in range(first, last + 1)
        ]
        for symbol in SYMBOLS
    }
    assert sum(len(ids) for ids in withheld.values()) == 40
    assert named == withheld
    assert status == 6
