"""The catalog by plain GET, for whoever the API's host refuses.

There is no data-only host for the WebSocket API, but there is one for REST:
https://data-api.binance.vision (Binance's FAQ on market data only).
"""

from __future__ import annotations

import asyncio
import http.client
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from k2cli.binance.api import MAX_REPLY_BYTES
from k2cli.binance.handshake import REFUSALS, explain_status
from k2cli.errors import (
    TRY_AGAIN,
    ApiError,
    ConnectFailed,
    K2Error,
    MalformedMessage,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import Message


async def get_exchange_info(
    rest_url: str, symbols: Sequence[str] = (), *, timeout_seconds: float = 30.0
) -> dict[str, Any]:
    """Ask for the catalog.

    Args:
        rest_url: E.g. ``"https://data-api.binance.vision"``.
        symbols: Symbols to ask for; all if empty.
        timeout_seconds: Longest silence of the server.

    Raises:
        ConnectFailed: If it cannot be reached.
        ApiError: With the exchange's code, for an unknown symbol say.
        ExchangeRefused: If it refuses this address.
    """
    query = {"showPermissionSets": "false"}
    if symbols:
        query["symbols"] = orjson.dumps(list(symbols)).decode()
    address = f"{rest_url.rstrip('/')}/api/v3/exchangeInfo?" + urllib.parse.urlencode(
        query
    )
    body = await asyncio.to_thread(_get, address, timeout_seconds)
    try:
        result = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise MalformedMessage(
            f"the exchange's catalog is not JSON: {printable(body)}"
        ) from exc
    if not isinstance(result, dict):
        raise MalformedMessage("the exchange's catalog is no object")
    return result


def _get(address: str, timeout_seconds: float) -> bytes:
    host = printable(urllib.parse.urlsplit(address).netloc)
    request = urllib.request.Request(address)  # noqa: S310 - the scheme is checked with the settings
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as reply:  # noqa: S310 - likewise
            content: bytes = reply.read(MAX_REPLY_BYTES)
            return content
    except urllib.error.HTTPError as exc:
        body = b""
        # The status says enough if the rest of the answer does not come.
        with exc, suppress(OSError, http.client.HTTPException):
            body = exc.read(4096)
        raise _refusal(exc.code, exc.headers, body, host) from exc
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise ConnectFailed(
            f"{host} cannot be reached ({printable(str(exc))})",
            TRY_AGAIN,
            permanent=False,
        ) from exc


def _refusal(status: int, headers: Message, body: bytes, host: str) -> K2Error:
    if status not in REFUSALS:
        with suppress(ValueError, KeyError, TypeError):
            error = orjson.loads(body)
            return ApiError(
                f"{host} refused the request: {printable(str(error['msg']))}",
                "Check what was asked for",
                status=status,
                code=int(error["code"]),
            )
    return explain_status(status, dict(headers.items()), body, host)
