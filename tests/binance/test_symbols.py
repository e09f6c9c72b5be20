from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.binance.catalog import Catalog, SymbolInfo
from k2cli.binance.symbols import (
    ascii_lower,
    ascii_upper,
    normalize_symbol,
    normalize_symbols,
    parse_binance_symbol,
)
from k2cli.errors import SettingsError

REAL_CATALOG = (
    Path(__file__).parents[3] / "shared" / "data" / "exchange_info_20211012.json.gz"
)


def catalog_of(*entries: Sequence[str]) -> Catalog:
    return Catalog(
        (
            SymbolInfo(base + quote, base, quote, "TRADING", "0", "0")
            for base, quote in entries
        ),
        whole=True,
        fetched_at_seconds=0.0,
    )


@pytest.fixture(scope="module")
def exchange_info() -> dict[str, Any]:
    if not REAL_CATALOG.exists():
        pytest.skip("the real catalog is not at hand")
    reply: dict[str, Any] = json.loads(gzip.decompress(REAL_CATALOG.read_bytes()))
    return reply


@pytest.mark.parametrize(
    ("symbol", "base", "quote"),
    [
        ("BTCUSDT", "BTC", "USDT"),
        ("ETHBTC", "ETH", "BTC"),
        ("BNBUSDC", "BNB", "USDC"),
        ("BTCFDUSD", "BTC", "FDUSD"),
        ("BTCEURI", "BTC", "EURI"),
        ("EUREURI", "EUR", "EURI"),
        ("BTCJPY", "BTC", "JPY"),
        ("BTCBRL", "BTC", "BRL"),
        ("USDTTRY", "USDT", "TRY"),
        ("USDTBRL", "USDT", "BRL"),
        ("SHIBDOGE", "SHIB", "DOGE"),
        ("BTCUSD1", "BTC", "USD1"),
        ("JTOFDUSD", "JTO", "FDUSD"),
        ("WBTCBTC", "WBTC", "BTC"),
        ("WBETHETH", "WBETH", "ETH"),
        ("1INCHDOWNUSDT", "1INCHDOWN", "USDT"),
        ("USDCUSDT", "USDC", "USDT"),
        ("BUSDUSDT", "BUSD", "USDT"),
        ("BTCIDRT", "BTC", "IDRT"),
        ("BTCBIDR", "BTC", "BIDR"),
        ("币安人生USDT", "币安人生", "USDT"),
        # One quote asset is another's ending: the base decides.
        ("ADAEUR", "ADA", "EUR"),
        ("LUNAEUR", "LUNA", "EUR"),
        ("THETAEUR", "THETA", "EUR"),
        ("BTCAEUR", "BTC", "AEUR"),
        ("ADABUSD", "ADA", "BUSD"),
        ("BNBBUSD", "BNB", "BUSD"),
        ("XRPRLUSD", "XRP", "RLUSD"),
    ],
)
def test_the_ending_tells_base_and_quote(symbol: str, base: str, quote: str) -> None:
    assert parse_binance_symbol(symbol) == (base, quote, quote)


@pytest.mark.parametrize(
    "base", "BTC ETH BNB BAT ONT VET HNT OXT GRT USDT USDC ADA LINK".split()
)
def test_the_ending_tells_the_dollar_pairs_of_binance_us(base: str) -> None:
    assert parse_binance_symbol(f"{base}USD") == (base, "USD", "USD")


@pytest.mark.parametrize(
    "symbol",
    [
        "FOOBAR",
        "BTC",
        "USDT",
        "",
        "这是测试币456",
        "BTCU",
        # Dollars that are not known here, and no BTCX/USD or FOORL/USD.
        "BTCXUSD",
        "ETHBFUSD",
        "FOORLUSD",
        # AD/AEUR or ADA/EUR, with a base that nobody knows.
        "XYZAEUR",
    ],
)
def test_what_the_ending_cannot_tell_is_unknown(symbol: str) -> None:
    assert parse_binance_symbol(symbol) == (symbol, "UNKNOWN", "UNKNOWN")


@pytest.mark.parametrize(
    "written", ["btcfdusd", "BTC/FDUSD", "BTC-FDUSD", "btc_fdusd", " BTC:FDUSD "]
)
def test_a_symbol_is_split_however_it_is_written(written: str) -> None:
    assert parse_binance_symbol(written) == ("BTC", "FDUSD", "FDUSD")


def test_a_separator_tells_more_than_the_ending() -> None:
    assert parse_binance_symbol("FOO/BAR") == ("FOO", "BAR", "BAR")
    assert parse_binance_symbol("AD/AEUR") == ("AD", "AEUR", "AEUR")


