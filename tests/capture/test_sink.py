from __future__ import annotations

import asyncio
import errno
import os
import sys
import threading
from pathlib import Path

import pytest

from k2cli.capture import sink as sinks
from k2cli.capture.manifest import manifest_path
from k2cli.capture.pending import journal_path
from k2cli.capture.sink import CaptureSink
from k2cli.capture.writer import CaptureFile
from k2cli.completeness.id_ranges import IdRange
from k2cli.completeness.ledger import Ledger
from k2cli.engine.protocols import Sink
from k2cli.errors import OutputError, SettingsError

from .captures import NAMES, batch, files_of, ids_of, time_of

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
PATIENCE_SECONDS = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trades.jsonl"


def names_beside(path: Path) -> list[str]:
    names = [one.name for one in path.parent.iterdir()]
    return [name for name in names if name != manifest_path(path).name]


async def begin(sink: CaptureSink) -> Ledger:
    ledger = Ledger(["BTCUSDT", "ETHUSDT"])
    await sink.open(None, ledger)
    return ledger


async def record(path: Path, *trade_ids: int) -> None:
    sink = CaptureSink(path)
    take(sink, await begin(sink), *trade_ids)
    await sink.close()


def take(sink: CaptureSink, ledger: Ledger, *trade_ids: int) -> None:
    """Let trades of BTCUSDT come, as a session does."""
    for trade_id in trade_ids:
        ledger.trackers["BTCUSDT"].observe(trade_id, time_of(trade_id))
    sink.write(batch(*trade_ids))


def lose(sink: CaptureSink, ledger: Ledger, first_id: int, last_id: int) -> None:
    """Give ids of BTCUSDT up that were jumped over."""
    for ids in ledger.trackers["BTCUSDT"].give_up(first_id, last_id):
        sink.lost("BTCUSDT", ids)


@pytest.mark.parametrize("name", NAMES)
async def test_what_was_written_is_in_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    sink = CaptureSink(path)
    assert sink.in_order
    assert (sink.name, sink.path) == (str(path), path)
    await begin(sink)
    sink.write(batch(1, 2))
    await sink.flush()
    assert ids_of(path) == [1, 2]
    sink.write(batch(3))
    await sink.close()
    await sink.close()
    assert ids_of(path) == [1, 2, 3]
    assert sink.trades_written == sink.platform_sequence == 3
    assert sink.size_bytes == path.stat().st_size
    assert sink.files == 1


async def test_trades_are_flushed_by_themselves(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = CaptureSink(path)
    await begin(sink)
    sink.write(batch(1))
    assert ids_of(path) == [1]
    monkeypatch.setattr("k2cli.capture.sink.time.monotonic", lambda: 0.0)
    sink.write(batch(2))
    sink.write(batch(3))
    assert ids_of(path) == [1]
    await asyncio.sleep(0)
    assert ids_of(path) == [1, 2, 3]
    await sink.close()


async def test_a_flush_syncs_if_every_flush_does(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sink = CaptureSink(path, fsync_seconds=0)
    await begin(sink)
    monkeypatch.setattr("k2cli.capture.disk.os.fsync", synced.append)
    sink.write(batch(1))
    await sink.flush()
    assert len(synced) == 1
    await sink.close()


async def test_the_file_is_synced_now_and_then(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "CHECK_SECONDS", 0.001)
    loop = asyncio.get_running_loop()
    synced = asyncio.Event()

    def fsync(_fd: int) -> None:
        loop.call_soon_threadsafe(synced.set)

    sink = CaptureSink(path)
    await begin(sink)
    monkeypatch.setattr("k2cli.capture.disk.os.fsync", fsync)
    sink.write(batch(1))
    await asyncio.wait_for(synced.wait(), PATIENCE_SECONDS)
    await sink.close()


async def test_a_disk_that_hangs_is_noticed_while_the_loop_turns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "CHECK_SECONDS", 0.001)
    loop = asyncio.get_running_loop()
    hangs, answers = asyncio.Event(), threading.Event()

    def fsync(_fd: int) -> None:
        loop.call_soon_threadsafe(hangs.set)
        assert answers.wait(PATIENCE_SECONDS)

    sink = CaptureSink(path, fsync_seconds=0.001)
    await begin(sink)
    monkeypatch.setattr("k2cli.capture.disk.os.fsync", fsync)
    sink.write(batch(1))
    await asyncio.wait_for(hangs.wait(), PATIENCE_SECONDS)
    answered = sink.checked_seconds
    await asyncio.sleep(0.02)
    assert sink.checked_seconds == answered
    answers.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while sink.checked_seconds == answered:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)
    await sink.close()


async def test_a_capture_is_resumed_symbol_by_symbol(path: Path) -> None:
    await record(path, 1, 2, 3)
    sink = CaptureSink(path)
    resumed = await begin(sink)
    bitcoin, ether = resumed.trackers.values()
    assert (bitcoin.last_id, ether.last_id) == (3, None)
    sink.write(batch(4))
    await sink.close()
    assert ids_of(path) == [1, 2, 3, 4]
    assert sink.trades_written == 1
    assert sink.platform_sequence == 4


