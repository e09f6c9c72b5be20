from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from k2cli.display.formats import CSV_COLUMNS, FORMATS, FormatOptions, line_format
from k2cli.errors import SettingsError
from k2cli.trade import TradeV2

MakeTrade = Callable[..., TradeV2]
HOSTILE = "BTC\x1b[2J\x9b31m\r\n\x07\x7f\u202eUSDT"


def controls(text: str) -> list[str]:
    return [c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs"}]


def test_json_is_the_record_itself(make_trade: MakeTrade) -> None:
    trade = make_trade("币安人生USDT")
    json_lines = line_format("json")
    assert json_lines.header() == b""
    assert json_lines.line(trade) == trade.to_json_line()


def test_csv_is_these_bytes(make_trade: MakeTrade) -> None:
    lines = line_format("csv")
    assert lines.header() == (
        b"message_id,trade_id,symbol,exchange,asset_class,timestamp,price,quantity,"
        b"currency,side,trade_conditions,source_sequence,ingestion_timestamp,"
        b"platform_sequence,is_buyer_maker,is_best_match,event_type,event_time,"
        b"trade_time,base_asset,quote_asset,source\n"
    )
    assert lines.line(make_trade()) == (
        b"f3b0c4ce-5d0a-4a7e-9f0e-0d5c2f9f2b11,BINANCE-3735683259,BTCUSDT,BINANCE,"
        b"crypto,1723161255342000,61837.63000000,0.02000000,USDT,SELL,,3735683259,"
        b"1723161254087896,,true,true,trade,1723161255343,1723161255342,BTC,USDT,\n"
    )


def test_csv_parses_back(make_trade: MakeTrade) -> None:
    trade = make_trade(
        'A,"B"',
        trade_conditions=["x", "y"],
        platform_sequence=0,
        vendor_data={"source": "backfill"},
    )
    lines = line_format("csv")
    text = (lines.header() + lines.line(trade)).decode()
    (row,) = csv.DictReader(io.StringIO(text))
    assert tuple(row) == CSV_COLUMNS
    assert row["symbol"] == 'A,"B"'
    assert row["trade_conditions"] == "x;y"
    assert row["platform_sequence"] == "0"
    assert row["source"] == "backfill"
    assert row["event_time"] == ""


def test_a_readable_line_is_these_bytes(make_trade: MakeTrade) -> None:
    lines = line_format("lines")
    assert lines.header() == b""
    assert lines.line(make_trade()).decode() == (
        "23:54:15.342  BTCUSDT   SELL   61,837.63000000 ×   0.02000000"
        "      1,236.75 USDT\n"
    )


def test_known_tick_and_step_sizes_trim_the_padding(make_trade: MakeTrade) -> None:
    options = FormatOptions(price_decimals={"BTCUSDT": 2}, size_decimals={"BTCUSDT": 5})
    line = line_format("lines", options).line(make_trade()).decode()
    assert "61,837.63 ×   0.02000  " in line


def test_a_backfilled_trade_is_marked(make_trade: MakeTrade) -> None:
    lines = line_format("lines")
    repaired = make_trade(vendor_data={"source": "backfill"})
    assert lines.line(repaired).endswith(b" USDT  backfill\n")
    assert b"backfill" not in lines.line(make_trade())


def test_colour_is_only_there_when_asked_for(make_trade: MakeTrade) -> None:
    plain = line_format("lines").line(make_trade())
    coloured = line_format("lines", FormatOptions(colour=True)).line(make_trade())
    assert b"\x1b" not in plain
    assert b"\x1b[31mSELL" in coloured
    buy = line_format("lines", FormatOptions(colour=True)).line(make_trade(side="BUY"))
    assert b"\x1b[32mBUY" in buy


def test_wide_characters_align(make_trade: MakeTrade) -> None:
    symbols = ["BTCUSDT", "币安人生USDT"]
    lines = line_format("lines", FormatOptions(symbols=symbols))
    shown = [lines.line(make_trade(symbol)).decode() for symbol in symbols]
    assert len({cell_len(line[: line.index("SELL")]) for line in shown}) == 1
    assert len({cell_len(line) for line in shown}) == 1


def test_columns_do_not_shrink_back(make_trade: MakeTrade) -> None:
    lines = line_format("lines")
    first = lines.line(make_trade("1000000MOGUSDT", quantity="12345678.00000000"))
    second = lines.line(make_trade())
    assert first.decode().index("×") == second.decode().index("×")
    assert first.decode().index("USDT\n") == second.decode().index("USDT\n")


def test_a_large_trade_is_marked_and_stands_out(make_trade: MakeTrade) -> None:
    whale = make_trade(quantity="50.00000000", vendor_data={"source": "backfill"})
    plain = line_format("lines", FormatOptions(least_notional=100_000))
    assert plain.line(whale).decode().endswith(" USDT  ◆  backfill\n")
    assert "◆" not in plain.line(make_trade(quantity="2.00000000")).decode()
    coloured = line_format("lines", FormatOptions(least_notional=100_000, colour=True))
    assert "\x1b[1m\x1b[31mSELL" in coloured.line(whale).decode()


def test_on_a_narrow_screen_numbers_stand_flush_right(make_trade: MakeTrade) -> None:
    trades = [
        make_trade("PEPEUSDT", price="0.00001234", quantity="10565784.00000000"),
        make_trade(),
    ]
    known = {"BTCUSDT": 2, "PEPEUSDT": 8}, {"BTCUSDT": 5, "PEPEUSDT": 0}
    widths = {}
    for width in (None, 72, 71, 66):
        options = FormatOptions(
            symbols=known[0],
            price_decimals=known[0],
            size_decimals=known[1],
            width=width,
        )
        lines = line_format("lines", options)
        shown = [lines.line(trade).decode().rstrip("\n") for trade in trades]
        assert len({line.index("×") for line in shown}) == 1
        assert len({cell_len(line) for line in shown}) == 1
        widths[width] = cell_len(shown[0])
        assert ("USDT" in shown[0][20:]) == (width in (None, 72))
        assert ("." in shown[0][:12]) == (width != 66)
    assert widths == {None: 72, 72: 72, 71: 67, 66: 63}


def test_known_decimals_keep_their_room_from_the_start(make_trade: MakeTrade) -> None:
    decimals = {"BTCUSDT": 2, "PEPEUSDT": 8}
    options = FormatOptions(symbols=decimals, price_decimals=decimals)
    lines = line_format("lines", options)
    before = lines.line(make_trade()).decode().index("×")
    lines.line(make_trade("PEPEUSDT", price="0.00001234"))
    assert lines.line(make_trade()).decode().index("×") == before


@pytest.mark.parametrize("name", FORMATS)
def test_escape_sequences_in_names_are_neutralised(
    name: str, make_trade: MakeTrade
) -> None:
    line = line_format(name).line(make_trade(HOSTILE, currency=HOSTILE))
    assert line.endswith(b"\n")
    assert controls(line[:-1].decode()) == []


def test_escaped_json_still_says_the_same(make_trade: MakeTrade) -> None:
    record = json.loads(line_format("json").line(make_trade(HOSTILE)))
    assert record["symbol"] == HOSTILE


@pytest.mark.parametrize("name", FORMATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    key=st.sampled_from(["symbol", "currency", "side", "trade_id", "message_id"]),
    price=st.decimals(0, 10**9, places=8, allow_nan=False),
)
def test_no_line_holds_a_control_character(
    name: str, text: str, key: str, price: object, make_trade: MakeTrade
) -> None:
    trade = make_trade(price=f"{price:f}", vendor_data={"base_asset": text})
    setattr(trade, key, text)
    line = line_format(name).line(trade).decode()
    assert line.endswith("\n")
    assert controls(line[:-1]) == []
    assert len(line.splitlines()) == 1


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="json, csv, lines"):
        line_format("yaml\x1b")


def test_a_template_names_what_a_line_has(make_trade: MakeTrade) -> None:
    line = line_format(r"{symbol}\t{price} {side} {{{notional}}} {quote_asset}")
    assert line.header() == b""
    assert line.line(make_trade()) == (
        b"BTCUSDT\t61837.63000000 SELL {1236.7526} USDT\n"
    )
    whole = line_format("{symbol}={json}").line(make_trade())
    assert whole == b"BTCUSDT=" + make_trade().to_json_line()
    time = line_format("{time} {platform_sequence}|").line(make_trade())
    assert time == b"2024-08-08T23:54:15.342000Z |\n"


def test_values_cannot_break_a_line_of_a_template(make_trade: MakeTrade) -> None:
    evil = make_trade(symbol="A\n\x1b[2J")
    assert line_format("{symbol}").line(evil) == b"A\\n\\x1b[2J\n"


@pytest.mark.parametrize(
    "template", ["{nope}", "{symbol", "{}", "{price:.2f}", "{a!r}"]
)
def test_a_wrong_template_names_what_is_allowed(template: str) -> None:
    with pytest.raises(SettingsError, match="may stand message_id"):
        line_format(template)
