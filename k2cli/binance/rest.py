"""The catalog by plain GET, for whoever the API's host refuses.

There is no data-only host for the WebSocket API, but there is one for REST:
https://data-api.binance.vision (Binance's FAQ on market data only).
"""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from k2cli.binance.api import MAX_REPLY_BYTES
from k2cli.binance.handshake import REFUSALS, explain_status
from k2cli.binance.wire import loads_bounded
from k2cli.errors import (
    TRY_AGAIN,
    ApiError,
    ConnectFailed,
    K2Error,
    MalformedMessage,
    printable,
)
from k2cli.text import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from email.message import Message

    from structlog.typing import FilteringBoundLogger

_PART_BYTES = 2**16

log: FilteringBoundLogger = structlog.get_logger()


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
            body = await _in_thread(partial(_get, address, timeout_seconds))
    except TimeoutError as exc:
        raise _unreachable(_host(address), "no answer in time") from exc
    result = loads_bounded(body)
    if not isinstance(result, dict):
        raise MalformedMessage("the exchange's catalog is no object")
    return result


async def _in_thread(get: Callable[[], bytes]) -> bytes:
    """Run it in a thread that nobody waits for when nobody wants its result."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()

    def settle(result: bytes | Exception) -> None:
        if done.cancelled():
            return
        if isinstance(result, Exception):
            done.set_exception(result)
        else:
            done.set_result(result)

    def run() -> None:
        result: bytes | Exception
        try:
            result = get()
        except Exception as exc:
            result = exc
        # The loop may have been closed since.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=run, daemon=True, name="k2-rest").start()
    return await done


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the same host only, and never away from TLS."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request to send instead."""
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        allowed = (
            new.hostname == old.hostname
            and new.scheme in ("http", "https")
            and not (old.scheme == "https" and new.scheme == "http")
        )
        shown = printable(without_secrets(newurl))
        if not allowed:
            raise ConnectFailed(
                f"{_host(req.full_url)} redirects to {shown}, which k2 does not follow",
                "Set K2_BINANCE_REST_URL to that address if it is to be trusted",
                permanent=True,
            )
        log.info("The exchange redirects", to=shown)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _host(address: str) -> str:
    return printable(urllib.parse.urlsplit(address).netloc.rpartition("@")[2])


def _get(address: str, timeout_seconds: float) -> bytes:
    host = _host(address)
    request = urllib.request.Request(address)  # noqa: S310 - the scheme is checked with the settings
    opener = urllib.request.build_opener(_SameHost)
    until_seconds = time.monotonic() + timeout_seconds
    try:
        with opener.open(request, timeout=timeout_seconds) as reply:
            content = bytearray()
            while part := reply.read1(_PART_BYTES):
                content += part
                if len(content) > MAX_REPLY_BYTES:
                    raise MalformedMessage(
                        f"{host} answers more than {MAX_REPLY_BYTES:,} bytes"
                    )
                if time.monotonic() > until_seconds:
                    raise _unreachable(host, "no whole answer in time")
            return bytes(content)
    except urllib.error.HTTPError as exc:
        body = b""
        # The status says enough if the rest of the answer does not come.
        with exc, suppress(OSError, http.client.HTTPException):
            body = exc.read(4096)
        raise _refusal(exc.code, exc.headers, body, host) from exc
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise _unreachable(host, printable(without_secrets(str(exc)))) from exc


def _unreachable(host: str, why: str) -> ConnectFailed:
    return ConnectFailed(
        f"{host} cannot be reached ({why})", TRY_AGAIN, permanent=False
    )


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
