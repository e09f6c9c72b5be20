from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.capture.rotation import (
    Rotation,
    RotationState,
    finished_name,
    finished_sequence,
    parse_rotation,
)
from k2cli.capture.writer import CaptureFile
from k2cli.errors import OutputError, SettingsError

from .captures import (
    BEGUN_US,
    NAMES,
    Killed,
    Mortal,
    batch,
    files_of,
    ids_of,
    line_of,
    records_of,
    text_of,
    time_of,
    write_ids,
)

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1B", 1),
        ("500kB", 500_000),
        ("100MB", 100_000_000),
        ("100 mb", 100_000_000),
        ("1.5GB", 1_500_000_000),
        ("1KiB", 1024),
        ("64MiB", 64 * 2**20),
        ("2GiB", 2 * 2**30),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_rotation(text) == Rotation(size_bytes=size_bytes)


@pytest.mark.parametrize(
    ("text", "period_seconds"),
    [("30s", 30), ("15m", 900), ("1h", 3600), (" 1d ", 86_400), ("0.5h", 1800)],
)
def test_times(text: str, period_seconds: int) -> None:
    assert parse_rotation(text) == Rotation(period_seconds=period_seconds)


@pytest.mark.parametrize(
    "text",
    ["", "1", "MB", "0MB", "0s", "-1h", "1M", "1G", "1w", "1e3s", "0.1s", "١h", "\x1b"],
)
def test_what_is_neither_is_one_line(text: str) -> None:
    with pytest.raises(SettingsError, match="is no size or time") as caught:
        parse_rotation(text)
    assert str(caught.value).isprintable()
    assert "100MB" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "finished"),
    [
        ("trades.jsonl", "trades.000000000001.jsonl"),
        ("trades.jsonl.gz", "trades.000000000001.jsonl.gz"),
        ("trades.jsonl.zst", "trades.000000000001.jsonl.zst"),
        ("my.trades.jsonl", "my.trades.000000000001.jsonl"),
        ("trades", "trades.000000000001"),
        ("trades.gz", "trades.000000000001.gz"),
        (".jsonl", ".jsonl.000000000001"),
    ],
)
def test_names(name: str, finished: str) -> None:
    assert finished_name(name, 1) == finished
    assert finished_sequence(finished, name) == 1


@given(
    st.lists(st.integers(1, 10**12 - 1)), st.text(st.characters(exclude_characters="/"))
)
def test_names_sort_in_order(numbers: list[int], name: str) -> None:
    names = [finished_name(name, number) for number in sorted(numbers)]
    assert sorted(names) == names
    assert [finished_sequence(n, name) for n in names] == sorted(numbers)


@pytest.mark.parametrize(
    "other",
    [
        "trades.jsonl",
        "trades.1.jsonl",
        "trades.000000000001.jsonl.gz",
        "trades.000000000001.json",
        "trades.00000000000x.jsonl",
        "other.000000000001.jsonl",
        "trades.000000000001.000000000001.jsonl",
        "trades000000000001.jsonl",
    ],
)
def test_other_files_are_none_of_ours(other: str) -> None:
    assert finished_sequence(other, "trades.jsonl") is None


@given(st.integers(1, 10 * 86_400), st.integers(0, 2**61))
def test_a_period_ends_at_its_next_multiple(period_seconds: int, now_us: int) -> None:
    end_us = Rotation(period_seconds=period_seconds).period_end_us(now_us)
    assert end_us is not None
    assert end_us % (period_seconds * 1_000_000) == 0
    assert 0 < end_us - now_us <= period_seconds * 1_000_000


def test_a_size_has_no_period() -> None:
    assert Rotation(size_bytes=1).period_end_us(0) is None


def rotating(
    rotation: Rotation, begun_us: int, clock_us: int = 10**18
) -> RotationState:
    return RotationState(rotation, begun_us, lambda: clock_us)


def test_a_file_is_due_when_the_next_line_would_not_fit() -> None:
    by_size = rotating(Rotation(size_bytes=100), 0)
    assert not by_size.due(90, 10, DAY_US)
    assert by_size.due(90, 11, DAY_US)
    assert not by_size.due(0, 1000, DAY_US)


