"""What is measured with the server: paced, throughput, memory, the whole market."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .bench import Bench, Outcome
from .loops import is_installed
from .process import Client, k2_command
from .server import Job
from .table import Row, at_least, at_most

_REFERENCE = "reference"
WHOLE_MARKET = 3_500
_MARKET_RATE = 50_000
# Long enough to show whether memory grows: a million trades.
_MARKET_SECONDS = 20
# Trades per second, and what CPU record may take: to the reference, and to picows.
_GOALS = (
    (200, 1.0, 1.5),
    (1_000, 0.6, 1.0),
    (5_000, 0.35, 0.7),
    (20_000, 0.2, 0.35),
)
_PACED_SECONDS = 4.0
_AT_ONCE = ("--max-delay", "0")


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes:
        rounds: How often each line's runs are repeated, all of them in turn.
        scale: What numbers of trades and sizes of files are multiplied with.
    """

    rounds: int
    scale: float

    def of(self, amount: int) -> int:
        """Scale an amount."""
        return max(int(amount * self.scale), 100)


def interleaved(
    rounds: int, runs: dict[str, Callable[[], Outcome]]
) -> dict[str, list[Outcome]]:
    """Take runs in turn, so that what slows the machine down slows all of them."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            outcomes[name].append(run())
    return outcomes


def server_is_no_bottleneck(bench: Bench, effort: Effort) -> Iterator[Row]:
    """Show what the server hands to a client that does nothing but read."""
    job = Job(2, effort.of(300_000), repeat=10)
    outcomes = interleaved(
        effort.rounds,
        {
            "sink": lambda: bench.loop("sink", job),
            _REFERENCE: lambda: bench.loop(_REFERENCE, Job(2, job.trades)),
        },
    )
    yield Row(
        "server, to a bare socket",
        "frames/s",
        [job.trades * job.repeat / each.seconds for each in outcomes["sink"]],
        _REFERENCE,
        _rates(job.trades, outcomes[_REFERENCE]),
        at_least(20),
    )


def throughput(bench: Bench, effort: Effort) -> Iterator[Row]:
    """Trades a second: all that the server has, as fast as the client takes it."""
    job = Job(2, effort.of(300_000))
    peers = [name for name in ("aiohttp", "picows") if is_installed(name)]
    runs: dict[str, Callable[[], Outcome]] = {
        _REFERENCE: lambda: bench.loop(_REFERENCE, job),
        "k2 record": lambda: bench.record(job),
        "k2 stream --json into a pipe": lambda: bench.stream(job),
        "BinanceWebSocketClient, on_message": lambda: bench.loop("library", job),
    }
    for name in peers:
        runs[f"{name} + orjson, by hand"] = _loop(bench, name, job)
    outcomes = interleaved(effort.rounds, runs)
    goals = {
        "k2 record": at_least(3.0),
        "k2 stream --json into a pipe": at_least(1.5),
    }
    reference = _rates(job.trades, outcomes[_REFERENCE])
    for name, taken in outcomes.items():
        if name != _REFERENCE:
            ours = _rates(job.trades, taken)
            yield Row(name, "trades/s", ours, _REFERENCE, reference, goals.get(name))
    for name, taken in outcomes.items():
        if name != _REFERENCE:
            yield Row(
                f"{name}, CPU",
                "s/million",
                _cpu(job.trades, taken),
                _REFERENCE,
                _cpu(job.trades, outcomes[_REFERENCE]),
            )


def paced(bench: Bench, effort: Effort) -> Iterator[Row]:
    """What users have: CPU and delay where each trade is sent by itself."""
    for rate, to_reference, to_picows in _GOALS:
        job = Job(2, effort.of(int(rate * _PACED_SECONDS)), rate=rate)
        runs: dict[str, Callable[[], Outcome]] = {
            _REFERENCE: _loop(bench, _REFERENCE, job, flush=True),
            "record": _record(bench, job),
            "record --max-delay 0": _record(bench, job, *_AT_ONCE),
            "stream --json": _stream(bench, job),
            "stream, live table": _table(bench, job),
        }
        if is_installed("picows"):
            runs["picows"] = _loop(bench, "picows", job, flush=True)
        outcomes = interleaved(effort.rounds, runs)
        for peer, goal in ((_REFERENCE, to_reference), ("picows", to_picows)):
            for name in runs if peer in runs else ():
                if name in (_REFERENCE, "picows"):
                    continue
                yield Row(
                    f"{name}, {rate:,}/s, CPU",
                    "% of a core",
                    _shares(outcomes[name]),
                    peer,
                    _shares(outcomes[peer]),
                    at_most(goal) if name == "record" else None,
                )
        for name in runs:
            # When a trade is on the screen is not to be seen from outside.
            if name in (_REFERENCE, "stream, live table"):
                continue
            for percentile in ("p50_us", "p99_us"):
                yield Row(
                    f"{name}, {rate:,}/s, delay, {percentile[:3]}",
                    "us",
                    [getattr(each, percentile) for each in outcomes[name]],
                    _REFERENCE,
                    [getattr(each, percentile) for each in outcomes[_REFERENCE]],
                )


def redundant(bench: Bench, effort: Effort) -> Iterator[Row]:
    """What a second connection costs that brings each trade again: CPU."""
    for rate in (1_000, 20_000, 0):
        trades = effort.of(int(rate * _PACED_SECONDS) or 300_000)
        single, double = (Job(2, trades, rate=rate, listeners=n) for n in (1, 2))
        outcomes = interleaved(
            effort.rounds,
            {
                "record": _record(bench, single),
                "redundant": _record(bench, double, "--redundant"),
            },
        )
        yield Row(
            f"record --redundant, {f'{rate:,}/s' if rate else 'saturated'}, CPU",
            "s/million",
            _cpu(trades, outcomes["redundant"]),
            "record",
            _cpu(trades, outcomes["record"]),
            at_most(1.6),
        )


def symbols(bench: Bench, effort: Effort) -> Iterator[Row]:
    """How cost grows with the number of symbols: throughput and memory."""
    for count in (2, 200, WHOLE_MARKET):
        job = Job(count, max(effort.of(300_000), count))
        outcomes = interleaved(
            effort.rounds,
            {
                _REFERENCE: _loop(bench, _REFERENCE, job),
                "record": _record(bench, job),
            },
        )
        against = f"{_REFERENCE}, {count:,} symbols"
        yield Row(
            f"record, {count:,} symbols",
            "trades/s",
            _rates(job.trades, outcomes["record"]),
            against,
            _rates(job.trades, outcomes[_REFERENCE]),
        )
        yield Row(
            f"record, {count:,} symbols, memory",
            "MB",
            [each.peak_mb for each in outcomes["record"]],
            against,
            [each.peak_mb for each in outcomes[_REFERENCE]],
            at_most(1.5),
        )


def market(bench: Bench, effort: Effort) -> Iterator[Row]:
    """The whole market at 50,000 trades a second, on one core, with nothing lost."""
    job = Job(
        WHOLE_MARKET,
        max(effort.of(_MARKET_RATE * _MARKET_SECONDS), WHOLE_MARKET),
        rate=_MARKET_RATE,
    )
    outcome = bench.record(job, keep="market.jsonl")
    captured = bench.folder / "market.jsonl"
    verify = Client([*k2_command(), "verify", str(captured)], bench.folder, bench.cores)
    status = verify.end(120, asks=False)
    captured.unlink()
    is_whole = outcome.status == status == 0 and outcome.lines == job.trades
    yield Row(
        f"record, {WHOLE_MARKET:,} symbols, paced",
        "trades/s",
        [job.trades / outcome.seconds],
        "what was sent",
        [job.trades / outcome.send_seconds],
        at_least(0.99),
        f"last line {outcome.late_ms:.1f} ms after the last trade, "
        + ("whole" if is_whole else f"NOT WHOLE: {outcome.status}, verify {status}"),
    )

    yield Row(
        f"record, {WHOLE_MARKET:,} symbols, CPU",
        "% of a core",
        _shares([outcome]),
        "a whole core",
        [100.0],
        at_most(0.25),
    )
    yield Row(
        f"record, {WHOLE_MARKET:,} symbols, memory",
        "MB",
        [outcome.peak_mb],
        "itself, after a third",
        [outcome.peak_mb - outcome.grown_mb],
        at_most(1.1),
    )


def _loop(
    bench: Bench, name: str, job: Job, *, flush: bool = False, fifo: bool = False
) -> Callable[[], Outcome]:
    return lambda: bench.loop(name, job, flush=flush, fifo=fifo)


def _record(bench: Bench, job: Job, *options: str) -> Callable[[], Outcome]:
    return lambda: bench.record(job, *options)


def _table(bench: Bench, job: Job) -> Callable[[], Outcome]:
    return lambda: bench.table(job)


def _stream(bench: Bench, job: Job) -> Callable[[], Outcome]:
    return lambda: bench.stream(job)


def _shares(outcomes: list[Outcome]) -> list[float]:
    """Return how much of a core was used, in percent."""
    return [100 * each.cpu_seconds / each.seconds for each in outcomes]


def _rates(trades: int, outcomes: list[Outcome]) -> list[float]:
    return [trades / each.seconds for each in outcomes]


def _cpu(trades: int, outcomes: list[Outcome]) -> list[float]:
    return [each.cpu_seconds / trades * 1e6 for each in outcomes]
