"""The lines about the whole market."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from k2cli.display.breadth import breadth_lines
from k2cli.display.controls import Controls
from k2cli.display.market import MarketState
from k2cli.trade import Instrument
from tests.display.trading import observe


def market() -> MarketState:
    market = MarketState(started_seconds=0.0)
    for place in range(8):
        symbol = f"COIN{place}USDT"
        quote = {symbol: Instrument(symbol, "BINANCE", f"COIN{place}", "USDT")}
        for number, price in enumerate((100, 100 + 2 * (place - 3))):
            trade = (symbol, f"{price}", "50", "BUY", number, number * 1000, False)
            observe(market, [trade], 1.0 + number, quote)
    return market


def text(width: int, height: int) -> list[str]:
    lines = breadth_lines(market(), Controls(), width, height, 3.0)
    return [line.plain for line in lines]


def test_one_line_has_the_most_important() -> None:
    (line,) = text(100, 24)
    assert line.startswith(" ▲ 4  ▼ 3  = 1")
    assert "USD/s" in line
    assert "moved COIN7USDT +8.00%" in line
    assert "largest COIN7USDT BUY 5,400" in line


def test_large_screens_have_two_lines() -> None:
    first, second, air = text(160, 40)
    assert "COIN6USDT +6.00%" in first
    assert second.startswith(" largest COIN7USDT BUY 5,400  COIN6USDT BUY 5,300")
    assert air == ""


@pytest.mark.parametrize("width", range(1, 120, 9))
def test_it_fits(width: int) -> None:
    assert all(cell_len(line) <= width for line in text(width, 40))
