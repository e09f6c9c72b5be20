from __future__ import annotations

import gzip
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest

from k2cli.capture import compression, reader
from k2cli.capture.reader import (
    CHUNK_BYTES,
    MAX_LINE_BYTES,
    BrokenOff,
    CaptureSource,
    in_order,
    read,
)
from k2cli.errors import MalformedMessage, SettingsError

from .captures import line_of

LINES = [orjson.dumps({"platform_sequence": n}) + b"\n" for n in range(1, 200)]
TEXT = b"".join(LINES)


def content_of(path: Path) -> tuple[bytes, BrokenOff | None]:
    """Return what can be read of a file, and why it broke off if it did."""
    content = b""
    try:
        for chunk in CaptureSource(path).chunks():
            assert len(chunk) <= CHUNK_BYTES
            content += chunk
    except BrokenOff as exc:
        return content, exc
    return content, None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "capture"


@pytest.mark.parametrize(
    "packed",
    [
        TEXT,
        b"",
        gzip.compress(TEXT),
        gzip.compress(TEXT[:500]) + gzip.compress(b"") + gzip.compress(TEXT[500:]),
        gzip.compress(TEXT) + bytes(1000),
        gzip.compress(TEXT[:500]) + bytes(9) + gzip.compress(TEXT[500:]),
    ],
)
def test_compression_is_told_by_content(path: Path, packed: bytes) -> None:
    path.write_bytes(packed)
    source = CaptureSource(path)
    content = b"".join(source.chunks())
    assert content == (TEXT if packed else b"")
    assert source.read_bytes == source.size_bytes == len(packed)


def test_what_unpacks_to_much_comes_in_pieces(path: Path) -> None:
    content = b"\n" * (CHUNK_BYTES * 20 + 7)
    path.write_bytes(gzip.compress(content))
    assert content_of(path) == (content, None)


def test_members_across_chunks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK_BYTES", 5)
    path.write_bytes(gzip.compress(TEXT) + bytes(11) + gzip.compress(TEXT) + bytes(5))
    assert content_of(path) == (TEXT * 2, None)


def test_gzip_that_is_cut_gives_what_is_before_the_cut(path: Path) -> None:
    first, second = gzip.compress(TEXT[:500]), gzip.compress(TEXT[500:])
    packed = first + second
    for cut in range(2, len(packed)):
        path.write_bytes(packed[:cut])
        content, broken_off = content_of(path)
        assert TEXT.startswith(content)
        if cut >= len(first):
            assert content.startswith(TEXT[:500])
        if cut == len(first):
            assert broken_off is None
        else:
            assert broken_off is not None
            assert not broken_off.damaged


def test_gzip_is_readable_up_to_its_last_flush(path: Path) -> None:
    deflate = zlib.compressobj(wbits=31)
    flushed = deflate.compress(TEXT) + deflate.flush(zlib.Z_SYNC_FLUSH)
    path.write_bytes(flushed)
    content, broken_off = content_of(path)
    assert content == TEXT
    assert broken_off is not None


def test_gzip_that_is_damaged_is_told_apart(path: Path) -> None:
    packed = bytearray(gzip.compress(TEXT))
    packed[-6] ^= 1  # in the checksum
    path.write_bytes(packed)
    content, broken_off = content_of(path)
    assert TEXT.startswith(content)
    assert broken_off is not None
    assert broken_off.damaged
    path.write_bytes(gzip.compress(TEXT) + b"garbage")
    _, broken_off = content_of(path)
    assert broken_off is not None
    assert broken_off.damaged


