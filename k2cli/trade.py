"""The record, as the K2 platform's ``TradeV2`` schema has it, and batches of them."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NotRequired

import orjson
from pydantic import ConfigDict, Field, GetPydanticSchema, with_config

# Python's own TypedDict has no extra_items yet.
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

BACKFILL = "backfill"
"""The ``source`` of a trade that the stream lost and the history had."""

# Wire times are microseconds from here on, milliseconds below: in microseconds this is
# 1973, in milliseconds the year 5138.
FIRST_MICROSECONDS = 10**14

Side = Literal["BUY", "SELL", "SELL_SHORT", "UNKNOWN"]
"""The taker's side; Binance has the first two."""

# The taker's side by the wire's is_buyer_maker.
_SIDES: dict[str, Side] = {"true": "SELL", "false": "BUY"}
_is_plain = re.compile("[0-9A-Z]{1,30}").fullmatch


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
        Side,
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


class Instrument:
    """What is the same in every record of one symbol.

    Args:
        symbol: As on the wire, e.g. ``"BTCUSDT"``.
        exchange: The record's ``exchange``.
        base_asset: E.g. ``"BTC"``.
        quote_asset: E.g. ``"USDT"``.

    Attributes:
        is_plain: Whether its names stand in JSON as they are.
        head: Piece of a JSON line: from the trade id to the trade time.
        middle: From the quantity to the source sequence, by ``is_buyer_maker``.
        tail: From the trade time in ``vendor_data`` to the end.
    """

    __slots__ = (
        "base_asset",
        "exchange",
        "head",
        "is_plain",
        "middle",
        "quote_asset",
        "symbol",
        "tail",
    )

    def __init__(
        self, symbol: str, exchange: str, base_asset: str, quote_asset: str
    ) -> None:
        self.symbol = symbol
        self.exchange = exchange
        self.base_asset = base_asset
        self.quote_asset = quote_asset
        self.is_plain = all(map(_is_plain, (symbol, exchange, base_asset, quote_asset)))
        self.head = (
            f'","symbol":"{symbol}","exchange":"{exchange}","asset_class":"crypto"'
            ',"timestamp":'
        )
        # By the wire's is_buyer_maker. Interned: thousands of symbols share them.
        self.middle = {
            maker: sys.intern(
                f'","currency":"{quote_asset}","side":"{side}"'
                ',"trade_conditions":[],"source_sequence":'
            )
            for maker, side in _SIDES.items()
        }
        self.tail = f'","base_asset":"{base_asset}","quote_asset":"{quote_asset}"}}}}\n'


