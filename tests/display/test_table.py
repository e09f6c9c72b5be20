from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from k2cli.display.columns import COLUMNS
from k2cli.display.live import LiveTable
from k2cli.display.market import MarketState
from k2cli.display.status import Status, header_line, ledger_line
from k2cli.display.table import Frame, TableView
from k2cli.trade import TradeV2

# The fixture's class lives in conftest, which is not to be imported.
MakeTerminal = Callable[[int, int], Any]

MakeTrade = Callable[..., TradeV2]

SIZES = [(20, 5), (60, 15), (80, 24), (120, 40), (250, 70), (1, 1), (7, 2), (30, 3)]
LIVE = Status(
    host="stream.binance.com",
    exchange="BINANCE",
    connection="live",
    uptime_seconds=134.2,
    trades=204_118,
    trades_per_second=1284.2,
)


def filled(make_trade: MakeTrade, count: int) -> MarketState:
    names = [
        "币安人生USDT",
        "BTCUSDT",
        "SHIBUSDT",
        *(f"COIN{i}USDT" for i in range(99)),
    ]
    prices = ["0.15230000", "61837.63000000", "0.00001427", *["12.50000000"] * 99]
    market = MarketState(names[:count], started_seconds=0.0)
    # The last one of several stays quiet.
    for name, price in list(zip(names, prices, strict=True))[: max(count - 1, 0)]:
        for sequence in range(3):
            trade = make_trade(name, price=price, source_sequence=sequence)
            market.observe(trade, 1.0)
    return market


def draw(market: MarketState, status: Status, width: int, height: int) -> Frame:
    return TableView().frame(
        market, status, width=width, height=height, now_seconds=2.0
    )


def plain(frame: Frame) -> list[str]:
    return [line.plain for line in frame.lines]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_a_frame_fits_the_screen_exactly(
    width: int, height: int, count: int, make_trade: MakeTrade
) -> None:
    busy = replace(
        LIVE,
        exchange="SIM",
        label="REPLAY",
        connection="reconnecting in 5 s (attempt 2 of 10)",
        gaps=3,
        missing=2,
        log_message="a long message " * 20,
        recording="/data/" + "x" * 300,
    )
    for status in (LIVE, busy):
        lines = plain(draw(filled(make_trade, count), status, width, height))
        assert len(lines) == height
        assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize(("width", "height"), [(20, 5), (60, 15), (80, 24), (120, 40)])
@pytest.mark.parametrize("count", [0, 2, 40])
def test_a_terminal_shows_the_frame_as_drawn(
    width: int,
    height: int,
    count: int,
    make_trade: MakeTrade,
    make_terminal: MakeTerminal,
) -> None:
    terminal = make_terminal(width, height)
    frame = draw(filled(make_trade, count), LIVE, width, height)
    with LiveTable(terminal.console) as live:
        live.refresh(lambda *_: frame)
        shown = terminal.text
    assert shown == "\n".join(line.rstrip() for line in plain(frame))


@pytest.mark.parametrize(
    ("width", "height", "headings"),
    [
        (20, 5, "symbol last"),
        (60, 15, "symbol last size side trades/s UTC"),
        (80, 24, "symbol last size side trades/s trades volume UTC"),
        (120, 40, "symbol last size side trades/s trades volume UTC"),
    ],
)
def test_columns_drop_by_priority(
    width: int, height: int, headings: str, make_trade: MakeTrade
) -> None:
    market = MarketState(["BTCUSDT", "ETHUSDT"], started_seconds=0.0)
    market.observe(make_trade(), 1.0)
    lines = plain(draw(market, LIVE, width, height))
    (heading,) = [line for line in lines if "symbol" in line]
    assert heading.split() == headings.split()


def test_priorities_and_names_are_unique() -> None:
    assert len({column.priority for column in COLUMNS}) == len(COLUMNS)
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)


def test_a_row_says_all_there_is(make_trade: MakeTrade) -> None:
    market = MarketState(started_seconds=0.0)
    market.observe(make_trade(price="61837.62000000"), 1.0)
    market.observe(make_trade(), 1.0)
    (row,) = [r for r in plain(draw(market, LIVE, 120, 12)) if "BTCUSDT" in r]
    assert row.split() == (
        "BTCUSDT 61,837.63 ▲ 0.02 SELL 1.0 2 0.040 BTC 23:54:15.342".split()
    )


def test_direction_and_side_are_never_colour_alone(make_trade: MakeTrade) -> None:
    market = MarketState(started_seconds=0.0)
    market.observe(make_trade(price="2"), 1.0)
    market.observe(make_trade(price="1", side="BUY"), 1.0)
    text = "\n".join(plain(draw(market, LIVE, 80, 24)))
    assert "1.00 ▼" in text
    assert "BUY" in text


def test_points_stand_in_one_column_if_there_is_room(make_trade: MakeTrade) -> None:
    market = filled(make_trade, 4)
    rows = [r for r in plain(draw(market, LIVE, 120, 24)) if "SELL" in r]
    # Seen in cells, as wide characters stand before the point.
    assert len({cell_len(row[: row.index(".")]) for row in rows}) == 1


def test_numbers_stand_flush_right_where_that_saves_a_column(
    make_trade: MakeTrade,
) -> None:
    lines = plain(draw(filled(make_trade, 4), LIVE, 82, 24))
    (heading,) = [line for line in lines if "symbol" in line]
    assert "volume" in heading
    rows = [r for r in lines if "SELL" in r]
    # Of each price, the last digit stands under the last letter of its heading.
    edge = heading.index("last") + 4
    assert {cell_len(row[: row.index("    0.02")].rstrip()) for row in rows} == {edge}


