"""Whatever becomes of the process or the disk: whole lines, and none that was flushed
is missing."""

from __future__ import annotations

import gzip
import os
import sys
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

from k2cli.capture.rotation import Rotation
from k2cli.capture.writer import CaptureFile
from k2cli.errors import OutputError

from .captures import (
    COMPRESSED_NAMES,
    HAS_ZSTD,
    NAMES,
    FullDisk,
    Killed,
    Mortal,
    abandon,
    batch,
    ids_of,
    line_of,
    records_of,
    text_of,
    time_of,
    write_ids,
)


@pytest.fixture(params=NAMES)
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / str(request.param)


@pytest.fixture(params=COMPRESSED_NAMES)
def compressed(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / str(request.param)


def sizes_after_flushes(path: Path) -> list[int]:
    sizes = [0]
    with CaptureFile(path) as capture:
        capture.begin()
        for trade_id in range(1, 4):
            write_ids(capture, trade_id)
            sizes.append(path.stat().st_size)
            assert capture.size_bytes == sizes[-1]
    return sizes


@pytest.mark.slow
def test_a_file_cut_at_any_byte_is_resumed(path: Path) -> None:
    sizes = sizes_after_flushes(path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        flushed = max(i for i, there in enumerate(sizes) if there <= size)
        with CaptureFile(path) as capture:
            assert capture.platform_sequence == flushed
            assert capture.end.whole_bytes == sizes[flushed]
            assert capture.end.torn_bytes == size - sizes[flushed]
            assert path.stat().st_size == size
            capture.begin()
            write_ids(capture, *range(flushed + 1, 5))
        assert ids_of(path) == [1, 2, 3, 4]


@pytest.mark.slow
def test_zeros_from_any_byte_on_are_cut_away(path: Path) -> None:
    # As a power cut leaves them: the file has its size, but not all of its content.
    sizes = sizes_after_flushes(path)
    whole = path.read_bytes()
    for size in range(sizes[1], len(whole)):
        path.write_bytes(whole[:size] + bytes(len(whole) - size + 40))
        flushed = max(i for i, there in enumerate(sizes) if there <= size)
        with CaptureFile(path) as capture:
            # A checksum that ends in zeros is whole with zeros in its place.
            assert capture.platform_sequence - flushed in (0, 1)
            capture.begin()
            write_ids(capture, *range(capture.platform_sequence + 1, 5))
        assert ids_of(path) == [1, 2, 3, 4]


def test_a_hole_that_a_power_cut_left_ends_the_file(path: Path) -> None:
    sizes = sizes_after_flushes(path)
    whole = bytearray(path.read_bytes())
    hole = slice(sizes[1] + 60, sizes[1] + 160)
    whole[hole] = bytes(100)
    path.write_bytes(whole)
    with CaptureFile(path) as capture:
        assert capture.platform_sequence == 1
        assert capture.end.last_trades["BTCUSDT"][0] == 1
        capture.begin()
        write_ids(capture, 2, 3)
    assert ids_of(path) == [1, 2, 3]


def test_more_zeros_than_are_read_at_once_are_cut_away(path: Path) -> None:
    sizes_after_flushes(path)
    with path.open("ab") as file:
        file.write(bytes(5 * 2**20))
    with CaptureFile(path) as capture:
        assert capture.platform_sequence == 3
        capture.begin()
        write_ids(capture, 4)
    assert ids_of(path) == [1, 2, 3, 4]


def test_damage_that_no_power_cut_does_is_not_cut_away(compressed: Path) -> None:
    sizes = sizes_after_flushes(compressed)
    whole = bytearray(compressed.read_bytes())
    whole[sizes[1] + 40] ^= 0xFF
    compressed.write_bytes(whole)
    with pytest.raises(OutputError, match="is damaged near its end"):
        CaptureFile(compressed)
    assert compressed.read_bytes() == whole


@pytest.mark.parametrize(
    "content", [b"x", b"hello, world\n", bytes(40), b"\x1f\x8b\x08\x08name"]
)
def test_a_file_of_another_kind_is_refused_and_not_touched(
    compressed: Path, content: bytes
) -> None:
    for there in (content, content * 5000):
        compressed.write_bytes(there)
        with pytest.raises(OutputError, match="no capture of k2's"):
            CaptureFile(compressed)
        assert compressed.read_bytes() == there


def test_what_another_program_compressed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trades.jsonl.gz"
    content = gzip.compress(line_of(1, 1))
    path.write_bytes(content)
    with pytest.raises(OutputError, match="no capture of k2's"):
        CaptureFile(path)
    with CaptureFile(path, overwrite=True) as capture:
        capture.begin()
        write_ids(capture, 1)
    with path.open("ab") as file:
        file.write(content)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="no capture of k2's"):
        CaptureFile(path)
    assert path.read_bytes() == before


@pytest.mark.slow
def test_a_long_file_is_resumed(compressed: Path) -> None:
    trades = [batch(i, symbol=f"S{i % 4}USDT") for i in range(40_000)]
    with CaptureFile(compressed) as capture:
        capture.begin()
        capture.write(batch(1, symbol="OLDUSDT"))
        for each in trades:
            capture.write(each)
    assert compressed.stat().st_size > 2**19
    with CaptureFile(compressed) as capture:
        assert capture.platform_sequence == 40_001
        assert capture.last_trades(["OLDUSDT", "S3USDT"]) == {
            "OLDUSDT": (1, time_of(1)),
            "S3USDT": (39_999, time_of(39_999)),
        }
    assert text_of(compressed).count(b"\n") == 40_001


def test_flushing_is_asked_for_at_once_or_within_a_second(tmp_path: Path) -> None:
    with CaptureFile(tmp_path / "trades.jsonl") as capture:
        assert capture.flush_after_seconds == 0
    with CaptureFile(tmp_path / "trades.jsonl.gz") as capture:
        assert capture.flush_after_seconds == 1


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_byte_leaves_whole_lines(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = sizes_after_flushes(path)
    for room_bytes in range(0, sizes[3], 7):
        path.unlink()
        with monkeypatch.context() as patch:
            FullDisk(patch, room_bytes)
            capture = CaptureFile(path)
            capture.begin()
            with suppress(OutputError):
                write_ids(capture, 1)
            with suppress(OutputError):
                write_ids(capture, 2)
            with pytest.raises(OutputError, match="No space left on device") as caught:
                write_ids(capture, 3)
            assert "Make room" in caught.value.hint
            # What was lost has left a hole: nothing may follow it.
            with pytest.raises(OutputError, match="No space left"):
                write_ids(capture, 4)
        with pytest.raises(OutputError, match="No space left"):
            write_ids(capture, 5)
        written = len(records_of(path))
        assert capture.platform_sequence == capture.trades_written == written
        assert capture.size_bytes == path.stat().st_size
        capture.close()
        with CaptureFile(path) as capture:
            assert capture.end.torn_bytes == 0
            assert capture.platform_sequence == written
            capture.begin()
            write_ids(capture, *range(written + 1, 5))
        assert ids_of(path) == [1, 2, 3, 4]


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root mounts on Linux"
)
def test_a_small_disk_fills_up(tmp_path: Path) -> None:
    import shutil
    import subprocess

    mount = shutil.which("mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if not mount or subprocess.run([mount, *options], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        path = disk / "trades.jsonl"
        capture = CaptureFile(path)
        capture.begin()
        with pytest.raises(OutputError, match="No space left on device"):
            write_ids(capture, *range(1000))
        capture.close()
        written = ids_of(path)
        assert len(written) > 50
        assert written == list(range(len(written)))
    finally:
        subprocess.run([shutil.which("umount") or "umount", str(disk)], check=True)


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
        self._capture.write(batch(following, symbol=f"S{following % 3}USDT"))
        self._written = following

    def _open(self) -> None:
        capture = self._capture = CaptureFile(self._path, rotation=self._rotation)
        there = capture.platform_sequence
        assert self._flushed <= there <= self._written
        last = {f"S{i % 3}USDT": (i, time_of(i)) for i in range(1, there + 1)}
        assert capture.last_trades(["S0USDT", "S1USDT", "S2USDT"]) == last
        capture.begin()
        assert ids_of(self._path) == list(range(1, there + 1))
        self._flushed = self._written = there


TestCaptureThatCrashes = CaptureThatCrashes.TestCase
TestCaptureThatCrashes.settings = settings(
    max_examples=120, stateful_step_count=25, deadline=None
)
