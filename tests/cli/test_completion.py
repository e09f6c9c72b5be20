"""Completion as shells ask for it, and in a real bash."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from k2cli.binance.catalog import Catalog, CatalogCache, SymbolInfo
from k2cli.config_file import API_URL

from .conftest import K2

needs_bash = pytest.mark.skipif(
    sys.platform == "win32" or not shutil.which("bash"), reason="there is no bash"
)
# Sets COMPREPLY as a press of the tabulator key does, and prints it.
BASH = """
PATH="$1:$PATH"; shift
source <(_K2_COMPLETE=source_bash k2)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_k2_completion k2
printf '%s\\n' "${COMPREPLY[@]}"
"""


def keep_a_catalog(k2: K2, api_url: str = API_URL) -> None:
    entries = [
        ("BTCUSDT", "BTC", "USDT", "TRADING"),
        ("BTCEUR", "BTC", "EUR", "TRADING"),
        ("BTCBUSD", "BTC", "BUSD", "BREAK"),
        ("ETHUSDT", "ETH", "USDT", "TRADING"),
    ]
    catalog = Catalog(
        (SymbolInfo(*entry, tick_size="0.01", step_size="1") for entry in entries),
        whole=True,
        fetched_at_seconds=1.0,
    )
    folder = Path(k2.environment["XDG_CACHE_HOME"]) / "k2"
    CatalogCache(folder).save(api_url, catalog)


async def in_bash(k2: K2, *words: str) -> list[str]:
    """Complete the last word of a command line."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "-c", BASH, "bash", str(Path(sys.executable).parent)),
        *words,
        cwd=k2.folder,
        env=k2.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert err == b""
    return out.decode().split()


@needs_bash
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("k2 st", ["stream"]),
        ("k2 stream --form", ["--format"]),
        ("k2 stream --format c", ["csv"]),
        ("k2 stream BTC", ["BTCEUR", "BTCUSDT"]),
        ("k2 stream BTCEUR ethu", ["ethusdt"]),
        ("k2 record --symbols BTC/", ["BTC/EUR", "BTC/USDT"]),
        ("k2 stream --symbols BTCEUR,E", ["BTCEUR,ETHUSDT"]),
        ("k2 stream --base b", ["btc"]),
        ("k2 symbols --quote E", ["EUR"]),
        ("k2 symbols ETH", ["ETHUSDT"]),
        ("k2 stream --demo SOL", ["SOLBTC", "SOLUSDT"]),
        ("k2 stream --demo 币", ["币安人生USDT"]),
        ("k2 stream NONE", []),
    ],
)
async def test_the_shell_offers_what_there_is(
    k2: K2, line: str, offered: list[str]
) -> None:
    keep_a_catalog(k2)
    assert await in_bash(k2, *line.split(" ")) == offered


@pytest.mark.slow
@needs_bash
async def test_groups_and_columns_are_offered(k2: K2) -> None:
    file = Path(k2.folder) / "config.toml"
    file.write_text('[groups]\nmajors = ["BTCUSDT"]\nalts = ["SOLUSDT"]\n')
    own = ["k2", "stream", "--config", str(file)]
    assert await in_bash(k2, *own, "@") == ["@alts", "@majors"]
    assert await in_bash(k2, *own, "BTCUSDT,@m") == ["BTCUSDT,@majors"]
    assert await in_bash(k2, *own, "--columns", "last,tr") == [
        *("last,trades", "last,trend")
    ]
    assert await in_bash(k2, *own, "--floor", "100") == [
        *("1000", "10000", "100000", "1000000")
    ]


@pytest.mark.slow
@needs_bash
async def test_only_the_exchange_at_hand_is_offered(k2: K2) -> None:
    keep_a_catalog(k2, "ws://127.0.0.1:9/ws-api/v3")
    elsewhere = ["--api-url", "ws://127.0.0.1:9/ws-api/v3"]
    assert await in_bash(k2, "k2", "stream", "BTC") == []
    assert await in_bash(k2, "k2", "stream", *elsewhere, "ETH") == ["ETHUSDT"]
    assert await in_bash(
        k2, "k2", "stream", "--url", "ws://127.0.0.1:9/stream", "ETH"
    ) == ["ETHUSDT"]
    k2.environment["K2_BINANCE_WEBSOCKET_URL"] = "ws://127.0.0.1:9"
    assert await in_bash(k2, "k2", "symbols", "ETH") == ["ETHUSDT"]


@needs_bash
async def test_without_a_catalog_there_is_nothing_to_offer(k2: K2) -> None:
    assert await in_bash(k2, "k2", "stream", "BTC") == []
    broken = Path(k2.environment["XDG_CACHE_HOME"]) / "k2" / "catalog-broken.json"
    broken.parent.mkdir(parents=True)
    broken.write_text('{"symbols": [{"base_asset": 1')
    assert await in_bash(k2, "k2", "stream", "BTC") == []


@pytest.mark.parametrize(
    ("shell", "environment", "answer"),
    [
        ("zsh", {}, '_arguments \'*: :(("BTCEUR"\n"BTCUSDT"))\''),
        ("fish", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}, "BTCEUR\nBTCUSDT"),
        (
            "powershell",
            {"_TYPER_COMPLETE_WORD_TO_COMPLETE": "BTC"},
            "BTCEUR::: \nBTCUSDT::: ",
        ),
    ],
)
async def test_other_shells_get_the_same(
    k2: K2, shell: str, environment: dict[str, str], answer: str
) -> None:
    keep_a_catalog(k2)
    line = {"_TYPER_COMPLETE_ARGS": "k2 stream BTC"} | environment

    ended = await k2(_K2_COMPLETE=f"complete_{shell}", **line)

    assert ended.status == 0
    assert ended.out.decode().replace("\r", "").rstrip("\n") == answer
    assert ended.err == ""
