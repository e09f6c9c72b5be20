from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.capture import resume
from k2cli.capture.resume import CaptureEnd, read_end
from k2cli.errors import OutputError

if TYPE_CHECKING:
    from tests.capture.conftest import MakeTrade

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


def test_the_last_trade_of_each_symbol_is_found(make_trade: MakeTrade) -> None:
    trades = [make_trade(i, symbol) for i in range(50) for symbol in ("AUSDT", "BUSDT")]
    content = b"".join(
        trade.to_json_line(number) for number, trade in enumerate(trades, start=1)
    )
    end = end_of(content)
    assert end.last_trades == {
        "AUSDT": (49, make_trade(49).timestamp),
        "BUSDT": (49, make_trade(49).timestamp),
    }
    assert end.platform_sequence == 100
    assert end.whole_bytes == len(content)


@pytest.mark.parametrize("tail_bytes", [700, 1000, 1501])
def test_of_a_long_file_only_the_tail_is_read(
    make_trade: MakeTrade, monkeypatch: pytest.MonkeyPatch, tail_bytes: int
) -> None:
    monkeypatch.setattr(resume, "TAIL_BYTES", tail_bytes)
    old = make_trade(1, "OLDUSDT").to_json_line(1)
    lines = [make_trade(i).to_json_line(i) for i in range(2, 21)]
    content = old + b"".join(lines)
    end = end_of(content + b'{"message_id":"f3')
    assert end.platform_sequence == 20
    assert end.whole_bytes == len(content)
    assert end.torn_bytes == len(b'{"message_id":"f3')
    assert end.last_trades == {"BTCUSDT": (20, make_trade(20).timestamp)}


def test_a_long_file_without_a_whole_line_at_its_end_is_no_capture(
    make_trade: MakeTrade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "TAIL_BYTES", 100)
    with pytest.raises(OutputError):
        end_of(make_trade(1).to_json_line(1) + b"x" * 200)


def test_a_line_in_the_middle_that_cannot_be_read_is_passed_over(
    make_trade: MakeTrade,
) -> None:
    content = (
        make_trade(1, "AUSDT").to_json_line(1)
        + b"not a record\n\n[]\n"
        + make_trade(2, "BUSDT").to_json_line(2)
    )
    assert set(end_of(content).last_trades) == {"AUSDT", "BUSDT"}


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
