from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from k2cli.binance.catalog import Catalog, CatalogCache, SymbolInfo
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
    assert catalog.quantity_decimals() == {"AB": 5, "GH": 0}


def test_a_mistyped_symbol_gets_the_likeliest_names() -> None:
    assert MARKET.suggestions("BTCUSTD")[0] == "BTCUSDT"
    assert MARKET.suggestions("ETHUSDTT") == ["ETHUSDT"]
    assert MARKET.suggestions("QQQQQ") == []


def test_a_bare_asset_gets_its_pairs_first() -> None:
    assert MARKET.suggestions("BTC") == ["BTCUSDT", "BTCEUR"]
    assert len(MARKET.suggestions("BTCUSD", limit=1)) == 1


def test_a_symbol_that_does_not_trade_is_not_suggested() -> None:
    assert MARKET.suggestions("LUNABUSDT") == []


# On disk.

API = "wss://ws-api.binance.com:443/ws-api/v3"
BTC = SymbolInfo("BTCUSDT", "BTC", "USDT", "TRADING", "0.01", "0.00001")
NAMED = SymbolInfo("币安人生USDT", "币安人生", "USDT", "BREAK", "0", "0")


def kept_catalog(fetched_at_seconds: float = 1723161601.5) -> Catalog:
    return Catalog([BTC, NAMED], whole=True, fetched_at_seconds=fetched_at_seconds)


def kept_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_a_kept_catalog_is_given_back_as_it_was(tmp_path: Path) -> None:
    CatalogCache(tmp_path).save(API, kept_catalog())
    loaded = CatalogCache(tmp_path).load(API)
    assert loaded is not None
    assert list(loaded) == [BTC, NAMED]
    assert loaded.whole
    assert loaded.fetched_at_seconds == 1723161601.5


def test_nothing_kept_is_nothing(tmp_path: Path) -> None:
    assert CatalogCache(tmp_path / "no" / "folder").load(API) is None


def test_a_later_catalog_takes_the_place_of_the_earlier(tmp_path: Path) -> None:
    cache = CatalogCache(tmp_path)
    cache.save(API, kept_catalog(1.0))
    cache.save(API, Catalog([BTC], whole=True, fetched_at_seconds=2.0))
    loaded = cache.load(API)
    assert loaded is not None
    assert (list(loaded), loaded.fetched_at_seconds) == ([BTC], 2.0)
    assert kept_file(tmp_path).suffix == ".json"


def test_each_exchange_has_a_file_of_its_own(tmp_path: Path) -> None:
    cache = CatalogCache(tmp_path)
    cache.save(API, kept_catalog())
    assert cache.load("wss://ws-api.testnet.binance.vision/ws-api/v3") is None
    assert cache.load("wss://ws-api.binance.com:9443/ws-api/v3") is None
    assert cache.load(API.replace("binance", "BINANCE")) is not None


@pytest.mark.parametrize(
    "host", ["../../evil", "..", "a b", "[::1]:8080", "%2e%2e%2f", "x" * 100]
)
def test_a_strange_address_stays_within_the_folder(tmp_path: Path, host: str) -> None:
    folder = tmp_path / "cache"
    cache = CatalogCache(folder)
    cache.save(f"ws://{host}/ws-api/v3", kept_catalog())
    assert cache.load(f"ws://{host}/ws-api/v3") is not None
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    # No character that a file's name cannot have somewhere.
    assert re.fullmatch(r"catalog-[a-z0-9.-]+\.json", kept_file(folder).name)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\x00\xff",
        b"null",
        b"[]",
        b"7",
        b"{}",
        b'{"symbols":[]}',
        b'{"fetched_at_seconds":"soon","symbols":[]}',
        b'{"fetched_at_seconds":1,"symbols":7}',
        b'{"fetched_at_seconds":1,"symbols":[7]}',
        b'{"fetched_at_seconds":1,"symbols":[{}]}',
        b'{"fetched_at_seconds":1,"symbols":[{"symbol":"BTCUSDT","extra":1}]}',
    ],
)
def test_a_corrupt_file_is_no_catalog_and_is_replaced(
    tmp_path: Path, content: bytes
) -> None:
    cache = CatalogCache(tmp_path)
    cache.save(API, kept_catalog())
    kept_file(tmp_path).write_bytes(content)
    assert cache.load(API) is None
    cache.save(API, kept_catalog())
    assert cache.load(API) is not None


def test_every_torn_file_is_no_catalog(tmp_path: Path) -> None:
    cache = CatalogCache(tmp_path)
    cache.save(API, kept_catalog())
    file = kept_file(tmp_path)
    content = file.read_bytes()
    assert json.loads(content)
    for size in range(len(content)):
        file.write_bytes(content[:size])
        assert cache.load(API) is None


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = CatalogCache(tmp_path / "file" / "k2")
    cache.save(API, kept_catalog())
    assert cache.load(API) is None


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0,
    reason="needs a user whom permissions can stop",
)
def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    cache = CatalogCache(tmp_path)
    cache.save(API, kept_catalog())
    assert cache.load(API) is None


def test_a_file_that_cannot_be_read_is_no_error(tmp_path: Path) -> None:
    cache = CatalogCache(tmp_path)
    cache.save(API, kept_catalog())
    file = kept_file(tmp_path)
    file.unlink()
    file.mkdir()
    assert cache.load(API) is None
    cache.save(API, kept_catalog())
    assert cache.load(API) is None


def test_the_users_cache_folder_is_the_usual_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "k2cli.binance.catalog.user_cache_path",
        lambda name, appauthor: tmp_path / name,
    )
    CatalogCache().save(API, kept_catalog())
    assert kept_file(tmp_path / "k2").name.startswith("catalog-ws-api.binance.com")
