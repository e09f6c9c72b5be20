"""The manifest tells the next run what a capture holds, and is not believed blindly."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any, Self

import pytest

from k2cli.capture import sink as sinks
from k2cli.capture.manifest import Manifest, manifest_path, read_manifest
from k2cli.capture.report import Kind
from k2cli.capture.rotation import Rotation, finished_files
from k2cli.capture.sink import CaptureSink
from k2cli.capture.verify import verify
from k2cli.capture.writer import CaptureFile
from k2cli.completeness.id_ranges import IdRange
from k2cli.completeness.ledger import Ledger
from k2cli.completeness.sequence import SequenceTracker
from k2cli.completeness.trade_filter import TradeFilter
from k2cli.errors import OutputError, SettingsError

from .captures import NAMES, batch, ids_of, line_of, records_of, text_of, time_of
from .test_repair_files import history_of, repaired

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
SYMBOLS = ("BTCUSDT", "ETHUSDT")


class Run:
    """A run over a capture, as a session leads it: trades are observed, then written.

    Args:
        path: The capture.
        side: Only trades of this taker side are written; all others are observed.
        options: Of the sink.
    """

    def __init__(self, path: Path, *, side: str | None = None, **options: Any) -> None:
        self.sink = CaptureSink(path, **options)
        self.ledger = Ledger(SYMBOLS, TradeFilter(side))

    async def __aenter__(self) -> Self:
        await self.sink.open(None, self.ledger)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sink.close()

    def take(
        self, *trade_ids: int, symbol: str = "BTCUSDT", written: bool = True
    ) -> None:
        for trade_id in trade_ids:
            self.tracker(symbol).observe(trade_id, time_of(trade_id))
            if written:
                self.sink.write(batch(trade_id, symbol=symbol))

    def lose(self, first_id: int, last_id: int, symbol: str = "BTCUSDT") -> None:
        for ids in self.tracker(symbol).give_up(first_id, last_id):
            self.sink.lost(symbol, ids)

    def tracker(self, symbol: str = "BTCUSDT") -> SequenceTracker:
        return self.ledger.trackers[symbol]

    def kill(self) -> None:
        """Leave the files as a killed process does, flushed and no more."""
        self.sink._file.flush()
        disk = self.sink._file._disk
        os.close(disk._fd)
        disk._fd = -1


async def record(path: Path, *trade_ids: int, **options: Any) -> None:
    async with Run(path, **options) as run:
        run.take(*trade_ids)


def stated(path: Path) -> Manifest:
    manifest = read_manifest(path)
    assert manifest is not None
    return manifest


def change_a_price(path: Path) -> None:
    put(path, path.read_bytes().replace(b"61837.63", b"61837.64", 1))


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.jsonl"


@pytest.mark.parametrize("name", NAMES)
async def test_it_states_files_symbols_and_checksums(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    async with Run(path, rotation="1m") as run:
        run.take(*range(5, 20))
        run.take(7, symbol="ETHUSDT")
    manifest = stated(path)
    bitcoin, ether = manifest.symbols["BTCUSDT"], manifest.symbols["ETHUSDT"]
    assert (bitcoin.first_id, bitcoin.last_id, bitcoin.trades) == (5, 19, 15)
    assert (ether.first_id, ether.last_id, ether.trades) == (7, 7, 1)
    assert bitcoin.last_time_us == time_of(19)
    assert manifest.capture_id == records_of(path)[0]["message_id"]
    assert manifest.exchange == "BINANCE"
    growing = manifest.growing
    assert {
        **{one.name: (one.size_bytes, one.sha256) for one in manifest.files},
        path.name: (growing.size_bytes, growing.sha256),
    } == {
        file.name: (file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest())
        for file in [*finished_files(path), path]
    }
    assert manifest.growing.platform_sequence == 16
    assert verify([*finished_files(path), path]).whole


async def test_a_symbol_of_files_that_were_moved_away_is_continued(path: Path) -> None:
    async with Run(path, rotation="1m") as run:
        run.take(7, symbol="ETHUSDT")
        run.take(*range(1, 20))
    for file in finished_files(path):
        file.unlink()
    run = Run(path)
    async with run:
        assert run.tracker("ETHUSDT").last_id == 7
        assert run.tracker().last_id == 19


async def test_a_symbol_is_continued_without_a_search(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Run(path) as run:
        run.take(7, symbol="ETHUSDT")
        run.take(*range(1, 50))
    monkeypatch.setattr("k2cli.capture.resume.TAIL_BYTES", 2000)
    monkeypatch.setattr("k2cli.capture.resume.SEARCH_BYTES", 2000)
    async with Run(path) as run:
        assert run.tracker("ETHUSDT").last_id == 7


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rotation", [None, "1m"])
async def test_after_a_kill_it_catches_up_with_the_files(
    tmp_path: Path, name: str, rotation: str | None
) -> None:
    path = tmp_path / name
    await record(path, 1, 2, 3, rotation=rotation)
    run = Run(path, rotation=rotation)
    await run.__aenter__()
    run.take(4, 5, 9, 10)
    run.take(3, symbol="ETHUSDT")
    run.lose(6, 8)
    run.take(*range(11, 22))
    await run.sink.flush()
    # Nothing of this is stated, were it not for the rotation.
    for task in (run.sink._checking, run.sink._proving):
        assert task is not None
        task.cancel()
    run.kill()
    async with Run(path, rotation=rotation) as again:
        assert again.tracker().last_id == 21
        assert again.tracker().missing_ranges == [IdRange(6, 8)]
        assert again.tracker("ETHUSDT").last_id == 3
        again.take(22)
    bitcoin = stated(path).symbols["BTCUSDT"]
    assert (bitcoin.first_id, bitcoin.last_id, bitcoin.trades) == (1, 22, 19)
    assert bitcoin.missing == [(6, 8)]
    report = verify([*finished_files(path), path])
    assert (report.missing, report.findings) == (3, 1)


async def test_what_is_lost_with_nothing_behind_it_is_asked_for_again(
    path: Path,
) -> None:
    async with Run(path) as run:
        run.take(1, 2)
        run.tracker().expect(8)
        run.lose(3, 8)
    async with Run(path) as again:
        assert again.tracker().last_id == 2
        assert again.ledger.missing == 0


async def test_notes_of_an_earlier_version_are_taken_over_once(path: Path) -> None:
    with CaptureFile(path) as capture:
        capture.write(batch(1, 2))
        capture.write(batch(6))
    notes = path.with_name(".t.jsonl.missing")
    notes.write_text('{"symbol":"BTCUSDT","first_id":3,"last_id":5}\n{"symbol":"BT')
    async with Run(path) as run:
        assert run.tracker().missing_ranges == [IdRange(3, 5)]
        run.take(7)
    assert not notes.exists()
    state = stated(path).symbols["BTCUSDT"]
    # What was there before, nobody has counted.
    assert (state.first_id, state.trades, state.missing) == (None, None, [(3, 5)])
    assert stated(path).since_sequence == 4


async def test_what_a_filter_leaves_out_is_not_missing(path: Path) -> None:
    async with Run(path, side="SELL") as run:
        run.take(1)
        run.take(2, 3, written=False)
        run.take(4)
        run.take(5, 6, written=False)
    assert stated(path).symbols["BTCUSDT"].trades == 2
    report = verify(path)
    assert (report.whole, report.left_out, report.trades) == (True, 4, 2)
    # The next run goes on behind what was seen, and may write everything.
    async with Run(path) as run:
        assert run.tracker().last_id == 6
        run.take(7, 8)
    report = verify(path)
    assert (report.whole, report.left_out, report.trades) == (True, 4, 4)
    # Now a hole is one.
    async with Run(path) as run:
        run.take(11)
        run.lose(9, 10)
    assert verify(path).missing == 2


async def test_what_is_lost_is_noted_before_a_filtered_capture_goes_on(
    path: Path,
) -> None:
    run = Run(path, side="SELL")
    await run.__aenter__()
    run.take(1)
    run.tracker().observe(9, time_of(9))
    run.lose(2, 8)
    run.sink.write(batch(9))
    await run.sink.flush()
    assert stated(path).symbols["BTCUSDT"].missing == [(2, 8)]
    run.take(10, written=False)
    run.take(11)
    await run.sink.flush()
    for task in (run.sink._checking, run.sink._proving):
        assert task is not None
        task.cancel()
    run.kill()
    report = verify(path)
    assert (report.missing, report.left_out) == (7, 1)
    async with Run(path, side="SELL") as again:
        assert again.tracker().missing_ranges == [IdRange(2, 8)]
        assert again.tracker().last_id == 11


async def test_a_reset_is_one_only_where_the_exchange_has_confirmed_it(
    path: Path,
) -> None:
    async with Run(path) as run:
        run.take(100, 101)
        run.tracker().begin_anew()
        run.tracker().observe(1, time_of(200))
        late = batch(1)
        late.trade_times = [str(time_of(200))]
        late.event_times = late.trade_times
        run.sink.write(late)
    assert stated(path).symbols["BTCUSDT"].resets == [3]
    report = verify(path)
    assert (report.whole, report.resets) == (True, 1)
    # One that nobody has confirmed.
    forged = line_of(300, 4).replace(b'E-300"', b'E-0"').replace(b":300,", b":0,")
    with path.open("ab") as file:
        file.write(forged)
    assert verify(path).counts[Kind.RESET] == 1
    with pytest.raises(OutputError, match=r"line 4: .* made later"):
        CaptureSink(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}x",
        b"[]",
        b'{"version":2}',
        b'{"files":[{"name":"../x"}]}',
        b"\xff",
        b"1",
    ],
)
async def test_what_k2_does_not_write_is_refused(path: Path, content: bytes) -> None:
    await record(path, 1, 2)
    manifest_path(path).write_bytes(content)
    with pytest.raises(OutputError, match="is not what k2 writes") as caught:
        CaptureSink(path)
    assert str(caught.value).isprintable()
    report = verify(path)
    assert not report.whole
    assert "not what k2 writes" in report.manifest_refused


@pytest.mark.parametrize(
    "change",
    [
        {"files": [{"name": "x", "first_sequence": 1, "last_sequence": 1}]},
        {"growing": {"first_sequence": 0}},
        {"growing": {"size_bytes": 1}},
        {"symbols": {"BTC\x1bUSDT": {"first_id": 1, "last_id": 2}}},
        {"symbols": {"BTCUSDT": {"first_id": 1, "last_id": 2**63}}},
        {"symbols": {"BTCUSDT": {"first_id": 1, "last_id": 9, "missing": [[5, 3]]}}},
        {"exchange": "\x1b[31m"},
    ],
)
async def test_values_that_cannot_be_are_refused(
    path: Path, change: dict[str, Any]
) -> None:
    await record(path, 1, 2)
    content = json.loads(manifest_path(path).read_bytes())
    manifest_path(path).write_text(json.dumps(content | change))
    with pytest.raises(OutputError, match="is not what k2 writes") as caught:
        CaptureSink(path)
    assert str(caught.value).isprintable()


@posix_only
async def test_what_others_have_put_there_is_not_followed(
    path: Path, tmp_path: Path
) -> None:
    await record(path, 1, 2)
    elsewhere = tmp_path / "elsewhere"
    manifest_path(path).rename(elsewhere)
    manifest_path(path).symlink_to(elsewhere)
    with pytest.raises(OutputError, match="symbolic link"):
        CaptureSink(path)
    report = verify(path)
    assert report.whole
    assert "no regular file" in report.manifest_refused
    manifest_path(path).unlink()
    os.mkfifo(manifest_path(path))
    with pytest.raises(OutputError, match="no regular file"):
        CaptureSink(path)
    assert verify(path).whole


async def test_a_recording_goes_on_where_it_cannot_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    failures: list[Exception] = []
    async with Run(path, rotation="1m") as run:
        run.sink.on_failure = failures.append
        monkeypatch.setattr("k2cli.capture.stated_files.write_manifest", full)
        run.take(*range(20))
    assert ids_of(path) == list(range(20))
    assert failures == []
    monkeypatch.undo()
    async with Run(path) as again:
        assert again.tracker().last_id == 19
        again.take(20)
    # What was written meanwhile, nobody has counted.
    assert stated(path).since_sequence == 21
    assert verify([*finished_files(path), path]).whole


async def test_a_changed_file_is_not_resumed(path: Path) -> None:
    await record(path, 1, 2, 3)
    change_a_price(path)
    content = text_of(path)
    run = Run(path)
    with pytest.raises(OutputError, match="is not as its manifest states"):
        await run.__aenter__()
    await run.sink.close()
    assert text_of(path) == content
    assert not verify(path).whole


async def test_a_long_file_is_compared_while_the_recording_has_begun(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(path, 1, 2, 3)
    change_a_price(path)
    monkeypatch.setattr(sinks, "_PROVING_SECONDS", 0)
    failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    run = Run(path)
    run.sink.on_failure = failed.set_result
    async with run:
        assert "first" in str(await asyncio.wait_for(failed, 20))
        with pytest.raises(OutputError, match="is not as its manifest states"):
            run.take(4)


@pytest.mark.parametrize("stray", [10**12, 2, 1])
@pytest.mark.parametrize("has_manifest", [True, False])
async def test_a_stray_id_in_the_last_line_is_not_resumed(
    path: Path, stray: int, has_manifest: bool
) -> None:
    await record(path, 1, 2, 3)
    with path.open("ab") as file:
        file.write(line_of(stray, 4))
    if not has_manifest:
        manifest_path(path).unlink()
    with pytest.raises(OutputError, match="line 4: ") as caught:
        CaptureSink(path)
    assert "k2 verify" in caught.value.hint


async def test_a_file_that_has_become_shorter_is_resumed_where_it_ends(
    path: Path,
) -> None:
    await record(path, 1, 2, 3)
    put(path, line_of(1, 1) + line_of(2, 2))
    report = verify(path)
    assert not report.whole
    async with Run(path) as run:
        assert run.tracker().last_id == 2
        run.take(3, 4, 5)
    assert ids_of(path) == [1, 2, 3, 4, 5]
    assert verify(path).whole


async def test_an_overwritten_capture_begins_anew(path: Path) -> None:
    await record(path, 1, 2, 3)
    await record(path, 7, overwrite=True)
    manifest = stated(path)
    assert manifest.symbols["BTCUSDT"].first_id == 7
    assert manifest.platform_sequence == 1
    await asyncio.to_thread(path.unlink)
    await record(path, 9)
    assert stated(path).symbols["BTCUSDT"].first_id == 9


def test_the_writer_alone_needs_no_manifest(path: Path) -> None:
    with CaptureFile(path, rotation=Rotation(size_bytes=2000)) as capture:
        for trade_id in range(9):
            capture.write(batch(trade_id))
    assert ids_of(path) == list(range(9))


@pytest.mark.parametrize("name", NAMES)
async def test_a_repair_keeps_it_true(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    async with Run(path, rotation="1m") as run:
        run.take(1, 2)
        run.tracker().observe(6, time_of(6))
        run.lose(3, 5)
        run.sink.write(batch(6))
        run.take(*range(7, 16))
    assert stated(path).symbols["BTCUSDT"].missing == [(3, 5)]
    outcome = repaired(path, history_of(3, 4))
    assert outcome.filled == {"BTCUSDT": 2}
    bitcoin = stated(path).symbols["BTCUSDT"]
    assert (bitcoin.first_id, bitcoin.last_id, bitcoin.trades) == (1, 15, 14)
    assert bitcoin.missing == [(5, 5)]
    report = verify([*finished_files(path), path])
    assert (report.findings, report.missing) == (1, 1)
    async with Run(path, rotation="1m") as again:
        assert again.tracker().last_id == 15
        assert again.tracker().missing_ranges == [IdRange(5, 5)]
        again.take(16)
    repaired(path, history_of(5))
    assert ids_of(path) == list(range(1, 17))
    assert stated(path).symbols["BTCUSDT"].missing == []
    assert verify([*finished_files(path), path]).whole


async def test_a_changed_or_filtered_capture_is_not_repaired(path: Path) -> None:
    async with Run(path, side="SELL") as run:
        run.take(1, 3)
    with pytest.raises(SettingsError, match="was recorded with --side"):
        repaired(path, history_of(2))
    await record(path, 1, 2, 6, overwrite=True)
    change_a_price(path)
    content = text_of(path)
    with pytest.raises(SettingsError, match="are not those that were written"):
        repaired(path, history_of(3, 4, 5))
    assert text_of(path) == content
