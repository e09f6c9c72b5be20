"""Live trade tailing on Binance Spot.

::

    import k2cli

    async for trade in k2cli.tail("BTCUSDT"):
        print(trade.price, trade.quantity, trade.side)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k2cli.binance.catalog import Catalog, SymbolInfo
    from k2cli.binance.client import BinanceWebSocketClient
    from k2cli.binance.decoder import convert_binance_trade_to_v2
    from k2cli.binance.pacing import PacedEventLoop
    from k2cli.binance.status import ConnectionState, ConnectionStatus
    from k2cli.binance.symbols import parse_binance_symbol
    from k2cli.binance.venue import BinanceVenue, SymbolSelection
    from k2cli.capture.reader import read
    from k2cli.capture.report import Report
    from k2cli.capture.sink import CaptureSink
    from k2cli.capture.verify import verify
    from k2cli.completeness.id_ranges import IdRange
    from k2cli.completeness.ledger import Ledger
    from k2cli.config import BinanceConfig
    from k2cli.engine.protocols import Sink, Venue
    from k2cli.engine.session import Session, SessionSnapshot
    from k2cli.engine.tail import tail
    from k2cli.errors import (
        AccessBlocked,
        AddressBanned,
        ApiError,
        AttemptsExhausted,
        ConnectFailed,
        ExchangeRefused,
        ExchangeUnreachable,
        K2Error,
        LogRefused,
        LogUnreachable,
        MalformedMessage,
        OutputError,
        RestrictedLocation,
        SettingsError,
        TooManyRequests,
        UnknownSymbol,
    )
    from k2cli.simulator.exchange import SimulatedExchange
    from k2cli.trade import Instrument, TradeBatch, TradeV2

__version__ = "0.1.0"

_HOMES = {
    "AccessBlocked": "errors",
    "AddressBanned": "errors",
    "ApiError": "errors",
    "AttemptsExhausted": "errors",
    "BinanceConfig": "config",
    "BinanceVenue": "binance.venue",
    "BinanceWebSocketClient": "binance.client",
    "CaptureSink": "capture.sink",
    "Catalog": "binance.catalog",
    "ConnectFailed": "errors",
    "ConnectionState": "binance.status",
    "ConnectionStatus": "binance.status",
    "ExchangeRefused": "errors",
    "ExchangeUnreachable": "errors",
    "IdRange": "completeness.id_ranges",
    "Instrument": "trade",
    "K2Error": "errors",
    "Ledger": "completeness.ledger",
    "LogRefused": "errors",
    "LogUnreachable": "errors",
    "MalformedMessage": "errors",
    "OutputError": "errors",
    "PacedEventLoop": "binance.pacing",
    "Report": "capture.report",
    "RestrictedLocation": "errors",
    "Session": "engine.session",
    "SessionSnapshot": "engine.session",
    "SettingsError": "errors",
    "SimulatedExchange": "simulator.exchange",
    "Sink": "engine.protocols",
    "SymbolInfo": "binance.catalog",
    "SymbolSelection": "binance.venue",
    "TooManyRequests": "errors",
    "TradeBatch": "trade",
    "TradeV2": "trade",
    "UnknownSymbol": "errors",
    "Venue": "engine.protocols",
    "convert_binance_trade_to_v2": "binance.decoder",
    "parse_binance_symbol": "binance.symbols",
    "read": "capture.reader",
    "tail": "engine.tail",
    "verify": "capture.verify",
}

__all__ = [
    "AccessBlocked",
    "AddressBanned",
    "ApiError",
    "AttemptsExhausted",
    "BinanceConfig",
    "BinanceVenue",
    "BinanceWebSocketClient",
    "CaptureSink",
    "Catalog",
    "ConnectFailed",
    "ConnectionState",
    "ConnectionStatus",
    "ExchangeRefused",
    "ExchangeUnreachable",
    "IdRange",
    "Instrument",
    "K2Error",
    "Ledger",
    "LogRefused",
    "LogUnreachable",
    "MalformedMessage",
    "OutputError",
    "PacedEventLoop",
    "Report",
    "RestrictedLocation",
    "Session",
    "SessionSnapshot",
    "SettingsError",
    "SimulatedExchange",
    "Sink",
    "SymbolInfo",
    "SymbolSelection",
    "TooManyRequests",
    "TradeBatch",
    "TradeV2",
    "UnknownSymbol",
    "Venue",
    "__version__",
    "convert_binance_trade_to_v2",
    "parse_binance_symbol",
    "read",
    "tail",
    "verify",
]


def __getattr__(name: str) -> object:
    # Public names are imported when they are asked for: ``k2 --help`` needs none.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
