"""What the README says is so: its commands run, its tables are complete."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from k2cli.config import _RULES
from k2cli.errors import ExitStatus
from k2cli.simulator import Market, SimulatedExchange
from k2cli.trade import TradeV2

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
ENDLESS = "# Ctrl-C ends it"
PATIENCE_SECONDS = 40


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


SHELL_BLOCKS = [block for block in blocks("sh") if "python3 -m venv" not in block]


def first_column(heading: str) -> list[str]:
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| *(\S+) *\|", section, re.MULTILINE)
    return [cell.strip("`") for cell in cells][2:]  # the heading and the rule


async def run(command: str, folder: Path, exchange: SimulatedExchange) -> None:
    """Run one command as the shell does, stopping it if the README says so."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"set -o pipefail; {command}"),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env=os.environ
        | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "XDG_CACHE_HOME": str(folder),
            "K2_BINANCE_WEBSOCKET_URL": exchange.url,
            "K2_BINANCE_API_URL": exchange.api_url,
        },
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            if ENDLESS in command:
                # Its first word, on stderr, says that it runs.
                assert await process.stderr.readline()
                os.killpg(process.pid, signal.SIGINT)
            _, err = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()
    assert process.returncode == 0, f"{command}\n{err.decode()}"


@pytest.mark.skipif(sys.platform == "win32", reason="the blocks are for a POSIX shell")
@pytest.mark.skipif(not shutil.which("jq"), reason="the blocks use jq")
async def test_every_shell_block_runs_as_written(tmp_path: Path) -> None:
    assert len(SHELL_BLOCKS) >= 6
    async with SimulatedExchange(Market(seed=1, rate=4000)) as exchange:
        for block in SHELL_BLOCKS:
            for command in block.splitlines():
                await run(command, tmp_path, exchange)
    assert (tmp_path / "trades.jsonl").read_bytes().count(b"\n") >= 2000
    assert (tmp_path / "sells.csv").read_bytes().count(b"\n") == 101


async def test_the_python_block_runs_as_written(tmp_path: Path) -> None:
    (example,) = blocks("python")
    script = tmp_path / "example.py"
    script.write_text(example, encoding="utf-8")
    async with SimulatedExchange(Market(seed=1, rate=4000)) as exchange:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(script)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"K2_BINANCE_WEBSOCKET_URL": exchange.url},
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            out, err = await process.communicate()

    lines = out.decode().splitlines()
    assert process.returncode == 0, err.decode()
    assert " SELL " in lines[-1]
    assert all(re.match(r"\w+ (BUY|SELL) [\d.]+ [\d.]+ [\d.]+$", x) for x in lines)


def test_the_exit_statuses_are_all_told() -> None:
    assert [int(cell) for cell in first_column("Exit status")] == list(ExitStatus)


def test_the_fields_of_the_record_are_all_told() -> None:
    assert first_column("The record") == list(TradeV2.__slots__)


def test_the_settings_and_their_defaults_are_all_told() -> None:
    section = README.split("## Configuration\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(.+?)` \|", section, re.MULTILINE)
    defaults = {name: rule.default for name, rule in _RULES.items()}

    assert {name for name, _, _ in rows} == set(defaults)
    for name, variable, default in rows:
        known = defaults[name]
        text = ",".join(known) if isinstance(known, tuple) else str(known)
        assert default == text.replace("False", "false")
        assert variable == f"K2_BINANCE_{name.upper()}"
