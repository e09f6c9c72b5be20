from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from k2cli.capture.writer import BUFFER_BYTES, CaptureFile
from k2cli.errors import OutputError

from .captures import batch, line_of, time_of

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")


def records_in(path: Path) -> list[dict[str, Any]]:
    content = path.read_bytes()
    assert not content or content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


def numbers_in(path: Path) -> list[int]:
    return [record["platform_sequence"] for record in records_in(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trades.jsonl"


@pytest.fixture
def capture_of_three(path: Path) -> Path:
    with CaptureFile(path) as capture:
        capture.begin()
        capture.write(batch(10))
        capture.write(batch(20, symbol="ETHUSDT"))
        capture.write(batch(11))
    return path


def test_trades_are_written_as_numbered_records(path: Path) -> None:
    with CaptureFile(path) as capture:
        capture.begin()
        for trade_id in (10, 11, 12):
            capture.write(batch(trade_id))
        assert capture.platform_sequence == capture.trades_written == 3
        capture.flush()
        assert capture.size_bytes == path.stat().st_size
    records = records_in(path)
    assert numbers_in(path) == [1, 2, 3]
    assert [record["source_sequence"] for record in records] == [10, 11, 12]
    assert [*records[0]][:2] == ["message_id", "trade_id"]


@pytest.mark.parametrize("is_plain", [True, False])
def test_trades_in_a_batch_are_written_as_those_that_come_alone(
    path: Path, is_plain: bool
) -> None:
    ids = range(10, 260)
    with CaptureFile(path) as capture:
        capture.begin()
        capture.write(batch(9, is_plain=is_plain))
        capture.write(batch(*ids, is_plain=is_plain))
        capture.write(batch(1).part(0, 0))
        assert capture.platform_sequence == capture.trades_written == 251
    alone = path.with_name("alone.jsonl")
    with CaptureFile(alone) as capture:
        capture.begin()
        for trade_id in (9, *ids):
            capture.write(batch(trade_id))
    records = records_in(path)
    for record, expected in zip(records, records_in(alone), strict=True):
        # Those of a batch were received together.
        assert record.pop("ingestion_timestamp") <= expected.pop("ingestion_timestamp")
        assert record == expected
    assert numbers_in(path) == list(range(1, 252))


def test_what_was_flushed_is_in_the_file(path: Path) -> None:
    with CaptureFile(path) as capture:
        capture.begin()
        capture.write(batch(1))
        assert numbers_in(path) == []
        capture.flush()
        assert numbers_in(path) == [1]


def test_a_full_buffer_is_flushed(path: Path) -> None:
    with CaptureFile(path) as capture:
        capture.begin()
        while capture.size_bytes < BUFFER_BYTES:
            capture.write(batch(capture.trades_written))
        assert len(records_in(path)) == capture.trades_written


def test_a_capture_is_resumed(capture_of_three: Path) -> None:
    with CaptureFile(capture_of_three) as capture:
        assert capture.end.platform_sequence == capture.platform_sequence == 3
        assert capture.end.exchange == "BINANCE"
        assert capture.end.torn_bytes == 0
        assert capture.end.whole_bytes == capture_of_three.stat().st_size
        assert capture.end.last_trades == {
            "BTCUSDT": (11, time_of(11)),
            "ETHUSDT": (20, time_of(20)),
        }
        assert capture.trades_written == 0
        capture.begin()
        capture.write(batch(12))
    assert numbers_in(capture_of_three) == [1, 2, 3, 4]


def test_opening_and_closing_changes_nothing(capture_of_three: Path) -> None:
    before = capture_of_three.read_bytes()
    with CaptureFile(capture_of_three) as capture:
        capture.begin()
    with CaptureFile(capture_of_three, overwrite=True):
        pass
    assert capture_of_three.read_bytes() == before


def test_a_line_cut_anywhere_is_cut_away(capture_of_three: Path) -> None:
    whole = capture_of_three.read_bytes()
    last_line = whole.rfind(b"\n", 0, -1) + 1
    for size in range(last_line, len(whole)):
        capture_of_three.write_bytes(whole[:size])
        with CaptureFile(capture_of_three) as capture:
            assert capture.end.torn_bytes == size - last_line
            assert capture.end.whole_bytes == last_line
            assert capture_of_three.stat().st_size == size
            capture.begin()
            capture.write(batch(21, symbol="ETHUSDT"))
        assert numbers_in(capture_of_three) == [1, 2, 3]
        assert capture_of_three.read_bytes()[:last_line] == whole[:last_line]


def test_a_first_line_cut_anywhere_is_cut_away(path: Path) -> None:
    line = line_of(1, 1)
    for size in range(len(line)):
        path.write_bytes(line[:size])
        with CaptureFile(path) as capture:
            assert capture.end.torn_bytes == size
            capture.begin()
            capture.write(batch(5))
        assert numbers_in(path) == [1]
        path.unlink()


def test_zeros_that_a_power_cut_left_behind_are_cut_away(
    capture_of_three: Path,
) -> None:
    whole = capture_of_three.read_bytes()
    capture_of_three.write_bytes(whole + b"\0" * 4096)
    with CaptureFile(capture_of_three) as capture:
        assert capture.end.torn_bytes == 4096
        capture.begin()
    assert capture_of_three.read_bytes() == whole


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"\n",
        b"hello, world\n",
        b"\x89PNG\r\n\x1a\n\x00\x00",
        b'{"message": "no record"',
        b'{"a": 1}\n',
        b"[1, 2]\n",
        b"null\n",
        b'{"symbol":"BTCUSDT","source_sequence":1,"timestamp":1}\n',
        b'{"symbol":"B","source_sequence":null,"timestamp":1,"platform_sequence":1}\n',
        b'{"symbol":[],"source_sequence":1,"timestamp":1,"platform_sequence":"x"}\n',
    ],
)
def test_a_file_of_another_kind_is_refused_and_not_touched(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    with pytest.raises(OutputError, match="no capture of k2's") as caught:
        CaptureFile(path)
    assert "--overwrite" in caught.value.hint
    assert path.read_bytes() == content


def test_records_without_numbers_are_no_capture(path: Path) -> None:
    # As `k2 stream --json > trades.jsonl` writes them.
    content = line_of(1, None) * 3
    path.write_bytes(content)
    with pytest.raises(OutputError, match="no capture of k2's"):
        CaptureFile(path)
    assert path.read_bytes() == content


def test_an_empty_file_is_a_capture_without_trades(path: Path) -> None:
    path.touch()
    with CaptureFile(path) as capture:
        capture.begin()
        capture.write(batch(1))
    assert numbers_in(path) == [1]


def test_overwriting_begins_only_when_told_to(capture_of_three: Path) -> None:
    with CaptureFile(capture_of_three, overwrite=True) as capture:
        assert capture.end.platform_sequence == 0
        assert capture.end.last_trades == {}
        assert numbers_in(capture_of_three) == [1, 2, 3]
        capture.begin()
        assert capture_of_three.stat().st_size == 0
        capture.write(batch(99))
    assert numbers_in(capture_of_three) == [1]


def test_any_file_can_be_overwritten(path: Path) -> None:
    path.write_bytes(b"hello, world\n")
    with CaptureFile(path, overwrite=True) as capture:
        capture.begin()
        capture.write(batch(1))
    assert numbers_in(path) == [1]


def test_a_new_file_that_got_no_trade_is_removed(path: Path) -> None:
    with CaptureFile(path) as capture:
        capture.begin()
        assert path.exists()
    assert not path.exists()


def test_a_file_that_was_there_is_left_there_without_a_trade(path: Path) -> None:
    path.touch()
    with CaptureFile(path) as capture:
        capture.begin()
    assert path.exists()


def test_closing_twice_is_harmless(path: Path) -> None:
    capture = CaptureFile(path)
    capture.begin()
    capture.write(batch(1))
    capture.close()
    capture.close()
    assert numbers_in(path) == [1]


def test_trades_of_two_exchanges_never_share_a_file(path: Path) -> None:
    with CaptureFile(path) as capture:
        capture.begin()
        capture.write(batch(1))
        with pytest.raises(OutputError, match="holds trades of BINANCE, these are of"):
            capture.write(batch(2, exchange="SIM"))
    with CaptureFile(path) as capture:
        capture.begin()
        with pytest.raises(OutputError, match="of SIM"):
            capture.write(batch(2, exchange="SIM"))
        capture.write(batch(2))
    assert numbers_in(path) == [1, 2]
    with CaptureFile(path, overwrite=True) as capture:
        capture.begin()
        capture.write(batch(2, exchange="SIM"))
    assert records_in(path)[0]["exchange"] == "SIM"


def test_one_file_has_one_writer(path: Path) -> None:
    with CaptureFile(path) as capture:
        capture.begin()
        for overwrite in (False, True):
            with pytest.raises(OutputError, match="being written by another k2"):
                CaptureFile(path, overwrite=overwrite)
        capture.write(batch(1))
    assert numbers_in(path) == [1]
    with CaptureFile(path) as capture:
        assert capture.platform_sequence == 1


def test_a_file_system_without_locks_is_written_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with CaptureFile(path) as capture:
        capture.begin()
        capture.write(batch(1))
    assert numbers_in(path) == [1]


def refusal_of(path: Path) -> OutputError:
    with pytest.raises(OutputError) as caught:
        CaptureFile(path)
    assert str(caught.value).isprintable()
    return caught.value


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert refusal_of(tmp_path).message == f"{tmp_path} is a folder"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    exc = refusal_of(tmp_path / "no" / "such" / "trades.jsonl")
    assert f"there is no folder {tmp_path / 'no' / 'such'}" in exc.message
    assert exc.hint.startswith("Make it first: mkdir -p ")


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in refusal_of(tmp_path / "file" / "trades.jsonl").message


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0,
    reason="needs a user whom permissions can stop",
)
def test_a_file_that_may_not_be_written_is_an_error(path: Path) -> None:
    path.touch()
    path.chmod(0o400)
    assert "cannot be written" in refusal_of(path).message


