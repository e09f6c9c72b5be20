"""What Binance sends: its messages and replies as models, and how they are read.

Models that are *strict* stand for what must be right, such as a trade. Where it says
``Lenient``, a value of another kind is the same as none.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from k2cli.errors import MalformedMessage, printable
from k2cli.text import is_name

TRADE = "trade"
SERVER_SHUTDOWN = "serverShutdown"
# What records name as their exchange; the latter where the market is made up.
BINANCE, SIMULATED = "BINANCE", "SIM"

# The whole catalog has half a million, and grows.
MAX_VALUES = 3_000_000

T = TypeVar("T")


def _none_if_invalid(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return None


def _admit(text: str) -> str:
    if not is_name(text):
        raise ValueError("no name")
    return text


def _admit_status(text: str) -> str:
    if not is_name(text.replace("_", "")):
        raise ValueError("no status")
    return text


Name = Annotated[str, AfterValidator(_admit)]
Status = Annotated[str, AfterValidator(_admit_status)]
Lenient = Annotated[T | None, WrapValidator(_none_if_invalid)]

# Digits as the exchange sends them: no sign, no exponent, ASCII only.
DecimalDigits = Annotated[str, Field(pattern=r"^[0-9]{1,30}(\.[0-9]{1,30})?$")]
# Microseconds, or milliseconds from servers that do not honour timeUnit.
WireTime = Annotated[int, Field(gt=0, lt=10**17)]
TradeId = Annotated[int, Field(ge=0, lt=2**63)]


class WireModel(BaseModel):
    """Base of what comes from the exchange: exact types; unknown keys are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class CombinedMessage(WireModel):
    """An event of a combined stream connection, with the stream that it is of."""

    stream: Any
    data: dict[str, Any]


class TradeEvent(WireModel):
    """An event of a ``@trade`` stream."""

    event_type: Literal["trade"] = Field(alias="e")
    event_time: WireTime | None = Field(default=None, alias="E")
    symbol: Name = Field(alias="s")
    trade_id: TradeId = Field(alias="t")
    price: DecimalDigits = Field(alias="p")
    quantity: DecimalDigits = Field(alias="q")
    trade_time: WireTime = Field(alias="T")
    buyer_is_maker: bool = Field(alias="m")
    best_match: Lenient[bool] = Field(default=None, alias="M")


class HistoricalTrade(WireModel):
    """An entry of ``trades.historical``; it has no event time."""

    trade_id: TradeId = Field(alias="id")
    price: DecimalDigits
    quantity: DecimalDigits = Field(alias="qty")
    trade_time: WireTime = Field(alias="time")
    buyer_is_maker: bool = Field(alias="isBuyerMaker")
    best_match: Lenient[bool] = Field(default=None, alias="isBestMatch")


class AggregateTrade(WireModel):
    """An entry of ``trades.aggregate``: which trades it stands for."""

    first_id: TradeId = Field(alias="f")
    last_id: TradeId = Field(alias="l")


class RetryAfter(WireModel):
    """What a refusal adds; Unix milliseconds, unlike the header of the same name."""

    retry_after_ms: Lenient[int] = Field(default=None, alias="retryAfter")


class ErrorDetails(WireModel):
    """The ``error`` of a reply."""

    code: Lenient[int] = None
    message: Any = Field(default="no reason given", alias="msg")
    data: Lenient[RetryAfter] = None


class RateLimit(WireModel):
    """An entry of the ``rateLimits`` of a reply."""

    kind: str = Field(alias="rateLimitType")
    interval: str
    interval_count: int = Field(alias="intervalNum")
    limit: int = Field(gt=0)
    count: int = Field(ge=0)


class ApiReply(WireModel):
    """A reply of the WebSocket API to a request of ours."""

    request_id: int = Field(alias="id")
    status: Lenient[int] = None
    result: Any = None
    error: Lenient[ErrorDetails] = None
    rate_limits: Lenient[list[Lenient[RateLimit]]] = Field(
        default=None, alias="rateLimits"
    )


class SymbolFilter(WireModel):
    """A trading rule of a symbol."""

    kind: Lenient[str] = Field(default=None, alias="filterType")
    tick_size: Lenient[DecimalDigits] = Field(default=None, alias="tickSize")
    step_size: Lenient[DecimalDigits] = Field(default=None, alias="stepSize")


class SymbolEntry(WireModel):
    """A symbol of ``exchangeInfo``."""

    symbol: Name
    base_asset: Name = Field(alias="baseAsset")
    quote_asset: Name = Field(alias="quoteAsset")
    status: Status
    filters: Lenient[list[Lenient[SymbolFilter]]] = None


class ExchangeInfo(WireModel):
    """The result of ``exchangeInfo``."""

    symbols: list[Lenient[SymbolEntry]]


class Ticker(WireModel):
    """An entry of ``ticker.24hr``."""

    symbol: Name
    trades: int = Field(ge=0, alias="count")
    last_id: int = Field(default=-1, alias="lastId")


def loads_bounded(text: bytes, most_values: int = MAX_VALUES) -> Any:
    """Read JSON that takes no more memory than its parts may.

    A value takes some hundred bytes, however short its text: what is all brackets
    would take thirty times the memory of its text.

    Args:
        text: JSON.
        most_values: How many values may be in it, about; an object counts as four.

    Raises:
        MalformedMessage: If it is no JSON, or has too many values.
    """
    values = text.count(b",") + text.count(b"[") + 4 * text.count(b"{")
    if values > most_values:
        raise MalformedMessage(f"{values:,} values, where {most_values:,} are expected")
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError) as exc:
        raise MalformedMessage(f"not JSON: {printable(text)}") from exc


def decode_message(frame: str | bytes) -> dict[str, Any]:
    """Read one message of a stream connection and take it out of its wrapping.

    Args:
        frame: A text frame, as text or as the bytes received: an event of a combined
            connection (``{"stream":…,"data":{…}}``), a raw event, or a reply.

    Returns:
        The event, or the reply, as received.

    Raises:
        MalformedMessage: If it is no JSON object.
    """
    try:
        # orjson and not pydantic: it is stricter, and takes deeper nesting.
        message = orjson.loads(frame)
    except (orjson.JSONDecodeError, RecursionError) as exc:
        raise MalformedMessage(f"not JSON: {printable(frame)}") from exc
    return unwrap(message)


def unwrap(message: object) -> dict[str, Any]:
    """Take an event out of the wrapping of a combined connection.

    Raises:
        MalformedMessage: If it is no JSON object.
    """
    if isinstance(message, dict) and "stream" not in message:
        return message
    try:
        return CombinedMessage.model_validate(message).data
    except ValidationError:
        raise MalformedMessage(f"not an event: {excerpt(message)}") from None


def excerpt(message: object) -> str:
    """Return the beginning of a message as text that is fit for printing."""
    try:
        return printable(str(message))
    except RecursionError:
        # orjson reads deeper nesting than Python can show.
        return "nested too deeply"


def malformed(what: str, message: object, exc: ValidationError) -> MalformedMessage:
    """Say in one line what is wrong with a message.

    Args:
        what: What it should be, e.g. ``"trade event"``.
        message: As received.
        exc: What validation found.
    """
    error = exc.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(map(str, error["loc"]))
    reason = printable(error["msg"], 120)
    return MalformedMessage(
        f"{what} with a wrong {field or 'type'} ({reason}): {excerpt(message)}"
    )


def is_reply(event: dict[str, Any]) -> bool:
    """Return whether a message answers a request of ours.

    Replies are never wrapped; errors were seen nested as well as flat.
    """
    return "e" not in event and not event.keys().isdisjoint(("result", "error", "code"))
