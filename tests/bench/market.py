"""What the server trades: names, catalog, and frames made before they are needed.

Written from Binance's documentation alone: it shares nothing with k2, whose mistakes
would otherwise cancel out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from random import Random
from string import ascii_uppercase

FIRST_TRADE_ID = 3_735_683_259
FIRST_TIME_US = 1_723_161_601_438_123


@lru_cache(maxsize=8)
def symbols(count: int) -> tuple[str, ...]:
    """Give so many symbols, all quoted in USDT, the busiest first."""
    bases = ["BTC", "ETH"]
    names = ("".join(letters) for letters in product(ascii_uppercase, repeat=3))
    for name in names:
        if len(bases) >= count:
            break
        if name not in bases:
            bases.append(name)
    return tuple(f"{base}USDT" for base in bases[:count])


def shares(count: int) -> list[float]:
    """Give the symbols' shares of all trades: few are busy, most are quiet."""
    return [1 / rank for rank in range(1, count + 1)]


@dataclass(frozen=True)
class Frames:
    """Trades in the order in which they happen, as whole WebSocket frames.

    Attributes:
        symbol_of: For each trade the index of its symbol.
        frames: For each trade its frame.
    """

    symbol_of: Sequence[int]
    frames: Sequence[bytes]


@lru_cache(maxsize=2)
def frames(symbol_count: int, trades: int) -> Frames:
    """Make trades: ids consecutive by symbol, times in microseconds."""
    random = Random(20_240_809)  # noqa: S311 - a market, not a secret
    names = symbols(symbol_count)
    symbol_of = random.choices(range(symbol_count), shares(symbol_count), k=trades)
    # Each symbol trades at least once, so that a client knows all of them.
    if trades >= symbol_count:
        symbol_of[:symbol_count] = range(symbol_count)
    next_id = [FIRST_TRADE_ID] * symbol_count
    made = []
    for number, index in enumerate(symbol_of):
        symbol = names[index]
        trade_id = next_id[index]
        next_id[index] += 1
        time_us = FIRST_TIME_US + number * 20
        price = 61_685_000_000 + random.getrandbits(24)
        made.append(
            text_frame(
                f'{{"stream":"{symbol.lower()}@trade","data":{{"e":"trade",'
                f'"E":{time_us + 900},"s":"{symbol}","t":{trade_id},'
                f'"p":"{price // 10**6}.{price % 10**6:06d}00",'
                f'"q":"0.{random.getrandbits(20) + 1:07d}0","T":{time_us},'
                f'"m":{"true" if random.getrandbits(1) else "false"},'
                f'"M":true}}}}'.encode()
            )
        )
    return Frames(symbol_of, made)


def text_frame(text: bytes) -> bytes:
    """Put the header of a server's text frame before a text."""
    size = len(text)
    if size < 126:
        return bytes((0x81, size)) + text
    if size < 65_536:
        return bytes((0x81, 126)) + size.to_bytes(2, "big") + text
    return bytes((0x81, 127)) + size.to_bytes(8, "big") + text


def api_answer(request: bytes, names: Sequence[str]) -> bytes:
    """Answer a request to the WebSocket API.

    The catalog and the activity are known; the history is empty.
    """
    asked = json.loads(request)
    params = asked.get("params") or {}
    wanted = params.get("symbols") or names
    result: object
    match asked.get("method"):
        case "exchangeInfo":
            result = {"symbols": [_catalog_entry(name) for name in wanted]}
        case "ticker.24hr":
            counts = zip(names, shares(len(names)), strict=True)
            result = [{"symbol": n, "count": int(1e7 * share)} for n, share in counts]
        case "trades.historical" | "trades.recent":
            result = []
        case _:
            error = {"code": -1020, "msg": "Unsupported operation."}
            answer = {"id": asked.get("id"), "status": 400, "error": error}
            return json.dumps(answer).encode()
    return json.dumps({"id": asked.get("id"), "status": 200, "result": result}).encode()


def _catalog_entry(symbol: str) -> dict[str, object]:
    return {
        "symbol": symbol,
        "status": "TRADING",
        "baseAsset": symbol.removesuffix("USDT"),
        "quoteAsset": "USDT",
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
            {"filterType": "LOT_SIZE", "stepSize": "0.00001000"},
        ],
    }
