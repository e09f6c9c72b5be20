"""The API's methods: their parameters, their weights and their results."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal
from typing import TYPE_CHECKING, Any

import orjson

from k2cli.simulator.events import aggregate, fills

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from k2cli.simulator.api import Api
    from k2cli.simulator.trades import SymbolInfo, Trade

_MAX_PAGE = 1_000
_DEFAULT_PAGE = 500
_DAY_US = 86_400_000_000
_STATUSES = ("TRADING", "END_OF_DAY", "HALT", "BREAK", "CANCEL_ONLY")
_exact = Context(prec=200, rounding=ROUND_DOWN)
_EIGHT_PLACES = Decimal("1E-8")
_symbol_syntax = re.compile(r"[\w\-.]{1,20}")
_SYMBOL_RANGE = "^[A-Z0-9-_.]{1,20}$"
# Accepted from clients that sign everything, and of no consequence.
_IGNORED = frozenset(
    {"apiKey", "signature", "timestamp", "recvWindow", "returnRateLimits"}
)


class ApiError(Exception):
    """A request that is answered with one of Binance's error codes, e.g. -1121."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def _illegal(name: str, legal: str) -> ApiError:
    return ApiError(
        -1100,
        f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.",
    )


def _invalid(name: str) -> ApiError:
    return ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")


def _bad_combination() -> ApiError:
    return ApiError(-1128, "Combination of optional parameters invalid.")


