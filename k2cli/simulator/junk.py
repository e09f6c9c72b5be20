"""Messages that no exchange should send, for clients that must survive them."""

from __future__ import annotations

_TIME = '"E":1723161601438'
_JUNK: tuple[str | bytes, ...] = (
    # Broken off in the middle.
    '{"stream":"btcusdt@trade","data":{"e":"trade","E":17231616',
    # Wrong types everywhere.
    '{"e":"trade","E":"soon","s":7,"t":"12x","p":61685.99,"q":null,"T":[],"m":"no"}',
    # An event type that nobody has documented.
    f'{{"e":"auction",{_TIME},"s":"BTCUSDT","x":{{"y":[1,2,3]}}}}',
    # A trade of a stream that nobody has subscribed to.
    f'{{"e":"trade",{_TIME},"s":"JUNKUSDT","t":1,"p":"1","q":"1","T":1,"m":true}}',
    # Binary.
    b"\x00\x01\xff\xfe{}\x1b[2J",
    # Numbers that no machine word holds.
    (
        f'{{"e":"trade",{_TIME},"s":"BTCUSDT","t":{"1234567890" * 3},"p":"1e999999",'
        f'"q":"-0","T":{"9" * 20},"m":false}}'
    ),
    # What would clear a screen and set a title, if it were printed.
    (
        f'{{"e":"\\u001b[2J\\u001b]0;owned\\u0007",{_TIME},"s":"BTC\\u202eUSDT\\u0000",'
        '"t":2,"p":"\\u001b[31m1.00","q":"1","T":1,"m":true}'
    ),
    # The same without the courtesy of JSON.
    "\x1b[2J\x1b[Hupstream connect error\x07",
    # A trade without half of its fields.
    f'{{"e":"trade",{_TIME},"s":"BTCUSDT"}}',
    "[]",
    "null",
    # A reply to a request that nobody has made.
    '{"result":null,"id":987654321}',
    "",
)
KINDS = len(_JUNK)
"""How many different messages there are; after them they begin anew."""


def junk_message(number: int, *, combined: bool) -> str | bytes:
    """Give a malformed message.

    Args:
        number: Which; the same number gives the same message.
        combined: Whether the connection wraps its events.

    Returns:
        A text, or bytes for a binary message.
    """
    message = _JUNK[number % KINDS]
    if isinstance(message, bytes) or not combined or not message.startswith('{"e":'):
        return message
    stream = "junkusdt@trade" if "JUNKUSDT" in message else "btcusdt@trade"
    return f'{{"stream":"{stream}","data":{message}}}'