def test_sides_align_behind_wide_characters(make_trade: MakeTrade) -> None:
    for width in (60, 80, 120):
        lines = plain(draw(filled(make_trade, 4), LIVE, width, 24))
        rows = [r for r in lines if "SELL" in r]
        assert len(rows) == 3
        assert len({cell_len(row[: row.index("SELL")]) for row in rows}) == 1


def test_widths_and_decimals_do_not_shrink_back(make_trade: MakeTrade) -> None:
    market = MarketState(started_seconds=0.0)
    view = TableView()
    shown = []
    for price in ("61837.62500000", "9.5"):
        market.observe(make_trade(price=price), 1.0)
        frame = view.frame(market, LIVE, width=80, height=24, now_seconds=2.0)
        (row,) = [r for r in plain(frame) if "BTCUSDT" in r]
        shown.append(row)
    assert "9.500 ▼" in shown[1]
    assert shown[0].index("SELL") == shown[1].index("SELL")


def test_the_tick_size_decides_the_decimals(make_trade: MakeTrade) -> None:
    market = MarketState(started_seconds=0.0)
    market.observe(make_trade(price="100.50000000"), 1.0)
    view = TableView(price_decimals={"BTCUSDT": 4})
    frame = view.frame(market, LIVE, width=80, height=24, now_seconds=2.0)
    assert "100.5000 " in "\n".join(plain(frame))


def test_rows_beyond_the_screen_are_counted(make_trade: MakeTrade) -> None:
    lines = plain(draw(filled(make_trade, 40), LIVE, 80, 24))
    shown = sum("USDT" in line for line in lines)
    assert f"… and {40 - shown} more symbols" in "\n".join(lines)
    assert shown == 17
    assert "more" not in "\n".join(plain(draw(filled(make_trade, 18), LIVE, 80, 24)))


def test_an_empty_market_says_what_it_waits_for() -> None:
    market = MarketState(started_seconds=0.0)
    assert "waiting" in "\n".join(plain(draw(market, LIVE, 80, 24)))


def test_a_quiet_symbol_has_a_row() -> None:
    market = MarketState(["BTCUSDT"], started_seconds=0.0)
    (row,) = [r for r in plain(draw(market, LIVE, 80, 24)) if "BTCUSDT" in r]
    assert set(row.split()) == {"BTCUSDT", "–"}


def test_the_header_tells_where_from_and_how_fast() -> None:
    assert header_line(LIVE, 80).plain.split() == (
        "k2 Binance Spot stream.binance.com ● live 00:02:14 1,284 trades/s".split()
    )
    assert cell_len(header_line(LIVE, 80).plain) == 80


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_made_up_data_always_says_so(width: int) -> None:
    header = header_line(replace(LIVE, exchange="SIM"), width).plain
    assert ("SIMULATED" if width >= 40 else "SIM") in header
    assert "Binance" not in header
    assert "REPLAY" in header_line(replace(LIVE, label="REPLAY"), width).plain


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_lost_connection_is_not_called_live(width: int) -> None:
    words = "reconnecting in 5 s (attempt 2 of 10)"
    header = header_line(replace(LIVE, connection=words), width).plain
    assert f"○ {words}" in header
    assert "live" not in header


def test_the_ledger_tells_what_is_missing() -> None:
    assert "no gaps · 0 reconnects" in ledger_line(LIVE, 80).plain
    repaired = ledger_line(replace(LIVE, gaps=1, repaired=37, reconnects=1), 80).plain
    assert "nothing missing · 1 gap · 37 repaired · 1 reconnect " in repaired
    for width in (12, 20, 80):
        lost = ledger_line(replace(LIVE, gaps=1, missing=2), width).plain
        assert "2 missing" in lost
        assert "nothing" not in lost
    assert ledger_line(LIVE, 80).plain.rstrip().endswith("Ctrl-C ends")


def test_recording_and_message_are_shown(make_trade: MakeTrade) -> None:
    status = replace(LIVE, recording="a.jsonl", recorded=1234, log_message="rotated")
    lines = plain(draw(filled(make_trade, 2), status, 80, 24))
    assert lines[-2] == " ● 1,234 written to a.jsonl  rotated"


def test_nothing_from_outside_reaches_the_terminal_unescaped(
    make_trade: MakeTrade, make_terminal: MakeTerminal
) -> None:
    evil = "\x1b[2J\x9b\x07[bold]\r\n"
    market = MarketState(started_seconds=0.0)
    vendor = {"base_asset": evil}
    market.observe(make_trade(evil, side=evil, vendor_data=vendor), 1.0)
    status = Status(
        host=evil,
        exchange=evil,
        connection=evil,
        uptime_seconds=0,
        log_message=evil,
        recording=evil,
        label=evil,
    )
    frame = draw(market, status, 250, 24)
    assert all(line.plain.isprintable() for line in frame.lines)
    assert "[bold]" in "\n".join(plain(frame))
    terminal = make_terminal(250, 24)
    with LiveTable(terminal.console) as live:
        live.refresh(lambda *_: frame)
    assert evil not in terminal.getvalue()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    symbols=st.lists(st.text(max_size=30), max_size=12),
    width=st.integers(1, 130),
    height=st.integers(1, 40),
    price=st.decimals(0, 10**12, places=8, allow_nan=False),
)
def test_any_names_on_any_screen_fit(
    make_trade: MakeTrade,
    symbols: list[str],
    width: int,
    height: int,
    price: object,
) -> None:
    market = MarketState(symbols, started_seconds=0.0)
    for symbol in symbols[::2]:
        market.observe(make_trade(symbol, price=f"{price:f}"), 1.0)
    lines = plain(draw(market, LIVE, width, height))
    assert len(lines) == height
    assert max(map(cell_len, lines)) <= width
