"""``k2 config``, ``k2 doctor``, ``k2 help``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from k2cli.cli.app import app
from k2cli.cli.hosts import host_findings
from k2cli.config import BinanceConfig, explain_config
from k2cli.errors import SettingsError
from k2cli.simulator import SimulatedExchange


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text('[binance]\nsymbols = ["ETHBTC"]\nreconnect_delay = 2\n')
    return file


def test_every_setting_has_its_source(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K2_BINANCE_RECONNECT_DELAY", "3")
    settings = explain_config({"websocket_url": "wss://me:secret@host/x"}, toml)
    found = {name: (value, source) for name, value, source in settings}
    assert found["symbols"] == ("ETHBTC", str(toml))
    assert found["reconnect_delay"] == ("3.0", "K2_BINANCE_RECONNECT_DELAY")
    assert found["websocket_url"] == ("wss://***@host/x", "the command line")
    assert found["open_timeout"] == ("10.0", "the default")


def test_a_wrong_setting_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[binance]\nopen_timeout = 0\n")
    with pytest.raises(SettingsError, match="open_timeout"):
        explain_config({}, file)


@pytest.mark.parametrize("command", ["stream", "config", "doctor", "help"])
def test_help_shows_what_a_command_does(command: str) -> None:
    shown = CliRunner().invoke(app, ["help", command])
    same = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert f"k2 {command}" in shown.stdout.replace("root", "k2")
    assert same.exit_code == 0


def test_config_prints_a_line_or_an_object_for_each(
    toml: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    app(["config", "--config", str(toml)], standalone_mode=False)
    shown = capfd.readouterr().out
    assert "symbols                 ETHBTC" in shown
    assert f"file: {toml}" in shown
    app(["config", "--json", "--config", str(toml)], standalone_mode=False)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {line["name"]: line["value"] for line in lines}["symbols"] == "ETHBTC"


def test_doctor_finds_the_embedded_exchange_well(
    capfd: pytest.CaptureFixture[str],
) -> None:
    status = app(["doctor", "--demo"], standalone_mode=False)
    shown = capfd.readouterr().out
    assert status == 0
    assert "FAIL" not in shown
    for what in ("settings", "streams", "history", "clock", "exchange", "lag"):
        assert f"ok    {what}" in shown


def test_doctor_says_what_is_wrong(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[binance]\nopen_timeout = 0\n")
    status = app(["doctor", "--demo", "--config", str(file)], standalone_mode=False)
    assert status == 3
    assert "FAIL  settings    open_timeout" in capfd.readouterr().out


async def test_doctor_looks_at_every_host() -> None:
    """An address that others can stand in for is no failure; the only API is."""
    nobody = "ws://127.0.0.1:9"
    async with SimulatedExchange() as exchange:
        config = BinanceConfig(
            websocket_url=nobody, fallback_urls=[exchange.url], api_url=exchange.api_url
        )
        found = await host_findings(config, proxy=False)
        config = BinanceConfig(websocket_url=exchange.url, api_url=nobody)
        alone = await host_findings(config, proxy=False)
    assert [(good, what) for good, what, _ in found] == [
        (None, "streams"),
        (True, "streams"),
        (True, "history"),
        (True, "clock"),
    ]
    assert "5,997 of 6,000 request weight left" in found[2][2]
    assert [good for good, _, _ in alone] == [True, False]
    async with SimulatedExchange(wall_clock_us=lambda: 10**15) as exchange:
        config = BinanceConfig(websocket_url=exchange.url, api_url=exchange.api_url)
        *_, clock = await host_findings(config, proxy=False)
    assert clock[0] is False
    assert "ahead of the exchange's; set this computer's clock" in clock[2]
