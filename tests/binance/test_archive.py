"""Daily archives: only what has the right checksum counts."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from k2cli.binance.archive import DailyArchives
from k2cli.completeness.id_ranges import IdRange, IdRanges
from k2cli.errors import ConnectFailed, K2Error, MalformedMessage, RestrictedLocation
from k2cli.trade import Instrument, TradeBatch

INSTRUMENT = Instrument("BTCUSDT", "BINANCE", "BTC", "USDT")
DAY = 20_089  # 2025-01-01
PATH = "/data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2025-01-01.zip"
ROWS = (
    b"10,93576.00,0.00001,0.94,1735689600000123,True,True\n"
    b"11,93576.10,1.50000,140364.15,1735689600000124,False,True\n"
    b"13,93576.20,2,187152.4,1735689600000125,False,False\n"
)


class Host:
    """Answers with what it is given."""

    def __init__(self) -> None:
        self.replies: dict[str, tuple[int, bytes]] = {}
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = host.replies.get(self.path, (404, b""))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", body.decode())
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def put(self, packed: bytes) -> None:
        checksum = hashlib.sha256(packed).hexdigest()
        self.replies[PATH] = 200, packed
        self.replies[f"{PATH}.CHECKSUM"] = 200, f"{checksum}  x.zip\n".encode()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    thread = threading.Thread(
        target=host.server.serve_forever, args=(0.02,), daemon=True
    )
    thread.start()
    yield host
    host.server.shutdown()
    host.server.server_close()
    thread.join()


def zipped(*tables: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for index, table in enumerate(tables):
            file.writestr(f"{index}.csv", table)
    return packed.getvalue()


async def read(
    url: str, folder: Path, *wanted: tuple[int, int]
) -> tuple[IdRange | None, list[TradeBatch]]:
    batches: list[TradeBatch] = []
    archives = DailyArchives(url, folder, timeout_seconds=5)
    ids = await archives.read(INSTRUMENT, DAY, IdRanges(wanted), batches.append)
    assert os.listdir(folder) == []  # noqa: PTH208 - in memory
    return ids, batches


async def test_wanted_trades_are_read(host: Host, tmp_path: Path) -> None:
    host.put(zipped(ROWS))
    ids, [batch] = await read(host.url, tmp_path, (11, 13))
    assert ids == IdRange(10, 13)
    assert batch.is_backfill
    assert list(batch.trade_ids) == ["11", "13"]
    trade = batch.trade(1)
    assert (trade.price, trade.quantity, trade.side) == ("93576.20", "2", "BUY")
    assert trade.timestamp == 1_735_689_600_000_125
    assert trade.vendor_data["is_best_match"] == "false"
    assert trade.vendor_data["source"] == "backfill"


async def test_a_heading_and_milliseconds_are_understood(
    host: Host, tmp_path: Path
) -> None:
    row = b"10,1.0,2.0,2.0,1723161255342,true,true\r\n"
    host.put(
        zipped(b"id,price,qty,quote_qty,time,is_buyer_maker,is_best_match\r\n" + row)
    )
    _, [batch] = await read(host.url, tmp_path, (1, 99))
    assert batch.trade(0).timestamp == 1_723_161_255_342_000
    assert batch.trade(0).side == "SELL"


async def test_a_day_without_an_archive_is_none(host: Host, tmp_path: Path) -> None:
    assert await read(host.url, tmp_path, (1, 99)) == (None, [])
    host.put(zipped(ROWS))
    del host.replies[f"{PATH}.CHECKSUM"]
    assert await read(host.url, tmp_path, (1, 99)) == (None, [])


@pytest.mark.parametrize(
    "packed",
    [b"", b"PK no zip", zipped(ROWS)[:-9], zipped(ROWS, ROWS), zipped(b"10,x,y\n")],
)
async def test_what_is_no_archive_is_refused(
    host: Host, tmp_path: Path, packed: bytes
) -> None:
    host.put(packed)
    with pytest.raises(MalformedMessage):
        await read(host.url, tmp_path, (1, 99))


async def test_a_wrong_checksum_is_refused(host: Host, tmp_path: Path) -> None:
    host.put(zipped(ROWS))
    host.replies[PATH] = 200, zipped(ROWS.replace(b"93576.10", b"93576.11"))
    with pytest.raises(MalformedMessage, match="checksum"):
        await read(host.url, tmp_path, (1, 99))


@pytest.mark.parametrize(
    ("status", "error"), [(451, RestrictedLocation), (500, ConnectFailed)]
)
async def test_a_refusal_is_told(
    host: Host, tmp_path: Path, status: int, error: type[K2Error]
) -> None:
    host.replies[f"{PATH}.CHECKSUM"] = status, b""
    with pytest.raises(error):
        await read(host.url, tmp_path, (1, 99))


async def test_a_host_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed, match=r"127\.0\.0\.1:1"):
        await read("http://127.0.0.1:1", tmp_path, (1, 99))


async def test_a_redirect_to_another_host_is_refused(
    host: Host, tmp_path: Path
) -> None:
    host.replies[f"{PATH}.CHECKSUM"] = 302, b"http://localhost:1/elsewhere"
    with pytest.raises(ConnectFailed, match="localhost:1/elsewhere") as caught:
        await read(host.url, tmp_path, (1, 99))
    assert "--data-url" in (caught.value.hint or "")


async def test_an_address_that_is_none_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed, match="cannot be reached"):
        await read("http://[", tmp_path, (1, 99))


def test_a_silent_host_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        async def cancelled() -> socket.socket:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            reading = asyncio.create_task(read(url, tmp_path, (1, 99)))
            peer, _ = await asyncio.to_thread(listener.accept)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            return peer

        with asyncio.run(cancelled()) as peer:
            peer.settimeout(0.0)
            assert peer.recv(4096).startswith(b"GET ")
            # Not closed yet: nobody waited for the thread that reads.
            with pytest.raises(BlockingIOError):
                peer.recv(4096)
