"""Stream names and addresses, and how symbols are spread over connections."""

from __future__ import annotations

import heapq
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from k2cli.binance.symbols import ascii_lower

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Binance takes 1024 streams per connection; an address has room for about so many.
# Fewer connections cost less: each has a read of its own.
STREAMS_PER_CONNECTION = 450
# Longer request lines were answered with HTTP 414 from about 8004 characters on.
MAX_URL_CHARACTERS = 7500


def stream_url(base_url: str, symbols: Sequence[str]) -> str:
    """Return the address of a combined stream of trades, in microseconds.

    Args:
        base_url: E.g. ``"wss://stream.binance.com:9443/stream"``; ``/stream`` may be
            left out, or be ``/ws``. A query is kept.
        symbols: Upper case, as the exchange spells them.
    """
    scheme, netloc, path, query, _ = urlsplit(base_url)
    path = path.rstrip("/").removesuffix("/ws")
    if not path.endswith("/stream"):
        path += "/stream"
    names = "/".join(f"{ascii_lower(symbol)}@trade" for symbol in symbols)
    kept = _without(query, "streams", "timeUnit")
    # The wire's own spelling keeps "@" and "/" as they are; some servers insist.
    parts = [f"streams={quote(names, safe='@/')}", "timeUnit=MICROSECOND"]
    if kept:
        parts.append(urlencode(kept))
    return urlunsplit((scheme, netloc, path, "&".join(parts), ""))


def api_url(base_url: str) -> str:
    """Return the address of the WebSocket API with times in microseconds.

    Args:
        base_url: E.g. ``"wss://ws-api.binance.com:443/ws-api/v3"``; a query is kept.
    """
    scheme, netloc, path, query, _ = urlsplit(base_url)
    query = urlencode([*_without(query, "timeUnit"), ("timeUnit", "MICROSECOND")])
    return urlunsplit((scheme, netloc, path, query, ""))


def is_binance_com(api_url: str) -> bool:
    """Return whether an address is that of Binance.com's WebSocket API."""
    return urlsplit(api_url).hostname == "ws-api.binance.com"


def other_host_first(urls: Sequence[str]) -> list[str]:
    """Return addresses so that one of another host than the first is in front.

    If all have the same host, one with another port is.
    """
    hosts = {url: urlsplit(url).hostname for url in urls}
    return sorted(urls, key=lambda url: (hosts[url] == hosts[urls[0]], url == urls[0]))


def exchange_of(base_url: str) -> str:
    """Return which exchange an API's address leads to: host, port and path.

    What else an address may hold, such as a password or a token, is not in it.

    Raises:
        ValueError: If it is no address.
    """
    parts = urlsplit(base_url)
    port = parts.port or (443 if parts.scheme in ("wss", "https") else 80)
    return f"{(parts.hostname or '').lower()}:{port}{parts.path.rstrip('/')}"


def catalog_file_name(base_url: str) -> str:
    """Return the name under which the catalog of an API is kept; see ``exchange_of``.

    Raises:
        ValueError: If it is no address.
    """
    host, _, _ = exchange_of(base_url).partition("/")
    return f"catalog-{re.sub(r'[^a-z0-9.]+', '-', host)[:100]}.json"


def spread(
    symbols: Sequence[str],
    base_url: str,
    activity: Mapping[str, int] | None = None,
) -> list[tuple[str, ...]]:
    """Share symbols out among as few connections as the exchange's limits allow.

    Args:
        symbols: Upper case, in any order, which each connection's symbols keep.
        base_url: As for ``stream_url``.
        activity: How many trades each symbol has in some time, as far as known. With
            it, every connection gets about as many trades as any other.
    """
    # A name's share of the address, percent-encoded, with its separator.
    room = MAX_URL_CHARACTERS - len(stream_url(base_url, []))
    sizes = {symbol: len(quote(symbol)) + len("@trade/") for symbol in symbols}
    groups = [_Group()]
    for symbol in symbols:
        if not groups[-1].takes(sizes[symbol], room):
            groups.append(_Group())
        groups[-1].add(symbol, sizes[symbol])
    if activity and len(groups) > 1:
        return _balanced(sizes, room, activity, len(groups))
    return [tuple(group.symbols) for group in groups if group.symbols]


def _without(query: str, *names: str) -> list[tuple[str, str]]:
    """Return the names and values of a query, but those that k2 sets itself."""
    pairs = parse_qsl(query, keep_blank_values=True)
    return [(name, value) for name, value in pairs if name not in names]


def _balanced(
    sizes: Mapping[str, int], room: int, activity: Mapping[str, int], count: int
) -> list[tuple[str, ...]]:
    """Add each symbol, the busiest first, to the connection with the fewest trades."""
    groups = [_Group() for _ in range(count)]
    lightest = [(0, number) for number in range(count)]
    group_of = {}
    for symbol in sorted(sizes, key=lambda each: -activity.get(each, 0)):
        full = []
        while lightest and not groups[lightest[0][1]].takes(sizes[symbol], room):
            full.append(heapq.heappop(lightest))
        if not lightest:
            lightest.append((0, len(groups)))
            groups.append(_Group())
        trades, number = heapq.heappop(lightest)
        groups[number].add(symbol, sizes[symbol])
        group_of[symbol] = number
        # A symbol that has not traded yet is still one more to carry.
        heapq.heappush(lightest, (trades + activity.get(symbol, 0) + 1, number))
        for each in full:
            if len(groups[each[1]].symbols) < STREAMS_PER_CONNECTION:
                heapq.heappush(lightest, each)
    return [
        tuple(symbol for symbol in sizes if group_of[symbol] == number)
        for number in range(len(groups))
    ]


class _Group:
    """The symbols of one connection, and their part of its address."""

    def __init__(self) -> None:
        self.symbols: list[str] = []
        self._size = 0

    def takes(self, size: int, room: int) -> bool:
        """Return whether one more name fits; a first one always does."""
        return not self.symbols or (
            len(self.symbols) < STREAMS_PER_CONNECTION and self._size + size <= room
        )

    def add(self, symbol: str, size: int) -> None:
        self.symbols.append(symbol)
        self._size += size