def test_a_file_is_due_when_its_period_is_over() -> None:
    hourly = rotating(Rotation(period_seconds=3600), 5 * HOUR_US + 17)
    assert not hourly.due(1, 1, 6 * HOUR_US - 1)
    assert hourly.due(1, 1, 6 * HOUR_US)
    assert not hourly.due(0, 1, 6 * HOUR_US)
    assert not hourly.due(1, 1, 7 * HOUR_US - 1)
    # A trade that waited for a repair was received before.
    assert not hourly.due(1, 1, 5 * HOUR_US)
    assert not hourly.due(1, 1, 7 * HOUR_US - 1)


def test_a_clock_that_was_set_back_does_not_stop_the_rotation() -> None:
    hourly = rotating(Rotation(period_seconds=3600), 9 * HOUR_US + 17, 5 * HOUR_US + 2)
    assert not hourly.due(1, 1, 5 * HOUR_US + 1)
    assert not hourly.due(1, 1, 6 * HOUR_US - 1)
    assert hourly.due(1, 1, 6 * HOUR_US)


def test_an_empty_file_begins_with_its_first_trade() -> None:
    hourly = rotating(Rotation(period_seconds=3600), 0)
    assert not hourly.due(0, 1, 9 * HOUR_US)
    assert not hourly.due(1, 1, 10 * HOUR_US - 1)
    assert hourly.due(1, 1, 10 * HOUR_US)


# A capture in several files: nothing lost and nothing twice where one follows another.
# Trades are received ten seconds apart, the first on the hour; see captures.py.

MINUTELY = Rotation(period_seconds=60)
LINE_BYTES = len(line_of(1, 1))
THREE_LINES = Rotation(size_bytes=3 * LINE_BYTES + 20)


@pytest.fixture(params=NAMES)
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / str(request.param)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return tmp_path / "trades.jsonl"


def names_in(path: Path) -> list[str]:
    return [file.name for file in files_of(path)]


def record(path: Path, *trade_ids: int, rotation: Rotation | None = MINUTELY) -> None:
    with CaptureFile(path, rotation=rotation) as capture:
        capture.begin()
        write_ids(capture, *trade_ids)


def test_files_end_with_their_period(path: Path) -> None:
    record(path, *range(15))
    assert ids_of(path) == list(range(15))
    ending = path.name.removeprefix("trades")
    assert names_in(path) == [
        f"trades.000000000001{ending}",
        f"trades.000000000007{ending}",
        f"trades{ending}",
    ]
    for file in files_of(path):
        minutes = {
            (received - BEGUN_US) // 60_000_000
            for line in text_of(file).splitlines()
            for received in [json.loads(line)["ingestion_timestamp"]]
        }
        assert len(minutes) == 1


def test_without_trades_nothing_is_rotated(path: Path) -> None:
    record(path, 1)
    record(path)
    assert names_in(path) == [path.name]
    record(path, 1000)
    assert len(names_in(path)) == 2


def test_no_file_gets_larger_than_its_limit(plain: Path) -> None:
    record(plain, *range(10), rotation=THREE_LINES)
    assert ids_of(plain) == list(range(10))
    assert names_in(plain) == [
        "trades.000000000001.jsonl",
        "trades.000000000004.jsonl",
        "trades.000000000007.jsonl",
        "trades.jsonl",
    ]
    for file in files_of(plain):
        assert file.stat().st_size <= 3 * LINE_BYTES + 20


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_batch_is_spread_over_files(plain: Path, is_plain: bool) -> None:
    with CaptureFile(plain, rotation=THREE_LINES) as capture:
        capture.begin()
        capture.write(batch(*range(10), is_plain=is_plain))
        assert capture.finished_files == 3
    assert ids_of(plain) == list(range(10))
    for file in files_of(plain):
        assert file.stat().st_size <= 3 * LINE_BYTES + 20


def test_a_line_larger_than_the_limit_has_a_file_of_its_own(plain: Path) -> None:
    record(plain, 1, 2, 3, rotation=Rotation(size_bytes=1))
    assert ids_of(plain) == [1, 2, 3]
    assert len(names_in(plain)) == 3


