"""The README's pictures: what a terminal shows of k2 and its made-up market.

``python -m tests.terminal.pictures``, at the top of the repository, makes them anew.
Their numbers differ from time to time; ``test_pictures.py`` sees to it that the rest,
headings, words and size, is what k2 shows today.
"""

from __future__ import annotations

import asyncio
import codecs
import html
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyte.graphics
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from k2cli.simulator import Market, SimulatedExchange, parse_fault

from .conftest import Terminal

FOLDER = Path(__file__).parents[2] / ".github" / "pictures"

# pyte knows no faint text: here blinking stands for it, which k2 never uses.
pyte.graphics.TEXT[2] = "+blink"

# Its own background, so that it suits light and dark pages.
THEME = TerminalTheme(
    (24, 28, 36),
    (208, 215, 222),
    [
        *((48, 54, 66), (255, 123, 114), (86, 211, 100), (227, 179, 65)),
        *((121, 192, 255), (210, 168, 255), (86, 212, 221), (208, 215, 222)),
    ],
    [
        *((125, 133, 144), (255, 161, 152), (126, 231, 135), (242, 204, 96)),
        *((165, 214, 255), (226, 197, 255), (134, 230, 236), (255, 255, 255)),
    ],
)
RECORDED = "BTCUSDT ETHUSDT SOLUSDT BNBUSDT"
STREAMED = (
    "BTCUSDT,ETHUSDT,SOLUSDT,BNBUSDT,XRPUSDT,DOGEUSDT,PEPEUSDT,BTCFDUSD,ETHBTC,ADAUSDT"
)


