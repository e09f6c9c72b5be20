"""The same evil texts on every way to a terminal: nothing but text reaches it."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Callable

import pytest

from .conftest import Victim
from .raw import CLOSE, RawServer, frame, listing, record, stay, trade

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it needs terminals")

# A title, a bell, colours by ESC and by C1, bidirectional marks, a line written over.
EVIL = "\x1b]0;pwned\x07\x1b[31mX\x9b31m\u202e\rY\x08\x7f\u2066"
NAME = f"{EVIL}.jsonl"
LONG = f"\udcffx\n\x85\u2028{NAME}" + "A" * 150
# Colours, and what a live display needs: to move, to clear, to hide the cursor.
_OWN = re.compile(
    r"\x1b\[[0-9;]*[mABCDEFGHJK]|\x1b\[\?[0-9;]+[hlu$p]*|\x1b[78=>]|\x1b\(B|\x1b\[>[0-9]*[umc]"
)


def seen(sent: bytes) -> str:
    """Return the text that came to the screen, having seen that it is one."""
    text = sent.decode("utf-8", "surrogateescape")
    for part in (
        EVIL[:9],
        "\x1b[31mX",
        "\x9b",
        "\u202e",
        "\u2066",
        "\rY",
        "\x08",
        "\x07",
    ):
        assert part not in text, (part, text)
    text = _OWN.sub("", text.replace("\r\n", "\n").replace("\r", ""))
    strange = {sign for sign in text if not sign.isprintable() and sign != "\n"}
    assert not strange, (strange, text)
    return text


ONCE = {
    "K2_BINANCE_RECONNECT_DELAY": "0.1",
    "K2_BINANCE_MAX_RECONNECT_ATTEMPTS": "1",
}


@pytest.mark.parametrize("name", [NAME, LONG], ids=["short", "long"])
@pytest.mark.parametrize(
    "row",
    [
        "verify NAME",
        "verify --json NAME",
        "verify NAME/x",
        "repair --dry-run NAME",
        "repair NAME",
        "export NAME -o out/",
        "export x.jsonl -o NAME/NAME",
        "publish NAME --to nats://127.0.0.1:1/T",
        "publish x.jsonl --to NAME",
        "publish x.jsonl --to kafka://NAME:9/T",
        "stream --replay NAME --json -n 9",
        "stream --replay NAME --format lines -n 9",
        "stream --replay NAME --format csv -n 9",
        "stream --replay NAME -n 9 --log-level debug --debug",
        "simulate --port 0 --replay NAME --duration 0.1s",
        "simulate --port 0 --tls NAME NAME",
        "simulate --port 0 --fault NAME",
        "record --demo -n 2 BTCUSDT -o NAME --log-level debug --debug",
        "record --demo -n 2 BTCUSDT -o NAME/x",
        "record --demo -n 2 BTCUSDT -o y --summary no/NAME",
        "record --demo -n 2 BTCUSDT -o y --summary NAME",
        "stream --demo --config NAME",
        "stream --demo --config no/NAME",
        "stream --demo NAME",
        "stream --demo --quote NAME",
        "stream --demo --since NAME",
        "stream --demo --log-level NAME",
        "stream --demo --side NAME",
        "stream --demo --min-notional NAME",
        "stream --demo --svg NAME/x -n 1",
        "stream --url NAME",
        "stream --url ws://NAME",
        "symbols --demo NAME",
        "symbols --demo --status NAME",
        "symbols --demo --base NAME",
        "config --config NAME",
        "config --url ws://NAME",
        "doctor --demo --config NAME",
        "manual NAME",
        "help NAME",
        "NAME",
        "schema --NAME",
    ],
)
def test_what_a_user_or_a_file_says(victim: Victim, row: str, name: str) -> None:
    capture = victim.folder / name
    capture.write_bytes(
        record(1, 1)
        + f'{{"symbol":"{EVIL}"\n{EVIL}\n'.encode()
        + record(2, 9, currency=EVIL)
        + record(3, 12, symbol=EVIL)
        + b"\xc2\x9b\xff\n"
    )
    (victim.folder / "x.jsonl").write_bytes(record(1, 1))
    arguments = [word.replace("NAME", name) for word in row.split()]
    cost = victim.on_terminal(*arguments, stop_at=b"cannot be reached")
    assert cost.status not in (1, -9), seen(cost.out)
    assert "bug in k2" not in seen(cost.out)


@pytest.mark.parametrize("command", ["config", "doctor", "stream -n 1 --json"])
def test_what_settings_say(victim: Victim, command: str) -> None:
    for environment in (
        {"K2_BINANCE_WEBSOCKET_URL": f"ws://127.0.0.1:1/{EVIL}"},
        {"K2_BINANCE_API_URL": f"ws://{EVIL}:1/"},
        {"K2_BINANCE_SYMBOLS": f'["{EVIL}"]'},
        {"K2_BINANCE_RECONNECT_DELAY": EVIL},
        {f"K2_BINANCE_{EVIL}": EVIL},
        {"HTTP_PROXY": EVIL, "ALL_PROXY": EVIL},
        {"SSL_CERT_FILE": EVIL},
        {"TERM": EVIL, "COLORTERM": EVIL},
        {"XDG_CONFIG_HOME": EVIL, "HOME": EVIL},
    ):
        offline = {"K2_BINANCE_WEBSOCKET_URL": "ws://127.0.0.1:1/stream"}
        cost = victim.on_terminal(
            *command.split(), environment={**offline, **ONCE, **environment}
        )
        assert cost.status != 1, seen(cost.out)
    file = victim.folder / "config.toml"
    for text in (
        f'[binance]\nwebsocket_url = "ws://{json.dumps(EVIL)[1:-1]}/"\n',
        f"[{json.dumps(EVIL)}]\n{json.dumps(EVIL)} = {json.dumps(EVIL)}\n",
        f"{json.dumps(EVIL)} = 1\n",
        EVIL,
    ):
        file.write_text(text)
        cost = victim.on_terminal(*command.split(), "--config", str(file))
        assert cost.status != 1, seen(cost.out)


# What a server may say


def http(head: bytes, body: bytes = b"") -> Callable[[socket.socket, bytes], bool]:
    def answer(sock: socket.socket, request: bytes) -> bool:
        sock.sendall(head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return True

    return answer


_evil = EVIL.encode()
REFUSALS = (
    http(b"HTTP/1.1 500 " + EVIL.encode("latin-1", "replace").replace(b"\r", b"")),
    http(b"HTTP/1.1 403 No", _evil),
    http(b"HTTP/1.1 451 No", json.dumps({"code": 0, "msg": EVIL}).encode()),
    http(b"HTTP/1.1 302 Found\r\nLocation: ws://h/\x1b]0;pwned\x07"),
    http(b"HTTP/1.1 429 No\r\nRetry-After: \x1b[31m"),
)
LOUD = ("--log-level", "debug", "--debug")


@pytest.mark.parametrize("raw", REFUSALS)
def test_what_a_refusal_says(
    victim: Victim, server: RawServer, raw: Callable[[socket.socket, bytes], bool]
) -> None:
    server.raw = raw
    for arguments in (
        ("stream", "BTCUSDT", "-n", "1", *LOUD),
        ("record", "BTCUSDT", "-n", "1", "-o", "x.jsonl"),
        ("symbols",),
        ("doctor",),
    ):
        cost = victim.on_terminal(*arguments, environment=ONCE)
        assert cost.status in (3, 4), seen(cost.out)
        seen(cost.out)


def _events(sock: socket.socket, count: int) -> None:
    """Send all kinds of messages with evil in them, and a trade."""
    evil = json.dumps(EVIL)[1:-1].encode()
    for payload in (
        _evil,
        b'{"e":"%s"}' % evil,
        b'{"result":null,"id":"%s"}' % evil,
        b'{"error":{"code":2,"msg":"%s"},"id":1}' % evil,
        b'{"stream":"%s","data":{"e":"trade","s":"%s"}}' % (evil, evil),
        b"\xff\xfe" + _evil,
    ):
        sock.sendall(frame(payload))
    sock.sendall(trade(1, p=EVIL) + trade(2, EVIL) + trade(3, m=EVIL))
    if count == 0:
        sock.sendall(frame(b"\x03\xe8" + EVIL.encode(), CLOSE))
    else:
        sock.sendall(trade(5) + trade(9))
        stay(sock)


@pytest.mark.slow
@pytest.mark.parametrize(
    "row",
    [
        "stream BTCUSDT -n 1",
        "stream BTCUSDT -n 1 --format lines",
        "stream BTCUSDT -n 1 --json",
        "stream BTCUSDT -n 1 --format csv",
        "stream BTCUSDT -n 1 --json --log-format json",
        "record BTCUSDT -n 1 -o -",
        "record BTCUSDT -n 1 -o x.jsonl",
        "record BTCUSDT -n 1 -o x.jsonl --log-format json",
        "repair gap.jsonl",
        "symbols",
        "symbols --json",
        "symbols --status all",
        "doctor",
    ],
)
def test_what_messages_say(victim: Victim, server: RawServer, row: str) -> None:
    evil = json.dumps(EVIL)

    def api(method: str, request: dict[str, object]) -> bytes | None:
        if not method.startswith("trades"):
            return None
        error = (
            f'{{"id":{request["id"]},"status":400,"error":{{"code":-1,"msg":{evil}}}}}'
        )
        return frame(b'{"id":%s,"method":%s}' % ((evil.encode(),) * 2)) + frame(
            error.encode()
        )

    (victim.folder / "gap.jsonl").write_bytes(record(1, 1) + record(2, 9))
    server.streams, server.api = _events, api
    server.catalog += [listing(EVIL, "USDT"), listing("ETH", "EUR", status=EVIL)]
    server.catalog += [listing("LTC", "EUR", filters=[{"filterType": EVIL}])]
    command = row.split()
    if command[0] in ("stream", "record"):
        command += [*LOUD, "--duration", "5s"]
    cost = victim.on_terminal(*command, environment=ONCE)
    assert cost.status in (0, 3, 4, 6), seen(cost.out)
    assert "bug in k2" not in seen(cost.out)
