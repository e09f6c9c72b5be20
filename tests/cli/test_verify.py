"""``k2 verify``."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyte
import pytest

from k2cli.binance.decoder import convert_binance_trade_to_v2
from k2cli.simulator import SimulatedExchange

from .conftest import K2, PATIENCE_SECONDS, Ended

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")


def lines(first_id: int, count: int, symbol: str = "BTCUSDT") -> list[bytes]:
    """Make a capture of one symbol whose ids are its numbers."""
    return [
        convert_binance_trade_to_v2(
            {
                "e": "trade",
                "E": 1_723_161_255_342_000 + trade_id,
                "s": symbol,
                "t": trade_id,
                "p": "61837.63000000",
                "q": "0.02000000",
                "T": 1_723_161_255_342_000 + trade_id,
                "m": True,
                "M": True,
            }
        ).to_json_line(trade_id)
        for trade_id in range(first_id, first_id + count)
    ]


def write(k2: K2, name: str, content: list[bytes]) -> Path:
    file = k2.folder / name
    file.write_bytes(b"".join(content))
    return file


async def piped(k2: K2, content: bytes, *arguments: str) -> Ended:
    """Run ``k2`` with something on its stdin."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "k2cli", *arguments),
        cwd=k2.folder,
        env=k2.environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        out, err = await process.communicate(content)
    assert process.returncode is not None
    return Ended(process.returncode, out, err.decode())


async def test_a_recording_is_proven_whole(k2: K2, market: SimulatedExchange) -> None:
    k2.use(market)
    recorded = await k2("record", "-o", "t.jsonl", "BTCUSDT", "ETHUSDT", "-n", "500")
    assert recorded.status == 0, recorded.err

    ended = await k2("verify", "t.jsonl")

    table = ended.out.decode().splitlines()
    assert ended.status == 0
    assert ended.err == ""
    assert table[0].split()[:2] == ["symbol", "trades"]
    assert [row.split()[0] for row in table[1:3]] == ["BTCUSDT", "ETHUSDT"]
    assert table[-1].startswith("whole: 500 trades of 2 symbols, nothing missing")


async def test_everything_wrong_is_named_with_file_and_line(k2: K2) -> None:
    content = lines(1, 40)
    content[9] = b"junk \x1b[2J\n"
    content[19] = content[18]
    content[24], content[25] = content[25], content[24]
    content[-1] = content[-1][:-20]
    write(k2, "t\x1b[2J.jsonl", content)

    ended = await k2("verify", "t\x1b[2J.jsonl")

    told = ended.out.decode().splitlines()
    name = "t\\x1b[2J.jsonl"
    assert ended.status == 6
    assert ended.err == ""
    assert all(line.isprintable() for line in told)
    assert f"{name}:11: missing: BTCUSDT 10 before this trade" in told
    assert f"{name}:21: missing: BTCUSDT 20 before this trade" in told
    assert f"{name}:20: duplicate: BTCUSDT 19 once more" in told
    assert f"{name}:26: out of order: BTCUSDT 25 behind 26" in told
    assert f"{name}:10: schema violation: no JSON: junk \\x1b[2J" in told
    assert any(line.startswith(f"{name}:40: torn tail: ") for line in told)
    assert told[-1] == (
        "not whole: 37 trades of 1 symbol, 2 missing, 1 duplicate, 1 out of order, "
        "1 schema violation, 6 breaks in the numbering, 1 torn tail"
    )


async def test_json_tells_everything_in_one_object(k2: K2) -> None:
    content = lines(1, 9)
    del content[3:6]
    write(k2, "t.jsonl", content)

    ended = await k2("verify", "--json", "t.jsonl")

    (line,) = ended.lines
    report: dict[str, Any] = json.loads(line)
    assert ended.status == 6
    assert report["verdict"] == "not whole"
    assert (report["exchange"], report["trades"], report["missing"]) == (
        "BINANCE",
        6,
        3,
    )
    assert report["files"] == [
        {"file": "t.jsonl", "lines": 6, "bytes": len(b"".join(content))}
    ]
    (symbol,) = report["symbols"]
    assert symbol["missing_ranges"] == [
        {"first_id": 4, "last_id": 6, "file": "t.jsonl", "line": 4}
    ]
    assert report["problems"] == [
        {
            "kind": "numbering",
            "file": "t.jsonl",
            "line": 4,
            "text": "platform_sequence is 7, not 4",
        }
    ]


async def test_twenty_of_a_kind_are_named_unless_all_are_asked_for(k2: K2) -> None:
    write(k2, "t.jsonl", lines(1, 100)[::2])

    some = (await k2("verify", "t.jsonl")).out.decode()
    every = (await k2("verify", "--all", "t.jsonl")).out.decode()

    assert (some.count(": missing: "), some.count(": break in")) == (20, 20)
    assert "and 29 more: missing ranges; --all names them" in some
    assert "and 29 more: breaks in the numbering; --all names them" in some
    assert (every.count(": missing: "), every.count(": break in")) == (49, 49)
    assert "more:" not in every


@pytest.mark.parametrize("content", [b"", gzip.compress(b"", mtime=0)])
async def test_an_empty_capture_proves_nothing(k2: K2, content: bytes) -> None:
    (k2.folder / "t.jsonl").write_bytes(content)

    ended = await k2("verify", "t.jsonl")

    assert ended.status == 6
    assert ended.out == b"empty: no records, which proves nothing\n"


