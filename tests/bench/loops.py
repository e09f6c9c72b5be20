"""The hand-written loops that k2 is measured against, each run in a process of its own.

``python -m tests.bench.loops NAME --trades N --output FILE URL…``; the libraries are
imported by the loop that needs them, so that none pays for another's.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import orjson

OPTIONAL = {"aiohttp": "aiohttp", "picows": "picows"}
"""Loops that are left out where their library is not installed."""


class Lines:
    """Writes so many trades to a file, then is done.

    Args:
        file: Buffered.
        trades: How many.
        flushes: Whether to flush after each line.
    """

    def __init__(self, file: BinaryIO, trades: int, *, flushes: bool) -> None:
        self._file = file
        self._flushes = flushes
        self.left = trades

    def take(self, frame: bytes | memoryview) -> bool:
        """Write one frame's trade; tell whether there are more to come."""
        received_us = time.time_ns() // 1000
        event = orjson.loads(frame)["data"]
        trade_id = event["t"]
        sold = event["m"]
        record = {
            "trade_id": f"BINANCE-{trade_id}",
            "symbol": event["s"],
            "exchange": "BINANCE",
            "asset_class": "crypto",
            "timestamp": event["T"],
            "price": event["p"],
            "quantity": event["q"],
            "currency": "USDT",
            "side": "SELL" if sold else "BUY",
            "trade_conditions": [],
            "source_sequence": trade_id,
            "ingestion_timestamp": received_us,
            "platform_sequence": None,
            "vendor_data": {
                "is_buyer_maker": "true" if sold else "false",
                "is_best_match": "true",
                "event_type": "trade",
                "event_time": str(event["E"]),
                "trade_time": str(event["T"]),
            },
        }
        self._file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        if self._flushes:
            self._file.flush()
        self.left -= 1
        if self.left:
            return True
        # How long it takes to close the connection is no part of the work.
        self._file.flush()
        return False


async def reference(urls: list[str], lines: Lines) -> None:
    """Receive with ``websockets``; several addresses side by side."""
    from websockets.asyncio.client import connect

    async def one(url: str) -> None:
        async with connect(url, compression=None) as connection:
            while lines.left > 0:
                if not lines.take(await connection.recv(decode=False)):
                    done.set()

    done = asyncio.Event()
    tasks = [asyncio.create_task(one(url)) for url in urls]
    await done.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def aiohttp(urls: list[str], lines: Lines) -> None:
    """Receive with aiohttp."""
    import aiohttp

    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(urls[0], compress=0) as connection,
    ):
        async for message in connection:
            if not lines.take(message.data):
                break


async def picows(urls: list[str], lines: Lines) -> None:
    """Receive with picows, a client written in Cython."""
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

    class Listener(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type == WSMsgType.TEXT and not lines.take(
                frame.get_payload_as_memoryview()
            ):
                transport.disconnect()

    transport, _ = await ws_connect(Listener, urls[0])
    await transport.wait_disconnected()


async def library(urls: list[str], lines: Lines) -> None:
    """Receive with ``BinanceWebSocketClient``, and count."""
    from k2cli import BinanceWebSocketClient, TradeV2

    address = urlsplit(urls[0])
    names = [name.partition("@")[0] for name in address.query.split("=")[1].split("/")]
    done = asyncio.Event()

    def count(_: TradeV2) -> None:
        lines.left -= 1
        if not lines.left:
            done.set()

    client = BinanceWebSocketClient(
        names, count, f"ws://{address.netloc}/stream", proxy=False
    )
    receiving = asyncio.create_task(client.connect())
    await done.wait()
    lines._file.write(b"\n")
    lines._file.flush()
    await client.disconnect()
    await receiving


async def sink(urls: list[str], lines: Lines) -> None:
    """Read a bare socket as fast as that goes, and throw everything away.

    ``trades`` is in bytes here; the line that is written says that they have come.
    """
    address = urlsplit(urls[0])
    with socket.create_connection((address.hostname, address.port or 80)) as sock:
        sock.sendall(
            f"GET {address.path}?{address.query} HTTP/1.1\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        buffer = bytearray(1 << 20)
        while lines.left > 0:
            received = sock.recv_into(buffer)
            if not received:
                break
            lines.left -= received
        lines._file.write(b"\n")
        lines._file.flush()


async def minimal(urls: list[str], lines: Lines) -> None:
    """Import what k2 is built on, make one connection, pass the first frame on."""
    import platformdirs  # noqa: F401
    import rich.console  # noqa: F401
    import structlog  # noqa: F401
    import typer  # noqa: F401

    lines.left = 1
    await reference(urls, lines)


LOOPS: dict[str, Callable[[list[str], Lines], Coroutine[Any, Any, None]]] = {
    "reference": reference,
    "aiohttp": aiohttp,
    "picows": picows,
    "library": library,
    "sink": sink,
    "minimal": minimal,
}


def is_installed(name: str) -> bool:
    """Whether a loop can run here."""
    return name not in OPTIONAL or importlib.util.find_spec(OPTIONAL[name]) is not None


def main() -> None:
    """Run one loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=LOOPS)
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--trades", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--flush", action="store_true")
    asked = parser.parse_args()
    with asked.output.open("wb") as file:
        lines = Lines(file, asked.trades, flushes=asked.flush)
        loop = LOOPS[asked.name]
        asyncio.run(partial(loop, asked.urls, lines)())
    # What ending costs is no part of the work, either: whoever measures ends it.
    signal.pause()


if __name__ == "__main__":
    main()
