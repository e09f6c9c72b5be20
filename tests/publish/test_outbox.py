"""The records of a capture, each once, also while it grows and rotates."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from k2cli.capture.compression import compression_of
from k2cli.capture.manifest import Manifest, write_manifest
from k2cli.errors import SettingsError
from k2cli.publish.destination import BATCH_RECORDS
from k2cli.publish.outbox import Outbox

from .conftest import lines


def numbers(outbox: Outbox) -> list[int]:
    """Numbers of what there is now."""
    found: list[int] = []
    while records := outbox.read():
        assert len(records) <= BATCH_RECORDS
        found += [record.number for record in records]
    return found


def test_all_files_of_a_rotation_are_read_in_their_order(tmp_path: Path) -> None:
    made = lines(30)
    (tmp_path / "t.000000000001.jsonl").write_bytes(b"".join(made[:10]))
    (tmp_path / "t.000000000011.jsonl").write_bytes(b"".join(made[10:20]))
    (tmp_path / "t.jsonl").write_bytes(b"".join(made[20:]))
    outbox = Outbox([tmp_path / "t.jsonl"])
    capture = outbox.capture()
    assert capture is not None
    assert capture.identity == "BINANCE-00000000-0000-4000-8000-000000000001"
    assert numbers(outbox) == [*range(1, 31)]
    assert outbox.finished
    assert outbox.behind_bytes == 0


def test_a_capture_whose_first_file_was_moved_away_is_known_by_its_manifest(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"".join(lines(30)[10:]))
    with pytest.raises(SettingsError, match="not where the capture began"):
        Outbox([path]).capture()
    identity = "00000000-0000-4000-8000-000000000001"
    write_manifest(path, Manifest(capture_id=identity))
    capture = Outbox([path]).capture()
    assert capture is not None
    assert capture.identity == f"BINANCE-{identity}"


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.jsonl.zst"])
def test_it_goes_on_from_a_number(tmp_path: Path, name: str) -> None:
    data = b"".join(lines(3_000))
    compression = compression_of(name)
    (tmp_path / name).write_bytes(compression.encode(data) if compression else data)
    outbox = Outbox([tmp_path / name])
    outbox.skip_to(2_500)
    assert numbers(outbox) == [*range(2_500, 3_001)]


def test_a_file_compressed_by_others_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(b"".join(lines(20))))
    assert numbers(Outbox([tmp_path / "t.jsonl.gz"])) == [*range(1, 21)]


def test_a_torn_end_waits_until_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    made = lines(5)
    file.write_bytes(b"".join(made[:3]) + made[3][:100])
    assert numbers(Outbox([file])) == [1, 2, 3]
    outbox = Outbox([file], follow=True)
    assert numbers(outbox) == [1, 2, 3]
    # As a recorder does that was killed and is started again.
    file.write_bytes(b"".join(made[:5]))
    assert numbers(outbox) == [4, 5]
    assert not outbox.finished


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_a_capture_is_followed_through_rotations(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"t.jsonl{ending}"
    compression = compression_of(file.name)
    made = lines(60)

    def write(first: int, last: int) -> None:
        data = b"".join(made[first - 1 : last])
        with file.open("ab") as out:
            out.write(compression.encode(data) if compression else data)

    write(1, 10)
    outbox = Outbox([file], follow=True)
    assert numbers(outbox) == [*range(1, 11)]
    write(11, 12)
    file.rename(tmp_path / f"t.000000000001.jsonl{ending}")
    write(13, 20)
    assert numbers(outbox) == [*range(11, 21)]
    # Several at once, and for a moment none that grows.
    write(21, 30)
    file.rename(tmp_path / f"t.000000000013.jsonl{ending}")
    write(31, 40)
    file.rename(tmp_path / f"t.000000000031.jsonl{ending}")
    assert numbers(outbox) == [*range(21, 41)]
    write(41, 60)
    assert numbers(outbox) == [*range(41, 61)]
    assert outbox.behind_bytes == 0


def test_what_is_not_where_a_capture_begins_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b"".join(lines(5, first=101)))
    with pytest.raises(SettingsError, match="not where the capture began"):
        Outbox([tmp_path / "t.jsonl"]).capture()


def test_a_break_in_the_numbers_is_refused(tmp_path: Path) -> None:
    made = lines(9)
    (tmp_path / "t.jsonl").write_bytes(b"".join(made[:4] + made[6:]))
    with pytest.raises(SettingsError, match="goes from 4 to 7"):
        numbers(Outbox([tmp_path / "t.jsonl"]))


def test_a_line_that_is_no_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b"".join(lines(2)) + b"\x1b[2J\n")
    with pytest.raises(SettingsError, match=r"no record: \\x1b\[2J") as refused:
        numbers(Outbox([tmp_path / "t.jsonl"]))
    assert str(refused.value).isprintable()


def test_a_followed_file_that_gets_shorter_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(b"".join(lines(5)))
    outbox = Outbox([file], follow=True)
    assert numbers(outbox) == [1, 2, 3, 4, 5]
    file.write_bytes(b"".join(lines(2)))
    with pytest.raises(SettingsError, match="has become shorter"):
        outbox.read()


def test_there_is_no_capture_before_the_first_record(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.touch()
    outbox = Outbox([file], follow=True)
    assert outbox.capture() is None
    file.write_bytes(b"".join(lines(1)))
    assert outbox.capture() is not None


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no file"):
        Outbox([tmp_path / "t.jsonl"])
