"""``k2 stream`` and ``k2 record`` on a terminal."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from k2cli.simulator import SimulatedExchange, Trade, parse_fault

from .conftest import Terminal

MakeTerminal = Callable[..., Terminal]

ENTER_ALTERNATE, LEAVE_ALTERNATE = b"\x1b[?1049h", b"\x1b[?1049l"
HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"


def urls(exchange: SimulatedExchange) -> dict[str, str]:
    return {
        "K2_BINANCE_WEBSOCKET_URL": exchange.url,
        "K2_BINANCE_API_URL": exchange.api_url,
    }


def trades_shown(terminal: Terminal) -> int:
    found = re.search(r"([\d,]+) trades\b(?!/s)", terminal.text)
    return int(found[1].replace(",", "")) if found else 0


async def test_a_table_that_updates(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(80, 24)
    screen.run("stream", "--symbols", "BTCUSDT", "ETHUSDT", **urls(market))

    await screen.until(lambda: "● live" in screen.text and trades_shown(screen) > 0)
    before = trades_shown(screen)
    await screen.until(lambda: trades_shown(screen) > before)

    text = screen.text
    assert all(word in text for word in ("BTCUSDT", "ETHUSDT", "trades/s", "SIMULATED"))
    assert re.search(r"BTCUSDT +\d\d,\d{3}\.\d\d [▲▼]", text)
    screen.press_ctrl_c()
    assert await screen.ended() == 0


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["ctrl-c", "SIGTERM", "count", "duration"])
async def test_the_terminal_is_given_back_in_every_ending(
    terminal: MakeTerminal, market: SimulatedExchange, ending: str
) -> None:
    screen = terminal(80, 24)
    limit = {"count": ("-n", "300"), "duration": ("--duration", "1.5s")}
    screen.run("stream", "BTCUSDT", *limit.get(ending, ()), **urls(market))
    await screen.until(lambda: "● live" in screen.text)
    if ending == "ctrl-c":
        screen.press_ctrl_c()
    elif ending == "SIGTERM":
        assert screen.process is not None
        screen.process.send_signal(signal.SIGTERM)

    assert await screen.ended() == 0
    assert screen.sent.count(ENTER_ALTERNATE) == screen.sent.count(LEAVE_ALTERNATE) == 1
    assert screen.sent.rindex(SHOW_CURSOR) > screen.sent.rindex(HIDE_CURSOR)
    assert screen.is_as_it_was
    after = screen.sent[screen.sent.rindex(LEAVE_ALTERNATE) :].decode()
    assert "complete: " in after
    # At Ctrl-C a terminal throws away what it has not sent, be it half a character.
    assert b"Traceback" not in screen.sent


async def test_the_terminal_is_given_back_when_the_exchange_is_lost(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(80, 24)
    screen.run(
        *("stream", "BTCUSDT"),
        **urls(market),
        K2_BINANCE_RECONNECT_DELAY="0.3",
        K2_BINANCE_MAX_RECONNECT_ATTEMPTS="2",
    )
    await screen.until(lambda: trades_shown(screen) > 0)
    market.add_fault(parse_fault("refuse@0:503"))
    market.add_fault(parse_fault("drop@0"))

    await screen.until(lambda: "reconnecting in" in screen.text)
    assert await screen.ended() == 3
    assert screen.is_as_it_was

    after = screen.sent[screen.sent.rindex(LEAVE_ALTERNATE) :].decode()
    assert "k2: error: gave up after 2 failed attempts" in after
    assert screen.sent.rindex(SHOW_CURSOR) > screen.sent.rindex(HIDE_CURSOR)


async def test_a_second_ctrl_c_gives_the_terminal_back_too(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(80, 24)
    screen.run("stream", "BTCUSDT", **urls(market))
    await screen.until(lambda: trades_shown(screen) > 0 and "q quit" in screen.text)
    # A server that does not answer the close handshake holds the first one up.
    market.add_fault(parse_fault("stall@0"))

    assert screen.process is not None
    screen.process.send_signal(signal.SIGINT)
    screen.process.send_signal(signal.SIGTERM)

    assert await screen.ended() == 130
    assert screen.is_as_it_was
    assert screen.sent.rindex(SHOW_CURSOR) > screen.sent.rindex(HIDE_CURSOR)
    assert LEAVE_ALTERNATE in screen.sent


async def test_resizing_breaks_no_line(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(80, 24)
    screen.run("stream", "--all", **urls(market))
    await screen.until(lambda: trades_shown(screen) > 0)

    for columns, lines in ((60, 15), (120, 40), (40, 10), (80, 24)):
        screen.resize(columns, lines)
        await screen.drawn_whole()
        rows = [line for line in screen.screen.display if "USDT" in line]
        symbols = [row.split()[0] for row in rows if "×" not in row]
        assert len(symbols) == len(set(symbols))

    screen.press_ctrl_c()
    assert await screen.ended() == 0


async def test_log_lines_never_go_through_the_table(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(80, 24)
    screen.run("stream", "BTCUSDT", "--log-level", "debug", **urls(market))
    await screen.until(lambda: trades_shown(screen) > 0)
    market.add_fault(parse_fault("junk@0:5"))
    await screen.until(lambda: "Skipped a malformed message" in screen.text)

    rows = screen.screen.display
    assert re.search(r"! \d\d:\d\d:\d\d Skipped a malformed message", rows[-3])
    assert not any("Skipped" in row for row in rows[:-3])
    screen.press_ctrl_c()
    assert await screen.ended() == 0
    between = screen.sent[
        screen.sent.index(ENTER_ALTERNATE) : screen.sent.rindex(LEAVE_ALTERNATE)
    ]
    assert b"\n" not in between
    after = screen.sent[screen.sent.rindex(LEAVE_ALTERNATE) :]
    assert b"Connected to Binance WebSocket" in after


@pytest.mark.slow
async def test_it_draws_at_most_a_few_times_a_second(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(80, 24)
    screen.run("stream", "BTCUSDT", "--duration", "2s", **urls(market))

    assert await screen.ended() == 0

    # Every redraw begins with hiding or moving the cursor to the header's clock.
    clocks = re.findall(rb"live", screen.sent)
    assert 1 <= len(clocks) <= 4 * 2 + 3


async def test_a_dumb_terminal_gets_lines(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(100, 24)
    screen.run("stream", "BTCUSDT", "-n", "5", **urls(market), TERM="dumb")

    assert await screen.ended() == 0

    assert b"\x1b" not in screen.sent
    assert len(re.findall(rb"BTCUSDT +(?:BUY|SELL) ", screen.sent)) == 5


async def test_recording_shows_its_progress_in_one_line(
    terminal: MakeTerminal, market: SimulatedExchange, tmp_path: Path
) -> None:
    screen = terminal(80, 24)
    screen.run("record", "-o", "trades.jsonl", "BTCUSDT", **urls(market))

    await screen.until(lambda: re.search(r"● live .* [1-9]\d* trades", screen.text))
    assert sum("● live" in row for row in screen.screen.display) == 1
    assert "nothing missing" in screen.text
    screen.press_ctrl_c()

    assert await screen.ended() == 0
    assert "● live" not in screen.text
    assert "complete: " in screen.text
    written = (tmp_path / "trades.jsonl").read_bytes().count(b"\n")
    assert f"{written:,} trades written" in screen.text
    assert screen.sent.rindex(SHOW_CURSOR) > screen.sent.rindex(HIDE_CURSOR)


async def test_symbols_on_a_terminal_are_a_table(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(80, 24)
    screen.run("symbols", "--base", "BTC", **urls(market))

    assert await screen.ended() == 0

    assert re.search(r"BTCUSDT +BTC +USDT +TRADING +0\.01 +0\.00001", screen.text)


async def test_a_picture_of_the_screen_can_be_saved(
    terminal: MakeTerminal, market: SimulatedExchange, tmp_path: Path
) -> None:
    screen = terminal(80, 24)
    screen.run("stream", "BTCUSDT", "-n", "50", "--svg", "k2.svg", **urls(market))

    assert await screen.ended() == 0

    picture = (tmp_path / "k2.svg").read_text()
    assert picture.startswith("<svg")
    assert "BTCUSDT" in picture
    assert "live" in picture


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups")
async def test_closing_the_window_ends_it(
    terminal: MakeTerminal, market: SimulatedExchange, tmp_path: Path
) -> None:
    screen = terminal(80, 24)
    screen.run("stream", "BTCUSDT", "-o", "trades.jsonl", **urls(market))
    await screen.until(lambda: trades_shown(screen) > 0)

    assert screen.process is not None
    screen.process.send_signal(signal.SIGHUP)

    assert await screen.ended() == 0
    assert screen.is_as_it_was
    assert (tmp_path / "trades.jsonl").read_bytes().endswith(b"}\n")


async def test_the_last_minutes_are_there_from_the_start(
    terminal: MakeTerminal,
) -> None:
    """By their times, and the clock goes on where nothing is traded since."""
    now_us = time.time_ns() // 1000
    past = [
        Trade(
            "BTCUSDT",
            number,
            price=f"{64_000 + number}.51000000",
            quantity="0.00017000",
            trade_time_us=now_us - (60 - number) * 1_000_000,
            event_time_us=now_us - (60 - number) * 1_000_000,
            buyer_is_maker=False,
        )
        for number in range(1, 41)
    ]
    async with SimulatedExchange() as exchange:
        await exchange.publish(past)
        screen = terminal(100, 24)
        screen.run("stream", "BTCUSDT", "ETHUSDT", "--since", "2m", **urls(exchange))
        await screen.until(
            lambda: re.search(r"^ BTCUSDT .* 2\ds$", screen.text, re.MULTILINE)
        )
        assert "40 trades" in screen.text
        assert "↺" in screen.text
        screen.press_ctrl_c()
        assert await screen.ended() == 0
