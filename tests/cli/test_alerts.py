"""``--alert`` and ``--on-alert``."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from k2cli.cli.alert_command import MOST_AT_ONCE, MOST_PER_MINUTE, AlertCommand
from k2cli.engine.alerts import AlertWatch, parse_alert
from k2cli.errors import SettingsError
from k2cli.simulator import SimulatedExchange
from tests.batches import trade_batch

from .conftest import K2, trades

ALERT = AlertWatch([parse_alert("price>1")]).observe(trade_batch([7]))[0]


async def test_a_command_gets_the_facts(tmp_path: Path) -> None:
    file = tmp_path / "facts"
    command = AlertCommand(
        f'sh -c \'cat > {file}.new; echo "$K2_ALERT_TEXT" >> {file}.new; '
        f"mv {file}.new {file}'"
    )
    command.run(ALERT)
    await asyncio.gather(*command._running)
    await command.close()
    facts, text = file.read_text().splitlines()
    assert json.loads(facts)["symbol"] == "BTCUSDT"
    assert json.loads(facts)["price"] == ALERT.trade.price
    assert text == f"BTCUSDT price>1: {ALERT.trade.price}"


@pytest.mark.skipif(os.name == "nt", reason="needs sh")
@pytest.mark.parametrize("at_once", [False, True])
async def test_commands_are_bounded_and_killed_at_the_end(
    tmp_path: Path, at_once: bool
) -> None:
    """Without the bound there are ten; without the kill they outlast the end."""
    os.mkfifo(tmp_path / "started")
    with (tmp_path / "started").open("r+b", buffering=0) as started:
        command = AlertCommand(f"sh -c 'echo $$ > {tmp_path}/started; exec sleep 99'")
        for _ in range(10):
            command.run(ALERT)
        assert len(command._running) == MOST_AT_ONCE
        lines = [await asyncio.to_thread(started.readline) for _ in range(MOST_AT_ONCE)]
    if at_once:
        command.kill()
        await asyncio.gather(*command._running)
    else:
        await command.close()
    for line in lines:
        with pytest.raises(ProcessLookupError):
            os.kill(int(line), 0)


async def test_there_is_a_limit_to_their_rate() -> None:
    command = AlertCommand("true")
    for _ in range(MOST_PER_MINUTE + 5):
        command.run(ALERT)
        await asyncio.gather(*command._running)
    assert command._left_out == 5
    await command.close()


@pytest.mark.parametrize("line", ["", "no-such-program-at-all x", "sh -c 'open"])
def test_a_command_that_cannot_be_is_refused(line: str) -> None:
    with pytest.raises(SettingsError, match="--on-alert"):
        AlertCommand(line)


@pytest.mark.parametrize("command", ["stream", "record"])
async def test_a_crossing_is_said_on_stderr(
    k2: K2, exchange: SimulatedExchange, command: str
) -> None:
    k2.use(exchange)
    options = ["-o", "trades.jsonl"] if command == "record" else ["--json"]
    process = await k2.start(
        command, "BTCUSDT", "-n", "4", "--alert", "btc/usdt:price>61837", *options
    )
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 4))
    ended = await k2.end(process)
    alerts = [line for line in ended.err.splitlines() if '"event": "Alert"' in line]
    assert ended.status == 0
    assert len(alerts) == 1
    assert json.loads(alerts[0])["condition"] == "price>61837"
    assert json.loads(alerts[0])["value"] == "61837.63000000"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--alert", "prize>1"), "--alert 'prize>1' cannot be read. Write price>65000"),
        (("--on-alert", "true"), "--on-alert goes with --alert"),
        (("--alert", "XRPUSDT:price>1"), "XRPUSDT, which is not followed"),
    ],
)
async def test_wrong_alerts_are_one_line_and_status_2(
    k2: K2, options: tuple[str, ...], message: str
) -> None:
    ended = await k2("stream", "--demo", "BTCUSDT", *options)
    assert ended.status == 2
    assert message in ended.err
    assert len(ended.err.splitlines()) == 1
