"""A recorder that stops in every way and at every moment, over and over."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from k2cli.capture.file import CaptureFile
from k2cli.capture.rotation import Rotation
from k2cli.errors import OutputError

from .captures import HAS_ZSTD, FullDisk, Killed, Mortal, abandon, ids_of, trade


class CaptureThatCrashes(RuleBasedStateMachine):
    """Trades 1, 2, 3 … are written, and the recorder stops in every way there is.

    It goes on each time with the trade after the last one that is in the file, as
    after the repair of its downtime.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._flushed = 0
        self._written = 0

    @initialize(
        name=st.sampled_from(
            ["t.jsonl", "t.jsonl.gz", *(["t.jsonl.zst"] if HAS_ZSTD else [])]
        ),
        rotation=st.sampled_from(
            [
                None,
                Rotation(size_bytes=700),
                Rotation(size_bytes=2500),
                Rotation(period_seconds=30),
                Rotation(period_seconds=3600),
            ]
        ),
    )
    def start(self, name: str, rotation: Rotation | None) -> None:
        self._path = Path(self._folder.name) / name
        self._rotation = rotation
        self._open()

    def teardown(self) -> None:
        if hasattr(self, "_capture"):
            self._capture.close()
            assert ids_of(self._path) == list(range(1, self._written + 1))
        self._folder.cleanup()

    @rule(count=st.integers(1, 6))
    def write(self, count: int) -> None:
        for _ in range(count):
            self._write()

    @rule()
    def flush(self) -> None:
        self._capture.flush()
        self._flushed = self._written

    @rule()
    def close(self) -> None:
        self._capture.close()
        self._flushed = self._written
        self._open()

    @rule(part=st.floats(0, 1))
    def kill_while_flushing(self, part: float) -> None:
        """Of what was to be written, some has reached the file."""
        text = bytes(self._capture._buffer)
        packing = self._capture._compression
        data = packing.encode(text) if packing and text else text
        abandon(self._capture)
        with self._path.open("ab") as file:
            file.write(data[: int(len(data) * part)])
        self._open()

    @rule(count=st.integers(1, 12), calls=st.integers(0, 12), before=st.booleans())
    def kill_at_a_system_call(self, count: int, calls: int, before: bool) -> None:
        with pytest.MonkeyPatch.context() as patch:
            mortal = Mortal(patch, calls, before=before)
            try:
                for _ in range(count):
                    self._write()
                self._capture.flush()
                self._flushed = self._written
            except Killed:
                # The one that was being written may be there, or not.
                self._written += 1
        mortal.bury(self._capture)
        self._open()

    @rule(room_bytes=st.integers(0, 2000))
    def fill_the_disk(self, room_bytes: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            FullDisk(patch, room_bytes)
            with suppress(OutputError):
                self._capture.flush()
                self._flushed = self._written
        self._capture.close()
        self._open()

    @precondition(lambda self: hasattr(self, "_capture"))
    @invariant()
    def account_is_right(self) -> None:
        assert self._capture.platform_sequence == self._written
        self._capture.check()

    def _write(self) -> None:
        following = self._written + 1
        self._capture.write(trade(following, f"S{following % 3}USDT"))
        self._written = following

    def _open(self) -> None:
        capture = self._capture = CaptureFile(self._path, rotation=self._rotation)
        there = capture.platform_sequence
        assert self._flushed <= there <= self._written
        last = {f"S{i % 3}USDT": (i, trade(i).timestamp) for i in range(1, there + 1)}
        assert capture.last_trades(["S0USDT", "S1USDT", "S2USDT"]) == last
        capture.begin()
        assert ids_of(self._path) == list(range(1, there + 1))
        self._flushed = self._written = there


TestCaptureThatCrashes = CaptureThatCrashes.TestCase
TestCaptureThatCrashes.settings = settings(
    max_examples=120, stateful_step_count=25, deadline=None
)
