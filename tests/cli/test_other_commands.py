"""``k2 symbols``, ``k2 simulate``, help, version, and usage errors."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from k2cli import __version__
from k2cli.simulator import FAULTS, SimulatedExchange, parse_fault

from .conftest import K2


async def test_symbols_lists_what_can_be_traded(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)

    ended = await k2("symbols")

    entries = [json.loads(line) for line in ended.lines]
    trading = sorted(
        info.symbol for info in market.symbols.values() if info.status == "TRADING"
    )
    assert ended.status == 0
    assert [entry["symbol"] for entry in entries] == trading
    assert list(entries[0]) == [
        "symbol",
        "base_asset",
        "quote_asset",
        "status",
        "tick_size",
        "step_size",
    ]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("btceur",), {"BTCEUR"}),
        (("btc/eur",), {"BTCEUR"}),
        (("--base", "eth", "--quote", "btc"), {"ETHBTC"}),
        (("nothing-like-this",), set()),
    ],
)
async def test_symbols_searches(
    k2: K2, market: SimulatedExchange, arguments: tuple[str, ...], found: set[str]
) -> None:
    k2.use(market)

    ended = await k2("symbols", *arguments)

    assert {json.loads(line)["symbol"] for line in ended.lines} == found
    assert ended.status == 0
    assert ("none of the" in ended.err) is not bool(found)


@pytest.mark.parametrize(
    ("key", "first", "last"),
    [
        ("symbol", "1INCHUSDT", "币安人生USDT"),
        ("quote", "BTCBRL", "币安人生USDT"),
        ("tick", "PEPEUSDT", "BTCIDRT"),
        ("step", "BTCIDRT", "XRPUSDT"),
    ],
)
async def test_symbols_are_sorted(
    k2: K2, market: SimulatedExchange, key: str, first: str, last: str
) -> None:
    k2.use(market)

    ended = await k2("symbols", "--sort", key)

    names = [json.loads(line)["symbol"] for line in ended.lines]
    assert (names[0], names[-1]) == (first, last)


async def test_symbols_with_any_status(k2: K2, market: SimulatedExchange) -> None:
    k2.use(market)

    every = await k2("symbols", "--status", "all")
    suspended = await k2("symbols", "--status", "break")

    assert len(every.lines) == len(market.symbols)
    assert {json.loads(line)["status"] for line in suspended.lines} == {"BREAK"}


async def test_symbols_says_when_the_exchange_refuses(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)
    market.add_fault(parse_fault("refuse@0:451:api"))

    ended = await k2("symbols")

    assert ended.status == 4
    assert ended.out == b""
    assert len(ended.err.splitlines()) == 1


async def test_symbols_takes_the_catalog_from_the_data_only_host(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)
    market.add_fault(parse_fault("refuse@0:451:api"))

    ended = await k2("symbols", "btceur", K2_BINANCE_REST_URL=market.rest_url)

    assert ended.status == 0
    assert [json.loads(line)["symbol"] for line in ended.lines] == ["BTCEUR"]


async def test_simulate_serves_any_client_until_it_is_stopped(k2: K2) -> None:
    process = await k2.start("simulate", "--port", "0", "--rate", "500", "--seed", "3")
    assert process.stderr is not None
    banner = (await asyncio.wait_for(process.stderr.readline(), 20)).decode()
    url = re.findall(r"ws://\S+/stream", banner)[0]

    async with connect(
        f"{url}?streams=btcusdt@trade", proxy=None, max_queue=None
    ) as client:
        frame = json.loads(await client.recv())
    process.send_signal(signal.SIGINT)
    ended = await k2.end(process)

    assert "SIMULATED" in banner
    assert frame["stream"] == "btcusdt@trade"
    assert ended.status == 0
    assert ended.out == b""


async def test_a_torn_recording_is_not_called_complete(k2: K2) -> None:
    recorded = await k2("record", "--demo", "-o", "t.jsonl", "-n", "50", "BTCUSDT")
    assert recorded.status == 0
    with (k2.folder / "t.jsonl").open("ab") as file:
        file.write(b'{"message_id":"torn')

    ended = await k2("stream", "--replay", "t.jsonl", "--speed", "0", "--json")

    assert len(ended.lines) == 50
    (warning,) = [line for line in ended.err.splitlines() if "not complete" in line]
    assert "line 51 is torn" in warning
    assert "the recording's end is damaged: 50 trades" in ended.err
    assert "complete:" not in ended.err


async def test_the_faults_are_listed(k2: K2) -> None:
    ended = await k2("simulate", "--faults")

    assert ended.status == 0
    names = [line.partition("@")[0] for line in ended.out.decode().splitlines()]
    assert names == [kind.name for kind in FAULTS]


async def test_version_and_module(k2: K2) -> None:
    ended = await k2("--version")

    assert ended.out.decode() == f"k2 {__version__}\n"


@pytest.mark.parametrize(
    "command", ["stream", "record", "symbols", "verify", "simulate"]
)
async def test_every_command_has_help_with_two_examples(k2: K2, command: str) -> None:
    ended = await k2(command, "--help")

    assert ended.status == 0
    assert ended.out.decode().count(f" k2 {command}") >= 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--frobnicate",), "No such option"),
        (("stream", "--duration", "5x"), "'5x' is no length of time"),
        (("stream", "--max-delay", "2m"), "'2m' is not from 0 to 1s"),
        (("stream", "--min-notional", "lots"), "'lots' is no amount"),
        (("stream", "-n", "0"), "'--count' / '-n'"),
        (("stream", "--demo", "--replay", "x"), "--demo and --replay do not go"),
        (("stream", "--speed", "2"), "--speed goes with --replay"),
        (("stream", "--replay", "nowhere.jsonl"), "nowhere.jsonl"),
        (("stream", "--format", "table"), "the table needs a terminal"),
        (("stream", "--json", "--format", "csv"), "contradict"),
        (("stream", "--demo", "--json", "--bell"), "needs a terminal to ring"),
        (("stream", "$(reboot)"), "is not a symbol"),
        (("stream", "--url", "http://example.com"), "wss:// or ws://"),
        (("stream", "--config", "nowhere.toml"), "no configuration file"),
        (("record",), "'--output' / '-o'. 'k2 record --help' shows"),
        (("record", "-o", "t.jsonl", "--shard", "6/5"), "'6/5' is no share"),
        (("record", "-o", "t.jsonl", "--shard", "0/5"), "'0/5' is no share"),
        (("record", "-o", "t.jsonl", "--metrics", "9464"), "'9464' is no address"),
        (("record", "-o", "t", "--metrics", "h:99999"), "write 127.0.0.1:9464"),
        (("record", "-o", "t", "--metrics-per-symbol"), "goes with --metrics"),
        (("strea",), "Did you mean 'stream'? 'k2 --help' shows"),
        (("symbols", "--sort", "x"), "'--sort': 'x' is not one of"),
        (("simulate", "--fault", "earthquake@1"), "no fault 'earthquake'"),
        (("simulate", "--fault", "drop@soon"), "position"),
        (("simulate", "--market-size", "1000000"), "a size from 1 to 20,000"),
        (("simulate", "--burst", "0"), "one from 1 to 1000"),
        (("simulate", "--replay", "t.jsonl", "--burst", "9"), "--burst make up"),
        (("dance",), "No such command"),
    ],
)
async def test_a_wrong_command_line_is_one_line_and_status_2(
    k2: K2, arguments: tuple[str, ...], says: str
) -> None:
    ended = await k2(*arguments)

    assert ended.status == 2
    assert ended.out == b""
    (line,) = ended.err.splitlines()
    assert line.startswith("k2: error: ")
    assert says in line


@pytest.mark.slow
async def test_settings_from_environment_and_file(
    k2: K2, market: SimulatedExchange
) -> None:
    k2.use(market)
    file = Path(k2.environment["XDG_CONFIG_HOME"]) / "k2" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[binance]\nsymbols = ["ETHBTC", "BTCEUR"]\n')

    of_file = await k2("stream", "-n", "300")
    of_environment = await k2("stream", "-n", "20", K2_BINANCE_SYMBOLS="ethusdt")

    assert {json.loads(line)["symbol"] for line in of_file.lines} == {
        "ETHBTC",
        "BTCEUR",
    }
    assert {json.loads(line)["symbol"] for line in of_environment.lines} == {"ETHUSDT"}


async def test_a_wrong_setting_names_field_source_and_remedy(k2: K2) -> None:
    ended = await k2("stream", K2_BINANCE_RECONNECT_DELAY="soon")

    assert ended.status == 2
    (line,) = ended.err.splitlines()
    assert "reconnect_delay from K2_BINANCE_RECONNECT_DELAY is 'soon'" in line
    assert "a number of seconds" in line


async def test_it_can_be_switched_off(k2: K2) -> None:
    ended = await k2("stream", "--demo", "-n", "1", K2_BINANCE_ENABLED="false")

    assert ended.status == 2
    assert "switched off" in ended.err