def test_zstandard_needs_a_package(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(compression, "import_module", nothing)
    path.write_bytes(b"\x28\xb5\x2f\xfdrest")
    with pytest.raises(SettingsError, match="needs a package"):
        content_of(path)


def test_zstandard_frames_whole_and_cut(path: Path) -> None:
    zstandard: Any = pytest.importorskip("zstandard")
    first = zstandard.compress(TEXT[:500])
    packed = first + zstandard.compress(TEXT[500:])
    path.write_bytes(packed)
    assert content_of(path) == (TEXT, None)
    for cut in range(4, len(packed)):
        path.write_bytes(packed[:cut])
        content, broken_off = content_of(path)
        assert TEXT.startswith(content)
        assert (broken_off is None) is (cut == len(first))


def test_files_are_put_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    parts = {
        "b": LINES[:9],
        "c.gz": LINES[9:12],
        "empty": [],
        "junk": [b"junk\n"],
        "a": LINES[12:],
    }
    for name, lines in parts.items():
        text = b"".join(lines)
        packed = gzip.compress(text) if name.endswith("gz") else text
        (tmp_path / name).write_bytes(packed)

    def ordered(*names: str) -> list[str]:
        sources = in_order([CaptureSource(tmp_path / name) for name in names])
        return [Path(source.name).name for source in sources]

    assert ordered("b", "c.gz", "a") == ["b", "c.gz", "a"]
    assert ordered("a", "b", "c.gz") == ["b", "c.gz", "a"]
    # What has no number stays behind the one before it.
    assert ordered("a", "empty", "b", "junk") == ["b", "junk", "a", "empty"]
    assert ordered("junk", "b") == ["junk", "b"]


def test_looking_for_the_order_reads_a_beginning_only(path: Path) -> None:
    path.write_bytes(LINES[4] + b"x" * CHUNK_BYTES * 9)
    source = CaptureSource(path)
    assert source.first_number() == 5
    assert source.read_bytes == 0
    path.write_bytes(b"x" * CHUNK_BYTES * 9)
    assert CaptureSource(path).first_number() is None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere\x1b[2J", "there is no file"),
        (".", "is a folder"),
        ("file/below", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=says) as raised:
        CaptureSource(tmp_path / name)
    assert str(raised.value).isprintable()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_a_file_that_may_not_be_read(path: Path) -> None:
    path.write_bytes(TEXT)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(SettingsError, match="Permission denied"):
        CaptureSource(path)


RECORDS = [line_of(trade_id, trade_id - 9) for trade_id in range(10, 20)]


def test_a_capture_is_read_trade_by_trade(path: Path) -> None:
    path.write_bytes(gzip.compress(b"".join(RECORDS)))
    trades = list(read(path))
    assert [trade.source_sequence for trade in trades] == list(range(10, 20))
    assert [trade.to_json_line() for trade in trades] == RECORDS
    assert list(read(str(path))) == list(read([path])) == trades


def test_the_files_of_a_rotation_are_read_in_order(tmp_path: Path) -> None:
    first, last = tmp_path / "trades.1.jsonl", tmp_path / "trades.jsonl"
    first.write_bytes(b"".join(RECORDS[:4]))
    last.write_bytes(b"".join(RECORDS[4:]))
    trades = list(read([last, first]))
    assert [trade.platform_sequence for trade in trades] == list(range(1, 11))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_capture_cut_at_any_byte_is_read_to_its_last_whole_line(
    path: Path, pack: Callable[[bytes], bytes]
) -> None:
    # As one that is being written.
    content = pack(b"".join(RECORDS[:3]))
    numbers = set()
    for size in range(3, len(content) + 1):
        path.write_bytes(content[:size])
        trades = list(read(path))
        assert [trade.platform_sequence for trade in trades] == [1, 2, 3][: len(trades)]
        numbers.add(len(trades))
    assert 3 in numbers
    path.write_bytes(b"".join(RECORDS) + bytes(100))
    assert len(list(read(path))) == 10


def test_a_file_that_breaks_off_before_another_one_is_an_error(tmp_path: Path) -> None:
    first, last = tmp_path / "a", tmp_path / "b"
    last.write_bytes(b"".join(RECORDS[4:]))
    for content in (b"".join(RECORDS[:4])[:-9], gzip.compress(RECORDS[0])[:-9]):
        first.write_bytes(content)
        with pytest.raises(MalformedMessage, match=r"a, line \d: the file breaks off"):
            list(read([first, last]))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"junk \x1b[2J\n", "no JSON: junk"),
        (b"\n", "no JSON"),
        (b"[1]\n", "no JSON object"),
        (RECORDS[2].replace(b'"61837.63', b'"6.1e4'), "price is"),
        (RECORDS[2].replace(b'"symbol"', b'"simbol"'), "symbol is missing"),
        (b"x" * (MAX_LINE_BYTES + CHUNK_BYTES), "the line is too long"),
    ],
)
def test_a_line_that_is_no_record_is_named(path: Path, line: bytes, says: str) -> None:
    path.write_bytes(b"".join([*RECORDS[:2], line, *RECORDS[3:]]))
    trades = read(path)
    assert [next(trades).platform_sequence, next(trades).platform_sequence] == [1, 2]
    with pytest.raises(MalformedMessage, match=says) as raised:
        next(trades)
    assert raised.value.message.startswith(f"{path}, line 3: ")
    assert str(raised.value).isprintable()


def test_a_damaged_file_is_an_error(path: Path) -> None:
    packed = bytearray(gzip.compress(b"".join(RECORDS)))
    packed[-6] ^= 1  # in the checksum
    path.write_bytes(packed)
    with pytest.raises(MalformedMessage, match="cannot be unpacked any further"):
        list(read(path))


def test_what_is_not_there_is_an_error_at_once(path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no file"):
        read(path)
