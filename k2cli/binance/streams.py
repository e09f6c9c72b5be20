"""Stream names and addresses, and how symbols are spread over connections."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from k2cli.binance.symbols import ascii_lower

if TYPE_CHECKING:
    from collections.abc import Sequence

# Binance takes 1024 streams per connection; peers advise 200 to 300 for busy ones.
STREAMS_PER_CONNECTION = 200
# Longer request lines were answered with HTTP 414 from about 8004 characters on.
MAX_URL_CHARACTERS = 7500


def stream_url(base_url: str, symbols: Sequence[str]) -> str:
    """Give the address of a combined stream of trades, in microseconds.

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
    kept = [
        (key, value)
        for key, value in parse_qsl(query, keep_blank_values=True)
        if key not in ("streams", "timeUnit")
    ]
    # The wire's own spelling keeps "@" and "/" as they are; some servers insist.
    parts = [f"streams={quote(names, safe='@/')}", "timeUnit=MICROSECOND"]
    if kept:
        parts.append(urlencode(kept))
    return urlunsplit((scheme, netloc, path, "&".join(parts), ""))


def api_url(base_url: str) -> str:
    """Give the address of the WebSocket API with times in microseconds.

    Args:
        base_url: E.g. ``"wss://ws-api.binance.com:443/ws-api/v3"``; a query is kept.
    """
    scheme, netloc, path, query, _ = urlsplit(base_url)
    kept = [pair for pair in parse_qsl(query) if pair[0] != "timeUnit"]
    query = urlencode([*kept, ("timeUnit", "MICROSECOND")])
    return urlunsplit((scheme, netloc, path, query, ""))


def spread(symbols: Sequence[str], base_url: str) -> list[tuple[str, ...]]:
    """Share symbols out among as few connections as the exchange's limits allow."""
    groups: list[tuple[str, ...]] = []
    group: list[str] = []
    # A name's share of the address, percent-encoded, with its separator.
    room = MAX_URL_CHARACTERS - len(stream_url(base_url, []))
    taken = 0
    for symbol in symbols:
        size = len(quote(symbol)) + len("@trade/")
        if group and (len(group) == STREAMS_PER_CONNECTION or taken + size > room):
            groups.append(tuple(group))
            group, taken = [], 0
        group.append(symbol)
        taken += size
    if group:
        groups.append(tuple(group))
    return groups
