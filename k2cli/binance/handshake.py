"""Opening a WebSocket, and what its failures mean for a user."""

from __future__ import annotations

import errno
import math
import re
import socket
import ssl
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast
from urllib.parse import urljoin, urlsplit

import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import (
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
    ProxyError,
    WebSocketException,
)
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from k2cli.binance.transport import MAX_FRAME_BYTES, StreamConnection
from k2cli.binance.wire import BINANCE, SIMULATED
from k2cli.errors import (
    TRY_AGAIN,
    AccessBlocked,
    AddressBanned,
    ConnectFailed,
    K2Error,
    RestrictedLocation,
    TooManyRequests,
    printable,
)
from k2cli.text import without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message

    from structlog.typing import FilteringBoundLogger

# Says on every handshake whether a market is made up. Only k2's own exchange sends it.
EXCHANGE_HEADER = "X-K2-Exchange"

# HTTP statuses that are about who asks, not about what is asked.
REFUSALS = frozenset({403, 418, 429, 451})
# Bans last three days at most.
MOST_WAIT_SECONDS = 3 * 86_400.0

_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}

log: FilteringBoundLogger = structlog.get_logger()


class _Connect(connect):
    """Follows redirects to the same host only, and never away from TLS."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Return where to go instead, or what is to be raised."""
        locations = (
            exc.response.headers.get_all("Location")
            if isinstance(exc, InvalidStatus) and 300 <= exc.response.status_code < 400
            else []
        )
        if not locations:
            return exc
        shown = printable(without_secrets(locations[0]))
        try:
            target = urljoin(self.uri, locations[0])
            old, new = urlsplit(self.uri), urlsplit(target)
            allowed = (
                len(locations) == 1
                and new.hostname == old.hostname
                and (old.scheme.lower(), new.scheme.lower())
                in (("ws", "ws"), ("ws", "wss"), ("wss", "wss"))
            )
        except ValueError:
            allowed = False
        if allowed:
            followed = super().process_redirect(exc)
            if isinstance(followed, str):
                log.info("The exchange redirects", to=shown)
            return followed
        return ConnectFailed(
            f"{host_of(self.uri)} redirects to {shown}, which k2 does not follow",
            "Name that address with --url or --api-url if it is to be trusted",
            permanent=True,
        )


async def open_websocket(
    url: str,
    *,
    open_timeout_seconds: float,
    max_frame_bytes: int = MAX_FRAME_BYTES,
    proxy: str | bool = True,
) -> StreamConnection:
    """Open a WebSocket connection.

    TLS is verified against the system's certificates. Text arrives uncompressed: the
    exchange would compress if asked to, at a cost to both sides.

    Args:
        url: ``wss://`` or ``ws://``.
        open_timeout_seconds: Longest time for name, TCP, TLS and handshake together.
        max_frame_bytes: Longest frame, and longest message, accepted.
        proxy: ``True`` for the environment's proxy, ``False`` for none, or its address.

    Raises:
        ConnectFailed: If nobody answers, or not as a WebSocket server does.
        ExchangeRefused: If the exchange answers 403, 418, 429 or 451.
    """
    try:
        connection = await _Connect(
            url,
            # The package needs no subclass of its own class: "a wrapper" will do.
            create_connection=partial(  # type: ignore[arg-type]  # see above
                StreamConnection, max_frame_bytes=max_frame_bytes
            ),
            compression=None,
            open_timeout=open_timeout_seconds,
            close_timeout=2,
            ping_interval=None,
            max_size=max_frame_bytes,
            proxy=None if proxy is False else proxy,
        )
    except (OSError, WebSocketException, ValueError, ImportError) as exc:
        raise explain(exc, url, proxy=_proxy_of(url, proxy)) from exc
    return cast("StreamConnection", connection)


def exchange_name(connection: StreamConnection) -> str:
    """Return what records name as their exchange: ``"SIM"`` if the server says so."""
    response = connection.response
    named = response.headers.get_all(EXCHANGE_HEADER) if response is not None else []
    return SIMULATED if SIMULATED in named else BINANCE


class SameExchange:
    """Sees that several connections lead to the same exchange.

    Attributes:
        name: As ``exchange_name`` returns it; empty before the first connection.
    """

    def __init__(self) -> None:
        self.name = ""

    def check(self, connection: StreamConnection, url: str) -> None:
        """Break a connection off if it leads to another one.

        Raises:
            ConnectFailed: If it does.
        """
        name = exchange_name(connection)
        if self.name not in ("", name):
            connection.transport.abort()
            raise ConnectFailed(
                f"{host_of(url)} is another exchange ({name}, not {self.name})",
                "Check the address",
                permanent=False,
            )
        self.name = name


def _proxy_of(url: str, proxy: str | bool) -> str | None:
    """Return host and port of the proxy in use, fit for printing."""
    try:
        named = get_proxy(parse_uri(url)) if proxy is True else proxy or None
        return None if named is None else host_of(named)
    except (WebSocketException, ValueError):
        return None


