"""Wire forms of a trade's event."""

from __future__ import annotations

import pytest

from k2cli.simulator.events import (
    Form,
    encode,
    shutdown_message,
    stream_name,
    text_frame,
    trade_event,
    unit_of,
)
from k2cli.simulator.trades import Trade

TRADE = Trade(
    "BTCUSDT",
    3735693016,
    "61685.99000000",
    "0.00017000",
    1723161601437123,
    1723161601438456,
    buyer_is_maker=True,
)
REAL = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161601438,"s":"BTCUSDT",'
    b'"t":3735693016,"p":"61685.99000000","q":"0.00017000","T":1723161601437,"m":true,'
    b'"M":true}}'
)


def trade_message(form: int) -> bytes:
    return encode(trade_event(TRADE, unit_of(form)), "btcusdt@trade", form)


def test_a_combined_event_is_byte_for_byte_a_real_one() -> None:
    assert trade_message(Form.COMBINED | Form.UNFRAMED) == REAL


def test_a_raw_event_in_microseconds() -> None:
    text = trade_message(Form.MICROSECONDS | Form.UNFRAMED)
    assert text.startswith(b'{"e":"trade","E":1723161601438456,"s":"BTCUSDT",')
    assert b'"T":1723161601437123' in text


def test_a_name_that_is_not_ascii_goes_out_as_it_is() -> None:
    assert stream_name("币安人生USDT") == "币安人生usdt@trade"
    assert stream_name("İIÄ") == "İiÄ@trade"


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_frame_has_the_header_of_its_size(size: int) -> None:
    frame = text_frame(b"x" * size)
    header = frame[: len(frame) - size]
    assert header[0] == 0x81
    if size < 126:
        assert header[1:] == bytes((size,))
    elif size < 65_536:
        assert header[1:] == b"\x7e" + size.to_bytes(2, "big")
    else:
        assert header[1:] == b"\x7f" + size.to_bytes(8, "big")


def test_the_shutdown_notice_has_the_form_of_the_connection() -> None:
    assert shutdown_message(1770123456789000, 0) == (
        b'{"e":"serverShutdown","E":1770123456789}'
    )
    assert shutdown_message(1770123456789000, Form.COMBINED) == (
        b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}'
    )
