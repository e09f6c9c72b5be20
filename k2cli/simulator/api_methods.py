"""The API's methods and what each of them costs."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from k2cli.simulator.api_catalog import exchange_info
from k2cli.simulator.api_parameters import MAX_PAGE, ApiRefusal, Parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from k2cli.simulator.rules import Rules
    from k2cli.simulator.trade_log import TradeLog
    from k2cli.simulator.trades import SymbolInfo, Trade

_exact = Context(prec=200, rounding=ROUND_DOWN)
_EIGHT_PLACES = Decimal("1E-8")


class Desk(Protocol):
    """What the methods work with."""

    log: TradeLog
    rules: Rules

    @property
    def catalog(self) -> Mapping[str, SymbolInfo]:
        """All symbols."""

    def now_us(self) -> int:
        """Give the server's time, Unix microseconds UTC."""

    def monotonic_seconds(self) -> float:
        """Give the clock of the log."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method.

    Attributes:
        weight: What a request costs, which may depend on its parameters.
        answer: Makes the result; times are divided by the last argument.
    """

    weight: Callable[[Mapping[str, Any]], int]
    answer: Callable[[Desk, Parameters, int], Any]


def _known(desk: Desk, symbol: str) -> str:
    if symbol not in desk.catalog:
        raise ApiRefusal(-1121, "Invalid symbol.")
    return symbol


def _ping(_desk: Desk, _parameters: Parameters, _unit: int) -> dict[str, Any]:
    return {}


