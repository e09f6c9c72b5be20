"""The catalog in the shape of ``exchangeInfo``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k2cli.simulator.api_parameters import ApiRefusal, Parameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from k2cli.simulator.trades import SymbolInfo

_STATUSES = ("TRADING", "HALT", "BREAK")
_ORDER_TYPES = [
    "LIMIT",
    "LIMIT_MAKER",
    "MARKET",
    "STOP_LOSS_LIMIT",
    "TAKE_PROFIT_LIMIT",
]


def exchange_info(
    parameters: Parameters,
    catalog: Mapping[str, SymbolInfo],
    *,
    server_time: int,
    weight_limit: int,
    padding_bytes: int,
) -> dict[str, Any]:
    """Answer ``exchangeInfo``.

    Args:
        parameters: Which symbols are wanted.
        catalog: All there are.
        server_time: In the unit of the connection.
        weight_limit: Request weight of a minute.
        padding_bytes: A reply about all symbols is made at least so long.

    Raises:
        ApiRefusal: One of the symbols does not exist, or parameters exclude others.
    """
    symbol, symbols = parameters.optional_symbol(), parameters.symbols()
    permissions = parameters.value("permissions")
    status = parameters.value("symbolStatus")
    with_sets = parameters.flag("showPermissionSets", default=True)
    named = [symbol] if symbol is not None else symbols
    if sum(each is not None for each in (symbol, symbols, permissions)) > 1 or (
        named is not None and status is not None
    ):
        raise ApiRefusal(-1128, "Combination of optional parameters invalid.")
    if status is not None and status not in _STATUSES:
        raise ApiRefusal(-1122, "Invalid symbolStatus.")
    chosen: Iterable[SymbolInfo] = catalog.values()
    if named is not None:
        if any(name not in catalog for name in named):
            raise ApiRefusal(-1121, "Invalid symbol.")
        chosen = [catalog[name] for name in named]
    elif permissions is not None:
        wanted = [permissions] if isinstance(permissions, str) else permissions
        chosen = chosen if "SPOT" in wanted else []
    entries = [
        _entry(info, with_sets=with_sets)
        for info in chosen
        if status in (None, info.status)
    ]
    result = {
        "timezone": "UTC",
        "serverTime": server_time,
        "rateLimits": [
            _rate_limit("REQUEST_WEIGHT", "MINUTE", 1, weight_limit),
            _rate_limit("ORDERS", "SECOND", 10, 100),
            _rate_limit("ORDERS", "DAY", 1, 200_000),
            _rate_limit("CONNECTIONS", "MINUTE", 5, 300),
        ],
        "exchangeFilters": [],
        "symbols": entries,
    }
    if padding_bytes and named is None:
        result["sors"] = [{"baseAsset": "PAD", "symbols": ["X" * padding_bytes]}]
    return result


def _rate_limit(kind: str, interval: str, number: int, limit: int) -> dict[str, Any]:
    return {
        "rateLimitType": kind,
        "interval": interval,
        "intervalNum": number,
        "limit": limit,
    }


def _entry(info: SymbolInfo, *, with_sets: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "symbol": info.symbol,
        "status": info.status,
        "baseAsset": info.base,
        "baseAssetPrecision": 8,
        "quoteAsset": info.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": _ORDER_TYPES,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(info),
        "permissions": [],
    }
    if with_sets:
        entry["permissionSets"] = [["SPOT"]]
    entry["defaultSelfTradePreventionMode"] = "EXPIRE_MAKER"
    entry["allowedSelfTradePreventionModes"] = ["EXPIRE_TAKER", "EXPIRE_MAKER"]
    return entry


def _filters(info: SymbolInfo) -> list[dict[str, Any]]:
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": info.tick_size,
            "maxPrice": "9223720368.00000000",
            "tickSize": info.tick_size,
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": info.step_size,
            "maxQty": "92141578736.00000000",
            "stepSize": info.step_size,
        },
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": "0.00000000",
            "maxQty": "92141578736.00000000",
            "stepSize": "0.00000000",
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
    ]
