from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

from k2cli.simulator import SimulatedExchange

from .conftest import Terminal

MakeTerminal = Callable[[int, int], Terminal]


def urls(exchange: SimulatedExchange) -> dict[str, str]:
    return {
        "K2_BINANCE_WEBSOCKET_URL": exchange.url,
        "K2_BINANCE_API_URL": exchange.api_url,
    }


def press(terminal: Terminal, keys: bytes) -> None:
    os.write(terminal._master, keys)


needs_less = pytest.mark.skipif(not shutil.which("less"), reason="there is no less")


@needs_less
async def test_what_is_longer_than_the_screen_is_paged(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(80, 15)
    screen.run("symbols", **urls(market))

    await screen.until(lambda: screen.text.endswith("\n:"))
    assert screen.text.startswith("symbol ")
    assert "1INCHUSDT" in screen.text
    sent = len(screen.sent)
    screen.press_ctrl_c()
    await screen.until(lambda: len(screen.sent) > sent)  # less asks again
    press(screen, b"G")
    await screen.until(lambda: "26 symbols" in screen.text)
    press(screen, b"q")

    assert await screen.ended() == 0
    assert screen.is_as_it_was
    assert b"Traceback" not in screen.sent
    assert b"\x1b[1m" in screen.sent


@needs_less
async def test_leaving_the_pager_early_is_no_fault(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(80, 15)
    screen.run("symbols", **urls(market), PAGER="head -1")

    assert await screen.ended() == 0
    assert screen.text.startswith("symbol ")
    assert "BTCUSDT" not in screen.text


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (("--no-pager",), {"PAGER": "false"}),
        ((), {"PAGER": "cat"}),
        ((), {"PAGER": ""}),
        ((), {"PAGER": "no-such-pager"}),
        ((), {"PAGER": "false", "TERM": "dumb"}),
        (("--base", "BTC"), {"PAGER": "false"}),
    ],
)
async def test_without_a_pager_all_of_it_is_printed(
    terminal: MakeTerminal,
    market: SimulatedExchange,
    arguments: tuple[str, ...],
    environment: dict[str, str],
) -> None:
    screen = terminal(80, 15)
    screen.run("symbols", *arguments, **(urls(market) | environment))

    assert await screen.ended() == 0
    assert b"BTCUSDT" in screen.sent
    assert b" symbols" in screen.sent
