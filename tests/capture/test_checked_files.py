"""With its manifest, a capture cannot be changed without notice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from k2cli.capture.manifest import manifest_path
from k2cli.capture.report import Kind
from k2cli.capture.rotation import finished_files
from k2cli.capture.verify import verify

from .test_manifest import Run


def line(number: int, old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Return what replaces a text in one line."""

    def change(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        assert old in lines[number]
        lines[number] = lines[number].replace(old, new)
        return b"".join(lines)

    return change


CHANGES = {
    "the first line is gone": lambda content: content[content.index(b"\n") + 1 :],
    "the last line is gone": lambda content: content[
        : content.rindex(b"\n", 0, -1) + 1
    ],
    "a digit of a price": line(1, b"61837.63", b"61837.64"),
    "a digit of a quantity": line(1, b"0.02000000", b"0.02000001"),
    "a side": lambda content: line(1, b'"SELL"', b'"BUY"')(
        line(1, b'maker":"true"', b'maker":"false"')(content)
    ),
    "a time": line(1, b"1255342", b"1255341"),
    "a message id": line(1, b'"message_id":"f3b0', b'"message_id":"f3b1'),
    "a line twice": lambda content: (
        content + content[content.rindex(b"\n", 0, -1) + 1 :]
    ),
}


@pytest.fixture
async def files(tmp_path: Path) -> list[Path]:
    """Record one symbol in three files."""
    path = tmp_path / "t.jsonl"
    async with Run(path, rotation="1m") as run:
        run.take(*range(15))
    return [*finished_files(path), path]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("which", [0, 1], ids=["finished", "growing"])
def test_a_change_is_noticed(
    files: list[Path], which: int, change: Callable[[bytes], bytes]
) -> None:
    if which:
        # As if there were no other: the last ones stay as they are.
        for file in files[:2]:
            file.unlink()
    content = files[which * 2].read_bytes()
    changed = change(content)
    assert changed != content
    before = verify(files[which * 2 :])
    files[which * 2].write_bytes(changed)
    after = verify(files[which * 2 :])
    assert after.findings > before.findings
    if len(changed) <= len(content):
        assert after.counts[Kind.CHANGED] == 1


def test_a_part_left_out_is_noticed(files: list[Path]) -> None:
    for index in range(3):
        some = [file for file in files if file != files[index]]
        report = verify(some)
        assert report.counts[Kind.FILES] == 1
        (problem,) = report.problems[Kind.FILES]
        assert problem.text == f"{files[index].name} is left out"


def test_exchanged_names_are_noticed(files: list[Path]) -> None:
    first, second = (file.read_bytes() for file in files[:2])
    files[0].write_bytes(second)
    files[1].write_bytes(first)
    assert verify(files).counts[Kind.FILES] == 2
    # Without a manifest, too.
    manifest_path(files[-1]).unlink()
    report = verify(files)
    assert report.counts[Kind.FILES] == 2
    assert report.stated_sequence is None


def test_files_in_any_order_are_the_same_capture(files: list[Path]) -> None:
    assert verify(files[::-1]).whole


async def test_a_disk_that_hangs_costs_waiting_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.jsonl"
    released = threading.Event()
    async with Run(path, rotation="1m") as run:
        run.take(1)
        monkeypatch.setattr("k2cli.capture.disk.os.fsync", lambda _: released.wait(20))
        # The loop goes on, and what comes meanwhile is kept.
        run.take(*range(2, 40))
        for _ in range(5):
            await asyncio.sleep(0)
        assert run.sink.trades_unwritten > 0
        assert not finished_files(path)
        released.set()
    assert run.sink.trades_unwritten == 0
    assert verify([*finished_files(path), path]).whole
