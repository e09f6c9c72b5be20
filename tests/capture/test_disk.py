"""The open file: what happens to it from outside, and when it waits for the disk."""

from __future__ import annotations

import errno
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog

from k2cli.capture.disk import DiskFile
from k2cli.capture.rotation import Rotation
from k2cli.capture.writer import CaptureFile
from k2cli.errors import OutputError

from .captures import batch, ids_of, line_of, write_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trades.jsonl"


@pytest.fixture
def capture(path: Path) -> Iterator[CaptureFile]:
    with CaptureFile(path) as capture:
        capture.begin()
        write_ids(capture, 1, 2)
        capture.check()
        yield capture


def refused(capture: CaptureFile, says: str) -> None:
    with pytest.raises(OutputError, match=says) as caught:
        capture.check()
    assert caught.value.hint
    # It is said once, and then nothing is written any more.
    capture.check()
    with pytest.raises(OutputError, match=says):
        write_ids(capture, 3)


@posix_only
def test_a_file_that_was_removed_is_noticed(capture: CaptureFile, path: Path) -> None:
    path.unlink()
    refused(capture, "trades.jsonl was removed while it was being written")


@posix_only
def test_a_folder_that_was_removed_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with CaptureFile(folder / "trades.jsonl") as capture:
        capture.begin()
        folder.rename(tmp_path / "elsewhere")
        refused(capture, "was removed")


@posix_only
def test_a_file_that_was_replaced_is_noticed_and_left_alone(
    capture: CaptureFile, path: Path
) -> None:
    other = path.with_name("other")
    other.touch()
    other.replace(path)
    refused(capture, "was replaced while it was being written")
    capture.close()
    assert path.exists()


@posix_only
def test_a_file_that_another_program_cuts_or_extends_is_noticed(
    capture: CaptureFile, path: Path
) -> None:
    with path.open("ab") as file:
        file.write(b"milk, bread\n")
    refused(capture, "was changed by another program")


@posix_only
def test_a_file_that_cannot_be_reached_is_noticed(
    capture: CaptureFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_: Path) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", forbidden)
        refused(capture, "cannot be reached any more: Permission denied")


@posix_only
def test_a_device_needs_no_check() -> None:
    with CaptureFile(Path(os.devnull)) as capture:
        capture.begin()
        write_ids(capture, 1)
        capture.check()
        capture.sync(0.0)


@posix_only
def test_a_file_renamed_while_it_is_opened_is_not_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another recorder rotates between our opening the file and our locking it.
    path.write_bytes(b"finished\n")
    finished = path.with_name("finished")
    real_open = os.open

    def open_and_be_late(*args: object) -> int:
        fd = real_open(*args)  # type: ignore[arg-type]
        if not finished.exists():
            path.rename(finished)
        return fd

    monkeypatch.setattr("k2cli.capture.disk.os.open", open_and_be_late)
    disk = DiskFile(path, "trades.jsonl")
    disk.append(b"new\n", line_wise=True)
    disk.close()
    assert finished.read_bytes() == b"finished\n"
    assert path.read_bytes() == b"new\n"


@posix_only
def test_an_empty_file_that_was_replaced_is_not_taken_away(path: Path) -> None:
    capture = CaptureFile(path)
    capture.begin()
    path.unlink()
    path.touch()
    capture.close()
    assert path.exists()


def test_a_write_that_takes_nothing_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = CaptureFile(path)
    capture.begin()
    monkeypatch.setattr("k2cli.capture.disk.os.write", lambda *_: 0)
    with pytest.raises(OutputError, match="nothing more is taken"):
        write_ids(capture, 1)
    capture.close()