async def test_the_files_of_a_rotation_are_one_capture_in_any_order(k2: K2) -> None:
    content = lines(1, 30)
    write(k2, "b.jsonl", content[:10])
    (k2.folder / "a.jsonl.gz").write_bytes(gzip.compress(b"".join(content[10:20])))
    write(k2, "0.jsonl", content[20:])

    whole = await k2("verify", "0.jsonl", "a.jsonl.gz", "b.jsonl")
    without = await k2("verify", "0.jsonl", "b.jsonl")

    assert whole.status == 0
    assert b"whole: 30 trades of 1 symbol in 3 files" in whole.out
    assert without.status == 6
    assert b"0.jsonl:1: missing: BTCUSDT 11-20, 10 trades" in without.out


async def test_gzip_that_was_cut_is_a_torn_tail(k2: K2) -> None:
    content = gzip.compress(b"".join(lines(1, 50)))
    (k2.folder / "t.jsonl.gz").write_bytes(content[:-100])

    ended = await k2("verify", "t.jsonl.gz")

    assert ended.status == 6
    assert b"torn tail: the compressed data end before they are complete" in ended.out
    assert b"1 torn tail" in ended.lines[-1]


async def test_stdin(k2: K2) -> None:
    content = b"".join(lines(1, 50))
    plain = await piped(k2, content, "verify", "-")
    packed = await piped(k2, gzip.compress(content, mtime=0), "verify", "-")
    cut = await piped(k2, content[:-1], "verify", "-")

    assert (plain.status, packed.status, cut.status) == (0, 0, 6)
    assert plain.out == packed.out
    assert b"stdin:50: torn tail" in cut.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere.jsonl",), "there is no file nowhere.jsonl"),
        (("t.jsonl", "nowhere.jsonl"), "there is no file nowhere.jsonl"),
        (("folder",), "folder is a folder"),
        (("-", "-"), "stdin can be read once only"),
        ((), "FILE"),
    ],
)
async def test_what_cannot_be_read_is_one_line_and_status_2(
    k2: K2, arguments: tuple[str, ...], says: str
) -> None:
    (k2.folder / "folder").mkdir()
    write(k2, "t.jsonl", lines(1, 3))

    ended = await k2("verify", *arguments)

    (line,) = ended.err.splitlines()
    assert (ended.status, ended.out) == (2, b"")
    assert line.startswith("k2: error: ")
    assert says in line


async def test_help_has_two_examples(k2: K2) -> None:
    ended = await k2("verify", "--help")

    assert ended.status == 0
    assert ended.out.decode().count(" k2 verify") >= 3


@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_promptly(k2: K2, number: signal.Signals) -> None:
    pipe = k2.folder / "pipe"
    os.mkfifo(pipe)
    process = await k2.start("verify", str(pipe))

    def write_until_it_is_gone(writer: int) -> None:
        with suppress(BrokenPipeError):
            while True:
                os.write(writer, b"".join(lines(1, 10)))

    # Opening it returns when k2 has opened its side.
    writer = await asyncio.to_thread(os.open, pipe, os.O_WRONLY)
    writing = asyncio.create_task(asyncio.to_thread(write_until_it_is_gone, writer))
    process.send_signal(number)
    ended = await k2.end(process)
    await writing
    os.close(writer)

    assert (ended.status, ended.out, ended.err) == (130, b"", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
async def test_stdout_that_is_full(k2: K2) -> None:
    write(k2, "t.jsonl", lines(1, 3))
    full = os.open("/dev/full", os.O_WRONLY)
    process = await k2.start("verify", "t.jsonl", stdout=full)
    os.close(full)
    ended = await k2.end(process)

    (line,) = ended.err.splitlines()
    assert ended.status == 5
    assert "stdout cannot be written" in line


@posix_only
async def test_a_reader_that_is_gone_changes_no_verdict(k2: K2) -> None:
    write(k2, "t.jsonl", lines(1, 100)[::2])
    reading, writing = os.pipe()
    os.close(reading)
    process = await k2.start("verify", "--all", "t.jsonl", stdout=writing)
    os.close(writing)
    ended = await k2.end(process)

    assert (ended.status, ended.err) == (6, "")


@posix_only
async def test_progress_is_on_a_terminal_only_and_gone_at_the_end(k2: K2) -> None:
    write(k2, "t.jsonl", lines(1, 3000))
    master, slave = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "k2cli", "verify", "t.jsonl"),
        cwd=k2.folder,
        env=k2.environment | {"TERM": "xterm-256color", "COLUMNS": "100"},
        stdout=asyncio.subprocess.PIPE,
        stderr=slave,
    )
    os.close(slave)
    async with asyncio.timeout(PATIENCE_SECONDS):
        out, _ = await process.communicate()
    sent = b""
    try:
        while data := os.read(master, 65536):
            sent += data
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(master)

    screen = pyte.Screen(100, 24)
    pyte.ByteStream(screen).feed(sent)
    assert process.returncode == 0
    assert out.endswith(b"nothing missing, nothing twice, all in order\n")
    assert "━" in sent.decode()
    assert "lines" in sent.decode()
    assert "".join(screen.display).strip() == ""
    assert not screen.cursor.hidden
