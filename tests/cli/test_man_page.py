from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from k2cli.cli.app import app
from k2cli.cli.man_page import man_page

from .conftest import K2

ROOT = Path(__file__).parents[2]
COMMANDS = (ROOT / "k2cli" / "manual" / "commands.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page() -> str:
    return man_page(typer.main.get_command(app), COMMANDS)


def test_it_has_all_commands_options_and_statuses(page: str) -> None:
    shown = page.replace(r"\-", "-")
    program = typer.main.get_command(app)
    for name, command in program.commands.items():  # type: ignore[attr-defined]  # it is a group
        assert f".SS k2 {name} " in shown
        for parameter in command.params:
            assert all(option in shown for option in parameter.opts if "-" in option)
    for status in re.findall(r"^\| (\d+) \|", COMMANDS, re.MULTILINE):
        assert rf"\fB{status}\fR" in page


def test_it_is_plain_roff(page: str) -> None:
    assert page.isascii()
    assert "[not dim" not in page
    requests = set(re.findall(r"^[.'](\S*)", page, re.MULTILINE))
    assert requests == {"TH", "SH", "SS", "TP", "PP", "EX", "EE", "B"}


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_groff_has_nothing_to_say(page: str) -> None:
    ended = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z"],  # noqa: S607 - as on the path
        input=page.encode(),
        capture_output=True,
        check=True,
    )
    # Wide words are broken; that is no fault of the page.
    said = [line for line in ended.stderr.splitlines() if b"can't break" not in line]
    assert said == []


async def test_the_command_prints_it(k2: K2, page: str) -> None:
    ended = await k2("manual", "--man")
    assert ended.status == 0
    assert ended.out.decode() == page
