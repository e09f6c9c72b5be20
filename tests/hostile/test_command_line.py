"""Wrong command lines and environments: one clear line, the right status, at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from .conftest import PATIENCE_SECONDS, Victim
from .raw import RawServer, record

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it redirects as POSIX")

RECORD = ("record", "--demo", "-n", "3", "BTCUSDT")
X = (*RECORD, "-o", "x.jsonl")


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "says"),
    [
        (("stream", "--demo", ""), {}, 2, "empty"),
        (("stream", "--demo", "BTCUSDT", " "), {}, 2, "empty"),
        (("stream", "--demo", "--symbols", "-n", "1"), {}, 2, "--symbols has no value"),
        (("stream", "--demo", "--quote", ""), {}, 2, "--quote is empty"),
        (("stream", "--demo", "--quote", "USTD"), {}, 4, "Did you mean USDT"),
        (("stream", "--demo", "--base", "BTTC", "-n", "1"), {}, 4, "base asset BTTC"),
        (("symbols", "--demo", "--quote", "USTD"), {}, 4, "Did you mean USDT"),
        (("symbols", "--demo", "--status", "TRADIN"), {}, 2, "Did you mean TRADING"),
        (("stream", "--demo", "A" * 300), {}, 2, "is not a symbol"),
        ((*RECORD, "-o", "a" * 300), {}, 2, "longer than"),
        ((*RECORD, "-o", "a" * 240), {}, 2, "longer than"),
        ((*RECORD, "-o", ""), {}, 5, "names no file"),
        ((*RECORD, "-o", "~/x"), {}, 2, "only a shell"),
        ((*RECORD, "-o", "x.parquet"), {}, 2, "x.parquet"),
        ((*X, "--summary", ""), {}, 2, "is a folder"),
        ((*X, "--summary", "no/s.json"), {}, 2, "no folder"),
        ((*X, "--summary", "/usr"), {}, 2, "is a folder"),
        ((*X, "--config", "/usr"), {}, 2, "is a folder"),
        ((*X, "--config", "a" * 300), {}, 2, "too long"),
        ((*X, "--fsync", "foo"), {}, 2, "--fsync"),
        ((*X, "--rotate", "9" * 400 + "MB"), {}, 0, ""),
        ((*X, "--duration", "9" * 400), {}, 2, "length of time"),
        ((*X, "--min-notional", "1e999999"), {}, 2, "no amount"),
        (("stream", "--url", "ws://h:99999"), {}, 2, "port"),
        (("stream", "--url", "ws://[::1"), {}, 2, "brackets"),
        (("simulate", "--port", "99999"), {}, 2, "--port"),
        (("stream",), {"K2_BINANCE_SYMBOL": "x"}, 2, "Did you mean symbols"),
        (("stream",), {"TERMINAL_WIDTH": "abc"}, 2, "TERMINAL_WIDTH"),
        (("stream", "-n", "1"), {"HTTPS_PROXY": "http://127.0.0.1:1"}, 3, "the proxy"),
        (("stream", "-n", "1"), {"HTTPS_PROXY": "nonsense"}, 3, "HTTPS_PROXY"),
    ],
)
def test_a_wrong_line_is_told_in_one(
    victim: Victim,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    status: int,
    says: str,
) -> None:
    victim.environment |= environment
    cost = victim(*arguments)
    assert cost.status == status, cost.text
    assert says in cost.text
    assert "Traceback" not in cost.text
    if status:
        last = cost.err.splitlines()[-1]
        assert last.startswith(b"k2: error: ")
        assert cost.out == b""
    assert cost.cpu_seconds < 12


@pytest.mark.parametrize("side", ["BUY", "Sell", "buy"])
def test_a_side_may_be_written_in_any_case(victim: Victim, side: str) -> None:
    cost = victim("stream", "--demo", "--json", "-n", "1", "--side", side)
    assert cost.status == 0, cost.text


STREAM = ("stream", "--demo", "BTCUSDT", "--json", "-n", "3")


@pytest.mark.parametrize(
    ("arguments", "shell", "status"),
    [
        (STREAM, "2>&-", 0),
        (STREAM, "2>/dev/full", 0),
        (STREAM, ">&-", 5),
        (STREAM, ">/dev/full", 5),
        (STREAM, ">&- 2>&-", 5),
        (STREAM, ">/dev/full 2>/dev/full", 5),
        (X, "2>&-", 0),
        (X, "2>/dev/full", 0),
        (X, ">&- 2>&- <&-", 0),
        ((*RECORD, "-o", "-"), ">/dev/full", 5),
        (("symbols", "--demo"), ">/dev/full", 5),
        (("symbols", "--demo"), ">&-", 5),
        (("--version",), ">/dev/full", 5),
        (("--help",), ">&-", 5),
        (("stream", "--help"), ">/dev/full", 5),
        (("schema",), ">/dev/full", 5),
        (("manual",), ">&-", 5),
        (("verify", "x.jsonl"), ">/dev/full", 5),
        (("verify", "x.jsonl"), "2>&-", 0),
        (("simulate", "--faults"), ">/dev/full", 5),
    ],
)
def test_streams_that_are_not_there(
    victim: Victim, arguments: tuple[str, ...], shell: str, status: int
) -> None:
    capture = victim.folder / "x.jsonl"
    if arguments[0] == "verify":
        capture.write_bytes(record(1, 1) + record(2, 2))
    cost = victim.in_shell(*arguments, redirection=shell)
    assert cost.status == status, cost.text
    assert "Traceback" not in cost.text
    assert "bug" not in cost.text
    if arguments is X:
        lines = capture.read_bytes().splitlines()
        assert len(lines) == 3
        assert all(line.startswith(b'{"message_id"') for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["2>&1 >/dev/null | :", "2>/dev/full"])
def test_a_log_that_nobody_reads_ends_no_recording(
    victim: Victim, redirection: str
) -> None:
    cost = victim.in_shell(
        *("record", "--demo", "-n", "60", "-o", "x.jsonl", "--log-level", "debug"),
        redirection=redirection,
    )
    assert cost.status == 0
    assert len((victim.folder / "x.jsonl").read_bytes().splitlines()) == 60


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["'-n', '60'", "'--duration', '1h'"])
def test_a_log_reader_that_does_not_read_holds_nothing_up(
    victim: Victim, limit: str
) -> None:
    # The pipe is full before the recording begins, and nobody ever reads it.
    (victim.folder / "fill").write_text(
        "import os, fcntl\n"
        "os.set_blocking(2, False)\n"
        "try:\n"
        "    while True: os.write(2, b'x')\n"
        "except BlockingIOError: os.set_blocking(2, True)\n"
        "import sys\n"
        "sys.argv = ['k2', 'record', '--demo', '-o', 'x.jsonl', '--log-level',\n"
        f"            'debug', {limit}]\n"
        "from k2cli.__main__ import main\n"
        "main()\n"
    )
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "fill"],
        cwd=victim.folder,
        env=victim.environment,
        stdin=subprocess.DEVNULL,
        stderr=writing,
    )
    capture = victim.folder / "x.jsonl"
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while not capture.exists() or capture.read_bytes().count(b"\n") < 60:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        # Its account is for somebody who reads; a signal ends the wait for that,
        # and comes before it as well.
        process.terminate()
        process.wait(10)
    finally:
        process.kill()
        process.wait()
        os.close(reading)
        os.close(writing)


@pytest.mark.slow
def test_nothing_received_is_said(victim: Victim, server: RawServer) -> None:
    cost = victim("stream", "BTCUSDT", "ETHBTC", "--json", "--duration", "2s")
    assert cost.status == 4  # ETHBTC is not there
    cost = victim("stream", "BTCUSDT", "--json", "--duration", "2s")
    assert cost.status == 0, cost.text
    assert "no trades were received of BTCUSDT in" in cost.text
