"""The WebSocket API: requests and their replies over one connection."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Self

import orjson
import structlog
from pydantic import TypeAdapter, ValidationError

from k2cli.binance.decoder import batch_from_history
from k2cli.binance.handshake import (
    MOST_WAIT_SECONDS,
    SameExchange,
    open_websocket,
)
from k2cli.binance.limits import WeightBudget
from k2cli.binance.streams import api_url
from k2cli.binance.transport import StreamConnection, now_us
from k2cli.binance.wire import (
    BINANCE,
    AggregateTrade,
    ApiReply,
    ErrorDetails,
    Lenient,
    Ticker,
    excerpt,
    loads_bounded,
)
from k2cli.completeness.id_ranges import IdRange
from k2cli.errors import (
    TRY_AGAIN,
    AddressBanned,
    ApiError,
    ConnectFailed,
    ExchangeRefused,
    MalformedMessage,
    RestrictedLocation,
    TooManyRequests,
    printable,
)
from k2cli.trade import Instrument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from structlog.typing import FilteringBoundLogger

    from k2cli.trade import TradeBatch

# The whole catalog was 4 MB in 2023 and grows.
MAX_REPLY_BYTES = 24 * 2**20
# Request weight of trades.historical, whatever the number of trades.
HISTORY_WEIGHT = 25
# Tickers are asked for by name up to here; beyond, all of them cost the same.
MOST_NAMED_TICKERS = 100
ILLEGAL_CHARACTERS = -1100
INVALID_SYMBOL = -1121
# How many messages that are no replies are named in the log before it gets terse.
_MOST_NAMED = 20

_AGGREGATES = 10

_AGGREGATE_LIST: TypeAdapter[list[AggregateTrade | None]] = TypeAdapter(
    list[Lenient[AggregateTrade]]
)
_TICKERS: TypeAdapter[list[Ticker | None]] = TypeAdapter(list[Lenient[Ticker]])

# Streams may be had where the API is not.
_RESTRICTED = (
    "Gaps cannot be filled from here and stay open; 'k2 repair' fills them from a "
    "place that is served, or from the daily archives when the day is past"
)

log: FilteringBoundLogger = structlog.get_logger()


def tickers_weight(symbols: int) -> int:
    """Return the request weight of the tickers of so many symbols."""
    if symbols > MOST_NAMED_TICKERS:
        return 80
    return 2 if symbols <= 20 else 40


class BinanceApiClient:
    """One connection to the WebSocket API, for any number of requests at a time.

    Use it as an async context manager, or ``connect()`` and ``close()`` it.

    Args:
        url: E.g. ``"wss://ws-api.binance.com:443/ws-api/v3"``.
        open_timeout_seconds: Longest time to connect.
        reply_timeout_seconds: Longest time to wait for a reply. The exchange itself
            gives up on its backend after 10 s.
        proxy: As for the stream client.
        budget: Learns from each reply how much weight has been used; shared by
            connections that follow each other.
        same_exchange: Sees that connections that follow each other are of one exchange.
        clock: Returns Unix seconds.

    Attributes:
        exchange: What records name as their exchange: ``"SIM"`` if the server says
            that its market is made up.
    """

    def __init__(
        self,
        url: str,
        *,
        open_timeout_seconds: float = 10.0,
        reply_timeout_seconds: float = 30.0,
        proxy: str | bool = True,
        budget: WeightBudget | None = None,
        same_exchange: SameExchange | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = api_url(url)
        self._budget = budget or WeightBudget()
        self._same_exchange = same_exchange or SameExchange()
        self._open_timeout_seconds = open_timeout_seconds
        self._reply_timeout_seconds = reply_timeout_seconds
        self._proxy = proxy
        self._clock = clock
        self._connection: StreamConnection | None = None
        self._has_ended = False
        self._skipped_messages = 0
        self._waiting: dict[int, asyncio.Future[ApiReply]] = {}
        self._next_id = 1
        self.exchange = BINANCE

    async def connect(self) -> None:
        """Connect.

        Raises:
            ConnectFailed: If the API cannot be reached.
            ExchangeRefused: If it refuses this address.
        """
        try:
            connection = await open_websocket(
                self._url,
                open_timeout_seconds=self._open_timeout_seconds,
                max_frame_bytes=MAX_REPLY_BYTES,
                proxy=self._proxy,
            )
        except RestrictedLocation as exc:
            raise RestrictedLocation(exc.message, _RESTRICTED) from exc
        self._same_exchange.check(connection, self._url)
        self._connection = connection
        self.exchange = self._same_exchange.name
        self._connection.begin(self)

    async def close(self) -> None:
        """Close the connection; whoever waits for a reply is told that it is lost."""
        if self._connection is not None:
            await self._connection.close()
            self.connection_ended()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def exchange_info(self, symbols: Sequence[str] = ()) -> dict[str, Any]:
        """Ask for the catalog.

        Args:
            symbols: Symbols to ask for; all if empty. One that the exchange does not
                know fails the whole request.

        Raises:
            ApiError: With code ``INVALID_SYMBOL`` for an unknown symbol.
        """
        params: dict[str, Any] = {"showPermissionSets": False}
        if symbols:
            params["symbols"] = list(symbols)
        result = await self.request("exchangeInfo", params)
        if not isinstance(result, dict):
            raise MalformedMessage(
                f"the exchange's catalog is no object: {excerpt(result)}"
            )
        return result

    async def historical_trades(
        self,
        symbol: str,
        from_id: int | None,
        limit: int,
        pair: tuple[str, str],
        *,
        reserved: int = 0,
    ) -> TradeBatch | None:
        """Ask for past trades; entries that are no trades are left out.

        Args:
            symbol: Upper case.
            from_id: First id wanted; ``None`` for the newest trades, which come from
                memory: the database of the others may be behind.
            limit: Most trades to return, up to 1000.
            pair: The symbol's base and quote asset.
            reserved: Weight that was reserved for it.

        Returns:
            The trades by ascending id, marked as back-filled; ``None`` if there are
            none.
        """
        params: dict[str, Any] = {"symbol": symbol, "limit": limit}
        method = "trades.recent"
        if from_id is not None:
            method, params["fromId"] = "trades.historical", from_id
        result = await self.request(method, params, reserved=reserved)
        # No more than were asked for, whatever the answer holds.
        entries = result[:limit] if isinstance(result, list) else []
        instrument = Instrument(symbol, self.exchange, *pair)
        return batch_from_history(entries, instrument, now_us())

    async def trade_ids(
        self, symbol: str, since_ms: int | None = None
    ) -> IdRange | None:
        """Ask for the ids of the first fills since a time, or of the newest ones.

        Args:
            symbol: Upper case.
            since_ms: Trade time, Unix milliseconds; ``None`` for the newest.

        Returns:
            The ids of the fills of one order; ``None`` if there are none.

        Raises:
            MalformedMessage: If the answer is no list of aggregate trades.
        """
        # Placeholders of trades that were taken back have ids of -1: more than one
        # entry costs no more.
        params: dict[str, Any] = {"symbol": symbol, "limit": _AGGREGATES}
        if since_ms is not None:
            params["startTime"] = since_ms
        result = await self.request("trades.aggregate", params)
        try:
            found = [one for one in _AGGREGATE_LIST.validate_python(result) if one]
        except ValidationError:
            raise MalformedMessage(
                f"the aggregate trades are no list: {excerpt(result)}"
            ) from None
        if not found:
            return None
        one = found[0 if since_ms is not None else -1]
        return IdRange(one.first_id, one.last_id)

    async def trade_counts(self) -> dict[str, int]:
        """Ask how many trades each symbol has had in the last 24 hours.

        Raises:
            MalformedMessage: If the answer is no list.
        """
        return {each.symbol: each.trades for each in await self._tickers()}

    async def newest_ids(
        self, symbols: Sequence[str], *, reserved: int = 0
    ) -> dict[str, int]:
        """Ask for the id of each symbol's newest trade of the last 24 hours.

        Args:
            symbols: Which, up to ``MOST_NAMED_TICKERS``; all if empty.
            reserved: Weight that was reserved for it.

        Raises:
            MalformedMessage: If the answer is no list.
        """
        tickers = await self._tickers(symbols, reserved)
        return {each.symbol: each.last_id for each in tickers if each.last_id >= 0}

    async def request(
        self, method: str, params: Mapping[str, Any], *, reserved: int = 0
    ) -> Any:
        """Send one request and wait for its reply.

        Args:
            method: E.g. ``"exchangeInfo"``.
            params: Its parameters.
            reserved: Weight that was reserved for it.

        Returns:
            The reply's ``result``.

        Raises:
            ConnectFailed: If the connection is lost or the reply does not come.
            ApiError: If the reply is an error.
            TooManyRequests: For status 429.
            AddressBanned: For status 418.
        """
        if self._connection is None:
            raise RuntimeError("use BinanceApiClient as an async context manager")
        request_id = self._next_id
        self._next_id += 1
        reply: asyncio.Future[ApiReply]
        reply = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = reply
        text = orjson.dumps({"id": request_id, "method": method, "params": params})
        answer: ApiReply | None = None
        try:
            if self._has_ended or not self._connection.send_text(text):
                raise _lost()
            async with asyncio.timeout(self._reply_timeout_seconds):
                answer = await reply
        except TimeoutError as exc:
            raise ConnectFailed(
                f"the exchange's API did not answer {method} in time",
                TRY_AGAIN,
                permanent=False,
            ) from exc
        finally:
            del self._waiting[request_id]
            limits = None if answer is None else answer.rate_limits
            self._budget.note(limits, self._clock(), reserved)
        if answer.status == 200:
            return answer.result
        raise self._error(method, answer)

    # What the connection calls.

    def frames_received(self, text: str, position: int, received_us: int) -> int:
        """Take nothing: a reply is no trade."""
        del text, received_us
        return position

    def message_received(self, message: bytes, received_us: int) -> None:
        """Hand a reply to whoever waits for it."""
        del received_us
        try:
            answer = ApiReply.model_validate(loads_bounded(message))
        except ValidationError:
            return  # it answers no request of ours
        except MalformedMessage:
            self._skipped_messages += 1
            few = self._skipped_messages <= _MOST_NAMED
            (log.warning if few else log.debug)(
                "Skipped an API message", text=printable(message)
            )
            return
        # A reply may come after its request was given up.
        reply = self._waiting.get(answer.request_id)
        if reply is not None and not reply.done():
            reply.set_result(answer)

    def connection_ended(self) -> None:
        """Tell whoever waits for a reply that it is lost."""
        self._has_ended = True
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(_lost())

    async def _tickers(
        self, symbols: Sequence[str] = (), reserved: int = 0
    ) -> list[Ticker]:
        params: dict[str, Any] = {"type": "MINI"}
        if symbols:
            params["symbols"] = list(symbols)
        result = await self.request("ticker.24hr", params, reserved=reserved)
        try:
            tickers = _TICKERS.validate_python(result)
        except ValidationError:
            raise MalformedMessage(
                f"the tickers are no list: {excerpt(result)}"
            ) from None
        return [each for each in tickers if each is not None]

    def _error(self, method: str, answer: ApiReply) -> ExchangeRefused:
        status, error = answer.status, answer.error or ErrorDetails()
        message = f"the exchange's API refused {method}: {excerpt(error.message)}"
        if status in (418, 429):
            retry_after_ms = error.data.retry_after_ms if error.data else None
            kind = AddressBanned if status == 418 else TooManyRequests
            return kind(
                message,
                "Wait, and run fewer clients at once",
                retry_after_seconds=None
                if retry_after_ms is None
                else min(
                    max(retry_after_ms / 1000 - self._clock(), 0.0), MOST_WAIT_SECONDS
                ),
            )
        return ApiError(
            message, "Check what was asked for", status=status or 0, code=error.code
        )


def _lost() -> ConnectFailed:
    return ConnectFailed(
        "the connection to the exchange's API was lost", TRY_AGAIN, permanent=False
    )