def explain(exc: Exception, url: str, *, proxy: str | None = None) -> K2Error:
    """Return what a failure to connect means, and whether trying again can help.

    Args:
        exc: What ``websockets.connect`` raised.
        url: Where it was to connect to.
        proxy: The proxy that was to help, fit for printing.
    """
    host = host_of(url)
    if isinstance(exc, ImportError):
        return ConnectFailed(
            f"a SOCKS proxy is set, {proxy}, which needs a package",
            "Install it: pip install python-socks, or unset ALL_PROXY and the like",
            permanent=True,
        )
    if isinstance(exc, InvalidStatus):
        response = exc.response
        body = bytes(response.body or b"")
        return explain_status(response.status_code, response.headers, body, host)
    if isinstance(exc, ssl.SSLCertVerificationError):
        return ConnectFailed(
            f"the certificate of {host} cannot be verified ({exc.verify_message})",
            "Check the clock and the system's certificates; a proxy that opens TLS "
            "needs its own certificate installed",
            permanent=True,
        )
    if isinstance(exc, ssl.SSLError):
        return ConnectFailed(
            f"{host} does not speak TLS as expected ({printable(exc.reason or '')})",
            "Check the port, and wss:// against ws://",
            permanent=True,
        )
    if isinstance(exc, InvalidURI):
        return ConnectFailed(
            f"'{printable(without_secrets(url))}' is no WebSocket address",
            "It should look like wss://stream.binance.com:9443/stream",
            permanent=True,
        )
    if isinstance(exc, InvalidProxy | ProxyError):
        return ConnectFailed(
            f"the proxy failed: {printable(without_secrets(str(exc)))}",
            "Check HTTPS_PROXY and the like in the environment",
            permanent=True,
        )
    if isinstance(exc, TimeoutError):
        return ConnectFailed(
            f"{host} did not answer in time", TRY_AGAIN, permanent=False
        )
    if proxy is not None and isinstance(exc, OSError):
        return ConnectFailed(
            f"the proxy {proxy} cannot be reached "
            f"({printable(exc.strerror or str(exc))})",
            "Check HTTPS_PROXY, ALL_PROXY and the like, or unset them",
            permanent=isinstance(exc, ConnectionRefusedError | socket.gaierror),
        )
    if isinstance(exc, socket.gaierror):
        return ConnectFailed(
            f"the name of {host} cannot be resolved",
            "Check the network connection and the address",
            permanent=True,
        )
    if isinstance(exc, OSError):
        return _explain_os_error(exc, host)
    # What is left is an answer that is not HTTP, or HTTP that is no WebSocket. A
    # connection cut in the middle of a handshake looks like this too.
    cut = isinstance(exc.__cause__, EOFError)
    return ConnectFailed(
        f"{host} closed the connection during the handshake"
        if cut
        else f"{host} did not answer as a WebSocket server",
        "" if cut else "Check the address",
        permanent=isinstance(exc, InvalidHandshake | ValueError) and not cut,
    )


def host_of(url: str) -> str:
    """Return host and port of an address, fit for printing and without secrets."""
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        host = ""
    return printable(host or without_secrets(url))


def _explain_os_error(exc: OSError, host: str) -> ConnectFailed:
    text = str(exc)
    # asyncio joins the errors of several addresses into one text without a number.
    numbers = {exc.errno} | {int(n) for n in re.findall(r"\[Errno (\d+)\]", text)}
    if errno.ECONNREFUSED in numbers or "refused" in text:
        return ConnectFailed(
            f"{host} refused the connection",
            "Check that the address is right and the server is up",
            permanent=False,
        )
    if numbers & _NO_ROUTE:
        return ConnectFailed(
            f"there is no route to {host}",
            "Check the network connection",
            permanent=True,
        )
    if isinstance(exc, ConnectionError):
        return ConnectFailed(
            f"{host} broke off the connection", TRY_AGAIN, permanent=False
        )
    return ConnectFailed(
        f"{host} cannot be reached ({printable(exc.strerror or text)})",
        TRY_AGAIN,
        permanent=False,
    )


def explain_status(
    status: int, headers: Mapping[str, str] | Message, body: bytes, host: str
) -> K2Error:
    """Return what an HTTP answer other than the one asked for means.

    Args:
        status: HTTP status.
        headers: Of the answer; ``Retry-After`` in seconds is read.
        body: Of the answer, for the excerpt.
        host: Who answered, fit for printing.
    """
    retry_after: float | None = None
    # LookupError or None: no such header, or several.
    with suppress(LookupError, TypeError, ValueError):
        asked = float(headers["Retry-After"])
        if not math.isnan(asked):
            retry_after = min(max(asked, 0.0), MOST_WAIT_SECONDS)
    wait = f" for {retry_after:g} s" if retry_after is not None else " for a while"
    match status:
        case 451:
            return RestrictedLocation(
                f"{host} does not serve this location (HTTP 451)",
                "Try --url wss://data-stream.binance.vision, which carries the same "
                "trades, or wss://stream.binance.us:9443 for Binance.US",
            )
        case 403:
            first_line = body.decode("utf-8", "replace").strip().partition("\n")[0]
            excerpt = f": {printable(first_line, 80)}" if first_line else ""
            return AccessBlocked(
                f"the firewall of {host} blocks this address (HTTP 403{excerpt})",
                "Wait some minutes; if it stays, another network or "
                "--url wss://data-stream.binance.vision may help",
                retry_after_seconds=retry_after,
            )
        case 429:
            return TooManyRequests(
                f"{host} has had too many requests from this address (HTTP 429)",
                f"Wait{wait} and run fewer clients at once",
                retry_after_seconds=retry_after,
            )
        case 418:
            return AddressBanned(
                f"{host} has banned this address{wait} (HTTP 418)",
                "Stop every client on this address until the ban is over",
                retry_after_seconds=retry_after,
            )
    transient = status >= 500
    return ConnectFailed(
        f"{host} answered HTTP {status}",
        "Try again later" if transient else "Check the address",
        permanent=not transient,
    )
