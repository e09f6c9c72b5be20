"""What somebody can have put in place of a file: each attack with its bound."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from .conftest import Victim
from .raw import EVIL, RawServer, gzip_block, record, trade

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it measures as POSIX")

MOST_MB = 250.0
RECORD = ("record", "--demo", "-n", "3", "BTCUSDT", "-o")


@pytest.mark.slow
def test_a_bomb_that_is_resumed_costs_what_it_may(victim: Victim) -> None:
    bomb = gzip_block(record(1, 1) * 100_000) + gzip_block(b"\n" * (300 * 2**20))
    (victim.folder / "x.jsonl.gz").write_bytes(bomb)
    cost = victim(*RECORD, "x.jsonl.gz")
    assert cost.status == 5, cost.text
    assert cost.memory_mb < MOST_MB
    assert cost.cpu_seconds < 12


@pytest.mark.slow
@pytest.mark.skipif(find_spec("zstandard") is None, reason="there is no Zstandard")
def test_a_frame_that_unpacks_to_gigabytes_costs_what_it_may(victim: Victim) -> None:
    # A raw frame: magic, header, and RLE blocks of 128 KiB, four bytes each.
    blocks = b"".join(
        ((131_072 << 3) | 2 | (i == 11_999)).to_bytes(3, "little") + b"\n"
        for i in range(12_000)
    )
    (victim.folder / "x.zst").write_bytes(b"\x28\xb5\x2f\xfd\x00\x58" + blocks)
    cost = victim("verify", "x.zst", signal_after=3.0)
    # Of 1.5 GB; the package unpacks some blocks ahead.
    assert cost.memory_mb < 400
    assert cost.seconds < 4


@pytest.mark.parametrize(
    ("arguments", "pipe", "status"),
    [
        (("stream", "--replay", "pipe", "--json"), "pipe", 2),
        (("simulate", "--replay", "pipe", "--port", "0"), "pipe", 2),
        (("stream", "--demo", "--config", "pipe", "--json", "-n", "1"), "pipe", 2),
        ((*RECORD, "x.jsonl", "--summary", "pipe"), "pipe", 2),
        (("stream", "--demo", "-n", "1", "--svg", "pipe"), "pipe", 2),
        (("publish", "pipe", "--to", "nats://127.0.0.1:1/T"), "pipe", 2),
        (
            ("publish", "x", "--to", "kafka://h/T", "--to-config", "pipe"),
            "pipe",
            2,
        ),
        (("repair", "pipe"), "pipe", 2),
        ((*RECORD, "x.jsonl"), ".x.jsonl.replacing", 5),
        ((*RECORD, "x.jsonl"), ".x.jsonl.missing", 5),
        ((*RECORD, "x.jsonl"), ".x.jsonl.pending", 5),
        ((*RECORD, "y.jsonl"), "y.000000000001.jsonl", 5),
        (("symbols", "--demo", "--json"), "config/k2/config.toml", 2),
    ],
)
def test_a_pipe_is_not_waited_for(
    victim: Victim, arguments: tuple[str, ...], pipe: str, status: int
) -> None:
    (victim.folder / "x.jsonl").write_bytes(b"")
    if status == 5:
        (victim.folder / "x.jsonl").write_bytes(record(1, 1, exchange="SIM"))
    path = victim.folder / pipe
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    cost = victim(*arguments)
    assert cost.status == status, cost.text
    assert "pipe" in cost.text or "regular" in cost.text
    assert cost.err.count(b"k2: error: ") == 1
    assert cost.cpu_seconds < 12


def test_a_cache_that_is_a_pipe_is_none(victim: Victim, server: RawServer) -> None:
    victim.cache.mkdir(parents=True)
    os.mkfifo(victim.cache / f"catalog-127.0.0.1-{server.port}.json")
    cost = victim("symbols", "--json")
    assert cost.status == 0
    assert b"BTCUSDT" in cost.out


@pytest.mark.parametrize(
    "line",
    [
        '{"symbol":"BTCUSDT","first_id":9,"last_id":4}',
        '{"symbol":"BTCUSDT","first_id":-1,"last_id":4}',
        '{"symbol":"BTCUSDT","first_id":1,"last_id":1e300}',
        '{"symbol":"\\u001b[2J","first_id":1,"last_id":2}',
        '{"symbol":7,"first_id":1,"last_id":2}',
        "[]",
    ],
)
def test_a_sidecar_that_k2_did_not_write_is_refused(victim: Victim, line: str) -> None:
    capture = victim.folder / "x.jsonl"
    assert victim(*RECORD, "x.jsonl").status == 0
    before = capture.read_bytes()
    (victim.folder / ".x.jsonl.missing").write_text(line + "\n")
    cost = victim(*RECORD, "x.jsonl")
    assert cost.status == 5, cost.text
    assert ".x.jsonl.missing" in cost.text
    assert cost.text.replace("\n", "").isprintable()
    assert capture.read_bytes() == before


@pytest.mark.parametrize("sidecar", [".x.jsonl.missing", ".x.jsonl.pending", "s.json"])
def test_no_link_is_followed(victim: Victim, sidecar: str) -> None:
    target = victim.folder / "target"
    target.write_text("mine\n")
    assert victim(*RECORD, "x.jsonl").status == 0
    (victim.folder / sidecar).symlink_to(target)
    cost = victim(*RECORD, "x.jsonl", "--summary", "s.json")
    assert cost.status in (2, 5), cost.text
    assert target.read_text() == "mine\n"


@pytest.mark.parametrize(
    "what",
    [
        {"renames": [], "removals": ["mine"]},
        {"renames": [["mine", "x.jsonl"]], "removals": []},
        {"renames": [["x.jsonl", "mine"]], "removals": []},
        {"renames": [[".mine.replacement", "x.jsonl"]], "removals": []},
        {"renames": [["..", "x.jsonl"]], "removals": ["../mine"]},
        {"renames": [["x.jsonl"]], "removals": [7]},
        {"renames": [[None, None]], "removals": "mine"},
        [],
        "[" * 100_000,
    ],
)
def test_a_list_of_other_files_moves_none(victim: Victim, what: object) -> None:
    before = {"mine": b"mine\n", ".mine.replacement": b"mine\n"}
    before["x.jsonl"] = record(1, 1, exchange="SIM")
    for name, content in before.items():
        (victim.folder / name).write_bytes(content)
    planned = victim.folder / ".x.jsonl.replacing"
    planned.write_text(what if isinstance(what, str) else json.dumps(what))
    for arguments in ((*RECORD, "x.jsonl"), ("repair", "x.jsonl")):
        cost = victim(*arguments)
        assert cost.status == 5, cost.text
        assert "is damaged" in cost.text
        for name, content in before.items():
            assert (victim.folder / name).read_bytes() == content


def test_no_file_that_replaces_another_is_opened_through_a_link(
    victim: Victim, server: RawServer
) -> None:
    target = victim.folder / "target"
    target.write_text("mine\n")
    capture = victim.folder / "x.jsonl"
    for link in (".x.jsonl.replacement", "..x.jsonl.replacing.replacement"):
        capture.write_bytes(record(1, 1) + b"no record\n" + record(2, 5))
        (victim.folder / ".x.jsonl.pending").write_bytes(
            record(1, 9, platform_sequence=None)
        )
        (victim.folder / link).symlink_to(target)
        cost = victim("repair", "x.jsonl")
        assert "Traceback" not in cost.text
        assert cost.status != 1, cost.text
        assert target.read_text() == "mine\n"
        (victim.folder / link).unlink(missing_ok=True)


@pytest.mark.slow
def test_a_journal_that_k2_did_not_write_is_refused(
    victim: Victim, server: RawServer
) -> None:
    server.streams = lambda sock, _: sock.sendall(trade(5))
    journal = victim.folder / ".x.jsonl.pending"
    (victim.folder / "x.jsonl").write_bytes(record(1, 1))
    for changes in ({"price": EVIL}, {"symbol": EVIL}, {"source_sequence": -4}):
        journal.write_bytes(record(1, 5, **changes, platform_sequence=None))
        cost = victim("record", "-o", "x.jsonl", "BTCUSDT", "-n", "1")
        assert cost.status == 5, cost.text
        assert "damaged" in cost.text
        assert (victim.folder / "x.jsonl").read_bytes() == record(1, 1)


def test_sums_beyond_64_bits_are_told(victim: Victim) -> None:
    top = 2**63 - 1
    lines = [record(1, 0, "AUSDT"), record(2, 10**18 - 1, "AUSDT")]
    for i in range(20):
        lines += [
            record(3 + 2 * i, 0, f"B{i}USDT"),
            record(4 + 2 * i, 10**18 - 1, f"B{i}USDT"),
        ]
    (victim.folder / "x.jsonl").write_bytes(b"".join(lines))
    cost = victim("verify", "--json", "x.jsonl")
    assert cost.status == 6, cost.text
    assert json.loads(cost.out)["missing"] > top


def test_what_is_read_or_recorded_is_not_written_over(victim: Victim) -> None:
    capture = victim.folder / "x.jsonl"
    capture.write_bytes(record(1, 1) + record(2, 2))
    (victim.folder / "link").symlink_to(capture)
    before = capture.read_bytes()
    for arguments in (
        ("record", "--demo", "-o", "x.jsonl", "--summary", "x.jsonl"),
        ("record", "--demo", "-o", "x.jsonl", "--summary", "./link"),
        ("record", "--replay", "x.jsonl", "-o", "link"),
        ("stream", "--replay", "x.jsonl", "-o", "x.jsonl"),
        ("stream", "--demo", "-o", "x.jsonl", "--svg", "x.jsonl"),
        ("record", "--demo", "--config", "x.jsonl", "-o", "x.jsonl", "--overwrite"),
    ):
        cost = victim(*arguments)
        assert cost.status == 2, cost.text
        assert "the same file" in cost.text
        assert capture.read_bytes() == before
    assert Path(victim.folder / "link").is_symlink()
