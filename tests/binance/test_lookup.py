from __future__ import annotations

from itertools import islice
from pathlib import Path

import orjson
import pytest
from websockets.asyncio.server import ServerConnection

from k2cli.binance.catalog import Catalog, CatalogCache, SymbolInfo
from k2cli.binance.lookup import CatalogSource
from k2cli.errors import (
    AccessBlocked,
    ConnectFailed,
    MalformedMessage,
    RestrictedLocation,
    UnknownSymbol,
)
from k2cli.simulator import Market, SimulatedExchange, parse_fault

from .conftest import StartServer

NOW = 1_723_161_600.0
HOUR = 3600.0


def info(symbol: str, status: str = "TRADING") -> SymbolInfo:
    return SymbolInfo(symbol, symbol[:3], symbol[3:], status, "0.01", "0.01")


class Kept(CatalogCache):
    """A cache in a folder of the test, with a catalog of a given age."""

    def __init__(self, folder: Path, api_url: str, age_seconds: float) -> None:
        super().__init__(folder)
        infos = [info("BTCUSDT"), info("XYZUSDT"), info("OLDBUSD", "BREAK")]
        catalog = Catalog(infos, whole=True, fetched_at_seconds=NOW - age_seconds)
        self.save(api_url, catalog)


class Recorded(CatalogCache):
    """A cache that is empty and remembers what it was to keep."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.saved: list[Catalog] = []

    def save(self, api_url: str, catalog: Catalog) -> None:
        self.saved.append(catalog)


def source(
    exchange: SimulatedExchange,
    cache: CatalogCache | None = None,
    *,
    rest_url: str | None = None,
) -> CatalogSource:
    return CatalogSource(
        exchange.api_url,
        rest_url=rest_url,
        cache=cache,
        proxy=False,
        clock=lambda: NOW,
    )


async def test_symbols_in_use_are_looked_up_by_name(
    exchange: SimulatedExchange,
) -> None:
    lookup = await source(exchange).check(["ETHBTC", "BTCUSDT"])
    assert lookup.symbols == ["ETHBTC", "BTCUSDT"]
    assert lookup.warnings == ()
    assert [each.symbol for each in lookup.catalog] == ["ETHBTC", "BTCUSDT"]
    assert not lookup.catalog.whole
    assert lookup.catalog.fetched_at_seconds == NOW


async def test_all_symbols_can_be_had(exchange: SimulatedExchange) -> None:
    lookup = await source(exchange).whole()
    assert lookup.symbols == list(exchange.symbols)
    assert lookup.catalog.whole
    assert lookup.warnings == ()


async def test_many_symbols_are_checked_against_the_whole_catalog(
    exchange: SimulatedExchange,
) -> None:
    lookup = await source(exchange).check(["BTCUSDT"] * 101)
    assert lookup.catalog.whole
    assert len(lookup.symbols) == 101


async def test_a_fresh_catalog_is_used_without_the_network(
    exchange: SimulatedExchange, tmp_path: Path
) -> None:
    cache = Kept(tmp_path, exchange.api_url, age_seconds=23 * HOUR)
    checked = await source(exchange, cache).check(["XYZUSDT"])
    whole = await source(exchange, cache).whole()
    assert checked.symbols == ["XYZUSDT"]
    assert whole.symbols == ["BTCUSDT", "XYZUSDT", "OLDBUSD"]
    assert checked.warnings == whole.warnings == ()
    assert exchange.connection_attempts == 0


async def test_a_symbol_newer_than_the_kept_catalog_is_asked_for(
    exchange: SimulatedExchange, tmp_path: Path
) -> None:
    cache = Kept(tmp_path, exchange.api_url, age_seconds=HOUR)
    lookup = await source(exchange, cache).check(["BTCUSDT", "ETHUSDT"])
    assert lookup.symbols == ["BTCUSDT", "ETHUSDT"]
    assert exchange.api_connections_accepted == 1


@pytest.mark.parametrize("age_hours", [24, 1000, -2])
async def test_a_catalog_of_another_day_is_fetched_anew(
    exchange: SimulatedExchange, tmp_path: Path, age_hours: float
) -> None:
    cache = Kept(tmp_path, exchange.api_url, age_seconds=age_hours * HOUR)
    lookup = await source(exchange, cache).whole()
    assert lookup.symbols == list(exchange.symbols)
    assert exchange.api_connections_accepted == 1


async def test_a_fresh_catalog_is_fetched_anew_if_asked_for(
    exchange: SimulatedExchange, tmp_path: Path
) -> None:
    cache = Kept(tmp_path, exchange.api_url, age_seconds=HOUR)
    lookup = await source(exchange, cache).whole(refresh=True)
    assert lookup.symbols == list(exchange.symbols)


@pytest.mark.parametrize(
    ("age_hours", "age"), [(30, "30 hours"), (47, "47 hours"), (72, "3 days")]
)
async def test_an_old_catalog_serves_with_a_note_of_its_age(
    exchange: SimulatedExchange, tmp_path: Path, age_hours: float, age: str
) -> None:
    cache = Kept(tmp_path, exchange.api_url, age_seconds=age_hours * HOUR)
    exchange.add_fault("refuse@0:503")
    whole = await source(exchange, cache).whole()
    checked = await source(exchange, cache).check(["BTCUSDT"])
    for lookup in (whole, checked):
        (warning,) = lookup.warnings
        assert "answered HTTP 503" in warning
        assert warning.endswith(f"using the catalog of {age} ago")
    assert "XYZUSDT" in checked.catalog


async def test_an_old_catalog_cannot_say_that_a_symbol_does_not_exist(
    exchange: SimulatedExchange, tmp_path: Path
) -> None:
    cache = Kept(tmp_path, exchange.api_url, age_seconds=72 * HOUR)
    exchange.add_fault("refuse@0:503")
    lookup = await source(exchange, cache).check(["NEWUSDT", "BTCUSDT", "OLDBUSD"])
    assert lookup.symbols == ["NEWUSDT", "BTCUSDT", "OLDBUSD"]
    note, not_trading = lookup.warnings
    assert note.endswith("; not in it: NEWUSDT")
    assert not_trading.startswith("OLDBUSD is not trading")


async def test_without_any_catalog_it_goes_on_with_a_warning(
    exchange: SimulatedExchange,
) -> None:
    exchange.add_fault("refuse@0:503")
    lookup = await source(exchange).check(["BTCUSDT", "NOSUCH"])
    assert lookup.symbols == ["BTCUSDT", "NOSUCH"]
    assert len(lookup.catalog) == 0
    (warning,) = lookup.warnings
    assert "answered HTTP 503; without a catalog, symbols are not checked" in warning


async def test_all_symbols_cannot_be_had_without_any_catalog(
    exchange: SimulatedExchange,
) -> None:
    exchange.add_fault("refuse@0:503")
    with pytest.raises(ConnectFailed):
        await source(exchange).whole()


async def test_an_api_in_trouble_is_like_one_that_cannot_be_reached(
    exchange: SimulatedExchange,
) -> None:
    exchange.add_fault(parse_fault("api-error@0:503"))
    lookup = await source(exchange).check(["BTCUSDT"])
    assert "overloaded" in lookup.warnings[0]
    assert len(lookup.catalog) == 0


@pytest.mark.parametrize(
    ("symbol", "hint"),
    [
        ("BTCUSTD", "Did you mean BTCUSDT"),
        ("BTC", "Did you mean BTCUSDT or"),
        ("QQQQQQQ", "'k2 symbols TEXT' searches those it has"),
        # Characters that the exchange's own check refuses.
        ("NO SUCH", "'k2 symbols TEXT' searches those it has"),
    ],
)
async def test_an_unknown_symbol_gets_a_suggestion(
    exchange: SimulatedExchange, symbol: str, hint: str
) -> None:
    with pytest.raises(UnknownSymbol) as caught:
        await source(exchange).check(["ETHUSDT", symbol])
    assert caught.value.message == f"the exchange has no symbol {symbol}"
    assert caught.value.hint.startswith(hint)


async def test_a_symbol_that_does_not_trade_is_warned_of(
    exchange: SimulatedExchange,
) -> None:
    lookup = await source(exchange).check(["BTCUSDT", "LUNABUSD", "FTTUSDT"])
    assert lookup.symbols == ["BTCUSDT", "LUNABUSD", "FTTUSDT"]
    assert [warning.partition(":")[0] for warning in lookup.warnings] == [
        "LUNABUSD is not trading (status BREAK)",
        "FTTUSDT is not trading (status HALT)",
    ]


@pytest.mark.parametrize("status", [451, 403])
async def test_whom_the_api_refuses_may_read_the_catalog_by_rest(
    exchange: SimulatedExchange, status: int
) -> None:
    exchange.add_fault(f"refuse@0:{status}")
    catalogs = source(exchange, rest_url=exchange.rest_url)
    checked = await catalogs.check(["BTCUSDT", "币安人生USDT"])
    assert [each.symbol for each in checked.catalog] == ["BTCUSDT", "币安人生USDT"]
    assert checked.warnings == ()
    assert (await catalogs.whole()).symbols == list(exchange.symbols)
    with pytest.raises(UnknownSymbol, match="no symbol BTCUSTD"):
        await catalogs.check(["BTCUSTD"])


@pytest.mark.parametrize(
    ("status", "kind"), [(451, RestrictedLocation), (403, AccessBlocked)]
)
async def test_a_refusal_stays_one_where_there_is_no_rest(
    exchange: SimulatedExchange, status: int, kind: type[Exception]
) -> None:
    exchange.add_fault(f"refuse@0:{status}")
    with pytest.raises(kind):
        await source(exchange).whole()


@pytest.mark.parametrize("status", [429, 418, 503])
async def test_another_refusal_is_not_answered_with_more_requests(
    exchange: SimulatedExchange, status: int
) -> None:
    exchange.add_fault(f"refuse@0:{status}")
    lookup = await source(exchange, rest_url=exchange.rest_url).check(["BTCUSDT"])
    assert len(lookup.catalog) == 0
    assert exchange.connection_attempts == 1


async def test_a_made_up_catalog_is_never_kept(
    exchange: SimulatedExchange, tmp_path: Path
) -> None:
    cache = Recorded(tmp_path)
    await source(exchange, cache).whole()
    await source(exchange, cache).check(["BTCUSDT"])
    assert cache.saved == []


async def test_a_whole_catalog_is_kept_and_one_of_some_symbols_is_not(
    tmp_path: Path, recorded_exchange: SimulatedExchange
) -> None:
    cache = Recorded(tmp_path)
    catalogs = source(recorded_exchange, cache)
    await catalogs.check(["BTCUSDT"])
    assert cache.saved == []
    whole = await catalogs.whole()
    assert cache.saved == [whole.catalog]
    assert whole.catalog.fetched_at_seconds == NOW


async def test_a_catalog_that_makes_no_sense_is_an_error(
    exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> dict[str, object]:
        return {"timezone": "UTC"}

    monkeypatch.setattr("k2cli.binance.api.BinanceApiClient.exchange_info", nothing)
    with pytest.raises(MalformedMessage):
        await source(exchange).whole()
    lookup = await source(exchange).check(["BTCUSDT"])
    assert "no list of symbols" in lookup.warnings[0]


async def test_how_busy_symbols_are_can_be_had(exchange: SimulatedExchange) -> None:
    market = Market(seed=1, rate=1_000)
    trades = [trade for _, trade in islice(market.timeline(0), 500)]
    await exchange.publish(trades)

    activity = await source(exchange).activity()

    trading = {s for s, one in exchange.symbols.items() if one.status == "TRADING"}
    assert activity.keys() == trading
    assert activity["BTCUSDT"] == len(exchange.log.ids("BTCUSDT")) > 50
    assert "BTCBUSD" not in activity


@pytest.mark.parametrize("fault", ["api-down@0", "api-error@0:503", "api-error@0:418"])
async def test_that_activity_is_unknown_is_no_failure(
    exchange: SimulatedExchange, fault: str
) -> None:
    exchange.add_fault(parse_fault(fault))
    assert await source(exchange).activity() == {}


@pytest.mark.parametrize(
    "result", [{"symbol": "BTCUSDT"}, None, [1, {"symbol": 5, "count": 1}, {}]]
)
async def test_activity_of_another_shape_is_no_failure(
    start_server: StartServer, result: object
) -> None:
    async def answer(connection: ServerConnection) -> None:
        asked = orjson.loads(await connection.recv())
        reply = {"id": asked["id"], "status": 200, "result": result}
        await connection.send(orjson.dumps(reply), text=True)
        await connection.wait_closed()

    url = await start_server(answer)
    assert await CatalogSource(url, proxy=False).activity() == {}


async def test_another_address_is_asked_where_one_cannot_be_reached(
    tmp_path: Path,
) -> None:
    async with SimulatedExchange() as exchange:
        dead = exchange.api_url.replace("127.0.0.1", "127.0.0.2")
        asked = CatalogSource(dead, fallback_urls=[exchange.api_url], proxy=False)
        assert (await asked.check(["BTCUSDT"])).symbols == ["BTCUSDT"]
        with pytest.raises(ConnectFailed):
            await CatalogSource(dead, fallback_urls=[dead], proxy=False).whole()
