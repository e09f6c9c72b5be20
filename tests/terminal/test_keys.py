"""Keys pressed while ``k2 stream`` runs, and what becomes of the terminal."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import termios
from collections.abc import AsyncIterator, Callable

import pytest

from k2cli.simulator import Market, SimulatedExchange

from .conftest import Terminal

MakeTerminal = Callable[..., Terminal]

ENTER_ALTERNATE, LEAVE_ALTERNATE = b"\x1b[?1049h", b"\x1b[?1049l"
MOUSE_ON, MOUSE_OFF = b"\x1b[?1000h\x1b[?1006h", b"\x1b[?1006l\x1b[?1000l"
HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"


@pytest.fixture
async def screen(
    terminal: MakeTerminal, market: SimulatedExchange
) -> AsyncIterator[Terminal]:
    """A screen with more symbols than fit, which listens to keys."""
    shown = terminal(100, 24)
    shown.run("stream", "--all", **urls(market))
    await listening(shown)
    yield shown
    shown.press("\x03")
    assert await shown.ended() == 0
    assert shown.is_as_it_was


def urls(exchange: SimulatedExchange) -> dict[str, str]:
    return {
        "K2_BINANCE_WEBSOCKET_URL": exchange.url,
        "K2_BINANCE_API_URL": exchange.api_url,
    }


async def listening(screen: Terminal) -> None:
    """Wait until there are trades, and keys are taken at once."""
    await screen.until(lambda: "q quit" in screen.text and "× " in screen.text)

    def settings() -> int:
        return int(termios.tcgetattr(screen._slave)[3])

    # What is on the screen may be from before it was left.
    await screen.until(lambda: not settings() & (termios.ICANON | termios.ECHO))
    assert settings() & termios.ISIG


def rows(screen: Terminal) -> list[str]:
    """Give the symbols in the table, from top to bottom."""
    lines = screen.screen.display
    first = next(i for i, line in enumerate(lines) if line.startswith(" symbol")) + 1
    end = next(i for i, line in enumerate(lines) if line.startswith("──"))
    # The emulator shows the second half of a wide character as nothing.
    return [line.split()[0] for line in lines[first:end]]


async def test_q_quits_and_gives_the_terminal_back(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(80, 24)
    screen.run("stream", "BTCUSDT", **urls(market))
    await listening(screen)

    screen.press("q")

    assert await screen.ended() == 0
    assert screen.is_as_it_was
    assert screen.sent.count(ENTER_ALTERNATE) == screen.sent.count(LEAVE_ALTERNATE) == 1
    assert screen.sent.rindex(SHOW_CURSOR) > screen.sent.rindex(HIDE_CURSOR)
    assert screen.sent.rindex(MOUSE_OFF) > screen.sent.rindex(MOUSE_ON)
    assert "complete: " in screen.text


async def test_space_stops_the_picture_and_starts_it_again(screen: Terminal) -> None:
    def body() -> list[str]:
        return screen.screen.display[2:-3]

    screen.press(" ")
    await screen.until(lambda: "PAUSED" in screen.text and "resume" in screen.text)
    stopped = body()
    # The ledger goes on counting meanwhile, as the capture does.
    ledger = screen.screen.display[-2]
    await screen.until(lambda: screen.screen.display[-2] != ledger)
    assert body() == stopped

    screen.press(" ")
    await screen.until(lambda: "PAUSED" not in screen.text and body() != stopped)


async def test_pages_and_rows(screen: Terminal) -> None:
    def first(note: str) -> bool:
        return f" {note}–" in screen.screen.display[-3]

    screen.press("n")
    await screen.until(lambda: not first("1"))
    screen.press("p")
    await screen.until(lambda: first("1"))
    screen.press("\x1b[6~")  # page down
    await screen.until(lambda: not first("1"))
    screen.press("\x1b[5~\x1b[5~")  # page up
    await screen.until(lambda: first("1"))


async def test_a_symbol_is_chosen_opened_and_left_by_keys(screen: Terminal) -> None:
    screen.press("\x1b[B\x1b[B\x1b[A\x1b[B")  # down, down, up, down
    await screen.until(lambda: "▸" in screen.text)
    (chosen,) = re.findall(r"▸(\w+)", screen.text)
    screen.press("\r")
    await screen.until(lambda: "── price, " in screen.text)
    assert re.search(rf"^ {chosen}  [\d.,]+", screen.text, re.MULTILINE)
    screen.press("\x1b")
    await screen.until(lambda: f"▸{chosen}" in screen.text)
    screen.press("m")
    await screen.until(lambda: "latest trades, UTC, from 1,000 USD" in screen.text)


async def test_a_symbol_is_chosen_and_opened_by_the_mouse(screen: Terminal) -> None:
    assert screen.sent.count(MOUSE_ON) == 1
    first = next(
        i for i, line in enumerate(screen.screen.display) if line.startswith(" symbol")
    )
    # A press and its release; moves, other buttons and nonsense mean nothing.
    click = f"\x1b[<0;5;{first + 2}M\x1b[<0;5;{first + 2}m"
    screen.press("\x1b[<35;5;3M\x1b[<99;1;1M\x1b[<0;1;99999M" + click)
    await screen.until(lambda: "▸" in screen.text)
    (chosen,) = re.findall(r"▸(\w+)", screen.text)
    screen.press(click.replace(f";{first + 2}", f";{rows_at(screen, chosen)}"))
    await screen.until(lambda: "── price, " in screen.text)
    assert re.search(rf"^ {chosen}  [\d.,]+", screen.text, re.MULTILINE)
    screen.press("\x1b[<2;1;1M")  # the right button
    await screen.until(lambda: f"▸{chosen}" in screen.text)
    screen.press("\x1b[<65;1;9M")  # the wheel
    await screen.until(lambda: " 4–" in screen.screen.display[-3])
    screen.press("M")
    await screen.until(lambda: screen.sent.count(MOUSE_OFF) == 1)


def rows_at(screen: Terminal, symbol: str) -> int:
    """Give the line of a symbol's row, from 1 on."""
    return next(
        i + 1
        for i, line in enumerate(screen.screen.display)
        if line[1:].startswith(symbol)
    )


