"""A recording as a service: its figures, its health, and what its manager hears."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import typer.main

import k2cli
from k2cli.capture.sink import CaptureSink
from k2cli.cli.app import app
from k2cli.cli.metrics_server import MetricsServer
from k2cli.cli.notify import ServiceNotifier
from k2cli.cli.options import TailOptions
from k2cli.cli.run import RunView
from k2cli.cli.venue import OpenVenue
from k2cli.engine.session import Session
from k2cli.errors import SettingsError
from k2cli.simulator import SimulatedExchange
from tests.engine.recording import Recorder, trades, until
from tests.forks import ForkedProcess

from .conftest import K2

parser = pytest.importorskip("prometheus_client.parser", reason="needs k2cli[metrics]")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("k2cli.engine.session.HURRIED_BACKFILL_SECONDS", 0.01)
    monkeypatch.setattr("k2cli.completeness.backfill.SETTLE_SECONDS", 0.01)
    monkeypatch.setattr("k2cli.cli.notify._LOOK_EVERY_SECONDS", 0.01)
    monkeypatch.setattr("k2cli.cli.notify._STATUS_EVERY_SECONDS", 0.0)


@pytest.fixture
def recorder(exchange: SimulatedExchange, tmp_path: Path) -> Recorder:
    return Recorder(exchange, tmp_path)


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    with MetricsServer(("127.0.0.1", 0), per_symbol=True) as server:
        yield server


@asynccontextmanager
async def recording(recorder: Recorder) -> AsyncIterator[tuple[Session, RunView]]:
    """Record two symbols, as a display sees it."""
    async with recorder.run("BTCUSDT", "ETHUSDT") as (session, _):
        capture = session._sinks[0]
        assert isinstance(capture, CaptureSink)
        venue = OpenVenue(venue=recorder.venue(), max_reconnect_attempts=3)
        yield (
            session,
            RunView(
                options=TailOptions(),
                venue=venue,
                capture=capture,
                snapshot=session.snapshot,
                symbol_figures=lambda: session.ledger.to_dict()["symbols"],
                is_ending=session.ending.is_set,
                stop=session.stop,
                fail=session.fail,
                before_exit=lambda _: None,
            ),
        )


async def get(server: MetricsServer, path: str) -> tuple[int, str]:
    def ask() -> tuple[int, str]:
        try:
            with urlopen(server.url + path, timeout=10) as answer:  # noqa: S310 - ours
                return answer.status, answer.read().decode()
        except HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    return await asyncio.to_thread(ask)


def figures(text: str) -> dict[str, float]:
    """Read metrics as a scraper does."""
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_figures_agree_with_the_ledger(
    recorder: Recorder, server: MetricsServer
) -> None:
    exchange = recorder.exchange
    for fault in ("skip@50:2:BTCUSDT", "duplicate@60:5", "api-down@1:1h"):
        exchange.add_fault(fault)
    async with recording(recorder) as (session, view):
        server.start(view)
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await exchange.publish(trades(1, 100, symbol))
        await until(lambda: session.ledger.trades == 198)
        assert view.capture is not None
        status, text = await get(server, "/metrics")
        assert status == 200
        found = figures(text)
        ledger = session.ledger.to_dict()
        assert (ledger["missing"], ledger["pending"]) == (2, 48)
        for name, key in (
            ("k2_trades_total", "trades"),
            ("k2_gaps_total", "gaps"),
            ("k2_repaired_trades_total", "repaired"),
            ("k2_duplicate_trades_total", "duplicates"),
            ("k2_missing_trades", "missing"),
            ("k2_pending_trades", "pending"),
        ):
            assert found[name] == ledger[key], name
        for symbol, account in ledger["symbols"].items():
            assert found[f"k2_symbol_trades_total{symbol}"] == account["trades"]
            assert found[f"k2_symbol_pending_trades{symbol}"] == account["pending"]
        assert found["k2_capture_bytes"] == view.capture.size_bytes
        assert (found["k2_connections"], found["k2_connections_wanted"]) == (1, 1)
        newest_us = ledger["last_trade_us"]
        assert found["k2_last_trade_timestamp_seconds"] == newest_us / 1e6
        assert found["k2_disk_free_bytes"] > 0


async def test_health_has_its_reason(
    recorder: Recorder, server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await get(server, "/healthz") == (
        503,
        "starting: the symbols are not known yet\n",
    )
    assert (await get(server, "/metrics"))[0] == 503
    assert (await get(server, "/else"))[0] == 404
    async with recording(recorder) as (session, view):
        server.start(view)
        await until(lambda: bool(session.snapshot().health))
        # Nothing has traded yet, which is no fault.
        assert await get(server, "/healthz") == (200, "ok\n")

        assert view.capture is not None
        with monkeypatch.context() as patch:
            long_ago = time.monotonic() - 99
            patch.setattr(view.capture, "checked_seconds", long_ago)
            status, why = await get(server, "/healthz")
            assert (status, why) == (503, "the disk has not answered for 99 s\n")

        with monkeypatch.context() as patch:
            patch.setattr("k2cli.cli.metrics_server._ANSWER_SECONDS", 0.05)
            asked = asyncio.ensure_future(get(server, "/healthz"))
            while not asked.done():
                time.sleep(0.2)  # noqa: ASYNC251 - the loop is to hang
                await asyncio.sleep(0)
            assert (await asked)[0] == 503
            assert "the event loop has not answered" in (await asked)[1]

        recorder.exchange.add_fault("refuse@0:503")
        await recorder.exchange.disconnect(None)
        async with asyncio.timeout(20):
            while (answer := await get(server, "/healthz"))[0] == 200:
                pass
        assert answer[1].startswith("no connection to 127.0.0.1: ")
    server.stop()
    assert await get(server, "/healthz") == (503, "stopping\n")


def test_an_address_that_is_taken_is_refused(server: MetricsServer) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}"):
        MetricsServer(("127.0.0.1", port), per_symbol=False)


# The manual's page

SERVICE = (Path(k2cli.__file__).parent / "manual" / "service.md").read_text("utf-8")


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", SERVICE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def assert_parses(command: list[str]) -> None:
    """See that k2 takes a command, without running it."""
    k2: Any = typer.main.get_command(app)
    k2.commands[command[0]].make_context(command[0], command[1:])


def test_the_unit_and_its_command_are_right(tmp_path: Path) -> None:
    unit = block("ini")
    command = re.search(r"^ExecStart=/opt/k2/bin/k2 (.+)$", unit, re.MULTILINE)
    assert command is not None
    assert_parses(shlex.split(command[1]))
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    file = tmp_path / "k2.service"
    # A program that is there; the folder and the user come with the installation.
    file.write_text(unit.replace("/opt/k2/bin/k2", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "k2.service" in line]
    assert (done.returncode, said) == (0, [])


def test_the_container_runs_a_command_that_parses() -> None:
    container = block("dockerfile")
    lines = container.replace("\\\n", " ").splitlines()
    found = dict(line.split(maxsplit=1) for line in lines if line)
    assert json.loads(found["ENTRYPOINT"]) == ["k2"]
    assert_parses(json.loads(found["CMD"]))
    assert set(found) == {"FROM", "RUN", "ENV", "USER", "VOLUME", "WORKDIR"} | {
        *("EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD")
    }


# sd_notify

needs_datagrams = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="there are no such sockets"
)


class Manager:
    """The receiving end of sd_notify."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(address.replace("@", "\0"))

    async def hears(self, wanted: str) -> str:
        """Wait until something is said that begins so."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(30):
            while True:
                self.heard.append((await loop.sock_recv(self._socket, 4096)).decode())
                if self.heard[-1].startswith(wanted):
                    return self.heard[-1]

    def forget(self) -> None:
        self.heard.clear()
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    if request.param == "abstract" and not Path("/proc/net/unix").exists():
        pytest.skip("abstract sockets are Linux's")
    name = f"@k2-{os.getpid()}-{time.monotonic_ns()}"
    manager = Manager(str(tmp_path / "n") if request.param == "path" else name)
    yield manager
    manager.close()


@needs_datagrams
async def test_a_manager_hears_of_a_run(recorder: Recorder, manager: Manager) -> None:
    notifier = ServiceNotifier.from_environment(
        {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "60000"}
    )
    assert notifier is not None
    async with recording(recorder) as (session, view):
        assert view.capture is not None
        notifier.start(view)
        await manager.hears("WATCHDOG=1")
        assert "READY=1" not in manager.heard
        recorder.exchange.add_fault("skip@2:1")
        await recorder.exchange.publish(trades(1, 5))
        await manager.hears("READY=1")
        status = "STATUS=live: 5 trades, 1 gap, 1 repaired, nothing missing"
        assert await manager.hears(status) == status
        assert manager.heard.count("READY=1") == 1

        # The loop turns, the disk does not.
        view.capture.checked_seconds = time.monotonic() - 99
        await manager.hears("STATUS=the disk has not answered")
        manager.forget()
        await manager.hears("STATUS=the disk has not answered for 100 s")
        assert "WATCHDOG=1" not in manager.heard
        view.capture.checked_seconds = time.monotonic()
        await manager.hears("WATCHDOG=1")

        session.stop(hurry=True)
        await manager.hears("STOPPING=1")
        notifier.stop()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "2000000"}, 2.0),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}, 2.0),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "never"}, None),
        ({}, None),
    ],
)
@needs_datagrams
def test_the_watchdog_is_as_the_manager_wants_it(
    environment: dict[str, str], seconds: float | None
) -> None:
    notifier = ServiceNotifier.from_environment({"NOTIFY_SOCKET": "/n"} | environment)
    assert notifier is not None
    assert notifier._watchdog_seconds == seconds
    notifier._socket.close()


def test_without_a_manager_there_is_nobody_to_tell() -> None:
    for address in ("", "vsock:2:1", "nonsense"):
        assert ServiceNotifier.from_environment({"NOTIFY_SOCKET": address}) is None


@needs_datagrams
async def test_the_command_does_both(
    k2: K2, exchange: SimulatedExchange, tmp_path: Path
) -> None:
    k2.use(exchange)
    manager = Manager(str(tmp_path / "n"))
    process = await k2.start(
        *("record", "-o", "t.jsonl", "BTCUSDT", "--metrics", "127.0.0.1:0"),
        NOTIFY_SOCKET=manager.address,
    )
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(trades(1, 3))
    await manager.hears("READY=1")
    process.send_signal(signal.SIGTERM)
    await manager.hears("STOPPING=1")
    ended = await k2.end(process)
    manager.close()
    assert ended.status == 0
    assert "Serving metrics" in ended.err
    assert "/metrics" in ended.err


async def line_of(process: ForkedProcess, text: str) -> str:
    """Wait for a log line."""
    async with asyncio.timeout(30):
        while text not in (line := (await process.stderr.readline()).decode()):
            assert line
    return line


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")
async def test_sighup_rereads_the_symbols(k2: K2, exchange: SimulatedExchange) -> None:
    k2.use(exchange)
    config = k2.folder / "config.toml"

    def configure(*symbols: str) -> None:
        config.write_text(f"[binance]\nsymbols = {json.dumps(symbols)}\n")

    configure("BTCUSDT", "ETHUSDT")
    process = await k2.start("record", "-o", "t.jsonl", "--config", str(config))
    await exchange.wait_subscribed("BTCUSDT", "ETHUSDT")
    configure("BTCUSDT", "NOSUCHUSDT")
    process.send_signal(signal.SIGHUP)
    assert "NOSUCHUSDT" in await line_of(process, "The symbols stay as they are")
    configure("BTCUSDT", "SOLUSDT")
    process.send_signal(signal.SIGHUP)
    assert "SOLUSDT" in await line_of(process, "Symbols changed")
    for symbol in ("BTCUSDT", "SOLUSDT", "ETHUSDT"):
        await exchange.publish(trades(1, 3, symbol))
    process.send_signal(signal.SIGTERM)
    ended = await k2.end(process)
    assert ended.status == 0
    assert ended.err.rstrip().endswith("complete: 6 trades, nothing missing")
