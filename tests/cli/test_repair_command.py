"""``k2 repair``: a capture with holes becomes what was published."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import signal
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from k2cli.capture.manifest import manifest_path, read_manifest
from k2cli.capture.pending import PendingJournal
from k2cli.capture.rotation import Rotation, finished_files
from k2cli.capture.writer import CaptureFile
from k2cli.simulator import SimulatedExchange, Trade, parse_fault
from k2cli.trade import Instrument, TradeBatch

from .conftest import K2, trades

FILE = "t.jsonl"
DATE = "2024-08-08"
"""The day of the trades that ``trades`` makes."""


@pytest.fixture(autouse=True)
def with_exchange(k2: K2, exchange: SimulatedExchange) -> None:
    k2.use(exchange)


def batch_of(tape: Sequence[Trade], exchange: str = "SIM") -> TradeBatch:
    """Return trades as the stream brings them."""
    symbol = tape[0].symbol
    return TradeBatch(
        instruments={symbol: Instrument(symbol, exchange, symbol[:-4], symbol[-4:])},
        received_us=1_723_161_600_000_000,
        symbols=[symbol for _ in tape],
        trade_ids=[str(trade.id) for trade in tape],
        prices=[trade.price for trade in tape],
        quantities=[trade.quantity for trade in tape],
        trade_times=[str(trade.trade_time_us) for trade in tape],
        event_times=[str(trade.event_time_us) for trade in tape],
        buyer_is_maker=[str(trade.buyer_is_maker).lower() for trade in tape],
        best_match=["true" for _ in tape],
        message_ids=[f"f3b0c4ce-5d0a-4a7e-9f0e-{each.id:012x}" for each in tape],
        is_plain=True,
    )


def write(
    folder: Path,
    tape: Sequence[Trade],
    lost: Sequence[range] = (),
    *,
    name: str = FILE,
    exchange: str = "SIM",
    rotate: int = 0,
) -> None:
    """Record all but the lost trades."""
    rotation = Rotation(size_bytes=rotate) if rotate else None
    kept = [each for each in tape if not any(each.id in ids for ids in lost)]
    with CaptureFile(folder / name, rotation=rotation) as capture:
        capture.write(batch_of(kept, exchange))


def let_wait(folder: Path, tape: Sequence[Trade]) -> None:
    journal = PendingJournal(folder / FILE)
    for trade in tape:
        journal.push(batch_of([trade]))
    journal.close()


def records(folder: Path) -> list[dict[str, Any]]:
    path = folder / FILE
    return [
        json.loads(line)
        for file in [*finished_files(path), path]
        for line in file.read_bytes().splitlines()
    ]


def assert_is(folder: Path, tape: Sequence[Trade]) -> None:
    """Compare a capture with what was published."""
    found = records(folder)
    assert [each["platform_sequence"] for each in found] == list(
        range(1, len(found) + 1)
    )
    kept = ("source_sequence", "price", "quantity", "timestamp")
    assert [tuple(each[key] for key in kept) for each in found] == [
        (each.id, each.price, each.quantity, each.trade_time_us) for each in tape
    ]
    assert [each["side"] for each in found] == [
        "SELL" if each.buyer_is_maker else "BUY" for each in tape
    ]


async def assert_whole(k2: K2) -> None:
    files = [file.name for file in finished_files(k2.folder / FILE)]
    verified = await k2("verify", *files, FILE)
    assert verified.status == 0, verified.out
    assert not set(k2.folder.glob(".t.*")) - {manifest_path(k2.folder / FILE)}


class Archive:
    """A stand-in for the host of the daily archives."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                archive.asked.append(self.path)
                body = archive.files.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def serving(self) -> Iterator[Archive]:
        thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def put(self, tape: Sequence[Trade], *, in_ms: bool = False) -> str:
        symbol = tape[0].symbol
        divisor = 1000 if in_ms else 1
        rows = [
            f"{each.id},{each.price},{each.quantity},1.0,"
            f"{each.trade_time_us // divisor},{each.buyer_is_maker},True\n"
            for each in tape
        ]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(f"{symbol}-trades-{DATE}.csv", "".join(rows))
        name = f"{symbol}-trades-{DATE}.zip"
        path = f"/data/spot/daily/trades/{symbol}/{name}"
        self.files[path] = packed.getvalue()
        checksum = hashlib.sha256(packed.getvalue()).hexdigest()
        self.files[f"{path}.CHECKSUM"] = f"{checksum}  {name}\n".encode()
        return path


