"""What the embedded exchange trades: a trade and the description of a symbol."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade, as the exchange knows it before it is put into any wire form.

    Attributes:
        symbol: Upper case, e.g. ``"BTCUSDT"``.
        id: Per symbol and consecutive.
        price: Decimal digits, quote asset per base asset, as they go onto the wire.
        quantity: Decimal digits, base asset, as they go onto the wire.
        trade_time_us: When it was matched, Unix microseconds UTC.
        event_time_us: When its event was produced, Unix microseconds UTC.
        buyer_is_maker: Whether the taker sold.
        best_match: The field that Binance documents as "ignore"; ``None`` leaves it
            out of events.
    """

    symbol: str
    id: int
    price: str
    quantity: str
    trade_time_us: int
    event_time_us: int
    buyer_is_maker: bool
    best_match: bool | None = True


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """What the catalog says about a symbol.

    Attributes:
        symbol: Upper case, e.g. ``"BTCUSDT"``.
        base: Base asset, e.g. ``"BTC"``.
        quote: Quote asset, e.g. ``"USDT"``.
        status: ``"TRADING"``, ``"BREAK"`` or ``"HALT"``.
        tick_size: Smallest price step, decimal digits.
        step_size: Smallest quantity step, decimal digits.
    """

    symbol: str
    base: str
    quote: str
    status: str = "TRADING"
    tick_size: str = "0.00000001"
    step_size: str = "0.00000001"