@dataclass(slots=True, kw_only=True)
class TradeBatch:
    """Trades that came together: of one read, of one page of history, or a single one.

    This is what travels between the layers. Each column has one entry a trade, in the
    order in which the trades came; entries are the exchange's own texts.

    Attributes:
        instruments: By symbol; has at least the batch's symbols.
        received_us: When the trades were received here, Unix microseconds UTC.
        symbols: E.g. ``"BTCUSDT"``.
        trade_ids: Decimal digits, consecutive per symbol.
        prices: Quote asset per base asset, decimal digits.
        quantities: Base asset, decimal digits.
        trade_times: Digits as received: microseconds, or milliseconds from some
            servers and old recordings.
        event_times: Likewise; ``None`` where there is none, as in the history.
        buyer_is_maker: ``"true"`` where the taker sold, else ``"false"``.
        best_match: ``"true"`` or ``"false"``; ``None`` where the exchange did not say.
        message_ids: Random UUIDs v4.
        is_backfill: Whether the trades are from the history.
        is_plain: Whether every trade is as Binance usually sends it: plain instruments,
            times of 16 digits (microseconds), no value absent, not from the history.
            Lines of such trades are put together from texts.
    """

    instruments: Mapping[str, Instrument]
    received_us: int
    symbols: Sequence[str]
    trade_ids: Sequence[str]
    prices: Sequence[str]
    quantities: Sequence[str]
    trade_times: Sequence[str]
    event_times: Sequence[str | None]
    buyer_is_maker: Sequence[str]
    best_match: Sequence[str | None]
    message_ids: Sequence[str]
    is_backfill: bool = False
    is_plain: bool = False

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def exchange(self) -> str:
        """The records' ``exchange``."""
        return self.instruments[self.symbols[0]].exchange

    def part(self, start: int, stop: int) -> TradeBatch:
        """Return the trades from ``start`` up to, not including, ``stop``."""
        if start == 0 and stop >= len(self.symbols):
            return self
        chosen = slice(start, stop)
        return self._with(lambda column: column[chosen])

    def select(self, indexes: Sequence[int]) -> TradeBatch:
        """Return the trades at these indexes, in this order."""
        if len(indexes) == len(self.symbols):
            return self
        return self._with(lambda column: [column[index] for index in indexes])

    def side(self, index: int) -> Side:
        """Return the taker's side of a trade: ``"BUY"`` or ``"SELL"``."""
        return _SIDES[self.buyer_is_maker[index]]

    def timestamp_us(self, index: int) -> int:
        """Return when a trade was made, Unix microseconds UTC."""
        trade_time = int(self.trade_times[index])
        return trade_time if trade_time >= FIRST_MICROSECONDS else trade_time * 1000

    def sides(self) -> Iterator[Side]:
        """Return the taker's side of every trade."""
        return map(_SIDES.__getitem__, self.buyer_is_maker)

    def timestamps_us(self) -> Iterator[int]:
        """Return when the trades were made, Unix microseconds UTC."""
        if self.is_plain:  # all are microseconds
            return map(int, self.trade_times)
        return map(self.timestamp_us, range(len(self)))

    def notional(self, index: int) -> Decimal:
        """Return price times quantity of a trade, in the quote asset."""
        return Decimal(self.prices[index]) * Decimal(self.quantities[index])

    def trade(self, index: int) -> TradeV2:
        """Return one of the trades as its record."""
        instrument = self.instruments[self.symbols[index]]
        best_match, event_time = self.best_match[index], self.event_times[index]
        vendor_data = {"is_buyer_maker": self.buyer_is_maker[index]}
        if best_match is not None:
            vendor_data["is_best_match"] = best_match
        vendor_data["event_type"] = "trade"
        if event_time is not None:
            vendor_data["event_time"] = event_time
        vendor_data["trade_time"] = self.trade_times[index]
        vendor_data["base_asset"] = instrument.base_asset
        vendor_data["quote_asset"] = instrument.quote_asset
        if self.is_backfill:
            vendor_data["source"] = BACKFILL
        return TradeV2(
            message_id=self.message_ids[index],
            trade_id=f"{instrument.exchange}-{self.trade_ids[index]}",
            symbol=instrument.symbol,
            exchange=instrument.exchange,
            asset_class="crypto",
            timestamp=self.timestamp_us(index),
            price=self.prices[index],
            quantity=self.quantities[index],
            currency=instrument.quote_asset,
            side=self.side(index),
            trade_conditions=[],
            source_sequence=int(self.trade_ids[index]),
            ingestion_timestamp=self.received_us,
            platform_sequence=None,
            vendor_data=vendor_data,
        )

    def trades(self) -> Iterator[TradeV2]:
        """Return the trades as their records, one by one."""
        return map(self.trade, range(len(self)))

    def json_lines(self, platform_sequence: int | None = None) -> list[str]:
        r"""Return the trades as JSON lines, each with its ``\n``.

        Args:
            platform_sequence: Position of the first one in a capture; the others
                follow. ``None`` if they are not numbered.
        """
        numbers: Sequence[int | None] = (
            [None] * len(self)
            if platform_sequence is None
            else range(platform_sequence, platform_sequence + len(self))
        )
        if not self.is_plain:
            return [
                trade.to_json_line(number).decode()
                for trade, number in zip(self.trades(), numbers, strict=True)
            ]
        # The same text, put together from pieces at a tenth of the cost. A batch of
        # one symbol looks it up once per trade all the same: measured, that is as fast.
        received = f',"ingestion_timestamp":{self.received_us},"platform_sequence":'
        instruments = self.instruments
        lines = []
        for (
            message_id,
            symbol,
            trade_id,
            price,
            quantity,
            trade_time,
            event_time,
            maker,
            best,
            number,
        ) in zip(
            self.message_ids,
            self.symbols,
            self.trade_ids,
            self.prices,
            self.quantities,
            self.trade_times,
            self.event_times,
            self.buyer_is_maker,
            self.best_match,
            numbers if platform_sequence is not None else ["null"] * len(self),
            strict=True,
        ):
            own = instruments[symbol]
            lines.append(
                f'{{"message_id":"{message_id}","trade_id":"{own.exchange}-{trade_id}'
                f'{own.head}{trade_time},"price":"{price}","quantity":"'
                f"{quantity}{own.middle[maker]}{trade_id}{received}{number}"
                f',"vendor_data":{{"is_buyer_maker":"{maker}","is_best_match":"{best}"'
                f',"event_type":"trade","event_time":"{event_time}","trade_time":"'
                f"{trade_time}{own.tail}"
            )
        return lines

    def _with(self, choose: Callable[[Sequence[Any]], Sequence[Any]]) -> TradeBatch:
        return TradeBatch(
            instruments=self.instruments,
            received_us=self.received_us,
            symbols=choose(self.symbols),
            trade_ids=choose(self.trade_ids),
            prices=choose(self.prices),
            quantities=choose(self.quantities),
            trade_times=choose(self.trade_times),
            event_times=choose(self.event_times),
            buyer_is_maker=choose(self.buyer_is_maker),
            best_match=choose(self.best_match),
            message_ids=choose(self.message_ids),
            is_backfill=self.is_backfill,
            is_plain=self.is_plain,
        )
