from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from k2cli.simulator import SimulatedExchange, parse_fault

from .conftest import Terminal

MakeTerminal = Callable[[int, int], Terminal]


def urls(exchange: SimulatedExchange) -> dict[str, str]:
    return {
        "K2_BINANCE_WEBSOCKET_URL": exchange.url,
        "K2_BINANCE_API_URL": exchange.api_url,
    }


def rows(terminal: Terminal) -> list[str]:
    return [row for row in terminal.text.splitlines() if row]


@pytest.mark.parametrize("width", [30, 60, 120])
async def test_the_progress_is_one_line_on_any_screen(
    terminal: MakeTerminal, market: SimulatedExchange, width: int
) -> None:
    screen = terminal(width, 15)
    screen.run("record", "-o", "trades.jsonl", "BTCUSDT", "-n", "9000", **urls(market))

    last = {30: "trades", 60: "nothing missing", 120: r"lag.* trades\.jsonl"}[width]
    progress = rf"● live.* [1-9][\d,]* of 9,000 .*{last}$"
    await screen.until(lambda: re.search(progress, screen.text.rstrip()))

    assert screen.text.count("● live") == 1
    assert ("nothing missing" in screen.text) == (width > 30)
    assert ("lag" in screen.text) == (width == 120)


async def test_per_symbol_the_busiest_stand_above_the_progress(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(80, 24)
    screen.run(
        *("record", "-o", "trades.jsonl", "--all", "--per-symbol"), **urls(market)
    )

    # Busy enough to be among the first of the rows.
    busiest = r"\nsymbol +trades [^●]*\nBTCUSDT +[1-9][^●]*"
    rest = r"\nand \d+ more, all complete\ntotal +[\d,]+ +[\d,]+ +0\n● live .+$"
    await screen.until(lambda: re.search(busiest + rest, screen.text.rstrip()))

    screen.press_ctrl_c()
    assert await screen.ended() == 0
    assert "● live" not in screen.text


async def test_of_many_symbols_the_account_shows_what_fits(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(90, 24)
    screen.run("record", "-o", "trades.jsonl", "--all", "-n", "500", **urls(market))

    assert await screen.ended() == 0

    shown = rows(screen)
    heading = next(n for n, row in enumerate(shown) if row.startswith("symbol "))
    table = shown[heading:]
    assert [row.split("  ")[0] for row in table[-5:-3]] == [
        "and 10 more, all complete",
        "total",
    ]
    assert "500 trades written" in table[-3]
    assert table[-1] == "complete: 500 trades, nothing missing"
    assert b"\x1b[1;32mcomplete" in screen.sent


async def test_what_is_missing_stands_out_and_is_named(
    terminal: MakeTerminal, market: SimulatedExchange, tmp_path: Path
) -> None:
    screen = terminal(100, 30)
    screen.run(
        *("record", "-o", "trades.jsonl", "BTCUSDT", "--no-backfill"),
        *("--summary", "summary.json"),
        **urls(market),
    )
    await screen.until(lambda: re.search(r"● live.* [1-9][\d,]* trades", screen.text))
    market.add_fault(parse_fault("skip@1:5:BTCUSDT"))
    await screen.until(lambda: re.search(r"5 missing  1 gap", screen.text))
    screen.press_ctrl_c()

    assert await screen.ended() == 6
    assert re.search(r"BTCUSDT lacks \d+-\d+\n", screen.text)
    assert re.search(r"incomplete: [\d,]+ trades, 5 missing", screen.text)
    assert b"\x1b[1;31mincomplete" in screen.sent
    assert '"missing": 5' in (tmp_path / "summary.json").read_text()


async def test_closing_the_window_ends_a_recording(
    terminal: MakeTerminal, market: SimulatedExchange, tmp_path: Path
) -> None:
    """Without a terminal, SIGHUP means something else."""
    screen = terminal(80, 24)
    screen.run("record", "-o", "trades.jsonl", "BTCUSDT", **urls(market))
    await screen.until(lambda: "● live" in screen.text)

    assert screen.process is not None
    screen.process.send_signal(signal.SIGHUP)

    assert await screen.ended() == 0
    assert (tmp_path / "trades.jsonl").read_bytes().endswith(b"}\n")
