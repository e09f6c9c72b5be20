"""The whole screen, drawn for many sizes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from k2cli.display.columns import COLUMNS, SORTABLE
from k2cli.display.controls import Controls
from k2cli.display.market import MarketState
from k2cli.display.numbers import Precision
from k2cli.display.screen import ScreenView
from k2cli.display.status import Status
from k2cli.display.terminal import LiveTable
from k2cli.display.text import Frame
from tests.display.trading import LIVE, observe

# The fixture's class lives in conftest, which is not to be imported.
MakeTerminal = Callable[[int, int], Any]

SIZES = [(60, 15), (80, 24), (120, 40), (250, 70), (20, 5), (1, 1), (7, 2), (30, 3)]
BUSY = replace(
    LIVE,
    exchange="SIM",
    label="REPLAY",
    connection="reconnecting in 5 s (attempt 2 of 10)",
    gaps=3,
    lost=2,
    duplicates=7,
    log_message="a long message " * 20,
    recording="/data/" + "x" * 300,
    is_paused=True,
)
BUSINESS = "volume USD t/s buy|sell"
PRICES = {"币安人生USDT": "0.15230000", "PEPEUSDT": "0.00001234", "BTCUSDT": "61837.63"}


def names(count: int) -> list[str]:
    return [*PRICES, *(f"COIN{i}USDT" for i in range(count))][:count]


def filled(count: int) -> MarketState:
    """Return a market of which every tenth symbol is quiet."""
    market = MarketState(names(count), started_seconds=0.0)
    for place, name in enumerate(names(count)):
        if place % 10 == 9:
            continue
        price = PRICES.get(name, "12.50000000")
        for number in range(3 + place % 7):
            observe(market, [(name, price, "0.02", "SELL", number, number, False)], 1.0)
    return market


def draw(
    market: MarketState,
    status: Status = LIVE,
    width: int = 80,
    height: int = 24,
    **controls: Any,
) -> list[str]:
    return plain(frame(market, status, width, height, Controls(**controls)))


def frame(
    market: MarketState, status: Status, width: int, height: int, controls: Controls
) -> Frame:
    return ScreenView(Precision()).frame(
        market, status, controls, width=width, height=height, now_seconds=2.0
    )


def plain(frame: Frame) -> list[str]:
    return [line.plain for line in frame.lines]


def headings(lines: list[str]) -> str:
    (found,) = [line for line in lines if "symbol " in line and "last" in line]
    return found


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("count", [0, 1, 2, 12, 300])
@pytest.mark.parametrize("has_keys", [True, False])
@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"shows_tape": True},
        {"shows_tape": False, "sort": "trades"},
        {"shows_help": True},
        {"is_typing": True, "filter": "COIN"},
    ],
)
def test_a_frame_fits_the_screen_exactly(
    width: int, height: int, count: int, has_keys: bool, chosen: dict[str, Any]
) -> None:
    market = filled(count)
    for status in (LIVE, BUSY):
        lines = draw(market, status, width, height, has_keys=has_keys, **chosen)
        assert len(lines) == height
        assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize(
    ("width", "height"), [(20, 5), (60, 15), (80, 24), (120, 40), (250, 70)]
)
@pytest.mark.parametrize("count", [0, 2, 12, 300])
def test_a_terminal_shows_the_frame_as_drawn(
    width: int, height: int, count: int, make_terminal: MakeTerminal
) -> None:
    terminal = make_terminal(width, height)
    drawn = frame(filled(count), LIVE, width, height, Controls(has_keys=True))
    with LiveTable(terminal.console) as live:
        live.refresh(lambda *_: drawn)
        shown = terminal.text
    assert shown == "\n".join(line.rstrip() for line in plain(drawn))


@pytest.mark.parametrize(
    ("width", "height", "shown"),
    [
        (20, 5, "symbol last"),
        (60, 15, "symbol last 0s/5m trend t/s buy|sell age"),
        (80, 24, f"symbol last 0s/5m trend {BUSINESS} age"),
        (120, 40, f"symbol last 0s/5m session trend high low {BUSINESS} age size"),
        (250, 70, " ".join(column.heading("0s/5m") for column in COLUMNS)),
    ],
)
def test_columns_drop_by_priority(width: int, height: int, shown: str) -> None:
    market = MarketState(["BTCUSDT", "ETHUSDT"], started_seconds=0.0)
    for symbol, price in (("BTCUSDT", "61837.63"), ("ETHUSDT", "2683.80")):
        observe(market, [(symbol, price, "1.5", "BUY", 1, 1, False)], 1.0)
    lines = draw(market, LIVE, width, height)
    assert headings(lines).split() == shown.split()


def test_high_and_low_come_together() -> None:
    for width in range(60, 140):
        shown = headings(draw(filled(2), LIVE, width, 24)).split()
        assert ("high" in shown) is ("low" in shown)


def test_names_are_unique() -> None:
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)


def test_a_row_says_all_there_is() -> None:
    market = MarketState(started_seconds=0.0)
    trades = (("50000.00", "BUY"), ("51000.50", "BUY"), ("50500.25", "SELL"))
    for number, (price, side) in enumerate(trades):
        observe(market, [("BTCUSDT", price, "0.02", side, number, 1, False)], 1.0)
    (row,) = [r for r in draw(market, LIVE, 250, 70) if r.startswith(" BTCUSDT")]
    assert row.split() == [
        *("BTCUSDT", "50,500.25", "▼", "+1.00%", "+1.00%"),
        "▁" * 32,
        *("51,000.50", "50,000.00", "50,500.25", "0.060", "3,030", "1.5"),
        "━" * 11 + "╌" * 5,
        *("1s", "SELL", "0.02", "3"),
    ]


def test_every_digit_of_the_last_price_is_shown() -> None:
    market = MarketState(started_seconds=0.0)
    digits = "1234567890.12345678"
    observe(market, [("BIGUSDT", digits, "1", "BUY", 1, 1, False)], 1.0)
    assert "1,234,567,890.12345678" in "\n".join(draw(market))


def test_points_stand_in_one_column_and_arrows_too() -> None:
    rows = [r for r in draw(filled(9), LIVE, 120, 24) if "USDT" in r and "%" in r]
    assert len(rows) == 9
    # Seen in cells, as wide characters stand before the point.
    assert len({cell_len(row[: row.index(".")]) for row in rows}) == 1
    assert len({cell_len(row[: row.index("%")]) for row in rows}) == 1


def test_widths_and_decimals_do_not_shrink_back() -> None:
    market = MarketState(started_seconds=0.0)
    view = ScreenView(Precision())
    shown = []
    for number, price in enumerate(("61837.62500000", "59000.5")):
        observe(market, [("BTCUSDT", price, "1", "BUY", number, 1, False)], 1.0)
        drawn = view.frame(
            market, LIVE, Controls(), width=80, height=24, now_seconds=2.0
        )
        shown += [r for r in plain(drawn) if r.startswith(" BTCUSDT")]
    assert "59,000.500 ▼" in shown[1]
    assert shown[0].index("%") == shown[1].index("%")


def test_the_tick_size_decides_the_decimals() -> None:
    market = MarketState(started_seconds=0.0)
    observe(market, [("BTCUSDT", "100.50000000", "1", "BUY", 1, 1, False)], 1.0)
    drawn = ScreenView(Precision({"BTCUSDT": 4})).frame(
        market, LIVE, Controls(), width=80, height=24, now_seconds=2.0
    )
    assert "100.5000 " in "\n".join(plain(drawn))


def test_few_symbols_leave_the_rest_to_the_tape() -> None:
    lines = draw(filled(2), LIVE, 80, 24)
    title = next(i for i, line in enumerate(lines) if "latest trades" in line)
    # Header, air, headings, two rows.
    assert title == 5
    # The tape ends above the line that ends it, the ledger and the keys.
    assert "time UTC" in lines[title + 1]
    assert "SELL" in lines[title + 2]
    assert "latest trades" not in "\n".join(draw(filled(2), shows_tape=False))


def test_many_symbols_leave_a_part_to_the_tape_where_there_is_room() -> None:
    tall = draw(filled(300), LIVE, 120, 40)
    assert sum("%" in line for line in tall) > 20
    assert sum("SELL" in line and "×" in line for line in tall) >= 3
    assert "latest trades" not in "\n".join(draw(filled(300), LIVE, 60, 15))
    forced = draw(filled(300), LIVE, 60, 15, shows_tape=True)
    assert "latest trades" in "\n".join(forced)


def moving(*symbols: str, seconds: int = 20) -> MarketState:
    """Return a market in which every symbol has traded once a second."""
    market = MarketState(symbols, started_seconds=0.0)
    for second in range(seconds):
        for place, symbol in enumerate(symbols):
            for number in range(place + 1):
                price = f"{100 + (second % 5) / 10:.2f}"
                observe_one(market, symbol, price, second * 9 + number, second)
    return market


def observe_one(
    market: MarketState, symbol: str, price: str, number: int, now_seconds: float
) -> None:
    side = "BUY" if number % 2 else "SELL"
    time_us = number * 1_000_000
    observe(market, [(symbol, price, "1", side, number, time_us, False)], now_seconds)


def draw_moving(
    market: MarketState, width: int, height: int, **controls: Any
) -> list[str]:
    drawn = ScreenView(Precision()).frame(
        market,
        LIVE,
        Controls(**controls),
        width=width,
        height=height,
        now_seconds=20.0,
    )
    return plain(drawn)


def test_a_price_is_drawn_where_the_tape_leaves_room() -> None:
    market = moving("BTCUSDT", "PEPEUSDT")
    wide = draw_moving(market, 140, 24)
    title = next(i for i, line in enumerate(wide) if "latest trades" in line)
    assert "PEPEUSDT, since the start ─" in wide[title]
    text = "\n".join(wide[title:])
    # Prices on a scale, and times below it.
    assert re.search("[\u2801-\u28ff] *┤100.[24]0", text)
    assert re.search(r"-15s.*-5s.*now", text)
    picked = draw_moving(market, 140, 40, filter="BTC", window_seconds=60.0)
    assert "BTCUSDT, since the start ─" in "\n".join(picked)
    assert "the start ─" not in "\n".join(draw_moving(market, 80, 24))
    quiet = MarketState(["BTCUSDT"], started_seconds=0.0)
    assert "BTCUSDT, " not in "\n".join(draw(quiet, LIVE, 140, 40))


def test_no_chart_is_drawn_from_a_few_prices() -> None:
    text = "\n".join(draw(filled(2), LIVE, 140, 24))
    assert "the chart begins after a few seconds" in text
    assert not re.search("[\u2801-\u28ff]", text)


def test_without_the_tape_charts_take_its_place() -> None:
    lines = draw_moving(moving("AUSDT", "BUSDT"), 80, 24, shows_tape=False)
    text = "\n".join(lines)
    assert "latest trades" not in text
    assert "BUSDT, since the start ─" in text
    assert re.search("[\u2801-\u28ff]", text)


def test_a_heading_says_how_much_of_the_window_was_seen() -> None:
    assert " 20s/5m " in headings(draw_moving(moving("AUSDT"), 80, 24))
    window = draw_moving(moving("AUSDT"), 80, 24, window_seconds=60.0)
    assert " 20s/1m " in headings(window)
    late = ScreenView(Precision()).frame(
        moving("AUSDT"), LIVE, Controls(), width=80, height=24, now_seconds=400.0
    )
    assert " 5 min " in headings(plain(late))


def test_the_cursor_is_on_the_chosen_row() -> None:
    market, view = filled(300), ScreenView(Precision())
    controls = Controls(has_keys=True)

    def chosen() -> list[str]:
        drawn = view.frame(market, LIVE, controls, width=80, height=24, now_seconds=2.0)
        return [line.split()[0] for line in plain(drawn) if line.startswith("▸")]

    assert chosen() == []
    controls.press("down")
    assert chosen() == [f"▸{controls.rows[0]}"]
    for _ in range(40):
        controls.press("down")
    assert chosen() == [f"▸{controls.rows[40]}"]
    controls.press("escape")
    assert chosen() == []


def test_the_price_drawn_is_that_of_the_busiest_unless_rows_are_in_order() -> None:
    market = MarketState(["AUSDT", "BUSDT", "CUSDT"], started_seconds=0.0)
    for number, symbol in enumerate(["BUSDT", "CUSDT", "CUSDT"]):
        observe(market, [(symbol, "10", "1", "BUY", number, number, False)], 1.0)
    assert "CUSDT, since" in "\n".join(draw(market, LIVE, 120, 20))
    by_name = "\n".join(draw(market, LIVE, 120, 20, sort="symbol"))
    assert "BUSDT, since" in by_name
    assert "CUSDT, since" not in by_name


def test_tall_screens_have_charts_of_several_symbols() -> None:
    lines = draw(filled(12), LIVE, 250, 70)
    titles = [line.partition(", since")[0] for line in lines if ", since" in line]
    # The busiest five, in the order of their rows.
    charted = [title.split()[-1] for title in titles]
    assert charted == [f"COIN{i}USDT" for i in (0, 1, 2, 3, 8)]
    first = next(line for line in lines if "COIN0USDT, since" in line)
    # Header, two lines about the market, air, headings and rows.
    assert lines.index(first) == 17


def test_large_and_repaired_trades_are_marked_on_the_tape() -> None:
    market = MarketState(["BTCUSDT"], started_seconds=0.0)

    def add(number: int, size: str, side: str, *, late: bool = False) -> None:
        trade = ("BTCUSDT", "10", size, side, number, number * 1000, late)
        observe(market, [trade], 1.0)

    for number in range(120):
        add(number, "1", "BUY")
    add(120, "99", "BUY")
    add(7, "1", "SELL", late=True)
    lines = draw(market)
    title = next(i for i, line in enumerate(lines) if "latest trades" in line)
    assert "↺" in lines[title + 2]
    assert "◆" not in lines[title + 2]
    assert "990  ◆" in lines[title + 3]
    assert "◆" in "\n".join(draw(market, LIVE, 250, 70)[:5])


def test_what_does_not_fit_is_on_further_pages() -> None:
    market = filled(300)
    controls = Controls(has_keys=True)
    view = ScreenView(Precision())
    seen: list[str] = []
    for _ in range(30):
        drawn = view.frame(market, LIVE, controls, width=80, height=24, now_seconds=2.0)
        lines = plain(drawn)
        end = next(i for i, line in enumerate(lines) if "latest" in line)
        seen += [line.split()[0] for line in lines[3:end]]
        assert "busiest first" in lines[-3]
        controls.press("n")
    assert set(seen) == set(names(300))
    assert "287–300 of 300" in "\n".join(lines)


def test_a_page_behind_the_last_one_is_the_last_one() -> None:
    controls = Controls(first_row=1_000_000)
    lines = plain(frame(filled(40), LIVE, 80, 24, controls))
    assert " of 40" in "\n".join(lines)
    assert controls.first_row == 40 - controls.page_rows


def test_the_sorted_column_is_marked() -> None:
    lines = draw(filled(12), LIVE, 120, 40, sort="notional")
    assert "USD▼" in headings(lines)
    assert "by notional ▼" in lines[-2]
    assert "by symbol ▲" in "\n".join(draw(filled(12), sort="symbol"))


def test_a_column_that_is_not_on_the_screen_can_be_sorted_by() -> None:
    lines = draw(filled(12), LIVE, 60, 15, sort="session")
    assert "session" not in headings(lines)
    assert "by session ▼" in "\n".join(lines)


@pytest.mark.parametrize("name", SORTABLE)
def test_every_sort_works_on_symbols_that_have_not_traded(name: str) -> None:
    lines = draw(filled(12), sort=name)
    assert sum("USDT" in line and "×" not in line for line in lines) == 12


def test_the_filter_is_for_table_and_tape() -> None:
    lines = draw(filled(12), filter="PEPE")
    text = "\n".join(lines)
    assert "PEPEUSDT" in text
    assert "BTCUSDT" not in text
    assert '"PEPE" · 1 of 12' in text


def test_a_filter_that_nothing_fits_says_so() -> None:
    assert "no symbol has XYZ" in "\n".join(draw(filled(12), filter="XYZ"))


def test_what_is_typed_is_shown() -> None:
    lines = draw(filled(12), filter="PE", is_typing=True, has_keys=True)
    assert "/ PE▏" in lines[-1]
    assert "Esc clear" in lines[-1]


def test_the_keys_are_shown_if_there_are_any() -> None:
    assert "q quit  ? help  space pause" in draw(filled(2), has_keys=True)[-1]
    assert "space resume" in draw(filled(2), has_keys=True, is_paused=True)[-1]
    without = draw(filled(2))[-1]
    assert "quit" not in without
    assert "Ctrl-C ends" in without


def test_the_next_page_is_offered_where_there_is_one() -> None:
    view, controls = ScreenView(Precision()), Controls(has_keys=True)

    def keys(market: MarketState) -> str:
        for _ in range(2):
            drawn = view.frame(
                market, LIVE, controls, width=80, height=24, now_seconds=2.0
            )
        return plain(drawn)[-1]

    assert "n next page" not in keys(filled(2))
    assert "n next page" in keys(filled(300))


@pytest.mark.parametrize(("width", "height"), [(60, 15), (80, 24)])
def test_the_help_is_paged_where_it_does_not_fit(width: int, height: int) -> None:
    controls = Controls(shows_help=True, has_keys=True)
    view, seen = ScreenView(Precision()), ""
    for _ in range(9):
        lines = plain(
            view.frame(
                filled(2), LIVE, controls, width=width, height=height, now_seconds=2.0
            )
        )
        assert "Esc closes the help" in "".join(lines)
        seen += "\n".join(lines)
        controls.press("n")
    assert controls.first_row == 0
    for name in ("keys", "marks", "columns", "symbol", "side", "size", "trades"):
        assert re.search(rf"^ {name}\b", seen, re.MULTILINE)
    controls.press("home")
    assert controls.help_row == 0


def test_the_help_names_every_column_and_mark_on_a_tall_screen() -> None:
    text = "\n".join(draw(filled(2), LIVE, 120, 80, shows_help=True, has_keys=True))
    for column in COLUMNS:
        assert column.meaning[:40] in text
    assert all(mark in text for mark in "●○✓✗◆↺")
    assert "BTCUSDT" not in text


def test_an_empty_market_says_what_it_waits_for() -> None:
    market = MarketState(started_seconds=0.0)
    assert "waiting" in "\n".join(draw(market))


def test_a_quiet_symbol_has_a_row() -> None:
    market = MarketState(["BTCUSDT"], started_seconds=0.0)
    (row,) = [r for r in draw(market) if "BTCUSDT" in r]
    assert set(row.split()) == {"BTCUSDT", "–"}


def test_nothing_from_outside_reaches_the_terminal_unescaped(
    make_terminal: MakeTerminal,
) -> None:
    evil = "\x1b[2J\x9b\x07[bold]\r\n"
    market = MarketState(started_seconds=0.0)
    observe(market, [(evil, "1", "1", evil, 1, 1, False)], 1.0)
    status = Status(
        host=evil,
        exchange=evil,
        connection=evil,
        uptime_seconds=0,
        log_message=evil,
        recording=evil,
        label=evil,
    )
    drawn = frame(market, status, 250, 24, Controls())
    assert all(line.plain.isprintable() for line in drawn.lines)
    assert "[bold]" in "\n".join(plain(drawn))
    terminal = make_terminal(250, 24)
    with LiveTable(terminal.console) as live:
        live.refresh(lambda *_: drawn)
    assert evil not in terminal.getvalue()


@settings(max_examples=50)
@given(
    symbols=st.lists(st.text(max_size=30), max_size=12),
    width=st.integers(1, 130),
    height=st.integers(1, 40),
    price=st.decimals(0, 10**12, places=8, allow_nan=False),
    size=st.decimals(0, 10**12, places=8, allow_nan=False),
)
def test_any_names_on_any_screen_fit(
    symbols: list[str], width: int, height: int, price: object, size: object
) -> None:
    market = MarketState(symbols, started_seconds=0.0)
    for symbol in symbols[::2]:
        trade = (symbol, f"{price:f}", f"{size:f}", "BUY", 1, 1, False)
        observe(market, [trade], 1.0)
    lines = draw(market, LIVE, width, height)
    assert len(lines) == height
    assert max(map(cell_len, lines)) <= width