class Disk:
    """Counts how often it is waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncs = 0
        monkeypatch.setattr("k2cli.capture.disk.os.fsync", self.fsync)

    def fsync(self, _fd: int) -> None:
        self.syncs += 1


def test_the_disk_is_waited_for_as_often_as_stated(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CaptureFile(path, fsync_seconds=5) as capture:
        capture.begin()
        disk = Disk(monkeypatch)
        assert not capture.sync_due(100.0)
        write_ids(capture, 1)
        assert capture.sync_due(100.0)
        capture.sync(100.0)
        assert disk.syncs == 1
        assert not capture.sync_due(200.0)
        write_ids(capture, 2)
        assert not capture.sync_due(104.9)
        assert capture.sync_due(105.0)
        assert disk.syncs == 1
    # What is written last is waited for as well.
    assert disk.syncs == 2


def test_with_zero_seconds_the_disk_is_waited_for_whenever_something_is_flushed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CaptureFile(path, fsync_seconds=0) as capture:
        capture.begin()
        disk = Disk(monkeypatch)
        for trade_id in range(3):
            write_ids(capture, trade_id)
            assert capture.sync_due(0.0)
            capture.sync(0.0)
            assert disk.syncs == trade_id + 1
            assert not capture.sync_due(0.0)


def test_the_disk_is_never_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    minutely = Rotation(period_seconds=60)
    with CaptureFile(path, fsync_seconds=None, rotation=minutely) as capture:
        capture.begin()
        write_ids(capture, 1, 10)
        assert not capture.sync_due(1e9)
    assert disk.syncs == 0
    assert ids_of(path) == [1, 10]


def test_a_disk_that_fails_is_an_error_at_once_and_later(
    capture: CaptureFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("k2cli.capture.disk.os.fsync", failing)
        with pytest.raises(OutputError, match="Input/output error"):
            capture.sync(0.0)
    with pytest.raises(OutputError, match="Input/output error"):
        write_ids(capture, 3)


def test_a_file_system_that_cannot_sync_will_do(
    capture: CaptureFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(_fd: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("k2cli.capture.disk.os.fsync", unable)
    capture.sync(0.0)
    write_ids(capture, 3)


@pytest.mark.parametrize("ends", ["rotates", "closes", "has failed"])
def test_a_file_is_not_closed_while_the_disk_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    # Its descriptor could be another file's by then.
    waiting, go_on = threading.Event(), threading.Event()
    synced: list[int] = []
    real_close = os.close

    def slow(fd: int) -> None:
        if threading.current_thread() is threading.main_thread():
            return
        waiting.set()
        go_on.wait(10)
        synced.append(fd)

    def close(fd: int) -> None:
        assert not waiting.is_set() or synced
        real_close(fd)

    with CaptureFile(path, rotation=Rotation(period_seconds=60)) as capture:
        capture.begin()
        write_ids(capture, 1)
        monkeypatch.setattr("k2cli.capture.disk.os.fsync", slow)
        monkeypatch.setattr("k2cli.capture.disk.os.close", close)
        thread = threading.Thread(target=capture.sync, args=(0.0,))
        thread.start()
        waiting.wait(10)
        write_ids(capture, 2)  # goes on meanwhile
        assert not synced
        threading.Timer(0.05, go_on.set).start()
        if ends == "rotates":
            capture.write(batch(10))
        elif ends == "closes":
            capture.close()
        else:
            capture._fail(OutputError("the file was removed"))
            capture.close()
        assert synced
        thread.join()
    go_on.set()


@posix_only
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import fcntl

    def no_lock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    with structlog.testing.capture_logs() as logs, CaptureFile(path) as capture:
        capture.begin()
        write_ids(capture, 1)
    assert ["no locks" in entry["event"] for entry in logs] == [True]
    assert ids_of(path) == [1]


@posix_only
def test_a_link_to_what_has_no_name_is_written_to(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    link = tmp_path / "stdout"
    link.symlink_to(f"/dev/fd/{writing}")
    if not link.exists():
        pytest.skip("no /dev/fd")
    with CaptureFile(link) as capture:
        capture.begin()
        write_ids(capture, 1)
        assert capture.path is None
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == line_of(1, 1)
