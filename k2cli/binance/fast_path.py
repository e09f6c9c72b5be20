r"""The fast path: many plain trades at once, from the bytes of one read.

Nearly every byte of a trade stream belongs to a frame that looks like this, and nothing
else does:

    \x81\x7e\x00\xac{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161601438123,
    "s":"BTCUSDT","t":3735693016,"p":"61685.99000000","q":"0.00017000",
    "T":1723161601437111,"m":true,"M":true}}

(without the line breaks): a whole, unmasked text frame of under 256 bytes, with the
keys in the order, and the values in the form, in which the exchange has always sent
them. One regular expression takes such frames out of a read, headers included, with
their values, in about half a microsecond each. Whatever looks different in a single
byte is left to the plain path (``wire`` and ``decoder``), which this one must equal:
the tests hold them together.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

_HEADER_BYTES = 4
# A read may bring four times as much; more at once takes memory and is no faster.
_CHARACTERS_AT_ONCE = 2**16
# Times of 16 digits are microseconds. The ids are far below 2**63 with 18 digits, and
# prices and quantities below the 30 digits that the plain path takes.
_PATTERN = (
    r'\x81\x7e\x00(.)\{"stream":"[!#-\[\]-~]{1,80}","data":\{"e":"trade"'
    r',"E":([1-9][0-9]{15}),"s":"([0-9A-Z]{1,30})","t":([1-9][0-9]{0,17})'
    r',"p":"([0-9]{1,30}\.[0-9]{1,30})","q":"([0-9]{1,30}\.[0-9]{1,30})"'
    r',"T":([1-9][0-9]{15}),"m":(true|false),"M":(true|false)\}\}'
)
_begins = re.compile(_PATTERN, re.DOTALL).match
# What comes after the last plain trade ends the search: findall() would look beyond it.
_cut_all = re.compile(f"{_PATTERN}|(.+)", re.DOTALL).findall


class PlainColumns(NamedTuple):
    """What plain trades say, column by column: see ``TradeBatch``."""

    event_times: tuple[str, ...]
    symbols: tuple[str, ...]
    trade_ids: tuple[str, ...]
    prices: tuple[str, ...]
    quantities: tuple[str, ...]
    trade_times: tuple[str, ...]
    buyer_is_maker: tuple[str, ...]
    best_match: tuple[str, ...]


def cut_plain_trades(
    text: str, position: int, known: Container[str]
) -> tuple[PlainColumns | None, int]:
    """Take plain trades out of what was read, as far as they stand in one row.

    Args:
        text: Bytes as received, one character each (latin-1).
        position: Where a frame begins.
        known: The symbols to take trades of.

    Returns:
        The trades, as many as are handled well at once, and the position after them;
        ``None`` if the frame there is unusual or not whole.
    """
    first = _begins(text, position)
    if first is None or first[3] not in known:
        return None, position
    end = min(len(text), position + _CHARACTERS_AT_ONCE)
    rows = _cut_all(text, position, end)
    if rows[-1][-1]:
        end -= len(rows.pop()[-1])
    sizes, *columns, _ = zip(*rows, strict=True)
    symbols = columns[1]
    # Frames must be as long as they say. Of frames whose lengths are right none can
    # pass for several: each header within another frame would add to the sum.
    is_honest = _length(sizes) == end - position
    if is_honest and all(map(known.__contains__, set(symbols))):
        return PlainColumns(*columns), end
    count = len(rows) if is_honest else _count_honest(text, position)
    strange = (i for i, symbol in enumerate(symbols[:count]) if symbol not in known)
    count = next(strange, count)
    if not count:
        return None, position
    return (
        PlainColumns(*(column[:count] for column in columns)),
        position + _length(sizes[:count]),
    )


def _count_honest(text: str, position: int) -> int:
    """Count the plain frames from here on that are as long as they say."""
    count = 0
    while (found := _begins(text, position)) is not None:
        position += _HEADER_BYTES + ord(found[1])
        if found.end() != position:
            break
        count += 1
    return count


def _length(sizes: Sequence[str]) -> int:
    return sum(map(ord, sizes)) + _HEADER_BYTES * len(sizes)