async def test_sorting_by_keys(screen: Terminal) -> None:
    screen.press("s")
    await screen.until(lambda: "by symbol ▲" in screen.text)
    await screen.until(lambda: rows(screen) == sorted(rows(screen)))
    screen.press("S")
    await screen.until(lambda: "by symbol ▼" in screen.text)
    shown = rows(screen)[2:]
    assert shown == sorted(shown, reverse=True)


async def test_the_tape_and_the_window_by_keys(screen: Terminal) -> None:
    assert "latest trades" in screen.text
    screen.press("t")
    await screen.until(lambda: "latest trades" not in screen.text)
    screen.press("t")
    await screen.until(lambda: "latest trades" in screen.text)
    screen.press("w")
    await screen.until(lambda: re.search(r" \d+s/15m ", screen.text) is not None)


async def test_filtering_by_typing(screen: Terminal) -> None:
    screen.press("/eth")
    await screen.until(lambda: "/ ETH▏" in screen.text)
    await screen.until(lambda: all("ETH" in symbol for symbol in rows(screen)))
    screen.press("\r")
    await screen.until(lambda: "q quit" in screen.text)
    assert '"ETH"' in screen.text
    # Alone, Esc is a key: nothing has to follow it.
    screen.press("\x1b")
    await screen.until(lambda: '"ETH"' not in screen.text)


async def test_the_help_comes_and_goes(screen: Terminal) -> None:
    screen.press("?")
    await screen.until(lambda: "Esc closes the help" in screen.text)
    screen.press("\x1b")
    await screen.until(lambda: rows(screen) if "symbol" in screen.text else False)


