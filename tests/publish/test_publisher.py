"""Handing on, whatever happens; and the address of a log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from k2cli.errors import LogRefused, LogUnreachable, SettingsError
from k2cli.publish.destination import (
    Capture,
    Record,
    target_of,
)
from k2cli.publish.outbox import Outbox
from k2cli.publish.publisher import Publisher

from .conftest import lines


class Log:
    """A log whose answers can be lost."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.faults: list[str] = []
        self.opened = 0

    def open(self, capture: Capture) -> int:
        self.opened += 1
        if self.faults and self.faults[0] == "closed":
            self.faults.pop(0)
            raise LogUnreachable("it is closed")
        return len(self.numbers) + 1

    def send(self, records: Sequence[Record]) -> Sequence[Record]:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "refused":
            raise LogRefused("no")
        if fault == "lost before":
            raise LogUnreachable("the way there")
        self.numbers += [record.number for record in records]
        if fault == "lost after":
            raise LogUnreachable("the way back")
        return records

    def close(self) -> None:
        pass


class Time:
    def __init__(self) -> None:
        self.now = 0.0
        self.waited: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        if seconds:
            self.waited.append(seconds)
        return False


def publisher(
    folder: Path, log: Log, time: Time, retry_seconds: float = 10.0
) -> Publisher:
    (folder / "t.jsonl").write_bytes(b"".join(lines(25)))
    return Publisher(
        Outbox([folder / "t.jsonl"]),
        log,
        retry_seconds=retry_seconds,
        clock=lambda: time.now,
        wait=time.wait,
    )


@pytest.mark.parametrize(
    "faults",
    [[], ["closed"], ["closed", "lost before", "lost after"], ["lost after", "closed"]],
)
def test_each_record_comes_once(tmp_path: Path, faults: list[str]) -> None:
    log, time = Log(), Time()
    log.faults = faults.copy()
    one = publisher(tmp_path, log, time)
    one.run()
    assert log.numbers == [*range(1, 26)]
    ledger = one.ledger
    assert (ledger.trades, ledger.number, ledger.missing) == (25, 25, 0)
    assert ledger.retries == len(faults)
    # A second run finds nothing to do.
    again = publisher(tmp_path, log, time)
    again.run()
    assert (again.ledger.trades, again.ledger.number) == (0, 25)


def test_retries_back_off_and_end(tmp_path: Path) -> None:
    log, time = Log(), Time()
    log.faults = ["closed"] * 99
    with pytest.raises(LogUnreachable, match="it is closed"):
        publisher(tmp_path, log, time).run()
    assert time.waited == [0.5, 1.0, 2.0, 4.0]


def test_what_is_refused_is_not_tried_again(tmp_path: Path) -> None:
    log, time = Log(), Time()
    log.faults = ["refused"]
    with pytest.raises(LogRefused):
        publisher(tmp_path, log, time).run()
    assert time.waited == []


def test_what_the_capture_lacks_is_counted(tmp_path: Path) -> None:
    log, time = Log(), Time()
    one = publisher(tmp_path, log, time)
    made = lines(24)
    made[-1] = made[-1].replace(b'"source_sequence":8', b'"source_sequence":10')
    (tmp_path / "t.jsonl").write_bytes(b"".join(made))
    one.run()
    assert (one.ledger.trades, one.ledger.missing) == (24, 2)


def test_an_address_is_read(tmp_path: Path) -> None:
    config = tmp_path / "client"
    config.write_text("# secrets\nsasl.password = p=q \n\nsecurity.protocol=SSL\n")
    target = target_of("kafka://a:1,b:2/market.trades?client.rack=x", config)
    assert (target.scheme, target.hosts, target.name) == (
        "kafka",
        "a:1,b:2",
        "market.trades",
    )
    assert target.options == {
        "sasl.password": "p=q",
        "security.protocol": "SSL",
        "client.rack": "x",
    }
    assert str(target) == "kafka://a:1,b:2/market.trades"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "kafka:",
        "kafka://h:1",
        "kafka://h:1/a/b",
        "http://h/t",
        "nats:///T",
        "t.jsonl",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="no address of a log"):
        target_of(url)


@pytest.mark.parametrize(
    "url",
    [
        "kafka://me:s3cret@h:1/t",
        "kafka://h:1/t?sasl.password=s3cret",
        "nats://h:1/t?token=s3cret",
        "kafka://h:1/t?ssl.key.pem=s3cret&sasl.oauthbearer.client.secret=x",
    ],
)
def test_secrets_are_not_shown(url: str) -> None:
    target = target_of(url)
    assert "s3cret" not in f"{target} {target!r}"
    assert target.cleaned("bad s3cret, bad") == "bad ***, bad"


def test_a_short_secret_leaves_words_alone() -> None:
    target = target_of("nats://h:1/t?token=u")
    assert target.cleaned("failure of u") == "failure of ***"
