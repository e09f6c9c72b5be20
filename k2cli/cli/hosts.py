"""What ``k2 doctor`` finds of the exchange's hosts: reachable, how far, which time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from k2cli.binance.api import BinanceApiClient
from k2cli.binance.handshake import host_of, open_websocket
from k2cli.binance.limits import WeightBudget
from k2cli.binance.streams import stream_url
from k2cli.errors import K2Error
from k2cli.trade import FIRST_MICROSECONDS

if TYPE_CHECKING:
    from k2cli.config import BinanceConfig

    # Whether it is good, ``None`` where k2 can do without; what was looked at; what
    # was found.
    Finding = tuple[bool | None, str, str]

# A clock that is further off makes lags and times of arrival meaningless.
_MOST_OFFSET_SECONDS = 2.0


async def host_findings(config: BinanceConfig, *, proxy: bool = True) -> list[Finding]:
    """Connect to every address of the settings, all at the same time.

    Args:
        config: The settings.
        proxy: Whether to use the environment's.
    """
    urls = [config.websocket_url, *config.fallbacks]
    found = await asyncio.gather(
        *(_stream(url, config, proxy, needed=len(urls) == 1) for url in urls),
        _api(config, proxy),
    )
    return [finding for findings in found for finding in findings]


async def _stream(
    url: str, config: BinanceConfig, proxy: bool, *, needed: bool
) -> list[Finding]:
    started_seconds = time.monotonic()
    try:
        connection = await open_websocket(
            stream_url(url, ["BTCUSDT"]),
            open_timeout_seconds=config.open_timeout,
            proxy=proxy,
        )
    except K2Error as exc:
        return [(False if needed else None, "streams", str(exc))]
    took = _milliseconds(time.monotonic() - started_seconds)
    secured = connection.transport.get_extra_info("ssl_object")
    how = f", {secured.version()}" if secured is not None else ""
    await connection.close()
    return [(True, "streams", f"{host_of(url)} opens in {took}{how}")]


async def _api(config: BinanceConfig, proxy: bool) -> list[Finding]:
    budget = WeightBudget()
    api = BinanceApiClient(
        config.api_url,
        open_timeout_seconds=config.open_timeout,
        proxy=proxy,
        budget=budget,
    )
    try:
        async with api:
            sent_seconds = time.time()
            answer: Any = await api.request("time", {})
            came_seconds = time.time()
    except K2Error as exc:
        return [(False, "history", str(exc))]
    took = _milliseconds(came_seconds - sent_seconds)
    left, limit = budget.remaining
    host = host_of(config.api_url)
    said = f"{host} answers in {took}; {left:,} of {limit:,} request weight left"
    findings: list[Finding] = [(True, "history", said)]
    server = answer.get("serverTime") if isinstance(answer, dict) else None
    if isinstance(server, int):
        server_seconds = server / (1e6 if server >= FIRST_MICROSECONDS else 1e3)
        findings.append(_clock((sent_seconds + came_seconds) / 2 - server_seconds))
    return findings


def _clock(ahead_seconds: float) -> Finding:
    good = abs(ahead_seconds) <= _MOST_OFFSET_SECONDS
    off = _milliseconds(abs(ahead_seconds))
    where = "ahead of" if ahead_seconds > 0 else "behind"
    more = "" if good else "; set this computer's clock (NTP)"
    return good, "clock", f"{off} {where} the exchange's{more}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"
