"""The benchmark itself, with hardly any trades: that it runs, not how fast."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .market import FIRST_TRADE_ID, frames, symbols
from .table import Row, at_least, at_most, line

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it needs named pipes")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench", "--rounds", "1", *arguments],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_it_runs_from_end_to_end_and_leaves_nothing(tmp_path: Path) -> None:
    process = start(tmp_path, "--scale", "0.001", "throughput", "market", "files")
    out, err = process.communicate()

    assert (process.returncode, err) == (0, "")
    rows = {row[:40].strip(): row for row in out.splitlines()}
    for name in ("k2 record", "k2 stream --json into a pipe"):
        assert "trades/s" in rows[name]
        assert ">= " in rows[name]
    assert rows["record, 3,500 symbols, paced"].endswith("whole")
    assert sum(name.startswith("record resumes") for name in rows) == 3
    assert sum(name.startswith("verify") for name in rows) == 3
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    process = start(tmp_path, "files")
    assert process.stdout is not None
    while not process.stdout.readline().startswith("-----"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()

    assert (process.returncode, err) == (130, "")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    process = start(tmp_path, "speed")
    _, err = process.communicate()

    assert process.returncode == 2
    assert "there is no speed; there are paced, " in err


def test_its_frames_are_consecutive_trades_as_binance_sends_them() -> None:
    made = frames(3, 50)
    assert made.frames[0][:4] == bytes((0x81, 126, 0, len(made.frames[0]) - 4))
    assert made.frames[0][4:].startswith(
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161601439023,'
        b'"s":"BTCUSDT","t":3735683259,"p":"'
    )
    assert made.frames[0].endswith(b',"M":true}}')
    for index, name in enumerate(symbols(3)):
        texts = [
            frame
            for of, frame in zip(made.symbol_of, made.frames, strict=True)
            if of == index
        ]
        for number, text in enumerate(texts, FIRST_TRADE_ID):
            assert f'"s":"{name}","t":{number},'.encode() in text


def test_a_row_says_whether_its_goal_is_met() -> None:
    faster = Row("a", "x/s", [30, 20, 26], "b", [10, 10, 10], at_least(2.5))
    assert faster.ratios == [3, 2, 2.6]
    assert line(faster).endswith("2.60    2.00..3.00    >= 2.5   yes")
    larger = Row("a", "MB", [16], "b", [10], at_most(1.5), "note")
    assert "NO  note" in line(larger)
