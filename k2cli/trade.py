"""The record: one trade, as the K2 platform's ``TradeV2`` schema has it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

PlainTrade = tuple[str, str, str, str, str, str, str, str, str]
"""A trade as its texts on the wire, where many are handled at once: length of the
frame's payload (as one character), event time, symbol, trade id, price, quantity, trade
time (both in microseconds), flags (``true,"M":true``), and one that is empty."""


@dataclass(slots=True)
class TradeV2:
    """One trade.

    The fields stand in the order in which they are written. Prices and quantities are
    the exchange's own digits, as text: never a float, never an exponent.

    Attributes:
        message_id: Random UUID v4, made at ingestion.
        trade_id: Exchange and trade id, e.g. ``"BINANCE-3735683259"``.
        symbol: E.g. ``"BTCUSDT"``.
        exchange: ``"BINANCE"``, or ``"SIM"`` for the made-up market.
        asset_class: ``"crypto"``.
        timestamp: Trade time, Unix microseconds UTC.
        price: Quote asset per base asset, decimal digits.
        quantity: Base asset, decimal digits.
        currency: Quote asset, e.g. ``"USDT"``.
        side: The taker's side: ``"BUY"`` or ``"SELL"``.
        trade_conditions: Empty for Binance Spot.
        source_sequence: The exchange's trade id: consecutive per symbol.
        ingestion_timestamp: When the frame was received here, Unix microseconds UTC.
        platform_sequence: Position in a recorded capture from 1 on; ``None`` elsewhere.
        vendor_data: What else the exchange said, as text (``is_buyer_maker``,
            ``event_time`` …), and the ``base_asset`` and ``quote_asset``.
    """

    message_id: str
    trade_id: str
    symbol: str
    exchange: str
    asset_class: str
    timestamp: int
    price: str
    quantity: str
    currency: str
    side: str
    trade_conditions: list[str]
    source_sequence: int | None
    ingestion_timestamp: int
    platform_sequence: int | None
    vendor_data: dict[str, str]

    @property
    def notional(self) -> Decimal:
        """Price times quantity, in the quote asset."""
        return Decimal(self.price) * Decimal(self.quantity)

    def to_dict(self, platform_sequence: int | None = None) -> dict[str, Any]:
        """Give the record as a dict, keys in the schema's order.

        Args:
            platform_sequence: Position in a capture, if the trade is being recorded.
        """
        return {
            "message_id": self.message_id,
            "trade_id": self.trade_id,
            "symbol": self.symbol,
            "exchange": self.exchange,
            "asset_class": self.asset_class,
            "timestamp": self.timestamp,
            "price": self.price,
            "quantity": self.quantity,
            "currency": self.currency,
            "side": self.side,
            "trade_conditions": self.trade_conditions,
            "source_sequence": self.source_sequence,
            "ingestion_timestamp": self.ingestion_timestamp,
            "platform_sequence": platform_sequence
            if platform_sequence is not None
            else self.platform_sequence,
            "vendor_data": self.vendor_data,
        }

    def to_json_line(self, platform_sequence: int | None = None) -> bytes:
        r"""Give the record as one line of JSON, with its ``\n``, in UTF-8.

        Args:
            platform_sequence: Position in a capture, if the trade is being recorded.
        """
        return orjson.dumps(
            self.to_dict(platform_sequence), option=orjson.OPT_APPEND_NEWLINE
        )
