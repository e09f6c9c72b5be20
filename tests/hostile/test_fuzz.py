"""Anything at all from the wire, the API, files and the command line.

Short by default. For longer, without the limit of time for a test::

    pytest -n 0 --timeout 0 --hypothesis-profile long tests/hostile/test_fuzz.py
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from k2cli import verify
from k2cli.binance.catalog import Catalog, CatalogCache
from k2cli.binance.decoder import (
    MessageDecoder,
    Skipped,
    batch_from_history,
    convert_binance_trade_to_v2,
)
from k2cli.binance.streams import exchange_of
from k2cli.capture.pending import pending_ids
from k2cli.capture.writer import CaptureFile
from k2cli.config_file import read_table
from k2cli.errors import K2Error, MalformedMessage
from k2cli.text import is_name
from k2cli.trade import Instrument, TradeBatch
from tests.forks import Forks

from . import raw

BTC = Instrument("BTCUSDT", "BINANCE", "BTC", "USDT")
RECEIVED_US = 1_723_161_601_439_000
# Beside what is odd in general, what is at the edge of what is allowed.
ODD_NUMBERS = st.sampled_from(
    [-1, 0, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**17, 10**30, -(2**64)]
)
ODD_TEXTS = st.sampled_from(
    ("", "0", "-1", "1e9", "1E-8", "NaN", "١", "0." + "9" * 31, "9" * 31, raw.EVIL)
) | st.sampled_from(
    ("BTCUSDT", "btcusdt", "币安人生USDT", "TRADING", "\ud800", "\x00", "UNKNOWN")
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | ODD_NUMBERS
    | st.floats()
    | st.text(max_size=20)
    | ODD_TEXTS
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=5,
)


def changed(whole: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Make dictionaries that differ from one in some values, and lack some keys."""
    keys = st.sampled_from(sorted(whole))
    return st.builds(
        lambda other, lacking, more: {
            key: value
            for key, value in {**whole, **other, **more}.items()
            if key not in lacking
        },
        st.dictionaries(keys, JSON | ODD_TEXTS, max_size=3),
        st.sets(keys, max_size=2),
        st.dictionaries(st.text(max_size=8), JSON, max_size=1),
    )


def text_of(value: Any) -> bytes:
    """Return JSON as a careless server writes it: with NaN and lone surrogates."""
    return json.dumps(value).encode()


EVENT = json.loads(raw.trade(7)[4:])["data"]
MESSAGES = (
    st.binary(max_size=200)
    | JSON.map(text_of)
    | changed(EVENT).map(text_of)
    | changed(EVENT).map(lambda event: text_of({"stream": "x", "data": event}))
    | changed({"stream": "x", "data": EVENT, "id": 1, "result": None}).map(text_of)
)


def check_batch(batch: TradeBatch) -> None:
    """See that a batch can be written, and that its records are admitted."""
    for line, trade in zip(batch.json_lines(), batch.trades(), strict=True):
        record = orjson.loads(line)
        assert record == orjson.loads(trade.to_json_line())
        assert is_name(record["symbol"])
        assert re.fullmatch(r"[0-9]{1,30}(\.[0-9]{1,30})?", record["price"], re.ASCII)
        assert 0 <= record["source_sequence"] < 2**63
        assert line.rstrip("\n").isprintable()


@given(MESSAGES)
def test_a_message_is_a_trade_or_is_skipped(message: bytes) -> None:
    decoder = MessageDecoder({"BTCUSDT": ("BTC", "USDT")})
    decoded = decoder.decode_message(message, RECEIVED_US, "BINANCE")
    if isinstance(decoded, TradeBatch):
        check_batch(decoded)
    else:
        assert isinstance(decoded, Skipped)
    with suppress(MalformedMessage):
        convert_binance_trade_to_v2(message)


ENTRY = {
    "id": 5,
    "price": "1.0",
    "qty": "2.0",
    "quoteQty": "2.0",
    "time": 1_723_161_601_437,
    "isBuyerMaker": True,
    "isBestMatch": True,
}


@given(st.lists(JSON | changed(ENTRY), max_size=5))
def test_a_page_of_the_history_has_trades_or_none(entries: list[Any]) -> None:
    batch = batch_from_history(entries, BTC, RECEIVED_US)
    if batch is not None:
        check_batch(batch)
        ids = [int(each) for each in batch.trade_ids]
        assert ids == sorted(ids)


SYMBOL = raw.listing("BTC", "USDT") | {
    "filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.01"}]
}


@given(JSON | st.fixed_dictionaries({"symbols": st.lists(JSON | changed(SYMBOL))}))
def test_a_catalog_has_names_only(reply: Any) -> None:
    try:
        catalog = Catalog.from_exchange_info(reply, whole=True, fetched_at_seconds=1.0)
    except MalformedMessage:
        return
    catalog.price_decimals()
    catalog.suggestions("BTCUSD")
    for info in catalog:
        assert all(map(is_name, (info.symbol, info.base_asset, info.quote_asset)))
        assert is_name(info.status.replace("_", ""))
    with folder() as place:
        cache = CatalogCache(place)
        cache.save("ws://h/", catalog)
        assert (cache.load("ws://h/") is not None) is catalog.is_credible


