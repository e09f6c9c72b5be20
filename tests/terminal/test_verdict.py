from __future__ import annotations

from collections.abc import Callable

import pytest

from k2cli.simulator import SimulatedExchange

from .conftest import Terminal

MakeTerminal = Callable[[int, int], Terminal]


async def recorded(
    terminal: MakeTerminal, market: SimulatedExchange, *symbols: str
) -> Terminal:
    """Record something, and give a terminal to look at it."""
    screen = terminal(80, 24)
    screen.run(
        *("record", "-o", "trades.jsonl", "-n", "400", *symbols),
        K2_BINANCE_WEBSOCKET_URL=market.url,
        K2_BINANCE_API_URL=market.api_url,
    )
    assert await screen.ended() == 0
    return terminal(80, 24)


@pytest.mark.slow
async def test_a_bar_comes_and_goes_and_the_verdict_stays(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = await recorded(terminal, market, "BTCUSDT")
    screen.run("verify", "trades.jsonl")

    assert await screen.ended() == 0

    sent = screen.sent.decode()
    assert "━" in sent
    assert "nothing wrong so far" in sent
    assert "━" not in screen.text
    assert screen.text.rstrip().endswith(
        "whole: 400 trades of 1 symbol, nothing missing, nothing twice, all in order"
    )
    assert "\x1b[1;32mwhole" in sent


@pytest.mark.slow
async def test_of_many_symbols_a_screen_shows_what_fits_unless_all_are_asked_for(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = await recorded(terminal, market, "--all")
    screen.run("verify", "trades.jsonl")
    assert await screen.ended() == 0
    shown = screen.text.splitlines()
    assert shown[0].startswith("symbol ")
    assert "more, all complete" in screen.text
    assert "\nwhole: 400 trades of " in screen.text

    screen = terminal(80, 50)
    screen.run("verify", "--all", "trades.jsonl")
    assert await screen.ended() == 0
    assert "more, all complete" not in screen.text
