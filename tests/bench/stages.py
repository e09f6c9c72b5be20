"""Where the time goes: the cost of each stage that a trade passes, in one process.

The sum is less than what a run takes: reading the socket is not in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from k2cli.binance.burst import Burst, cut, pieces_of
from k2cli.binance.convert import now_us, trade_from_event
from k2cli.capture.file import CaptureFile
from k2cli.capture.sequence import SequenceTracker, pass_over
from websockets.frames import Frame
from websockets.protocol import OPEN, Protocol, Side

from k2cli.binance.message_ids import MessageIds
from k2cli.binance.wire import decode_frame
from k2cli.trade import PlainTrade

from .bench import Bench
from .market import frames
from .measures import Effort
from .table import Row

_PAIRS = {"BTCUSDT": ("BTC", "USDT"), "ETHUSDT": ("ETH", "USDT")}
# About as many as come with one read at full speed.
_AT_ONCE = 350
_CUT, _SEQUENCE, _LINE, _WRITE = "cut, decode", "sequence", "convert, line", "write"
_FAST, _PLAIN = "fast", "plain"

T = TypeVar("T")


class _Run:
    """One run over all trades, by both paths, read by read.

    Attributes:
        spent_ns: Nanoseconds in all, by stage and path.
    """

    def __init__(self, fast: CaptureFile, plain: CaptureFile) -> None:
        self.spent_ns: dict[tuple[str, str], int] = {}
        self._fast = fast
        self._plain = plain
        self._pieces = pieces_of(_PAIRS, "BINANCE")
        self._ids = MessageIds()
        self._fast_trackers = {symbol: SequenceTracker() for symbol in _PAIRS}
        self._plain_trackers = {symbol: SequenceTracker() for symbol in _PAIRS}
        self._protocol = Protocol(Side.CLIENT, state=OPEN)

    def take(self, data: bytes) -> None:
        """Take one read, a stage after the other, on both paths."""
        received_us = now_us()
        text = data.decode("latin-1")
        trades = self._timed(_CUT, _FAST, lambda: _cut(text, self._pieces))
        events = self._timed(_CUT, _PLAIN, lambda: _decode(self._protocol, data))

        known = self._fast_trackers
        for _, _, symbol, trade_id, _, _, time_us, _, _ in trades[:2]:
            known[symbol].observe(int(trade_id), int(time_us))
        stop = len(trades)
        passed = self._timed(
            _SEQUENCE, _FAST, lambda: pass_over(known, trades, 2, stop)
        )
        assert passed == stop
        self._timed(_SEQUENCE, _PLAIN, lambda: _observe(self._plain_trackers, events))

        number = self._fast.platform_sequence + 1
        lines = self._timed(
            _LINE,
            _FAST,
            lambda: Burst(trades, received_us, self._pieces, self._ids).lines(
                0, stop, number
            ),
        )
        records = self._timed(
            _LINE, _PLAIN, lambda: _records(events, received_us, number)
        )

        self._timed(_WRITE, _FAST, lambda: _write(self._fast, [lines], received_us))
        parts = [[line.decode()] for line in records]
        self._timed(_WRITE, _PLAIN, lambda: _write(self._plain, parts, received_us))

    def _timed(self, stage: str, path: str, work: Callable[[], T]) -> T:
        begun_ns = time.perf_counter_ns()
        result = work()
        spent_ns = time.perf_counter_ns() - begun_ns
        self.spent_ns[stage, path] = self.spent_ns.get((stage, path), 0) + spent_ns
        return result


def stages(bench: Bench, effort: Effort) -> Iterator[Row]:
    """Measure each stage on the fast path and on the plain one, in turn."""
    reads = effort.of(300)
    made = frames(2, _AT_ONCE * reads).frames
    runs = []
    for _ in range(effort.rounds):
        with TemporaryDirectory(dir=bench.folder) as folder:
            fast, plain = (CaptureFile(Path(folder) / name) for name in ("f", "p"))
            with fast, plain:
                fast.begin()
                plain.begin()
                run = _Run(fast, plain)
                for start in range(0, len(made), _AT_ONCE):
                    run.take(b"".join(made[start : start + _AT_ONCE]))
                runs.append(run.spent_ns)
    for stage in (_CUT, _SEQUENCE, _LINE, _WRITE):
        each, plainly = (
            [run[stage, path] / len(made) for run in runs] for path in (_FAST, _PLAIN)
        )
        yield Row(f"stage: {stage}", "ns/trade", each, "the plain path", plainly)


def _cut(text: str, pieces: Mapping[str, object]) -> list[PlainTrade]:
    trades: list[PlainTrade] = []
    position, more = 0, True
    while more:
        some, position = cut(text, position, pieces)
        trades += some
        more = bool(some)
    assert len(trades) == _AT_ONCE
    return trades


def _decode(protocol: Protocol, data: bytes) -> list[dict[str, Any]]:
    protocol.receive_data(data)
    return [
        decode_frame(bytes(frame.data))
        for frame in protocol.events_received()
        if isinstance(frame, Frame)
    ]


def _observe(
    trackers: dict[str, SequenceTracker], events: list[dict[str, Any]]
) -> None:
    for event in events:
        trackers[event["s"]].observe(event["t"], event["T"])


def _records(
    events: list[dict[str, Any]], received_us: int, number: int
) -> list[bytes]:
    return [
        trade_from_event(event, _PAIRS, received_us, "BINANCE").to_json_line(place)
        for place, event in enumerate(events, number)
    ]


def _write(capture: CaptureFile, parts: list[list[str]], received_us: int) -> None:
    for lines in parts:
        capture.write_lines(lines, "BINANCE", received_us)
    capture.flush()
