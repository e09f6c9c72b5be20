from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from k2cli.binance.catalog_cache import CatalogCache

from k2cli.binance.catalog import Catalog, SymbolInfo

API = "wss://ws-api.binance.com:443/ws-api/v3"
BTC = SymbolInfo("BTCUSDT", "BTC", "USDT", "TRADING", "0.01", "0.00001")
NAMED = SymbolInfo("币安人生USDT", "币安人生", "USDT", "BREAK", "0", "0")


def catalog(fetched_at_seconds: float = 1723161601.5) -> Catalog:
    return Catalog([BTC, NAMED], whole=True, fetched_at_seconds=fetched_at_seconds)


def kept_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_a_kept_catalog_is_given_back_as_it_was(tmp_path: Path) -> None:
    CatalogCache(tmp_path).save(API, catalog())
    loaded = CatalogCache(tmp_path).load(API)
    assert loaded is not None
    assert list(loaded) == [BTC, NAMED]
    assert loaded.whole
    assert loaded.fetched_at_seconds == 1723161601.5


def test_nothing_kept_is_nothing(tmp_path: Path) -> None:
    assert CatalogCache(tmp_path / "no" / "folder").load(API) is None


def test_a_later_catalog_takes_the_place_of_the_earlier(tmp_path: Path) -> None:
    cache = CatalogCache(tmp_path)
    cache.save(API, catalog(1.0))
    cache.save(API, Catalog([BTC], whole=True, fetched_at_seconds=2.0))
    loaded = cache.load(API)
    assert loaded is not None
    assert (list(loaded), loaded.fetched_at_seconds) == ([BTC], 2.0)
    assert kept_file(tmp_path).suffix == ".json"


def test_each_exchange_has_a_file_of_its_own(tmp_path: Path) -> None:
    cache = CatalogCache(tmp_path)
    cache.save(API, catalog())
    assert cache.load("wss://ws-api.testnet.binance.vision/ws-api/v3") is None
    assert cache.load("wss://ws-api.binance.com:9443/ws-api/v3") is None
    assert cache.load(API.replace("binance", "BINANCE")) is not None


@pytest.mark.parametrize(
    "host", ["../../evil", "..", "a b", "[::1]:8080", "%2e%2e%2f", "x" * 100]
)
def test_a_strange_address_stays_within_the_folder(tmp_path: Path, host: str) -> None:
    folder = tmp_path / "cache"
    cache = CatalogCache(folder)
    cache.save(f"ws://{host}/ws-api/v3", catalog())
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
    cache.save(API, catalog())
    kept_file(tmp_path).write_bytes(content)
    assert cache.load(API) is None
    cache.save(API, catalog())
    assert cache.load(API) is not None


def test_every_torn_file_is_no_catalog(tmp_path: Path) -> None:
    cache = CatalogCache(tmp_path)
    cache.save(API, catalog())
    file = kept_file(tmp_path)
    content = file.read_bytes()
    assert json.loads(content)
    for size in range(len(content)):
        file.write_bytes(content[:size])
        assert cache.load(API) is None


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = CatalogCache(tmp_path / "file" / "k2")
    cache.save(API, catalog())
    assert cache.load(API) is None


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0,
    reason="needs a user whom permissions can stop",
)
def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    cache = CatalogCache(tmp_path)
    cache.save(API, catalog())
    assert cache.load(API) is None


def test_a_file_that_cannot_be_read_is_no_error(tmp_path: Path) -> None:
    cache = CatalogCache(tmp_path)
    cache.save(API, catalog())
    file = kept_file(tmp_path)
    file.unlink()
    file.mkdir()
    assert cache.load(API) is None
    cache.save(API, catalog())
    assert cache.load(API) is None


def test_the_users_cache_folder_is_the_usual_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "k2cli.binance.catalog_cache.user_cache_path",
        lambda name, appauthor: tmp_path / name,
    )
    CatalogCache().save(API, catalog())
    assert kept_file(tmp_path / "k2").name.startswith("catalog-ws-api.binance.com")