class Parameters:
    """A request's parameters; those that no reader has asked for are an error."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._read: set[str] = set()

    def value(self, name: str) -> Any:
        """Return a parameter as it was sent; ``None`` if it was not."""
        self._read.add(name)
        return self._values.get(name)

    def symbol(self, catalog: Mapping[str, SymbolInfo]) -> str:
        """Return the parameter ``symbol``, which the catalog must have."""
        value = self.value("symbol")
        if value is None or value == "":
            raise ApiError(
                -1102,
                "Mandatory parameter 'symbol' was not sent, was empty/null, or "
                "malformed.",
            )
        return _known(value, "symbol", catalog)

    def optional_symbols(
        self, catalog: Mapping[str, SymbolInfo]
    ) -> tuple[str | None, list[str] | None]:
        """Return ``symbol`` and ``symbols``, as far as they were sent."""
        symbol, symbols = self.value("symbol"), self.value("symbols")
        if symbol is not None and symbols is not None:
            raise _bad_combination()
        if symbol is not None:
            return self.symbol(catalog), None
        if symbols is None:
            return None, None
        symbols = _unquoted_list(symbols)
        if not isinstance(symbols, list) or not symbols:
            raise _illegal("symbols", _SYMBOL_RANGE)
        known = [_known(each, "symbols", catalog) for each in symbols]
        if len(set(known)) < len(known):
            raise ApiError(-1151, "Symbol is present multiple times in the list.")
        return None, known

    def whole_number(self, name: str) -> int | None:
        """Return a number from 0 on, if it was sent."""
        value = self.value(name)
        if value is None:
            return None
        # Official clients send numbers and flags quoted.
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,20}", value, re.ASCII):
            value = int(value)
        if type(value) is not int:
            raise _illegal(name, "^[0-9]{1,20}$")
        if not 0 <= value < 2**63:
            raise _invalid(name)
        return value

    def limit(self) -> int:
        """Return the length of a page."""
        limit = self.whole_number("limit")
        if limit is None:
            return _DEFAULT_PAGE
        if not 1 <= limit <= _MAX_PAGE:
            raise _invalid("limit")
        return limit

    def flag(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self.value(name)
        if value is None:
            return default
        if value in ("true", "false"):
            return bool(value == "true")
        if not isinstance(value, bool):
            raise _illegal(name, "true or false")
        return value

    def status(self) -> str | None:
        """Return the parameter ``symbolStatus``, if it was sent."""
        value = self.value("symbolStatus")
        if value not in (None, *_STATUSES):
            raise ApiError(-1122, "Invalid symbolStatus.")
        return None if value is None else str(value)

    def check_all_read(self) -> None:
        """Refuse parameters that the method does not have."""
        sent = self._values.keys() - _IGNORED
        if sent - self._read:
            raise ApiError(
                -1104,
                f"Not all sent parameters were read; read '{len(sent & self._read)}' "
                f"parameter(s) but was sent '{len(sent)}'.",
            )


def _unquoted_list(value: Any) -> Any:
    """Return a list that was sent as the text of one."""
    if isinstance(value, str) and value.startswith("["):
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(value)
    return value


def _known(value: object, name: str, catalog: Mapping[str, SymbolInfo]) -> str:
    if not isinstance(value, str) or not _symbol_syntax.fullmatch(value):
        raise _illegal(name, _SYMBOL_RANGE)
    if value not in catalog:
        raise ApiError(-1121, "Invalid symbol.")
    return value


def _time(api: Api, _: Parameters, unit: int) -> dict[str, Any]:
    return {"serverTime": api.now_us() // unit}


# Trades


def _recent(api: Api, parameters: Parameters, unit: int) -> list[dict[str, Any]]:
    symbol, limit = parameters.symbol(api.catalog), parameters.limit()
    return [_trade(trade, unit) for trade in api.page(symbol, None, limit)]


def _historical(api: Api, parameters: Parameters, unit: int) -> list[dict[str, Any]]:
    symbol, limit = parameters.symbol(api.catalog), parameters.limit()
    from_id = parameters.whole_number("fromId")
    return [_trade(trade, unit) for trade in api.page(symbol, from_id, limit)]


def _trade(trade: Trade, unit: int) -> dict[str, Any]:
    value = _exact.multiply(Decimal(trade.price), Decimal(trade.quantity))
    return {
        "id": trade.id,
        "price": trade.price,
        "qty": trade.quantity,
        "quoteQty": _eight(value),
        "time": trade.trade_time_us // unit,
        "isBuyerMaker": trade.buyer_is_maker,
        "isBestMatch": trade.best_match is not False,
    }


def _eight(value: Decimal) -> str:
    return format(value.quantize(_EIGHT_PLACES, context=_exact), "f")


def _aggregate(api: Api, parameters: Parameters, unit: int) -> list[dict[str, Any]]:
    symbol, limit = parameters.symbol(api.catalog), parameters.limit()
    from_id = parameters.whole_number("fromId")
    start = parameters.whole_number("startTime")
    end = parameters.whole_number("endTime")
    has_times = start is not None or end is not None
    if from_id is not None and has_times:
        raise _bad_combination()
    reach = limit * _MAX_PAGE
    if has_times:
        trades = api.log.since(symbol, _microseconds(start or 0), reach)
        if end is not None:
            last_us = _microseconds(end)
            trades = [trade for trade in trades if trade.trade_time_us <= last_us]
    else:
        trades = api.page(symbol, from_id, reach)
    aggregates = [aggregate(group, unit) for group in fills(trades)]
    newest = from_id is None and start is None
    return aggregates[-limit:] if newest else aggregates[:limit]


def _microseconds(time: int) -> int:
    return time if time > 10**14 else time * 1_000


# Tickers


def _ticker(api: Api, parameters: Parameters, unit: int) -> Any:
    symbol, symbols = parameters.optional_symbols(api.catalog)
    kind = parameters.value("type") or "FULL"
    status = parameters.status()
    if kind not in ("FULL", "MINI"):
        raise ApiError(-1139, "Invalid ticker type.")
    for each in symbols or ([symbol] if symbol is not None else []):
        if status not in (None, api.catalog[each].status):
            raise ApiError(
                -1220, f"The symbol's status does not match the requested {status}."
            )
    if symbol is not None:
        return _day(api, symbol, unit, full=kind == "FULL")
    return [
        _day(api, each, unit, full=kind == "FULL")
        for each in symbols or api.catalog
        if symbols or api.catalog[each].status == (status or "TRADING")
    ]


# fmt: off
def _day(api: Api, symbol: str, unit: int, *, full: bool) -> dict[str, Any]:
    totals = api.log.totals(symbol)
    first, last = totals.first, totals.last
    opened = Decimal(first.price) if first else Decimal(0)
    closed = Decimal(last.price) if last else Decimal(0)
    change, mean, now = closed - opened, closed, api.now_us() // unit
    if totals.volume:
        mean = _exact.divide(totals.quote_volume, totals.volume)
    extra = {
        "priceChange": _eight(change),
        "priceChangePercent": f"{change / opened * 100 if opened else 0:.3f}",
        "weightedAvgPrice": _eight(mean), "prevClosePrice": _eight(opened),
        "lastQty": last.quantity if last else "0.00000000",
        "bidPrice": _eight(closed), "bidQty": "0.00000000",
        "askPrice": _eight(closed), "askQty": "0.00000000",
    }
    return {
        "symbol": symbol,
        **(extra if full else {}),
        "openPrice": _eight(opened), "highPrice": _eight(totals.high),
        "lowPrice": _eight(totals.low), "lastPrice": _eight(closed),
        "volume": _eight(totals.volume), "quoteVolume": _eight(totals.quote_volume),
        "openTime": now - _DAY_US // unit, "closeTime": now,
        "firstId": first.id if first else -1, "lastId": last.id if last else -1,
        "count": totals.count,
    }
# fmt: on


def _ticker_weight(parameters: Mapping[str, Any]) -> int:
    if "symbol" in parameters:
        return 2
    symbols = _unquoted_list(parameters.get("symbols"))
    if not isinstance(symbols, list) or len(symbols) > 100:
        return 80
    return 2 if len(symbols) <= 20 else 40


# The catalog


def rate_limit(
    kind: str, limit: int, interval: str = "MINUTE", number: int = 1
) -> dict[str, Any]:
    """Describe a limit as replies do."""
    fields = ("rateLimitType", "interval", "intervalNum", "limit")
    return dict(zip(fields, (kind, interval, number, limit), strict=True))


def _exchange_info(api: Api, parameters: Parameters, unit: int) -> dict[str, Any]:
    symbol, symbols = parameters.optional_symbols(api.catalog)
    named = symbols if symbol is None else [symbol]
    permissions = _unquoted_list(parameters.value("permissions"))
    status = parameters.status()
    with_sets = parameters.flag("showPermissionSets", default=True)
    if named is not None and (permissions is not None or status is not None):
        raise _bad_combination()
    chosen: Iterable[str] = api.catalog if named is None else named
    if permissions is not None and "SPOT" not in (
        [permissions] if isinstance(permissions, str) else permissions
    ):
        chosen = ()
    result: dict[str, Any] = {
        "timezone": "UTC",
        "serverTime": api.now_us() // unit,
        "rateLimits": [
            rate_limit("REQUEST_WEIGHT", api.rules.request_weight_per_minute),
            rate_limit("ORDERS", 100, "SECOND", 10),
            rate_limit("ORDERS", 200_000, "DAY"),
            rate_limit("CONNECTIONS", 300, "MINUTE", 5),
        ],
        "exchangeFilters": [],
        "symbols": [
            _catalog_entry(info, with_sets=with_sets)
            for info in map(api.catalog.__getitem__, chosen)
            if status in (None, info.status)
        ],
    }
    padding_bytes = api.rules.catalog_padding_bytes
    if padding_bytes and named is None:
        result["sors"] = [{"baseAsset": "PAD", "symbols": ["X" * padding_bytes]}]
    return result


# fmt: off
def _catalog_entry(info: SymbolInfo, *, with_sets: bool) -> dict[str, Any]:
    allowed = (
        "icebergAllowed", "ocoAllowed", "otoAllowed", "quoteOrderQtyMarketAllowed",
        "allowTrailingStop", "cancelReplaceAllowed", "isSpotTradingAllowed",
        "opoAllowed", "amendAllowed", "pegInstructionsAllowed",
    )
    return {
        "symbol": info.symbol, "status": info.status,
        "baseAsset": info.base, "baseAssetPrecision": 8,
        "quoteAsset": info.quote, "quotePrecision": 8, "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8, "quoteCommissionPrecision": 8,
        "orderTypes": [
            "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT",
        ],
        **dict.fromkeys(allowed, True),
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": info.tick_size,
             "maxPrice": "9223720368.00000000", "tickSize": info.tick_size},
            {"filterType": "LOT_SIZE", "minQty": info.step_size,
             "maxQty": "92141578736.00000000", "stepSize": info.step_size},
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000",
             "maxQty": "92141578736.00000000", "stepSize": "0.00000000"},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000",
             "applyMinToMarket": True, "maxNotional": "9000000.00000000",
             "applyMaxToMarket": False, "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]] if with_sets else [],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER"],
    }
# fmt: on


@dataclass(frozen=True, slots=True)
class Method:
    """A method: its weight, and its result with times in a unit."""

    weight: Callable[[Mapping[str, Any]], int]
    answer: Callable[[Api, Parameters, int], Any]


METHODS: Mapping[str, Method] = {
    "ping": Method(lambda _: 1, lambda *_: {}),
    "time": Method(lambda _: 1, _time),
    "exchangeInfo": Method(lambda _: 20, _exchange_info),
    "trades.recent": Method(lambda _: 25, _recent),
    "trades.historical": Method(lambda _: 25, _historical),
    "trades.aggregate": Method(lambda _: 4, _aggregate),
    "ticker.24hr": Method(_ticker_weight, _ticker),
}
"""All there are; the key is the name on the WebSocket API."""
