"""A symbol up close, for many sizes of the screen."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from rich.cells import cell_len

from k2cli.display.controls import Controls
from k2cli.display.market import MarketState
from k2cli.display.numbers import Precision
from k2cli.display.screen import ScreenView
from k2cli.trade import Instrument
from tests.display.trading import LIVE, observe

SIZES = [(10, 3), (20, 5), (60, 15), (80, 24), (99, 30), (120, 40), (250, 70)]
QUOTES = {"BTCUSDT": Instrument("BTCUSDT", "BINANCE", "BTC", "USDT")}


def traded(seconds: int) -> MarketState:
    chance = random.Random(3)  # noqa: S311 - no secret
    market = MarketState(["BTCUSDT"], started_seconds=0.0)
    for number in range(seconds * 4):
        trade = (
            "BTCUSDT",
            f"{60000 + chance.gauss(0, 20):.2f}",
            f"{chance.lognormvariate(-3, 2):.5f}",
            chance.choice(("BUY", "SELL")),
            number,
            number * 250_000,
            False,
        )
        observe(market, [trade], number / 4, QUOTES)
    return market


def draw(
    market: MarketState,
    width: int,
    height: int,
    *,
    now_seconds: float = 90.0,
    **controls: Any,
) -> str:
    chosen = Controls(has_keys=True, opened="BTCUSDT", **controls)
    frame = ScreenView(Precision()).frame(
        market, LIVE, chosen, width=width, height=height, now_seconds=now_seconds
    )
    lines = [line.plain for line in frame.lines]
    assert len(lines) == height
    assert max(map(cell_len, lines)) <= width
    return "\n".join(lines)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("seconds", [0, 1, 90, 400])
@pytest.mark.parametrize("floor", [0, 2])
def test_it_fits_the_screen(width: int, height: int, seconds: int, floor: int) -> None:
    draw(traded(seconds), width, height, now_seconds=float(seconds), floor=floor)


@pytest.mark.parametrize("width", range(1, 131, 7))
@pytest.mark.parametrize("height", range(1, 45, 3))
def test_it_fits_any_screen(width: int, height: int) -> None:
    draw(MARKET, width, height)


MARKET = traded(90)


def test_a_large_screen_has_all_of_it() -> None:
    text = draw(traded(90), 120, 40)
    assert re.search(r"BTCUSDT  (59|60),\d{3}\.\d\d [▲▼]", text)
    for part in ("── price, ", "── figures ", "── sizes of orders, USDT", "── tape, "):
        assert part in text
    assert re.search(r"buys +\d\d% +\d\d%", text)
    assert re.search(r"over +00:01:30 +00:01:30", text)
    assert re.search("[┃█╽╿]", text)
    assert re.search(r"-1m.*now", text)
    assert "Esc table" in text


@pytest.mark.parametrize(("width", "height"), [(60, 15), (120, 40)])
def test_a_change_says_how_much_of_the_window_it_is_over(
    width: int, height: int
) -> None:
    text = draw(traded(90), width, height)
    assert re.search(r"% (1m|89s)/5m", text)
    assert "5 min" not in text.replace("price, 5 min", "")


def test_a_small_screen_has_figures_and_the_tape() -> None:
    text = draw(traded(90), 60, 15)
    assert "session  high" in text
    assert " gaps    none" in text
    assert "time UTC" in text


def test_gaps_and_repairs_are_on_a_line_of_time() -> None:
    market = traded(90)
    for kind, seconds in (("gap", 80.0), ("repaired", 82.0), ("missing", 85.0)):
        market.note_event("BTCUSDT", kind, 3, seconds)
    (line,) = [x for x in draw(market, 120, 40).splitlines() if "·" in x]
    marks = [line.index(mark) for mark in "!↺✗"]
    assert marks == sorted(marks)
    assert "3 missing 5s ago" in draw(market, 80, 24)


def test_only_prints_above_the_floor_are_on_its_tape() -> None:
    worths = [
        int(found.replace(",", ""))
        for found in re.findall(
            r" × +[\d.]+ +([\d,]+)", draw(traded(90), 120, 40, floor=2)
        )
    ]
    assert worths
    assert min(worths) >= 10_000


def test_a_symbol_that_has_not_traded_says_so() -> None:
    assert "no trade yet" in draw(MarketState(["BTCUSDT"], started_seconds=0.0), 80, 24)


def test_a_symbol_that_is_not_there_is_not_opened() -> None:
    assert "waiting" in draw(MarketState(started_seconds=0.0), 80, 24)