@pytest.fixture
def archive() -> Iterator[Archive]:
    with Archive().serving() as archive:
        yield archive


@pytest.mark.parametrize("rotate", [0, 5000])
async def test_holes_are_filled_from_the_history(
    k2: K2, exchange: SimulatedExchange, rotate: int
) -> None:
    tape = trades(1, 300)
    await exchange.publish(tape)
    write(k2.folder, tape[:280], [range(20, 40), range(90, 91)], rotate=rotate)
    let_wait(k2.folder, tape[285:])
    ended = await k2("repair", FILE)
    assert ended.status == 0, ended.err
    assert ended.out == b""
    assert "plan: 26 trades to fetch, in 3 ranges; 1 request" in ended.err
    assert "26 trades filled in; 15 pending trades merged" in ended.err
    assert "platform_sequence is numbered anew from 20 on" in ended.err
    assert_is(k2.folder, tape)
    await assert_whole(k2)
    # Nothing is left to do.
    again = await k2("repair", FILE)
    assert again.status == 0
    assert "plan" not in again.err


async def test_a_dry_run_says_what_it_takes_and_changes_nothing(
    k2: K2, exchange: SimulatedExchange
) -> None:
    tape = trades(1, 5000)
    await exchange.publish(tape)
    write(k2.folder, tape, [range(20, 40), range(2000, 4100)])
    before = (k2.folder / FILE).read_bytes()
    ended = await k2("repair", "--dry-run", FILE)
    assert ended.status == 6
    assert "BTCUSDT 20-39, 20 trades" in ended.err
    assert "4 requests to the history; about 1 minute" in ended.err
    assert (k2.folder / FILE).read_bytes() == before
    assert not set(k2.folder.glob(".t.*")) - {manifest_path(k2.folder / FILE)}


async def test_what_the_history_lacks_stays_named_until_it_is_there(
    k2: K2, exchange: SimulatedExchange
) -> None:
    tape = trades(1, 100)
    exchange.add_fault(parse_fault("short-history@29:5"))
    await exchange.publish(tape[:29])
    await exchange.publish(tape[29:])
    write(k2.folder, tape[:80], [range(20, 40)])
    ended = await k2("repair", FILE)
    assert ended.status == 6, ended.err
    there = {each["source_sequence"] for each in records(k2.folder)}
    lacking = sorted(set(range(1, 81)) - there)
    assert 0 < len(lacking) <= 5
    manifest = read_manifest(k2.folder / FILE)
    assert manifest is not None
    assert manifest.symbols["BTCUSDT"].missing == [(lacking[0], lacking[-1])]
    assert f"{lacking[0]}-{lacking[-1]}" in ended.err
    assert (await k2("verify", FILE)).status == 6


@pytest.mark.slow
async def test_without_the_history_what_waits_stays(
    k2: K2, exchange: SimulatedExchange
) -> None:
    tape = trades(1, 100)
    write(k2.folder, tape[:50])
    let_wait(k2.folder, tape[60:])
    await exchange.stop()
    ended = await k2("repair", FILE)
    assert ended.status == 3, ended.err
    assert_is(k2.folder, tape[:50])
    assert (k2.folder / ".t.jsonl.pending").read_bytes().count(b"\n") == 40
    given_up = await k2("repair", "--give-up", FILE)
    assert given_up.status == 3
    assert_is(k2.folder, [*tape[:50], *tape[60:]])


@pytest.mark.parametrize("in_ms", [False, True])
async def test_where_the_history_refuses_archives_of_past_days_do(
    k2: K2, exchange: SimulatedExchange, archive: Archive, in_ms: bool
) -> None:
    tape = trades(1, 200)
    exchange.add_fault(parse_fault("refuse@0:451:60s:api"))
    write(k2.folder, tape, [range(20, 40), range(90, 91)])
    refused = await k2("repair", FILE)
    assert refused.status == 4, refused.err
    assert_is(k2.folder, [each for each in tape if each.id not in {*range(20, 40), 90}])
    archive.put(tape, in_ms=in_ms)
    ended = await k2("repair", "--data-url", archive.url, FILE)
    assert ended.status == 0, ended.err
    if not in_ms:
        assert_is(k2.folder, tape)
    await assert_whole(k2)


