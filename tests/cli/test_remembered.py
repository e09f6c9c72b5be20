"""Looks and groups in config.toml."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from k2cli.cli import groups
from k2cli.cli.app import app
from k2cli.cli.looks import DisplayConfig
from k2cli.display.columns import COLUMNS
from k2cli.errors import SettingsError

TOML = """
[display]
columns = ["last", "trend"]
sort = "notional"
window = "15m"
tape = false
floor = 10000
mouse = false

[groups]
majors = ["BTCUSDT", "eth/usdt"]
alts = "SOLUSDT, XRPUSDT"
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(TOML)
    return file


def test_an_option_wins_over_what_is_remembered(toml: Path) -> None:
    looks = DisplayConfig.load({"sort": "rate", "floor": None}, toml)
    assert looks == DisplayConfig(
        columns=["last", "trend"],
        sort="rate",
        window=900.0,
        tape=False,
        floor=10_000,
        mouse=False,
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("srot = 1", "unknown setting srot. Did you mean sort"),
        ("columns = ['lst']", "columns from .* Allowed is a list of symbol, last"),
        ("sort = 'side'", "sort from .* Allowed is one of symbol, last"),
        ("window = '1s'", "window from .* a time from 10s to 24h"),
        ("window = 'soon'", "window from .* a time from 10s to 24h"),
        ("tape = 'yes'", "tape from .* true or false"),
        ("floor = 5", "floor from .* one of 0, 1000, 10000"),
        ("floor = []", "floor from .* one of 0, 1000, 10000"),
    ],
)
def test_a_wrong_look_is_named(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[display]\n{line}\n")
    with pytest.raises(SettingsError, match=says):
        DisplayConfig.load(file=file)


def test_every_column_can_be_chosen() -> None:
    names = [column.name for column in COLUMNS]
    assert DisplayConfig.load({"columns": ",".join(names)}).columns == names


def test_a_group_stands_for_its_symbols(toml: Path) -> None:
    words = ["@majors,BNBUSDT", "@alts"]
    assert groups.expanded(words, toml) == [
        *("BTCUSDT", "eth/usdt", "BNBUSDT", "SOLUSDT", "XRPUSDT")
    ]
    with pytest.raises(SettingsError, match="Did you mean @majors"):
        groups.expanded(["@majrs"], toml)


@pytest.mark.parametrize("value", ["[]", "7", "[1]", "['@alts']", "''", "['a b']"])
def test_a_group_is_a_list_of_symbols(tmp_path: Path, value: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[groups]\nmine = {value}\n")
    with pytest.raises(SettingsError, match="the group mine from"):
        groups.load(file)


def test_a_group_is_streamed_and_recorded(toml: Path, tmp_path: Path) -> None:
    for command in (["stream"], ["record", "-o", str(tmp_path / "trades.jsonl")]):
        summary = tmp_path / "summary.json"
        arguments = ["--demo", "@alts", "--config", str(toml), "-n", "5"]
        app(
            [*command, *arguments, "--summary", str(summary), "-q"],
            standalone_mode=False,
        )
        assert '"SOLUSDT"' in summary.read_text()
        assert '"BTCUSDT"' not in summary.read_text()


def test_config_shows_looks_and_groups_with_their_source(toml: Path) -> None:
    shown = CliRunner().invoke(app, ["config", "--help"])
    assert shown.exit_code == 0
    explained = [*DisplayConfig.explain(toml), *groups.explain(toml)]
    assert ("display.window", "15m", str(toml)) in explained
    assert ("groups.majors", "BTCUSDT,eth/usdt", str(toml)) in explained
    assert ("display.sort", "none", "the default") in DisplayConfig.explain(None)