def test_a_compressed_file_is_filled_with_what_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / "trades.jsonl.gz"
    with CaptureFile(path, rotation=Rotation(size_bytes=2000)) as capture:
        capture.begin()
        for trade_id in range(200):
            capture.write(batch(trade_id))
    assert ids_of(path) == list(range(200))
    *finished, _ = files_of(path)
    assert finished
    for file in finished:
        assert file.stat().st_size <= 2000
        assert len(text_of(file)) > 4000


def test_what_was_finished_is_counted(plain: Path) -> None:
    with CaptureFile(plain, rotation=THREE_LINES) as capture:
        capture.begin()
        write_ids(capture, *range(8))
        assert capture.finished_files == 2
        assert capture.finished_bytes + capture.size_bytes == sum(
            file.stat().st_size for file in files_of(plain)
        )
        assert capture.trades_written == capture.platform_sequence == 8


def test_a_rotated_capture_is_resumed(path: Path) -> None:
    for trade_id in range(30):
        with CaptureFile(path, rotation=MINUTELY) as capture:
            assert capture.platform_sequence == trade_id
            if trade_id:
                last = {"BTCUSDT": (trade_id - 1, time_of(trade_id - 1))}
                assert capture.end.last_trades == last
                assert capture.last_trades(["BTCUSDT", "ETHUSDT"]) == last
            capture.begin()
            write_ids(capture, trade_id)
    assert ids_of(path) == list(range(30))
    assert len(names_in(path)) == 5


def test_a_file_that_was_not_rotated_can_be(path: Path) -> None:
    record(path, *range(10), rotation=None)
    record(path, 10)
    ending = path.name.removeprefix("trades")
    assert names_in(path) == [f"trades.000000000001{ending}", path.name]
    assert ids_of(path) == list(range(11))


def test_rotation_can_be_left_out_again(path: Path) -> None:
    record(path, *range(10))
    record(path, *range(10, 30), rotation=None)
    assert len(names_in(path)) == 2
    assert ids_of(path) == list(range(30))


@pytest.mark.parametrize("content", [None, b"", b'{"message_id":"f3b0'])
def test_after_a_rotation_it_resumes_where_the_finished_file_ends(
    plain: Path, content: bytes | None
) -> None:
    record(plain, 1, 2)
    plain.rename(plain.with_name("trades.000000000001.jsonl"))
    if content is not None:
        plain.write_bytes(content)
    with CaptureFile(plain) as capture:
        assert capture.platform_sequence == 2
        assert capture.end.exchange == "BINANCE"
        assert capture.end.whole_bytes == 0
        assert capture.end.torn_bytes == len(content or b"")
        assert capture.last_trades(["BTCUSDT"]) == {"BTCUSDT": (2, time_of(2))}
        capture.begin()
        write_ids(capture, 3)
    assert ids_of(plain) == [1, 2, 3]


def test_a_finished_file_that_a_power_cut_tore_is_cut(plain: Path) -> None:
    record(plain, 1, 2)
    finished = plain.with_name("trades.000000000001.jsonl")
    plain.rename(finished)
    whole = finished.read_bytes()
    finished.write_bytes(whole + bytes(100))
    with CaptureFile(plain) as capture:
        assert finished.stat().st_size == len(whole) + 100
        capture.begin()
        assert finished.read_bytes() == whole
        write_ids(capture, 3)
    assert ids_of(plain) == [1, 2, 3]


def test_a_symbol_is_found_in_finished_files(path: Path) -> None:
    with CaptureFile(path, rotation=MINUTELY) as capture:
        capture.begin()
        capture.write(batch(0, symbol="OLDUSDT"))
        write_ids(capture, *range(1, 20))
    with CaptureFile(path) as capture:
        assert capture.last_trades(["OLDUSDT", "BTCUSDT", "NEWUSDT"]) == {
            "OLDUSDT": (0, time_of(0)),
            "BTCUSDT": (19, time_of(19)),
        }


def test_finished_files_may_be_taken_away(path: Path) -> None:
    record(path, *range(20))
    for file in files_of(path)[:-1]:
        file.unlink()
    record(path, 20)
    assert [r["platform_sequence"] for r in records_of(path)] == [19, 20, 21]