async def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(
    screen: Terminal,
) -> None:
    assert screen.process is not None
    screen.press("\x1a")
    await asyncio.to_thread(os.waitid, os.P_PID, screen.process.pid, os.WSTOPPED)
    screen.read_waiting()
    assert screen.sent.count(LEAVE_ALTERNATE) == 1
    assert screen.sent.rindex(SHOW_CURSOR) > screen.sent.rindex(HIDE_CURSOR)
    assert screen.is_as_it_was

    screen.screen.reset()
    screen.process.send_signal(signal.SIGCONT)

    await screen.until(lambda: screen.sent.count(ENTER_ALTERNATE) == 2)
    # All of it is drawn anew.
    await listening(screen)
    assert " k2 " in screen.screen.display[0]
    screen.press("?")
    await screen.until(lambda: "Esc closes the help" in screen.text)


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
async def test_a_job_in_the_background_leaves_the_terminal_to_the_shell(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(100, 24)
    shell = "import os; os.execvp('bash', ['bash', '--norc', '--noediting', '-i'])"
    screen.program = ["-c", shell]
    screen.run(**urls(market), PS1="prompt> ")
    await screen.until(lambda: "prompt>" in screen.text)

    screen.press(f"{sys.executable} -m k2cli stream BTCUSDT\n")
    await listening(screen)
    screen.press("\x1a")
    await screen.until(lambda: screen.sent.count(b"Stopped") == 1)
    screen.press("bg\n")
    await screen.until(lambda: screen.sent.count(b"prompt>") == 3)
    # It goes on, but what is typed is the shell's, and the screen too.
    screen.press("echo $((6 * 7))\n")
    await screen.until(lambda: re.search(r"^42$", screen.text, re.MULTILINE))
    assert screen.sent.count(ENTER_ALTERNATE) == 1
    assert screen.is_as_it_was

    screen.press("fg\n")
    await screen.until(lambda: screen.sent.count(ENTER_ALTERNATE) == 2)
    await listening(screen)
    screen.press("q")
    await screen.until(lambda: "complete: " in screen.text)
    screen.press("exit\n")
    await screen.ended()


async def test_without_a_keyboard_there_are_no_keys(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(80, 24)
    screen.stdin = os.open(os.devnull, os.O_RDONLY)
    screen.run("stream", "BTCUSDT", **urls(market))
    os.close(screen.stdin)
    await screen.until(lambda: "× " in screen.text)

    assert "quit" not in screen.text
    assert "Ctrl-C ends" in screen.text
    assert screen.is_as_it_was
    screen.press("\x03")
    assert await screen.ended() == 0


async def test_a_pipe_on_stdin_is_not_read(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(80, 24)
    reading, writing = os.pipe()
    os.write(writing, b"qqq")
    screen.stdin = reading
    screen.run("stream", "BTCUSDT", "-n", "50", **urls(market))

    assert await screen.ended() == 0

    assert os.read(reading, 9) == b"qqq"
    os.close(reading)
    os.close(writing)


async def test_a_bug_while_drawing_gives_the_terminal_back(
    terminal: MakeTerminal, market: SimulatedExchange
) -> None:
    screen = terminal(80, 24)
    broken = (
        "from k2cli.display import screen\n"
        "def lines(*arguments, **named): raise ZeroDivisionError('broken')\n"
        "screen.help_lines = lines\n"
        "from k2cli.__main__ import main\n"
        "main()\n"
    )
    screen.program = ["-c", broken]
    screen.run("stream", "BTCUSDT", **urls(market))
    await listening(screen)

    screen.press("?")

    assert await screen.ended() == 1
    assert screen.is_as_it_was
    assert screen.sent.count(LEAVE_ALTERNATE) == 1
    assert screen.sent.rindex(SHOW_CURSOR) > screen.sent.rindex(HIDE_CURSOR)
    assert "k2: error: a bug in k2 (ZeroDivisionError: broken)" in re.sub(
        r"\s+", " ", screen.text
    )


async def test_a_storm_of_resizing_ends_in_a_whole_picture(
    terminal: MakeTerminal,
) -> None:
    async with SimulatedExchange(Market(seed=1, rate=2000)) as market:
        screen = terminal(80, 24)
        # Without a buffer, a write that a signal interrupts may lose its rest.
        screen.run("stream", "--all", **urls(market), PYTHONUNBUFFERED="1")
        await listening(screen)
        for step in range(60):
            screen.resize(40 + 7 * step % 160, 8 + 3 * step % 50)
        for columns, lines in ((250, 70), (60, 15), (120, 40), (80, 24)):
            screen.resize(columns, lines)
            await screen.drawn_whole()
        screen.press("q")
        assert await screen.ended() == 0
        assert screen.is_as_it_was
