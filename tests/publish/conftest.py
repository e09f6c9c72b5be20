"""Captures, real servers, and real processes of ``k2 publish``."""

from __future__ import annotations

import importlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest

from k2cli.binance.decoder import convert_binance_trade_to_v2

PATIENCE_SECONDS = 100
# Many kills and restarts take minutes; without this, few of them show the same.
LONG = bool(os.environ.get("K2_TEST_LONG"))
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
# An hour ago: a broker deletes by these times, what is older than a week half a minute
# after its start.
_FIRST_US = time.time_ns() // 1_000 - 3_600_000_000


def servers() -> ModuleType:
    """The module beside this one, which is also a program."""
    folder = str(Path(__file__).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("servers")


def lines(count: int, first: int = 1) -> list[bytes]:
    """Lines of one capture of three symbols, without a gap; the same at every call."""
    made = []
    for number in range(first, first + count):
        time_us = _FIRST_US + number * 1_000
        trade = convert_binance_trade_to_v2(
            {
                "e": "trade",
                "E": time_us,
                "s": SYMBOLS[number % 3],
                "t": number // 3,
                "p": "61837.63000000",
                "q": "0.02000000",
                "T": time_us,
                "m": True,
                "M": True,
            }
        )
        trade.message_id = f"00000000-0000-4000-8000-{number:012}"
        made.append(trade.to_json_line(number))
    return made


class K2:
    """Runs ``k2`` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.capture = folder / "t.jsonl"
        self._processes: list[subprocess.Popen[str]] = []
        self._written = 0

    def append(self, count: int) -> None:
        """Let the capture grow."""
        with self.capture.open("ab") as file:
            file.writelines(lines(count, self._written + 1))
        self._written += count

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "k2cli", *arguments],
            cwd=self.folder,
            env=os.environ | {"NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return process

    def publish(self, url: str, *arguments: str) -> subprocess.Popen[str]:
        return self.start("publish", str(self.capture), "--to", url, *arguments)

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, out, err

    def run(self, *arguments: str) -> tuple[int, str, str]:
        return self.end(self.start(*arguments))

    def proven(self, url: str) -> dict[str, Any]:
        """What ``k2 verify`` finds there."""
        _, out, err = self.run("verify", "--json", url)
        assert out, err
        report: dict[str, Any] = orjson.loads(out)
        return report

    def clean_up(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.communicate()


def until(done: Callable[[], bool], *, while_alive: subprocess.Popen[str]) -> None:
    """Look at a server until it is as wanted."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert while_alive.poll() is None, while_alive.communicate()
        if time.monotonic() > deadline:
            while_alive.kill()
            pytest.fail(f"nothing happens: {while_alive.communicate()}")
        time.sleep(0.02)


def publish_through_kills(
    k2: K2, url: str, server: Any, size: Callable[[], int], count: int, *options: str
) -> int:
    """Publish a growing capture while both sides are killed; return its trades.

    Args:
        k2: The command, without a capture yet.
        url: Where to.
        server: What is there, to be killed.
        size: Returns how many messages that holds.
        count: About how many trades.
        options: Of the first ``k2 publish``.
    """
    kills, restarts = (20, 3) if LONG else (2, 1)
    deeds = ["publisher"] * kills + ["server"] * restarts
    random.Random(1).shuffle(deeds)  # noqa: S311 - no secret
    piece = count // (len(deeds) + 1)
    k2.append(piece)
    arguments = ("--follow", "--create", *options)
    process = k2.publish(url, *arguments)
    until(lambda: size() > 0, while_alive=process)
    for deed in deeds:
        # A thread lets the capture grow while the deed is done.
        grower = threading.Thread(target=k2.append, args=(piece,))
        before = size()
        grower.start()
        until(lambda before=before: size() > before, while_alive=process)  # type: ignore[misc]  # a default binds it
        if deed == "publisher":
            process.kill()
            process.communicate()
            process = k2.publish(url, *arguments)
        else:
            server.end(signal.SIGKILL)
            server.start()
        grower.join()
    process.send_signal(signal.SIGTERM)
    k2.end(process)
    status, _, err = k2.end(k2.publish(url))
    assert status == 0, err
    report = k2.proven(url)
    total = piece * (len(deeds) + 1)
    assert (report["verdict"], report["trades"]) == ("whole", total)
    return total


@pytest.fixture
def k2(tmp_path: Path) -> Iterator[K2]:
    command = K2(tmp_path)
    yield command
    command.clean_up()


def running(kind: str, folder: Path, **options: Any) -> Iterator[Any]:
    """Start a server of the module beside this one; skip where it cannot be had."""
    try:
        server = getattr(servers(), kind)(folder, **options)
        server.start()
    except servers().Unavailable as exc:
        pytest.skip(f"no {kind}: {exc}")
    yield server
    server.end()


@pytest.fixture(scope="session")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A broker that a test may end."""
    pytest.importorskip("confluent_kafka", reason="needs k2cli[kafka]")
    yield from running("Kafka", tmp_path_factory.mktemp("kafka"))


@pytest.fixture
def kafka_address(request: pytest.FixtureRequest) -> str:
    """Where a broker is: the one that K2_TEST_KAFKA names, or one of ours."""
    pytest.importorskip("confluent_kafka", reason="needs k2cli[kafka]")
    if address := os.environ.get("K2_TEST_KAFKA"):
        return address
    return str(request.getfixturevalue("own_kafka").address)


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A nats-server that a test may end."""
    pytest.importorskip("nats", reason="needs k2cli[nats]")
    yield from running("Nats", tmp_path_factory.mktemp("nats"))
