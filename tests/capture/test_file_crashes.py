"""Whatever becomes of the process or the disk: whole lines, and none that was flushed
is missing."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from k2cli.capture.file import CaptureFile
from k2cli.errors import OutputError

from .captures import (
    COMPRESSED_NAMES,
    NAMES,
    FullDisk,
    ids_of,
    records_of,
    text_of,
    trade,
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


def test_a_file_cut_at_any_byte_is_gone_on_with(path: Path) -> None:
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
    import gzip

    path = tmp_path / "trades.jsonl.gz"
    content = gzip.compress(trade(1).to_json_line(1))
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


def test_a_long_file_is_gone_on_with(compressed: Path) -> None:
    trades = [trade(i, f"S{i % 4}USDT") for i in range(40_000)]
    with CaptureFile(compressed) as capture:
        capture.begin()
        capture.write(trade(1, "OLDUSDT"))
        for each in trades:
            capture.write(each)
    assert compressed.stat().st_size > 2**19
    with CaptureFile(compressed) as capture:
        assert capture.platform_sequence == 40_001
        assert capture.last_trades(["OLDUSDT", "S3USDT"]) == {
            "OLDUSDT": (1, trade(1).timestamp),
            "S3USDT": (39_999, trade(39_999).timestamp),
        }
    assert text_of(compressed).count(b"\n") == 40_001


def test_flushing_is_asked_for_at_once_or_within_a_second(tmp_path: Path) -> None:
    with CaptureFile(tmp_path / "trades.jsonl") as capture:
        assert capture.flush_after_seconds == 0
    with CaptureFile(tmp_path / "trades.jsonl.gz") as capture:
        assert capture.flush_after_seconds == 1


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