def test_a_finished_file_that_is_none_is_named(plain: Path) -> None:
    other = plain.with_name("trades.000000000001.jsonl")
    other.write_text("milk, bread\n")
    with pytest.raises(OutputError, match=r"01\.jsonl exists and is no capture"):
        CaptureFile(plain)
    assert other.read_text() == "milk, bread\n"
    assert not plain.exists()


def test_an_existing_file_is_never_overwritten(plain: Path) -> None:
    other = plain.with_name("trades.000000000001.jsonl")
    with CaptureFile(plain, rotation=MINUTELY) as capture:
        capture.begin()
        write_ids(capture, 0, 1)
        other.write_text("milk, bread\n")
        with pytest.raises(OutputError, match=r"01\.jsonl exists and is not"):
            capture.write(batch(10))
        with pytest.raises(OutputError):
            capture.write(batch(11))
        assert capture.platform_sequence == capture.trades_written == 2
    assert other.read_text() == "milk, bread\n"
    other.unlink()
    assert ids_of(plain) == [0, 1]


def test_a_capture_begun_anew_does_not_mix_with_finished_files(plain: Path) -> None:
    record(plain, *range(10))
    before = [file.read_bytes() for file in files_of(plain)]
    with pytest.raises(OutputError, match="has finished files beside it"):
        CaptureFile(plain, overwrite=True)
    assert [file.read_bytes() for file in files_of(plain)] == before


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_a_device_is_not_rotated() -> None:
    with pytest.raises(OutputError, match="no regular file"):
        CaptureFile(Path(os.devnull), rotation=MINUTELY)


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_finished_files_stay_where_a_link_leads(tmp_path: Path, plain: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    plain.symlink_to(disk / "real.jsonl")
    record(plain, *range(10))
    assert plain.is_symlink()
    assert names_in(disk / "real.jsonl") == ["real.000000000001.jsonl", "real.jsonl"]
    assert ids_of(disk / "real.jsonl") == list(range(10))


def test_a_file_made_meanwhile_is_not_written(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def rename_and_be_late(file: Path, target: Path) -> Path:
        renamed = rename(file, target)
        file.write_text("milk, bread\n")
        return renamed

    with CaptureFile(plain, rotation=MINUTELY) as capture:
        capture.begin()
        write_ids(capture, 0)
        monkeypatch.setattr(Path, "rename", rename_and_be_late)
        with pytest.raises(OutputError, match="made by another program"):
            capture.write(batch(10))
    assert plain.read_text() == "milk, bread\n"


STEPS = ["write", "fsync", "close", "rename", "open", "open", "fsync", "close", "write"]


@pytest.mark.skipif(sys.platform == "win32", reason="has other steps")
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("call", range(len(STEPS) + 1))
def test_a_kill_between_the_steps_loses_and_repeats_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: int, before: bool
) -> None:
    capture = CaptureFile(path, rotation=MINUTELY)
    capture.begin()
    write_ids(capture, 0, 1)
    capture.write(batch(2))
    with monkeypatch.context() as patch:
        mortal = Mortal(patch, call, before=before)
        with suppress(Killed):
            write_ids(capture, 6)
        assert mortal.calls == STEPS[: call + 1]
    mortal.bury(capture)
    with CaptureFile(path, rotation=MINUTELY) as capture:
        # The caller learns here what is missing, and has it repaired.
        last_id, _ = capture.last_trades(["BTCUSDT"])["BTCUSDT"]
        assert last_id >= 1
        capture.begin()
        write_ids(capture, *(i for i in (2, 6, 7) if i > last_id))
    assert ids_of(path) == [0, 1, 2, 6, 7]
    assert len(names_in(path)) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="has other steps")
@pytest.mark.parametrize("name", ["fsync", "rename", "open"])
def test_a_step_that_fails_is_an_error_and_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    capture = CaptureFile(path, rotation=MINUTELY)
    capture.begin()
    write_ids(capture, 0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, name, fails)
        for _ in range(2):
            with pytest.raises(OutputError, match="No space left"):
                capture.write(batch(6))
    assert capture.platform_sequence == 2
    capture.close()
    record(path, 6)
    assert ids_of(path) == [0, 1, 6]
