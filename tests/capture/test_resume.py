from __future__ import annotations

import io
import itertools
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.capture import resume
from k2cli.capture.resume import (
    CaptureEnd,
    find_last_trades,
    read_end,
    texts_backwards,
)
from k2cli.errors import OutputError

from .captures import batch, line_of, time_of

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD = {
    "symbol": "BTCUSDT",
    "exchange": "BINANCE",
    "timestamp": 1,
    "source_sequence": 7,
    "platform_sequence": 1,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


def end_of(content: bytes) -> CaptureEnd:
    return read_end(io.BytesIO(content), len(content), "trades.jsonl")


def test_nothing_is_the_end_of_an_empty_file() -> None:
    assert end_of(b"") == CaptureEnd()


def test_the_last_trade_of_each_symbol_is_found() -> None:
    trades = [(i, symbol) for i in range(50) for symbol in ("AUSDT", "BUSDT")]
    content = b"".join(
        line_of(i, number, symbol) for number, (i, symbol) in enumerate(trades, start=1)
    )
    end = end_of(content)
    assert end.last_trades == {
        "AUSDT": (49, time_of(49)),
        "BUSDT": (49, time_of(49)),
    }
    assert end.platform_sequence == 100
    assert end.whole_bytes == len(content)


@pytest.mark.parametrize("tail_bytes", [700, 1000, 1501])
def test_of_a_long_file_only_the_tail_is_read(
    monkeypatch: pytest.MonkeyPatch, tail_bytes: int
) -> None:
    monkeypatch.setattr(resume, "TAIL_BYTES", tail_bytes)
    old = line_of(1, 1, "OLDUSDT")
    lines = [line_of(i, i) for i in range(2, 21)]
    content = old + b"".join(lines)
    end = end_of(content + b'{"message_id":"f3')
    assert end.platform_sequence == 20
    assert end.whole_bytes == len(content)
    assert end.torn_bytes == len(b'{"message_id":"f3')
    assert end.last_trades == {"BTCUSDT": (20, time_of(20))}


def test_a_long_file_without_a_whole_line_at_its_end_is_no_capture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resume, "TAIL_BYTES", 100)
    with pytest.raises(OutputError):
        end_of(line_of(1, 1) + b"x" * 200)


def test_a_line_in_the_middle_that_cannot_be_read_is_passed_over() -> None:
    content = line_of(1, 1, "AUSDT") + b"not a record\n\n[]\n" + line_of(2, 2, "BUSDT")
    assert set(end_of(content).last_trades) == {"AUSDT", "BUSDT"}


def test_zeros_in_the_middle_end_a_capture() -> None:
    before = line_of(1, 1, "AUSDT")
    behind = line_of(2, 2, "BUSDT")
    end = end_of(before + b'{"message_id' + bytes(50) + b"\n" + behind)
    assert end.whole_bytes == len(before)
    assert set(end.last_trades) == {"AUSDT"}


@pytest.mark.parametrize("step_bytes", [600, 1000, 1501])
def test_symbols_are_searched_for_from_the_end(
    monkeypatch: pytest.MonkeyPatch, step_bytes: int
) -> None:
    monkeypatch.setattr(resume, "_STEP_BYTES", step_bytes)
    content = b"".join(line_of(i, i, f"S{i // 10}USDT") for i in range(1, 50))
    pieces = list(texts_backwards(io.BytesIO(content), len(content)))
    assert b"".join(reversed(pieces)) == content
    assert all(not piece or piece.endswith(b"\n") for piece in pieces)
    assert find_last_trades(pieces, ["S4USDT", "S0USDT", "NOUSDT"]) == {
        "S4USDT": (49, time_of(49)),
        "S0USDT": (9, time_of(9)),
    }


def test_no_more_is_read_than_is_needed() -> None:
    def pieces() -> Iterator[bytes]:
        yield line_of(3, 3, "AUSDT")
        yield line_of(2, 2, "BUSDT")
        pytest.fail("more was read")

    assert set(find_last_trades(pieces(), {"AUSDT", "BUSDT"})) == {"AUSDT", "BUSDT"}
    assert find_last_trades(pieces(), []) == {}


@pytest.mark.parametrize(("line_bytes", "pieces"), [(2000, 5), (9, 3)])
def test_the_search_has_a_limit(
    monkeypatch: pytest.MonkeyPatch, line_bytes: int, pieces: int
) -> None:
    # Small pieces cost as much as larger ones.
    monkeypatch.setattr(resume, "SEARCH_BYTES", 10_000)
    monkeypatch.setattr(resume, "_LEAST_TEXT_BYTES", 4000 if line_bytes == 9 else 1)
    endless = itertools.repeat(b"x" * (line_bytes - 1) + b"\n")
    taken = itertools.count()
    texts = (text for text, _ in zip(endless, taken, strict=False))
    assert find_last_trades(texts, ["AUSDT"]) == {}
    assert next(taken) == pieces


def test_records_that_others_have_written_anew_are_read() -> None:
    record = batch(7, symbol="币安人生USDT", is_plain=False).trade(0).to_dict(1)
    line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
    assert end_of(line).last_trades == {"币安人生USDT": (7, time_of(7))}


@given(st.binary(max_size=60))
def test_any_bytes_are_a_capture_or_refused(content: bytes) -> None:
    try:
        end = end_of(content)
    except OutputError:
        return
    assert end.whole_bytes + end.torn_bytes == len(content)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(list(RECORD)), JSON)
        .map(lambda changes: json.dumps({**RECORD, **changes}))
        .map(str.encode),
        max_size=4,
    )
)
def test_any_records_are_a_capture_or_refused(lines: list[bytes]) -> None:
    content = b"".join(line + b"\n" for line in lines)
    try:
        end = end_of(content)
    except OutputError:
        return
    assert end.whole_bytes == len(content)
    assert end.torn_bytes == 0