# What a terminal has been told before the recording begins.
_TAKE_SCREEN = "\x1b[?1049h\x1b[?25l"
CAST, CAST_SECONDS = "stream.cast", 15.0
# Down, down, open; wait; the next symbol; back; sorted by change; largest orders only.
_CAST_KEYS = ("\x1b[B", "\r", "", "", "\x1b[B", "", "\x1b", "s", "s", "s", "m", "")


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: Of its file, without ending.
        columns: Width of the terminal.
        lines: Its height.
        take: Runs k2, and gives the lines that are to be seen. It gets the terminal,
            and for how many seconds to watch a market.
    """

    name: str
    columns: int
    lines: int
    take: Callable[[Terminal, float], Awaitable[list[Text]]]

    async def draw(self, folder: Path, seconds: float) -> str:
        """Take the picture.

        Args:
            folder: For what k2 writes, and its home.
            seconds: How long to watch a market.

        Returns:
            It as SVG.
        """
        terminal = Terminal(folder, self.columns, self.lines)
        try:
            shown = await self.take(terminal, seconds)
        finally:
            terminal.close()
        console = Console(
            file=io.StringIO(),
            record=True,
            width=self.columns,
            force_terminal=True,
            color_system="truecolor",
            legacy_windows=False,
            _environ={},
        )
        for line in shown:
            console.print(line, no_wrap=True, crop=True)
        return console.export_svg(title="k2", theme=THEME, unique_id="k2")


async def symbol(terminal: Terminal, seconds: float) -> list[Text]:
    """Look at a symbol closely."""
    run(terminal, "stream --demo BTCUSDT --since 15m")
    # Its window is full, and trades are live.
    await terminal.until(
        lambda: (
            all(words in terminal.text for words in ("● live", "% 5 min", "largest"))
            and re.search(r" lag +\d", terminal.text)
        )
    )
    await asyncio.sleep(seconds)
    await settled(terminal)
    shown = seen(terminal)
    terminal.press_ctrl_c()
    await terminal.ended()
    return shown


async def stream(terminal: Terminal, seconds: float) -> list[Text]:
    """Watch the live table."""
    await watch(terminal, seconds)
    await settled(terminal)
    shown = seen(terminal)
    terminal.press_ctrl_c()
    await terminal.ended()
    return shown


async def watch(terminal: Terminal, seconds: float) -> None:
    """Run the live table until all symbols have traded, and for some seconds more."""
    run(terminal, f"stream --demo --symbols {STREAMED}")
    await terminal.until(
        lambda: (
            "● live" in terminal.text
            and all(
                re.search(rf"{name} .*\d", terminal.text)
                for name in STREAMED.split(",")
            )
        )
    )
    await asyncio.sleep(seconds)


async def lines(terminal: Terminal, seconds: float) -> list[Text]:
    """Watch for large trades, line by line."""
    del seconds  # it takes until the screen is full
    run(
        terminal,
        f"stream --demo {RECORDED} --format lines --min-notional 250",
        quietly=True,
    )
    await terminal.until(lambda: terminal.screen.display[-2].strip())
    shown = seen(terminal)
    terminal.press_ctrl_c()
    await terminal.ended()
    return shown


async def record(terminal: Terminal, seconds: float) -> list[Text]:
    """Record while some trades are lost and found again, and get the account."""
    async with SimulatedExchange(Market(seed=1, rate=200)) as exchange:
        run(
            terminal,
            f"record -o trades.jsonl --per-symbol {RECORDED}",
            quietly=True,
            K2_BINANCE_WEBSOCKET_URL=exchange.url,
            K2_BINANCE_API_URL=exchange.api_url,
        )
        await terminal.until(lambda: re.search(r"\nBTCUSDT +[1-9]", terminal.text))
        await asyncio.sleep(seconds)
        exchange.add_fault(parse_fault("skip@1:12:BTCUSDT"))
        await terminal.until(
            lambda: (
                re.search(r"\nBTCUSDT .* 12  +0\n", terminal.text)
                and "nothing missing  1 gap, 12 repaired" in terminal.text
            )
        )
        await settled(terminal)
        progress = seen(terminal)
        terminal.press_ctrl_c()
        await terminal.ended()
    return [*progress, Text(), *seen(terminal)[1:]]


async def verify(terminal: Terminal, seconds: float) -> list[Text]:
    """Prove a recording whole, and find what is wrong with another."""
    del seconds
    run(terminal, "record --demo -o trades.jsonl --base BTC", quietly=True)
    await terminal.until(lambda: re.search(r"[1-9]\d\d trades", terminal.text))
    terminal.press_ctrl_c()
    await terminal.ended()
    file = terminal.folder / "trades.jsonl"
    whole = file.read_bytes().splitlines(keepends=True)
    (terminal.folder / "damaged.jsonl").write_bytes(
        b"".join([*whole[:50], *whole[60:90], whole[20], *whole[90:-1]])
        + whole[-1][:99]
    )
    terminal.screen.reset()
    run(terminal, "verify trades.jsonl")
    await terminal.ended()
    shown = [*seen(terminal), Text()]
    terminal.screen.reset()
    run(terminal, "verify damaged.jsonl")
    await terminal.ended()
    return shown + seen(terminal)


async def symbols(terminal: Terminal, seconds: float) -> list[Text]:
    """Search the catalog."""
    del seconds
    run(terminal, "symbols --demo --base BTC --sort quote --status all")
    await terminal.ended()
    return seen(terminal)


PICTURES = (
    Picture("symbol", 140, 38, symbol),
    Picture("stream", 110, 28, stream),
    Picture("lines", 90, 20, lines),
    Picture("record", 100, 30, record),
    Picture("verify", 110, 30, verify),
    Picture("symbols", 80, 30, symbols),
)


async def cast(folder: Path, seconds: float, lasting_seconds: float) -> str:
    """Record the live table while keys are pressed, as asciicast v2.

    Args:
        folder: For what k2 writes, and its home.
        seconds: How long to watch the market before.
        lasting_seconds: How long the recording is to last.

    Returns:
        A header, and a line for what was sent at each moment.
    """
    columns, height = 110, 28
    terminal = Terminal(folder, columns, height - 1)
    decoder = codecs.getincrementaldecoder("utf-8")()
    sent: list[list[object]] = [[0.0, "o", _TAKE_SCREEN]]
    try:
        await watch(terminal, seconds)
        loop = asyncio.get_running_loop()
        begun_seconds = loop.time()

        def note(data: bytes) -> None:
            at_seconds = round(loop.time() - begun_seconds, 3)
            sent.append([at_seconds, "o", decoder.decode(data)])

        terminal.on_data = note
        terminal.resize(columns, height)  # all is drawn anew
        for keys in _CAST_KEYS:
            await asyncio.sleep(lasting_seconds / (len(_CAST_KEYS) + 1))
            terminal.press(keys)
        await asyncio.sleep(lasting_seconds / (len(_CAST_KEYS) + 1))
        terminal.on_data = lambda _: None
        terminal.press_ctrl_c()
        await terminal.ended()
    finally:
        terminal.close()
    header = {"version": 2, "width": columns, "height": height, "title": "k2 stream"}
    lines = (json.dumps(line, ensure_ascii=False) for line in (header, *sent))
    return "".join(f"{line}\n" for line in lines)


def run(
    terminal: Terminal, arguments: str, *, quietly: bool = False, **environment: str
) -> None:
    """Run k2 as if its command had been typed."""
    level = " --log-level error" if quietly else ""
    k2 = f"'{sys.executable}' -m k2cli"
    shell = f"echo '$ k2 {arguments}'; exec {k2} {arguments}{level}"
    terminal.start(["bash", "-c", shell], **environment)


async def settled(terminal: Terminal) -> None:
    """Wait until a redraw that may be under way has come in whole."""
    sent = -1
    while sent != len(terminal.sent):
        sent = len(terminal.sent)
        await asyncio.sleep(0.05)


def seen(terminal: Terminal) -> list[Text]:
    """Give what a terminal shows, down to the last line that is not empty."""
    shown = []
    for row in range(terminal.screen.lines):
        cells = terminal.screen.buffer[row]
        line = Text()
        for style, run_of in groupby(
            (cells[column] for column in range(terminal.screen.columns)), _style
        ):
            line.append("".join(cell.data for cell in run_of), style)
        line.rstrip()
        shown.append(line)
    while shown and not shown[-1].plain:
        shown.pop()
    return shown


def _style(cell: pyte.screens.Char) -> Style:
    def colour(name: str) -> str | None:
        if name == "default":
            return None
        if re.fullmatch(r"[0-9a-f]{6}", name):
            return f"#{name}"
        return name.replace("brown", "yellow").replace("bright", "bright_")

    return Style(
        color=colour(cell.fg),
        bgcolor=colour(cell.bg),
        bold=cell.bold,
        dim=cell.blink,
        reverse=cell.reverse,
        underline=cell.underscore,
    )


def structure(svg: str) -> tuple[set[str], str]:
    """Give what does not change from one moment to the next.

    Args:
        svg: A picture.

    Returns:
        The words in lower case, as headings and labels are, with what stands for a
        time of day and for other constant signs; and the picture's size.
    """
    texts = html.unescape(" ".join(re.findall(r"<text [^>]*>([^<]*)</text>", svg)))
    texts = texts.replace("\xa0", " ")
    (size,) = re.findall(r'viewBox="([^"]+)"', svg)
    words = re.findall(r"(?<!\S)[a-z-]{3,}(?=[\s,:]|$)", texts)
    signs = re.findall(r"[×●$]", texts)
    times = re.sub(r"\d", "0", " ".join(re.findall(r"\d\d:\d\d:\d\d(?:\.\d+)?", texts)))
    return {*words, *signs, *times.split()}, size


async def main() -> None:
    """Make all pictures anew."""
    chosen = sys.argv[1:] or [*(picture.name for picture in PICTURES), CAST]
    for picture in PICTURES:
        if picture.name in chosen:
            with tempfile.TemporaryDirectory() as folder:
                svg = await picture.draw(Path(folder), seconds=60.0)
            (FOLDER / f"{picture.name}.svg").write_text(svg, encoding="utf-8")
            os.write(1, f"{picture.name}.svg\n".encode())
    if CAST in chosen:
        with tempfile.TemporaryDirectory() as folder:
            recorded = await cast(Path(folder), 20.0, CAST_SECONDS)
        (FOLDER / CAST).write_text(recorded, encoding="utf-8")
        os.write(1, f"{CAST}\n".encode())


if __name__ == "__main__":
    asyncio.run(main())