@pytest.mark.slow
async def test_a_large_hole_of_a_past_day_comes_from_its_archive(
    k2: K2, exchange: SimulatedExchange, archive: Archive
) -> None:
    tape = trades(1, 42_000)
    await exchange.publish(tape)
    # Archives lack trades now and then; the history has those.
    archive.put([each for each in tape if each.id not in range(500, 510)])
    write(k2.folder, tape, [range(100, 41_000)])
    ended = await k2("repair", "--data-url", archive.url, FILE)
    assert ended.status == 0, ended.err
    assert f"archive: BTCUSDT of {DATE}" in ended.err
    assert len(archive.asked) == 2
    assert_is(k2.folder, tape)
    await assert_whole(k2)


async def test_an_archive_with_a_wrong_checksum_is_not_used(
    k2: K2, exchange: SimulatedExchange, archive: Archive
) -> None:
    tape = trades(1, 100)
    exchange.add_fault(parse_fault("refuse@0:451:60s:api"))
    path = archive.put(tape)
    archive.files[f"{path}.CHECKSUM"] = b"0" * 64
    write(k2.folder, tape, [range(20, 40)])
    ended = await k2("repair", "--data-url", archive.url, FILE)
    assert ended.status == 4, ended.err
    assert "is not what its checksum says" in ended.err
    assert len(records(k2.folder)) == 80


async def test_real_trades_are_not_repaired_with_made_up_ones(
    k2: K2, exchange: SimulatedExchange
) -> None:
    tape = trades(1, 50)
    await exchange.publish(tape)
    write(k2.folder, tape, [range(20, 40)], exchange="BINANCE")
    ended = await k2("repair", FILE)
    assert ended.status == 5
    assert "holds trades of BINANCE, these are of SIM" in ended.err
    assert len(records(k2.folder)) == 30


async def test_a_capture_that_is_being_recorded_is_refused(
    k2: K2, exchange: SimulatedExchange
) -> None:
    with CaptureFile(k2.folder / FILE) as capture:
        capture.write(batch_of(trades(1, 3)))
        ended = await k2("repair", FILE)
    assert ended.status == 5
    assert ended.err.count("\n") == 1
    assert "is being written by another k2" in ended.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.jsonl"], "there is no file"),
        (["-"], "stdin cannot be repaired"),
        (["--data-url", "ftp://x", FILE], "no address of archives"),
        (["--repair-weight", "0%", FILE], "is no share"),
        (["."], "is a folder"),
    ],
)
async def test_what_is_wrong_is_said(k2: K2, arguments: list[str], says: str) -> None:
    write(k2.folder, trades(1, 3))
    ended = await k2("repair", *arguments)
    assert ended.status == 2
    assert says in ended.err


@pytest.mark.slow
async def test_killed_again_and_again_it_becomes_whole(
    k2: K2, exchange: SimulatedExchange
) -> None:
    tape = trades(1, 20_000)
    await exchange.publish(tape)
    lost = [range(first, first + 5) for first in range(1000, 19_000, 1100)]
    write(k2.folder, tape[:19_000], lost, rotate=3_000_000)
    let_wait(k2.folder, tape[19_500:])
    kept = (k2.folder / FILE).stat().st_size
    moments = random.Random(1)  # noqa: S311 - when to kill
    for _ in range(6):
        process = await k2.start("repair", FILE)
        with suppress(TimeoutError):
            async with asyncio.timeout(moments.uniform(0.4, 1.6)):
                await process.wait()
        if process.returncode is None:
            process.kill()
        await process.communicate()
        assert (k2.folder / FILE).stat().st_size >= kept
    ended = await k2("repair", FILE)
    assert ended.status == 0, ended.err
    assert_is(k2.folder, tape)
    await assert_whole(k2)


async def test_stopped_it_continues_later(k2: K2, exchange: SimulatedExchange) -> None:
    tape = trades(1, 3000)
    await exchange.publish(tape)
    exchange.add_fault(parse_fault("api-error@0:429:100"))
    write(k2.folder, tape, [range(20, 40)])
    before = (k2.folder / FILE).read_bytes()
    process = await k2.start("repair", FILE)
    assert process.stderr is not None
    while b"Cannot read the history" not in await process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    ended = await k2.end(process)
    assert ended.status == 6
    assert "Start again to continue" in ended.err
    assert (k2.folder / FILE).read_bytes() == before
