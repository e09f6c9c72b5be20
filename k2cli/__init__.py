"""Live trade tailing on Binance Spot.

::

    from k2cli import BinanceWebSocketClient

    async for trade in BinanceWebSocketClient(["BTCUSDT"]):
        print(trade.price, trade.quantity, trade.side)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k2cli.binance.catalog import Catalog, SymbolInfo
    from k2cli.binance.client import BinanceWebSocketClient
    from k2cli.binance.decoder import convert_binance_trade_to_v2
    from k2cli.binance.status import ConnectionState, ConnectionStatus
    from k2cli.binance.symbols import parse_binance_symbol
    from k2cli.config import BinanceConfig
    from k2cli.errors import (
        AccessBlocked,
        AddressBanned,
        ApiError,
        AttemptsExhausted,
        ConnectFailed,
        ExchangeRefused,
        ExchangeUnreachable,
        ExitStatus,
        K2Error,
        MalformedMessage,
        OutputError,
        RestrictedLocation,
        SettingsError,
        TooManyRequests,
        UnknownSymbol,
    )
    from k2cli.trade import TradeV2

__version__ = "0.1.0"

_HOMES = {
    "AccessBlocked": "errors",
    "AddressBanned": "errors",
    "ApiError": "errors",
    "AttemptsExhausted": "errors",
    "BinanceConfig": "config",
    "BinanceWebSocketClient": "binance.client",
    "Catalog": "binance.catalog",
    "ConnectFailed": "errors",
    "ExchangeRefused": "errors",
    "ExchangeUnreachable": "errors",
    "ExitStatus": "errors",
    "K2Error": "errors",
    "ConnectionState": "binance.status",
    "ConnectionStatus": "binance.status",
    "MalformedMessage": "errors",
    "OutputError": "errors",
    "RestrictedLocation": "errors",
    "SettingsError": "errors",
    "SymbolInfo": "binance.catalog",
    "TooManyRequests": "errors",
    "TradeV2": "trade",
    "UnknownSymbol": "errors",
    "convert_binance_trade_to_v2": "binance.decoder",
    "parse_binance_symbol": "binance.symbols",
}

__all__ = [
    "AccessBlocked",
    "AddressBanned",
    "ApiError",
    "AttemptsExhausted",
    "BinanceConfig",
    "BinanceWebSocketClient",
    "Catalog",
    "ConnectFailed",
    "ConnectionState",
    "ConnectionStatus",
    "ExchangeRefused",
    "ExchangeUnreachable",
    "ExitStatus",
    "K2Error",
    "MalformedMessage",
    "OutputError",
    "RestrictedLocation",
    "SettingsError",
    "SymbolInfo",
    "TooManyRequests",
    "TradeV2",
    "UnknownSymbol",
    "__version__",
    "convert_binance_trade_to_v2",
    "parse_binance_symbol",
]


def __getattr__(name: str) -> object:
    # Public names are imported when they are asked for: ``k2 --help`` needs none.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
