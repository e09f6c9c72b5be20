"""Where the time goes: the cost of each stage that a trade passes, in one process.

The sum is less than what a run takes: reading the socket is not in it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from websockets.frames import Frame
from websockets.protocol import OPEN, Protocol, Side

from k2cli.binance.decoder import MessageDecoder
from k2cli.capture.pending import PendingJournal
from k2cli.capture.writer import CaptureFile
from k2cli.completeness.ledger import Ledger
from k2cli.completeness.sequencer import Sequencer
from k2cli.trade import TradeBatch

from .bench import Bench
from .market import frames
from .measures import Effort
from .table import Row

_ASSETS = {"BTCUSDT": ("BTC", "USDT"), "ETHUSDT": ("ETH", "USDT")}
# About as many as come with one read at full speed.
_AT_ONCE = 350
_CUT, _SEQUENCE, _LINE, _WRITE = "cut, decode", "sequence", "line", "line, write"

T = TypeVar("T")


class _Path:
    """One way that trades take, with what it has cost so far.

    Args:
        decode: Makes batches of what was read.
        file: Where they go.

    Attributes:
        spent_ns: Nanoseconds in all, by stage.
    """

    def __init__(
        self, decode: Callable[[bytes], Sequence[TradeBatch]], file: CaptureFile
    ) -> None:
        self.spent_ns: dict[str, int] = {}
        self._decode = decode
        self._file = file
        self._taken = 0
        self._sequencer = Sequencer(
            Ledger(_ASSETS),
            PendingJournal(None),
            at_once=self._take,
            in_order=None,
            on_gap=lambda symbol, ids: False,
            on_lost=lambda symbol, ids: None,
            room=lambda: sys.maxsize,
        )

    def read(self, data: bytes) -> None:
        """Take one read, a stage after the other."""
        batches = self._timed(_CUT, lambda: self._decode(data))
        self._timed(_SEQUENCE, lambda: [self._sequencer.receive(b) for b in batches])
        self._timed(_LINE, lambda: [batch.json_lines(1) for batch in batches])
        self._timed(_WRITE, lambda: self._write(batches))

    def check(self, trades: int) -> None:
        """See that all trades have come to the end."""
        assert self._taken == self._file.trades_written == trades

    def _take(self, batch: TradeBatch) -> None:
        self._taken += len(batch)

    def _write(self, batches: Sequence[TradeBatch]) -> None:
        for batch in batches:
            self._file.write(batch)
        self._file.flush()

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        begun_ns = time.process_time_ns()
        result = work()
        spent_ns = time.process_time_ns() - begun_ns
        self.spent_ns[stage] = self.spent_ns.get(stage, 0) + spent_ns
        return result


def stages(bench: Bench, effort: Effort) -> Iterator[Row]:
    """Measure each stage on the fast path and on the plain one, in turn."""
    made = frames(2, _AT_ONCE * effort.of(300)).frames
    reads = [
        b"".join(made[start : start + _AT_ONCE])
        for start in range(0, len(made), _AT_ONCE)
    ]
    runs: dict[str, list[dict[str, int]]] = {"fast": [], "plain": []}
    for _ in range(effort.rounds):
        with TemporaryDirectory(dir=bench.folder) as folder:
            decoders = {"fast": _fast(), "plain": _plain()}
            for name, decode in decoders.items():
                with CaptureFile(Path(folder) / name) as file:
                    file.begin()
                    path = _Path(decode, file)
                    for data in reads:
                        path.read(data)
                    path.check(len(made))
                runs[name].append(path.spent_ns)
    for stage in (_CUT, _SEQUENCE, _LINE, _WRITE):
        ours, theirs = (
            [spent_ns[stage] / len(made) for spent_ns in runs[name]] for name in runs
        )
        yield Row(f"stage: {stage}", "ns/trade", ours, "the plain path", theirs)


def _fast() -> Callable[[bytes], Sequence[TradeBatch]]:
    decoder = MessageDecoder(_ASSETS)

    def decode(data: bytes) -> Sequence[TradeBatch]:
        text, position, batches = data.decode("latin-1"), 0, []
        while position < len(text):
            batch, position = decoder.decode_frames(text, position, 1, "BINANCE")
            assert batch is not None
            batches.append(batch)
        return batches

    return decode


def _plain() -> Callable[[bytes], Sequence[TradeBatch]]:
    decoder = MessageDecoder(_ASSETS)
    protocol = Protocol(Side.CLIENT, state=OPEN)

    def decode(data: bytes) -> Sequence[TradeBatch]:
        protocol.receive_data(data)
        batches = []
        for frame in protocol.events_received():
            assert isinstance(frame, Frame)
            batch = decoder.decode_message(bytes(frame.data), 1, "BINANCE")
            assert isinstance(batch, TradeBatch)
            batches.append(batch)
        return batches

    return decode