def test_a_place_that_may_not_be_written_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("k2cli.capture.disk.os.open", forbidden)
    exc = refusal_of(path)
    assert exc.message == f"{path} cannot be written: Permission denied"
    assert exc.hint == "Choose a place that you may write to"


def test_a_file_that_cannot_be_cut_is_an_error(
    capture_of_three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("k2cli.capture.disk.os.ftruncate", failing)
    with (
        CaptureFile(capture_of_three, overwrite=True) as capture,
        pytest.raises(OutputError, match="Input/output error"),
    ):
        capture.begin()
    assert numbers_in(capture_of_three) == [1, 2, 3]


@posix_only
def test_a_name_cannot_reach_a_terminal_raw(tmp_path: Path) -> None:
    strange = tmp_path / "\x1b[2J\x07\u202e.jsonl"
    strange.mkdir()
    assert "is a folder" in refusal_of(strange).message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_device_is_an_error_that_says_what_to_do() -> None:
    capture = CaptureFile(Path("/dev/full"))
    capture.begin()
    capture.write(batch(1))
    with pytest.raises(OutputError, match="No space left on device") as caught:
        capture.flush()
    assert caught.value.hint.startswith("Make room and start again")
    capture.close()


@posix_only
def test_a_device_is_written_to_without_reading_it() -> None:
    with CaptureFile(Path(os.devnull)) as capture:
        capture.begin()
        capture.write(batch(1))
        capture.flush()
        assert capture.trades_written == 1
    assert Path(os.devnull).exists()


SIZE_LIMIT = 5_000


@contextmanager
def file_size_limit() -> Iterator[None]:
    """Let the system refuse to make files larger, as a full disk does."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE_LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_leaves_a_file_of_whole_lines(path: Path) -> None:
    capture = CaptureFile(path)
    capture.begin()
    for trade_id in range(20):
        capture.write(batch(trade_id))
    line_bytes = capture.size_bytes // 20
    assert capture.size_bytes > SIZE_LIMIT
    with file_size_limit(), pytest.raises(OutputError, match="cannot be written"):
        capture.flush()
    capture.close()
    numbers = numbers_in(path)
    assert numbers == list(range(1, len(numbers) + 1))
    # All that went in is there, and no more than a line is not.
    assert SIZE_LIMIT - 2 * line_bytes < path.stat().st_size <= SIZE_LIMIT


def test_a_capture_is_resumed_after_the_disk_was_full(path: Path) -> None:
    capture = CaptureFile(path)
    capture.begin()
    for trade_id in range(20):
        capture.write(batch(trade_id))
    with file_size_limit(), pytest.raises(OutputError):
        capture.close()
    written = len(numbers_in(path))
    with CaptureFile(path) as capture:
        assert capture.platform_sequence == written
        assert capture.end.last_trades["BTCUSDT"][0] == written - 1
        capture.begin()
        capture.write(batch(written))
    assert numbers_in(path) == list(range(1, written + 2))


def test_a_write_that_the_system_takes_in_parts_is_completed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = os.write
    monkeypatch.setattr(
        "k2cli.capture.disk.os.write",
        lambda fd, data: real_write(fd, bytes(data[:100])),
    )
    with CaptureFile(path) as capture:
        capture.begin()
        for trade_id in range(5):
            capture.write(batch(trade_id))
    assert numbers_in(path) == [1, 2, 3, 4, 5]


def test_the_name_is_fit_for_printing(path: Path) -> None:
    with CaptureFile(path) as capture:
        assert capture.name == str(path)