def _time(desk: Desk, _parameters: Parameters, unit: int) -> dict[str, Any]:
    return {"serverTime": desk.now_us() // unit}


def _exchange_info(desk: Desk, parameters: Parameters, unit: int) -> dict[str, Any]:
    return exchange_info(
        parameters,
        desk.catalog,
        server_time=desk.now_us() // unit,
        weight_limit=desk.rules.request_weight_per_minute,
        padding_bytes=desk.rules.catalog_padding_bytes,
    )


def _recent(desk: Desk, parameters: Parameters, unit: int) -> list[dict[str, Any]]:
    symbol, limit = _known(desk, parameters.symbol()), parameters.limit()
    parameters.all_read()
    page = desk.log.page(symbol, None, limit, desk.monotonic_seconds())
    return [_trade(trade, unit) for trade in page]


def _historical(desk: Desk, parameters: Parameters, unit: int) -> list[dict[str, Any]]:
    symbol, limit = _known(desk, parameters.symbol()), parameters.limit()
    from_id = parameters.whole_number("fromId")
    parameters.all_read()
    page = desk.log.page(symbol, from_id, limit, desk.monotonic_seconds())
    return [_trade(trade, unit) for trade in page]


def _trade(trade: Trade, unit: int) -> dict[str, Any]:
    return {
        "id": trade.id,
        "price": trade.price,
        "qty": trade.quantity,
        "quoteQty": _eight(
            _exact.multiply(Decimal(trade.price), Decimal(trade.quantity))
        ),
        "time": trade.trade_time_us // unit,
        "isBuyerMaker": trade.buyer_is_maker,
        "isBestMatch": trade.best_match is not False,
    }


def _eight(value: Decimal) -> str:
    return format(value.quantize(_EIGHT_PLACES, context=_exact), "f")


def _aggregate(desk: Desk, parameters: Parameters, unit: int) -> list[dict[str, Any]]:
    symbol, limit = _known(desk, parameters.symbol()), parameters.limit()
    from_id = parameters.whole_number("fromId")
    start, end = (
        parameters.whole_number("startTime"),
        parameters.whole_number("endTime"),
    )
    parameters.all_read()
    if from_id is not None and (start is not None or end is not None):
        raise ApiRefusal(-1128, "Combination of optional parameters invalid.")
    reach = limit * MAX_PAGE
    if start is not None or end is not None:
        trades = desk.log.since(symbol, _microseconds(start or 0), reach)
        if end is not None:
            last_us = _microseconds(end)
            trades = [trade for trade in trades if trade.trade_time_us <= last_us]
    else:
        trades = desk.log.page(symbol, from_id, reach, desk.monotonic_seconds())
    aggregates = list(_aggregates(trades, unit))
    newest = from_id is None and start is None
    return aggregates[-limit:] if newest else aggregates[:limit]


def _aggregates(trades: list[Trade], unit: int) -> Iterator[dict[str, Any]]:
    by_order = groupby(trades, lambda t: (t.trade_time_us, t.price, t.buyer_is_maker))
    for (time_us, price, buyer_is_maker), group in by_order:
        fills = list(group)
        quantity = Decimal(0)
        for fill in fills:
            quantity = _exact.add(quantity, Decimal(fill.quantity))
        yield {
            # The id of the first fill serves as the aggregate's id: it is unique and
            # ascends, though it is not consecutive as Binance's is.
            "a": fills[0].id,
            "p": price,
            "q": format(quantity, "f"),
            "f": fills[0].id,
            "l": fills[-1].id,
            "T": time_us // unit,
            "m": buyer_is_maker,
            "M": True,
        }


def _microseconds(time: int) -> int:
    return time if time > 10**14 else time * 1_000


def _ticker(desk: Desk, parameters: Parameters, unit: int) -> Any:
    symbol, symbols = parameters.optional_symbol(), parameters.symbols()
    kind = parameters.value("type") or "FULL"
    status = parameters.value("symbolStatus")
    if symbol is not None and symbols is not None:
        raise ApiRefusal(-1128, "Combination of optional parameters invalid.")
    if kind not in ("FULL", "MINI"):
        raise ApiRefusal(-1130, "Data sent for parameter 'type' is not valid.")
    parameters.all_read()
    if symbol is not None:
        return _day(desk, _known(desk, symbol), unit, full=kind == "FULL")
    names = [_known(desk, each) for each in symbols] if symbols else list(desk.catalog)
    return [
        _day(desk, each, unit, full=kind == "FULL")
        for each in names
        if status in (None, desk.catalog[each].status)
    ]


def _day(desk: Desk, symbol: str, unit: int, *, full: bool) -> dict[str, Any]:
    totals = desk.log.totals(symbol)
    first, last = totals.first, totals.last
    opened = Decimal(first.price) if first else Decimal(0)
    closed = Decimal(last.price) if last else Decimal(0)
    now = desk.now_us() // unit
    change = closed - opened
    mean = (
        _exact.divide(totals.quote_volume, totals.volume) if totals.volume else closed
    )
    extra = {
        "priceChange": _eight(change),
        "priceChangePercent": f"{change / opened * 100 if opened else 0:.3f}",
        "weightedAvgPrice": _eight(mean),
        "prevClosePrice": _eight(opened),
        "lastQty": last.quantity if last else "0.00000000",
        "bidPrice": _eight(closed),
        "bidQty": "0.00000000",
        "askPrice": _eight(closed),
        "askQty": "0.00000000",
    }
    return {
        "symbol": symbol,
        **(extra if full else {}),
        "openPrice": _eight(opened),
        "highPrice": _eight(totals.high),
        "lowPrice": _eight(totals.low),
        "lastPrice": _eight(closed),
        "volume": _eight(totals.volume),
        "quoteVolume": _eight(totals.quote_volume),
        "openTime": now - 86_400_000_000 // unit,
        "closeTime": now,
        "firstId": first.id if first else -1,
        "lastId": last.id if last else -1,
        "count": totals.count,
    }


def _ticker_weight(parameters: Mapping[str, Any]) -> int:
    if "symbol" in parameters:
        return 2
    symbols = parameters.get("symbols")
    if not isinstance(symbols, list) or len(symbols) > 100:
        return 80
    return 2 if len(symbols) <= 20 else 40


METHODS: Mapping[str, Method] = {
    "ping": Method(lambda _: 1, _ping),
    "time": Method(lambda _: 1, _time),
    "exchangeInfo": Method(lambda _: 20, _exchange_info),
    "trades.recent": Method(lambda _: 25, _recent),
    "trades.historical": Method(lambda _: 25, _historical),
    "trades.aggregate": Method(lambda _: 4, _aggregate),
    "ticker.24hr": Method(_ticker_weight, _ticker),
}
"""All there are; the key is the name on the WebSocket API."""
