"""The WebSocket API: requests and their replies over one connection."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import orjson
import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from k2cli.binance.budget import WeightBudget
from k2cli.binance.convert import BINANCE, now_us, trade_from_history
from k2cli.binance.handshake import SIMULATED, is_simulated, open_websocket
from k2cli.binance.streams import api_url
from k2cli.binance.wire import excerpt
from k2cli.errors import (
    TRY_AGAIN,
    AddressBanned,
    ApiError,
    ConnectFailed,
    ExchangeRefused,
    MalformedMessage,
    TooManyRequests,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from structlog.typing import FilteringBoundLogger

    from k2cli.trade import TradeV2

# The whole catalog was 4 MB in 2023 and grows; websockets would refuse it at 1 MiB.
MAX_REPLY_BYTES = 64 * 2**20
# Request weight of trades.historical, whatever the number of trades.
HISTORY_WEIGHT = 25
ILLEGAL_CHARACTERS = -1100
INVALID_SYMBOL = -1121

log: FilteringBoundLogger = structlog.get_logger()


class BinanceApiClient:
    """One connection to the WebSocket API, for any number of requests at a time.

    Use it as an async context manager.

    Args:
        url: E.g. ``"wss://ws-api.binance.com:443/ws-api/v3"``.
        open_timeout_seconds: Longest time to connect.
        reply_timeout_seconds: Longest time to wait for a reply. The exchange itself
            gives up on its backend after 10 s.
        proxy: As for the stream client.
        budget: Learns from each reply how much weight has been used; shared by
            connections that follow each other.
        clock: Gives Unix seconds.

    Attributes:
        simulated: Whether the server says that its market is made up.
    """

    def __init__(
        self,
        url: str,
        *,
        open_timeout_seconds: float = 10.0,
        reply_timeout_seconds: float = 30.0,
        proxy: str | bool = True,
        budget: WeightBudget | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = api_url(url)
        self._budget = budget or WeightBudget()
        self._open_timeout_seconds = open_timeout_seconds
        self._reply_timeout_seconds = reply_timeout_seconds
        self._proxy = proxy
        self._clock = clock
        self._connection: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next_id = 1
        self.simulated = False

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ConnectFailed: If the API cannot be reached.
            ExchangeRefused: If it refuses this address.
        """
        self._connection = await open_websocket(
            self._url,
            ClientConnection,
            open_timeout_seconds=self._open_timeout_seconds,
            max_size_bytes=MAX_REPLY_BYTES,
            proxy=self._proxy,
        )
        self.simulated = is_simulated(self._connection)
        self._reader = asyncio.create_task(self._read(self._connection))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            await self._connection.close()
        if self._reader is not None:
            await self._reader

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
        self, symbol: str, from_id: int | None, limit: int, pair: tuple[str, str]
    ) -> list[TradeV2]:
        """Ask for past trades; entries that are no trades are left out.

        Args:
            symbol: Upper case.
            from_id: First id wanted; ``None`` for the newest trades.
            limit: Most trades to give, up to 1000.
            pair: The symbol's base and quote asset.

        Returns:
            The trades by ascending id, marked as back-filled.
        """
        params: dict[str, Any] = {"symbol": symbol, "limit": limit}
        if from_id is not None:
            params["fromId"] = from_id
        result = await self.request("trades.historical", params)
        received_us = now_us()
        exchange = SIMULATED if self.simulated else BINANCE
        trades = []
        for entry in result if isinstance(result, list) else []:
            try:
                trade = trade_from_history(entry, symbol, pair, received_us, exchange)
            except MalformedMessage as exc:
                log.warning("Skipped a trade of the history", reason=exc.message)
                continue
            trades.append(trade)
        return sorted(trades, key=lambda trade: trade.source_sequence or 0)

    async def trade_counts(self) -> dict[str, int]:
        """Ask how many trades each symbol has had in the last 24 hours.

        Raises:
            MalformedMessage: If the answer is no list.
        """
        result = await self.request("ticker.24hr", {"type": "MINI"})
        if not isinstance(result, list):
            raise MalformedMessage(f"the tickers are no list: {excerpt(result)}")
        tickers = [entry for entry in result if isinstance(entry, dict)]
        pairs = [(entry.get("symbol"), entry.get("count")) for entry in tickers]
        return {
            symbol: count
            for symbol, count in pairs
            if isinstance(symbol, str) and isinstance(count, int) and count >= 0
        }

    async def request(self, method: str, params: Mapping[str, Any]) -> Any:
        """Send one request and wait for its reply.

        Args:
            method: E.g. ``"exchangeInfo"``.
            params: Its parameters.

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
        reply: asyncio.Future[dict[str, Any]]
        reply = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = reply
        text = orjson.dumps({"id": request_id, "method": method, "params": params})
        try:
            async with asyncio.timeout(self._reply_timeout_seconds):
                await self._connection.send(text, text=True)
                answer = await reply
        except TimeoutError as exc:
            raise ConnectFailed(
                f"the exchange's API did not answer {method} in time",
                TRY_AGAIN,
                permanent=False,
            ) from exc
        except ConnectionClosed as exc:
            raise _lost() from exc
        finally:
            del self._waiting[request_id]
        self._budget.note(answer.get("rateLimits"), self._clock())
        if answer.get("status") == 200:
            return answer.get("result")
        raise self._error(method, answer)

    async def _read(self, connection: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                frame = await connection.recv(decode=False)
                try:
                    message = orjson.loads(frame)
                except orjson.JSONDecodeError:
                    log.warning("Skipped an API message", text=printable(frame))
                    continue
                request_id = message.get("id") if isinstance(message, dict) else None
                if not isinstance(request_id, int):
                    continue
                # A reply may come after its request was given up.
                reply = self._waiting.get(request_id)
                if reply is not None and not reply.done():
                    reply.set_result(message)
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(_lost())

    def _error(self, method: str, answer: Mapping[str, Any]) -> ExchangeRefused:
        status = answer.get("status")
        error = answer.get("error")
        details = error if isinstance(error, dict) else {}
        said = excerpt(details.get("msg", "no reason given"))
        if status in (418, 429):
            data = details.get("data")
            retry_after = data.get("retryAfter") if isinstance(data, dict) else None
            # Epoch milliseconds here, unlike the header of the same name.
            seconds = (
                max(retry_after / 1000 - self._clock(), 0.0)
                if isinstance(retry_after, int)
                else None
            )
            kind = AddressBanned if status == 418 else TooManyRequests
            return kind(
                f"the exchange's API refused {method}: {said}",
                "Wait, and run fewer clients at once",
                retry_after_seconds=seconds,
            )
        code = details.get("code")
        return ApiError(
            f"the exchange's API refused {method}: {said}",
            "Check what was asked for",
            status=status if isinstance(status, int) else 0,
            code=code if isinstance(code, int) else None,
        )


def _lost() -> ConnectFailed:
    return ConnectFailed(
        "the connection to the exchange's API was lost", TRY_AGAIN, permanent=False
    )
