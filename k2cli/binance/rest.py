"""The catalog by plain GET, for whoever the API's host refuses.

There is no data-only host for the WebSocket API, but there is one for REST:
https://data-api.binance.vision (Binance's FAQ on market data only).
"""

from __future__ import annotations

import asyncio
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from k2cli.binance.api import MAX_REPLY_BYTES
from k2cli.binance.handshake import REFUSALS, explain_status, host_of
from k2cli.binance.http_get import in_thread, opener, unreachable
from k2cli.binance.wire import loads_bounded
from k2cli.errors import (
    ApiError,
    K2Error,
    MalformedMessage,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import Message

_PART_BYTES = 2**16

_opener = opener("Set K2_BINANCE_REST_URL to that address if it is to be trusted")


async def get_exchange_info(
    rest_url: str, symbols: Sequence[str] = (), *, timeout_seconds: float = 30.0
) -> dict[str, Any]:
    """Ask for the catalog.

    Args:
        rest_url: E.g. ``"https://data-api.binance.vision"``.
        symbols: Symbols to ask for; all if empty.
        timeout_seconds: Longest time that it may take, all in all.

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
    try:
        async with asyncio.timeout(timeout_seconds):
            body = await in_thread(partial(_get, address, timeout_seconds))
    except TimeoutError as exc:
        raise unreachable(host_of(address), "no answer in time") from exc
    result = loads_bounded(body)
    if not isinstance(result, dict):
        raise MalformedMessage("the exchange's catalog is no object")
    return result


def _get(address: str, timeout_seconds: float) -> bytes:
    host = host_of(address)
    request = urllib.request.Request(address)  # noqa: S310 - the scheme is checked with the settings
    until_seconds = time.monotonic() + timeout_seconds
    try:
        with _opener.open(request, timeout=timeout_seconds) as reply:
            content = bytearray()
            while part := reply.read1(_PART_BYTES):
                content += part
                if len(content) > MAX_REPLY_BYTES:
                    raise MalformedMessage(
                        f"{host} answers more than {MAX_REPLY_BYTES:,} bytes"
                    )
                if time.monotonic() > until_seconds:
                    raise unreachable(host, "no whole answer in time")
            return bytes(content)
    except urllib.error.HTTPError as exc:
        body = b""
        # The status says enough if the rest of the answer does not come.
        with exc, suppress(OSError, http.client.HTTPException):
            body = exc.read(4096)
        raise _refusal(exc.code, exc.headers, body, host) from exc
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise unreachable(host, exc) from exc


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
    return explain_status(status, headers, body, host)
