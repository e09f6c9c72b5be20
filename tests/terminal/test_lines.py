from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from k2cli.simulator import SimulatedExchange

from .conftest import Terminal

MakeTerminal = Callable[[int, int], Terminal]
LINE = re.compile(r"\d\d:\d\d:\d\d\.\d{3}  BTCUSDT +(BUY |SELL) +[\d,.]+ ×")


def urls(exchange: SimulatedExchange) -> dict[str, str]:
    return {
        "K2_BINANCE_WEBSOCKET_URL": exchange.url,
        "K2_BINANCE_API_URL": exchange.api_url,
    }


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
async def test_lines_have_colour_where_that_is_wanted(
    terminal: MakeTerminal,
    market: SimulatedExchange,
    environment: dict[str, str],
    coloured: bool,
) -> None:
    screen = terminal(80, 24)
    screen.run(
        *("stream", "BTCUSDT", "--format", "lines", "-n", "5"),
        **(urls(market) | environment),
    )

    assert await screen.ended() == 0

    assert sum(bool(LINE.match(row)) for row in screen.screen.display) == 5
    assert (b"\x1b[32mBUY" in screen.sent or b"\x1b[31mSELL" in screen.sent) == coloured
    assert b"\a" not in screen.sent


@pytest.mark.parametrize("output_format", ["lines", "table"])
async def test_the_bell_rings_once_for_a_burst(
    terminal: MakeTerminal, market: SimulatedExchange, output_format: str
) -> None:
    screen = terminal(80, 24)
    screen.run(
        *("stream", "BTCUSDT", "--format", output_format, "--bell"), **urls(market)
    )

    await screen.until(lambda: b"\a" in screen.sent)
    screen.press_ctrl_c()

    assert await screen.ended() == 0
    ledger = re.search(r"^BTCUSDT +([\d,]+)", screen.text, re.MULTILINE)
    assert ledger is not None
    trades = int(ledger[1].replace(",", ""))
    assert 1 <= screen.sent.count(b"\a") <= max(1, trades // 10)
