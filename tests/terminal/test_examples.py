"""The examples of the help texts run as they are written, on a terminal."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from inspect import cleandoc
from pathlib import Path

import pytest
from rich.text import Text

from k2cli.cli.app import app
from k2cli.simulator import Market, SimulatedExchange

from .conftest import Terminal

MakeTerminal = Callable[[int, int], Terminal]
HELP = {
    "k2": str(app.info.help),
    **{
        command.callback.__name__: str(command.help)
        for command in app.registered_commands
        if command.callback is not None
    },
}


def examples(text: str) -> list[str]:
    plain = Text.from_markup(cleandoc(text)).plain
    return re.findall(r"^ +(k2 .*?)(?: +#.*)?$", plain, re.MULTILINE)


ALL = [example for text in HELP.values() for example in examples(text)]


def takes_long(example: str) -> bool:
    command = example.split()[1]
    limited = {"-n", "--replay"} & set(example.split())
    return command in ("stream", "record", "simulate") and not limited


def on_a_free_port(example: str) -> str:
    if "simulate" not in example:
        return example
    limit = " --duration 1s" if "--replay" in example else ""
    return example.replace(" --port 9443", "") + f" --port 0{limit}"


def test_every_command_has_two_examples_that_fit_a_terminal() -> None:
    assert set(HELP) == {
        *("k2", "stream", "record", "symbols", "verify", "simulate", "manual"),
        *("schema", "export", "publish", "repair", "config", "doctor", "help"),
    }
    for command, text in HELP.items():
        assert len(examples(text)) >= 2, command
        lines = Text.from_markup(cleandoc(text)).plain.splitlines()
        assert all(len(line) <= 78 for line in lines if " k2 " in line)


def _captures(names: list[str]) -> set[str]:
    return {name for name in names if re.fullmatch(r"trades.*\.jsonl(\.zst)?", name)}


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for recordings that several examples begin with."""
    return tmp_path_factory.mktemp("recordings")


@pytest.mark.skipif(not shutil.which("jq"), reason="the examples use jq")
# Those with a log need its server: tests/publish has one.
@pytest.mark.slow
@pytest.mark.parametrize("example", [one for one in ALL if "://" not in one])
async def test_it_runs(
    terminal: MakeTerminal, tmp_path: Path, recordings: Path, example: str
) -> None:
    async with SimulatedExchange(Market(seed=1, rate=4000)) as exchange:
        environment = {
            "K2_BINANCE_WEBSOCKET_URL": exchange.url,
            "K2_BINANCE_API_URL": exchange.api_url,
            "XDG_CONFIG_HOME": str(tmp_path),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PAGER": "cat",
        }
        if "export" in example:
            pytest.importorskip("duckdb")
        if "@majors" in example:
            config = tmp_path / "k2" / "config.toml"
            config.parent.mkdir()
            config.write_text('[groups]\nmajors = ["BTCUSDT", "ETHUSDT"]\n')
        if "trades.jsonl" in example and "record" not in example:
            # What comes before it: a recording, in several files if they are asked for.
            name = "trades.jsonl.zst" if ".zst" in example else "trades.jsonl"
            size = "100KB" if ".zst" in example else "1MB"
            rotation = ("--rotate", size) if "*" in example else ()
            kept = recordings / "-".join([name, *rotation])
            if not kept.exists():
                screen = terminal(80, 24)
                screen.run(
                    *("record", "-o", name, "-n", "3000", *rotation),
                    **environment,
                )
                assert await screen.ended() == 0
                shutil.copytree(
                    tmp_path,
                    kept,
                    ignore=lambda _, names: set(names) - _captures(names),
                )
            shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
        screen = terminal(80, 24)
        shell = f"set -o pipefail; {on_a_free_port(example)}"
        screen.start(["bash", "-c", shell], **environment)
        if takes_long(example):
            await screen.until(lambda: screen.sent)
            screen.press_ctrl_c()
        status = await screen.ended()

    assert status == 0, screen.text
    assert b"Traceback" not in screen.sent
