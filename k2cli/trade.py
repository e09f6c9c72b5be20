"""The record: one trade, as the K2 platform's ``TradeV2`` schema has it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NotRequired

import orjson
from pydantic import ConfigDict, Field, GetPydanticSchema, with_config

# Python's own TypedDict has no extra_items yet.
from typing_extensions import TypedDict

PlainTrade = tuple[str, str, str, str, str, str, str, str, str]
"""A trade as its texts on the wire, where many are handled at once: length of the
frame's payload (as one character), event time, symbol, trade id, price, quantity, trade
time (both in microseconds), flags (``true,"M":true``), and one that is empty."""


MAX_ID = 2**63 - 1
"""The highest trade id."""

# The descriptions complete a message: "price is null, expected: ...". Numbers and texts
# are strict: "1" is no number, and 1 no text.
Text = Annotated[str, Field(strict=True, min_length=1, description="a text")]
DecimalText = Annotated[
    str,
    Field(
        strict=True,
        pattern=r"^[0-9]{1,30}(\.[0-9]{1,30})?$",
        description="decimal digits in a text, without an exponent",
        json_schema_extra={"format": "decimal"},
    ),
]
TimeUs = Annotated[
    int,
    Field(
        strict=True,
        gt=0,
        description="Unix microseconds UTC, a whole number",
        json_schema_extra={"format": "timestamp-micros"},
    ),
]
TradeId = Annotated[
    int,
    Field(
        strict=True,
        ge=0,
        le=MAX_ID,
        description="the exchange's trade id, consecutive per symbol",
    ),
]
PlatformSequence = Annotated[
    int,
    Field(
        strict=True,
        ge=1,
        description="the position in a recorded capture, a whole number from 1 on",
    ),
]
_UUID4 = r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
_Boolean = Annotated[
    Literal["true", "false"], Field(description='"true" or "false", as a text')
]
_WireTime = Annotated[
    str,
    Field(
        strict=True,
        pattern="^[1-9][0-9]{0,16}$",
        description="the exchange's time, its digits as received",
    ),
]


@with_config(extra="allow")
class VendorData(  # type: ignore[call-arg]  # mypy does not know extra_items yet
    TypedDict, extra_items=Annotated[str, Field(strict=True, description="a text")]
):
    """What else the exchange said, as text; other keys may be there."""

    is_buyer_maker: _Boolean
    is_best_match: NotRequired[_Boolean]
    event_type: Annotated[Literal["trade"], Field(description='"trade"')]
    event_time: NotRequired[_WireTime]
    trade_time: _WireTime
    base_asset: Text
    quote_asset: Text
    source: NotRequired[
        Annotated[Literal["backfill"], Field(description='"backfill", if repaired')]
    ]


@dataclass(slots=True)
class TradeV2:
    """One trade.

    The fields stand in the order in which they are written. Their annotations are the
    schema: pydantic validates records from outside by them, ``k2cli.schema`` renders
    them. Building a record validates nothing. Prices and quantities are the exchange's
    own digits, as text: never a float, never an exponent.

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

    __pydantic_config__: ClassVar = ConfigDict(
        extra="forbid",
        json_schema_extra={"description": "One trade, as one line of JSON."},
    )

    message_id: Annotated[
        str, Field(strict=True, pattern=_UUID4, description="a random UUID (version 4)")
    ]
    trade_id: Annotated[
        Text, Field(description="exchange and trade id, like BINANCE-3735683259")
    ]
    symbol: Annotated[Text, Field(description="a symbol, like BTCUSDT")]
    exchange: Annotated[Text, Field(description="an exchange, like BINANCE")]
    asset_class: Annotated[
        Literal["equities", "crypto", "futures", "options"],
        Field(title="AssetClass", description="an asset class, like crypto"),
    ]
    timestamp: TimeUs
    price: DecimalText
    quantity: DecimalText
    currency: Annotated[Text, Field(description="the quote asset, like USDT")]
    side: Annotated[
        Literal["BUY", "SELL", "SELL_SHORT", "UNKNOWN"],
        Field(title="TradeSide", description="the taker's side, BUY or SELL"),
    ]
    trade_conditions: Annotated[
        list[Annotated[str, Field(strict=True, description="a text")]],
        Field(description="an array of texts"),
    ]
    source_sequence: TradeId | None
    ingestion_timestamp: TimeUs
    platform_sequence: PlatformSequence | None
    vendor_data: Annotated[
        dict[str, str],
        # Any dict for type checkers, as the keys vary.
        GetPydanticSchema(lambda _, handler: handler.generate_schema(VendorData)),
        Field(description="an object of texts"),
    ]

    @property
    def notional(self) -> Decimal:
        """Price times quantity, in the quote asset."""
        return Decimal(self.price) * Decimal(self.quantity)

    def to_dict(self, platform_sequence: int | None = None) -> dict[str, Any]:
        """Return the record as a dict, keys in the schema's order.

        Args:
            platform_sequence: Position in a capture, if the trade is being recorded.
        """
        # A literal is several times as fast as a loop over the fields.
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
        r"""Return the record as one line of JSON, with its ``\n``, in UTF-8.

        Args:
            platform_sequence: Position in a capture, if the trade is being recorded.
        """
        return orjson.dumps(
            self.to_dict(platform_sequence), option=orjson.OPT_APPEND_NEWLINE
        )


KEYS = tuple(field.name for field in fields(TradeV2))
"""The keys of a record, in their order."""

VENDOR_KEYS = tuple(VendorData.__annotations__)
"""The known keys of ``vendor_data``, in their order."""