async def test_lost_ids_are_remembered_until_the_capture_is_overwritten(
    path: Path,
) -> None:
    sink = CaptureSink(path)
    ledger = await begin(sink)
    take(sink, ledger, 1)
    take(sink, ledger, 6)
    lose(sink, ledger, 2, 5)
    await sink.close()

    sink = CaptureSink(path)
    resumed = await begin(sink)
    assert resumed.trackers["BTCUSDT"].missing_ranges == [IdRange(2, 5)]
    assert resumed.missing == 4
    await sink.close()

    sink = CaptureSink(path, overwrite=True)
    begun = await begin(sink)
    assert begun.missing == 0
    sink.write(batch(7))
    await sink.close()
    assert ids_of(path) == [7]
    assert names_beside(path) == [path.name]


async def test_rotation_is_a_size_or_a_time(path: Path) -> None:
    sink = CaptureSink(path, rotation="1m")
    await begin(sink)
    for trade_id in range(15):
        sink.write(batch(trade_id))
    await sink.close()
    assert ids_of(path) == list(range(15))
    assert sink.files == len(names_beside(path)) == 3
    assert sink.size_bytes == sum(one.stat().st_size for one in files_of(path))
    with pytest.raises(SettingsError, match="no size or time"):
        CaptureSink(path, rotation="now and then")


async def test_it_is_opened_and_locked_at_once_and_changed_when_it_begins(
    path: Path,
) -> None:
    await record(path, 1)
    sink = CaptureSink(path, overwrite=True)
    with pytest.raises(OutputError, match="being written by another k2"):
        CaptureSink(path)
    # Closed without having begun, nothing has changed.
    await sink.close()
    assert ids_of(path) == [1]
    with pytest.raises(OutputError, match="is a folder"):
        CaptureSink(path.parent)


async def test_a_new_file_that_got_no_trade_is_removed(path: Path) -> None:
    await CaptureSink(path).close()
    assert names_beside(path) == []
    sink = CaptureSink(path)
    await begin(sink)
    await sink.close()
    assert names_beside(path) == []


def failing(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_flush_that_fails_later_is_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Exception] = []
    sink = CaptureSink(path)
    sink.on_failure = failures.append
    await begin(sink)
    with monkeypatch.context() as patch:
        patch.setattr("k2cli.capture.sink.time.monotonic", lambda: 0.0)
        patch.setattr("k2cli.capture.disk.os.write", failing)
        sink.write(batch(1))
        await asyncio.sleep(0)
        assert [type(one) for one in failures] == [OutputError]
    # Nothing is written behind what is lost, and closing is harmless.
    with pytest.raises(OutputError, match="No space left"):
        sink.write(batch(2))
    assert sink.trades_written == sink.platform_sequence == 0
    await sink.close()


async def test_a_trade_that_cannot_be_flushed_at_once_raises(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = CaptureSink(path)
    await begin(sink)
    with monkeypatch.context() as patch:
        patch.setattr("k2cli.capture.disk.os.write", failing)
        with pytest.raises(OutputError, match="No space left"):
            sink.write(batch(1))
    await sink.close()


@posix_only
async def test_a_file_that_was_removed_is_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "CHECK_SECONDS", 0.001)
    failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    sink = CaptureSink(path)
    sink.on_failure = failed.set_result
    await begin(sink)
    sink.write(batch(1))
    await sink.flush()
    await asyncio.to_thread(path.unlink)
    failure = await asyncio.wait_for(failed, PATIENCE_SECONDS)
    assert "was removed while it was being written" in str(failure)
    with pytest.raises(OutputError, match="was removed"):
        sink.write(batch(2))
    await sink.close()


def test_it_is_a_sink(path: Path) -> None:
    sink: Sink = CaptureSink(path)  # what the type checker says, too
    assert sink.in_order
    asyncio.run(sink.close())


@posix_only
async def test_a_device_can_be_written_to() -> None:
    sink = CaptureSink(os.devnull)
    await begin(sink)
    sink.write(batch(1))
    sink.lost("BTCUSDT", IdRange(2, 5))
    await sink.close()
    assert sink.path is None
    assert sink.trades_written == 1


@pytest.mark.parametrize("name", NAMES)
async def test_the_journal_keeps_what_a_kill_would_take_from_the_capture(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "CHECK_SECONDS", 0.01)
    path = tmp_path / name
    sink = CaptureSink(path, fsync_seconds=0.01)
    await begin(sink)
    assert sink.journal is not None
    sink.write(batch(1))
    await sink.flush()
    sink.journal.push(batch(2, 3))
    (popped,) = sink.journal.pop("BTCUSDT", None)
    # A compressed capture may keep it in memory for a while.
    sink.write(popped)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while sink.journal.size_bytes:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)
    assert ids_of(path) == [1, 2, 3]
    await sink.close()


async def test_the_journal_keeps_what_waits_for_a_rotation(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_rotate = threading.Event()
    rotate = CaptureFile.rotate

    def rotate_late(file: CaptureFile) -> None:
        may_rotate.wait(PATIENCE_SECONDS)
        rotate(file)

    monkeypatch.setattr(CaptureFile, "rotate", rotate_late)
    sink = CaptureSink(path, rotation="1KB", fsync_seconds=None)
    await begin(sink)
    assert sink.journal is not None
    sink.journal.push(batch(*range(1, 6)))
    for popped in sink.journal.pop("BTCUSDT", None):
        sink.write(popped)
    # What was pushed is flushed soon, whatever the rotation does.
    await asyncio.sleep(0.01)
    assert sink.journal.size_bytes > 0
    may_rotate.set()
    await sink.close()
    assert not journal_path(path).exists()
