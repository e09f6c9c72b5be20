from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from k2cli.cli.pipe import RecordWriter
from k2cli.errors import ReaderGone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes there block")

LONG = b"a" * 599 + b"\n"
# More than any pipe holds by default.
MANY = LONG * 400


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            continue


async def read_on(reading: int, size_bytes: int) -> bytes:
    """Read so much, as it comes."""
    text = b""
    loop = asyncio.get_running_loop()
    while len(text) < size_bytes:
        there = asyncio.Event()
        loop.add_reader(reading, there.set)
        await there.wait()
        loop.remove_reader(reading)
        text += os.read(reading, 65536)
    return text


async def test_what_is_written_while_others_wait_comes_after_them(
    pipe: tuple[int, int],
) -> None:
    reading, writing = pipe
    writer = RecordWriter(lambda: None, writing)
    first = writer.write(MANY)
    assert first is not None
    # There is room again, and nobody has awaited the first writer yet.
    text = os.read(reading, 20_000)
    second, third = writer.write(b"b\n"), writer.write(b"c\n")
    assert second is not None
    assert third is not None
    text += await read_on(reading, len(MANY) + 4 - len(text))
    await asyncio.gather(first, second, third)
    assert text == MANY + b"b\nc\n"
    assert writer.write(b"d\n") is None
    assert await read_on(reading, 2) == b"d\n"


async def test_a_reader_that_does_not_read_is_left_with_whole_records(
    pipe: tuple[int, int],
) -> None:
    reading, writing = pipe
    writer = RecordWriter(lambda: None, writing)
    waiting = writer.write(MANY)
    assert waiting is not None
    assert writer.write(LONG) is not None
    writer.abandon()
    assert writer.write(LONG) is None
    await waiting
    os.close(writing)
    text = b""
    while piece := os.read(reading, 65536):
        text += piece
    assert text == LONG * (len(text) // len(LONG))
    assert writer.left_out == 402 - len(text) // len(LONG)


async def test_records_for_a_reader_that_is_gone_are_not_left_out(
    pipe: tuple[int, int],
) -> None:
    reading, writing = pipe
    gone = asyncio.Event()
    writer = RecordWriter(gone.set, writing)
    waiting = writer.write(MANY)
    assert waiting is not None
    os.close(reading)
    await gone.wait()
    with suppress(ReaderGone):
        await waiting
    assert writer.left_out == 0
    assert writer.write(LONG) is None
    assert writer.left_out == 0