# Files


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


ENTRY_KEPT = {
    "symbol": "BTCUSDT",
    "base_asset": "BTC",
    "quote_asset": "USDT",
    "status": "TRADING",
    "tick_size": "0.01",
    "step_size": "0",
}
KEPT = st.builds(
    lambda entries, changes: {
        "exchange": exchange_of("ws://h/"),
        "fetched_at_seconds": 1.0,
        "symbols": [ENTRY_KEPT, {**ENTRY_KEPT, "symbol": "ETHUSDT"}, *entries],
        **changes,
    },
    st.lists(changed(ENTRY_KEPT), max_size=2),
    st.just({}) | st.dictionaries(st.sampled_from(["exchange", "symbols"]), JSON),
)


@given(st.binary(max_size=100) | KEPT.map(text_of))
def test_a_kept_catalog_is_read_or_ignored(content: bytes) -> None:
    with folder() as place:
        cache = CatalogCache(place)
        cache._path("ws://h/").write_bytes(content)
        for info in cache.load("ws://h/") or ():
            assert all(map(is_name, (info.symbol, info.base_asset, info.quote_asset)))


RECORD = json.loads(raw.record(1, 1))
LINES = st.lists(
    st.binary(max_size=80)
    | changed(RECORD).map(text_of)
    | st.integers(0, 30).map(lambda n: raw.record(n, n)[:-1]),
    max_size=6,
).map(b"\n".join)
FILES = st.builds(
    lambda content, pack, cut: (raw.gzip_block(content) if pack else content)[:cut],
    LINES,
    st.booleans(),
    st.integers(0, 3_000),
)


@given(FILES, st.sampled_from(["x.jsonl", "x.jsonl.gz"]), LINES)
def test_a_capture_is_read_or_refused(content: bytes, name: str, beside: bytes) -> None:
    with folder() as place:
        capture = place / name
        capture.write_bytes(content)
        (place / f".{name}.pending").write_bytes(beside)
        (place / f".{name}.missing").write_bytes(beside)
        with suppress(K2Error):
            verify(capture)
        with suppress(K2Error):
            CaptureFile(capture).close()
        for symbol, ids in pending_ids(capture).items():
            assert is_name(symbol)
            assert all(0 <= each < 2**63 for each in ids)
        assert capture.read_bytes() == content


@given(
    st.binary(max_size=200) | st.text().map(lambda text: f"[binance]\n{text}".encode())
)
def test_a_configuration_is_a_table_or_an_error(content: bytes) -> None:
    with folder() as place:
        file = place / "config.toml"
        file.write_bytes(content)
        with suppress(K2Error):
            assert isinstance(read_table(file, required=True), dict)


# The command line

WORDS = (
    "stream record symbols verify repair export publish simulate manual schema config "
    "doctor help --demo --json --symbols --quote --base --all -n --count --duration "
    "--side --format --since --replay --speed --url --api-url --config --log-level -o "
    "--overwrite --rotate --fsync --summary --min-notional --no-backfill -q --to "
    "--follow --port --fault --rate --seed --tls x.jsonl BTCUSDT ws://127.0.0.1:1/ "
    "kafka://[ 0 1 -1 1e9 0.1s 5m nan @ : / . .. ~ - -- = , * 9999999999999999999"
).split()


@pytest.mark.skipif(sys.platform == "win32", reason="it forks")
@settings(
    max_examples=max(10, settings().max_examples // 5),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.sampled_from(WORDS) | st.text(st.characters(exclude_characters="\0")),
        max_size=6,
    )
)
def test_a_command_line_has_a_documented_end(forks: Forks, words: list[str]) -> None:
    with folder() as place, Path(os.devnull).open("r+b") as nothing:
        said = (place / "said").open("w+b")
        environment = {
            "HOME": str(place),
            "PATH": os.environ["PATH"],
            "NO_COLOR": "1",
            "K2_BINANCE_WEBSOCKET_URL": "ws://127.0.0.1:1/stream",
            "K2_BINANCE_MAX_RECONNECT_ATTEMPTS": "1",
        }
        with said:
            streams = (nothing.fileno(), nothing.fileno(), said.fileno())
            # What would run for ever is asked to end by a last option.
            limits = {"stream": ["-n", "1", "--demo"], "simulate": ["--help"]}
            more = limits.get(words[0], []) if words else []
            fork = forks.start([*words, *more], place, environment, streams)
            status, _ = fork.wait()
        text = (place / "said").read_text(errors="surrogateescape")
        assert status in (0, 2, 3, 4, 5, 6), text
        assert "Traceback" not in text
        assert text.replace("\n", "").isprintable()