def test_the_catalog_tells_more_than_ending_and_separator() -> None:
    catalog = catalog_of(("AD", "AEUR"), ("BTC", "U"), ("这是测试币", "456"))
    assert parse_binance_symbol("ADAEUR", catalog) == ("AD", "AEUR", "AEUR")
    assert parse_binance_symbol("ada-eur", catalog) == ("AD", "AEUR", "AEUR")
    assert parse_binance_symbol("btcu", catalog) == ("BTC", "U", "U")
    assert parse_binance_symbol("这是测试币456", catalog) == (
        "这是测试币",
        "456",
        "456",
    )


def test_a_symbol_that_the_catalog_lacks_is_split_by_its_ending() -> None:
    catalog = catalog_of(("BTC", "USDT"))
    assert parse_binance_symbol("ETHUSDT", catalog) == ("ETH", "USDT", "USDT")


def test_the_ending_is_right_on_every_trading_symbol_of_a_real_catalog(
    exchange_info: dict[str, Any],
) -> None:
    wrong = [
        entry["symbol"]
        for entry in exchange_info["symbols"]
        if entry["status"] == "TRADING"
        and parse_binance_symbol(entry["symbol"])
        != (entry["baseAsset"], entry["quoteAsset"], entry["quoteAsset"])
    ]
    assert len(exchange_info["symbols"]) == 1695
    assert wrong == []


def test_the_catalog_is_right_on_every_symbol_of_a_real_catalog(
    exchange_info: dict[str, Any],
) -> None:
    catalog = Catalog.from_exchange_info(
        exchange_info, whole=True, fetched_at_seconds=0.0
    )
    wrong = [
        entry["symbol"]
        for entry in exchange_info["symbols"]
        if parse_binance_symbol(entry["symbol"].lower(), catalog)
        != (entry["baseAsset"], entry["quoteAsset"], entry["quoteAsset"])
    ]
    assert len(catalog) == 1695
    assert wrong == []


@given(st.text(st.characters(exclude_categories=()), max_size=30))
def test_any_text_is_split_without_loss(text: str) -> None:
    base, quote, currency = parse_binance_symbol(text)
    letters = ascii_upper(text.strip())
    for separator in "/-_:":
        letters = letters.replace(separator, "")
    assert currency == quote
    assert letters == (base if quote == "UNKNOWN" else base + quote)


@pytest.mark.parametrize(
    "written",
    [
        "BTCUSDT",
        "btcusdt",
        "BtcUsdt",
        "BTC/USDT",
        "BTC-USDT",
        "btc_usdt",
        "btc:usdt",
        " BTCUSDT\n",
    ],
)
def test_a_symbol_may_be_written_in_many_ways(written: str) -> None:
    assert normalize_symbol(written) == "BTCUSDT"


def test_symbols_beyond_ascii_are_kept() -> None:
    assert normalize_symbol("币安人生usdt") == "币安人生USDT"
    assert normalize_symbol("1000sats/usdt") == "1000SATSUSDT"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "BTC USDT",
        "BTC.USDT",
        "BTCUSDT@trade",
        "*",
        "A" * 41,
        "\x1b[2J",
        # A byte of the command line that is no UTF-8.
        "BTC\udcff",
    ],
)
def test_what_cannot_be_a_symbol_is_refused_in_one_printable_line(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        normalize_symbol(text)
    assert str(caught.value).isprintable()
    assert "is not a symbol" in str(caught.value)


def test_several_symbols_may_stand_in_one_text() -> None:
    texts = ["BTCUSDT,eth/usdt", "bnb-btc  SOLUSDT\tADAUSDT", ",", " "]
    assert normalize_symbols(texts) == [
        "BTCUSDT",
        "ETHUSDT",
        "BNBBTC",
        "SOLUSDT",
        "ADAUSDT",
    ]


def test_repeated_symbols_are_taken_once_in_the_order_given() -> None:
    assert normalize_symbols(["ETHUSDT", "btcusdt", "ETH/USDT", "BTCUSDT"]) == [
        "ETHUSDT",
        "BTCUSDT",
    ]
    assert normalize_symbols([]) == []


def test_only_ascii_letters_change_their_case() -> None:
    # str.lower makes two characters of this one, and str.upper two of that.
    assert ascii_lower("İABC") == "İabc"
    assert ascii_upper("ßabc") == "ßABC"
    assert ascii_lower("币安人生USDT") == "币安人生usdt"
    assert ascii_lower("ÄÖÜΣ") == "ÄÖÜΣ"
    assert ascii_upper("äöüς") == "äöüς"


@given(st.text(st.characters(exclude_categories=())))
def test_case_of_other_characters_never_changes(text: str) -> None:
    lowered, raised = ascii_lower(text), ascii_upper(text)
    for before, low, high in zip(text, lowered, raised, strict=True):
        assert low == (before.lower() if before.isascii() else before)
        assert high == (before.upper() if before.isascii() else before)
