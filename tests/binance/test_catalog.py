from __future__ import annotations

from typing import Any

import pytest

from k2cli.binance.catalog import Catalog, SymbolInfo
from k2cli.errors import MalformedMessage


def entry(
    base: str, quote: str, status: str = "TRADING", **more: Any
) -> dict[str, Any]:
    return {
        "symbol": base + quote,
        "status": status,
        "baseAsset": base,
        "quoteAsset": quote,
        "filters": [
            {"filterType": "LOT_SIZE", "stepSize": "0.00001000"},
            {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
        ],
        **more,
    }


def catalog_of(*entries: Any) -> Catalog:
    return Catalog.from_exchange_info(
        {"symbols": list(entries)}, whole=True, fetched_at_seconds=1.0
    )


def names(infos: list[SymbolInfo]) -> list[str]:
    return [info.symbol for info in infos]


MARKET = catalog_of(
    entry("ETH", "USDT"),
    entry("BTC", "USDT"),
    entry("BTC", "EUR"),
    entry("LUNA", "BUSD", "BREAK"),
    entry("币安人生", "USDT"),
)


def test_an_entry_is_read_with_its_sizes() -> None:
    assert MARKET.get("BTCUSDT") == SymbolInfo(
        symbol="BTCUSDT",
        base_asset="BTC",
        quote_asset="USDT",
        status="TRADING",
        tick_size="0.01000000",
        step_size="0.00001000",
    )
    assert MARKET.get("NONE") is None


def test_an_entry_prints_as_k2_symbols_has_it() -> None:
    info = MARKET.get("LUNABUSD")
    assert info is not None
    assert list(info.to_dict().items()) == [
        ("symbol", "LUNABUSD"),
        ("base_asset", "LUNA"),
        ("quote_asset", "BUSD"),
        ("status", "BREAK"),
        ("tick_size", "0.01000000"),
        ("step_size", "0.00001000"),
    ]


def test_a_catalog_is_a_collection_of_its_symbols() -> None:
    assert len(MARKET) == 5
    assert "BTCUSDT" in MARKET
    assert "btcusdt" not in MARKET
    assert [info.symbol for info in MARKET][:2] == ["ETHUSDT", "BTCUSDT"]


@pytest.mark.parametrize(
    "filters",
    [
        [],
        None,
        "none",
        [None, 7, {"filterType": "PRICE_FILTER"}],
        [{"filterType": "PRICE_FILTER", "tickSize": 0.01}],
    ],
)
def test_a_rule_that_is_not_there_is_zero(filters: Any) -> None:
    info = catalog_of(entry("A", "B", filters=filters)).get("AB")
    assert info is not None
    assert (info.tick_size, info.step_size) == ("0", "0")


@pytest.mark.parametrize(
    "strange",
    [
        None,
        "BTCUSDT",
        [],
        {},
        entry("A", "B", symbol=None),
        entry("A", "B", baseAsset=7),
        {"symbol": "AB", "baseAsset": "A", "quoteAsset": "B"},
    ],
)
def test_an_entry_without_its_names_is_passed_over(strange: Any) -> None:
    assert names(list(catalog_of(strange, entry("BTC", "USDT")))) == ["BTCUSDT"]


def test_a_status_that_nobody_knows_is_kept() -> None:
    info = catalog_of(entry("A", "B", status="CANCEL_ONLY")).get("AB")
    assert info is not None
    assert info.status == "CANCEL_ONLY"


@pytest.mark.parametrize("reply", [{}, {"symbols": None}, {"symbols": {}}, [], None])
def test_a_reply_without_symbols_is_malformed(reply: Any) -> None:
    with pytest.raises(MalformedMessage):
        Catalog.from_exchange_info(reply, whole=True, fetched_at_seconds=0.0)


def test_symbols_are_selected_by_every_condition_and_sorted() -> None:
    assert names(MARKET.select()) == ["BTCEUR", "BTCUSDT", "ETHUSDT", "币安人生USDT"]
    assert names(MARKET.select(quote=["USDT"], base=["BTC", "ETH"])) == [
        "BTCUSDT",
        "ETHUSDT",
    ]
    assert names(MARKET.select(text="BTC", quote=["EUR", "TRY"])) == ["BTCEUR"]
    assert names(MARKET.select(status="BREAK")) == ["LUNABUSD"]
    assert len(MARKET.select(status=None)) == 5
    assert MARKET.select(text="XYZ") == []
    assert MARKET.select(base=["USDT"]) == []


def test_the_sizes_tell_how_many_decimals_there_are() -> None:
    catalog = catalog_of(
        entry("A", "B"),
        entry("C", "D", filters=[{"filterType": "PRICE_FILTER", "tickSize": "1.00"}]),
        entry(
            "E", "F", filters=[{"filterType": "PRICE_FILTER", "tickSize": "0.00000000"}]
        ),
        entry("G", "H", filters=[{"filterType": "LOT_SIZE", "stepSize": "10"}]),
    )
    assert catalog.price_decimals() == {"AB": 2, "CD": 0}
    assert catalog.size_decimals() == {"AB": 5, "GH": 0}


def test_a_mistyped_symbol_gets_the_likeliest_names() -> None:
    assert MARKET.suggestions("BTCUSTD")[0] == "BTCUSDT"
    assert MARKET.suggestions("ETHUSDTT") == ["ETHUSDT"]
    assert MARKET.suggestions("QQQQQ") == []


def test_a_bare_asset_gets_its_pairs_first() -> None:
    assert MARKET.suggestions("BTC") == ["BTCUSDT", "BTCEUR"]
    assert len(MARKET.suggestions("BTCUSD", limit=1)) == 1


def test_a_symbol_that_does_not_trade_is_not_suggested() -> None:
    assert MARKET.suggestions("LUNABUSDT") == []
