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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
# What comes after the last plain trade ends the search: split() would look beyond it.
# It is the fastest way to columns: one flat list, in which each trade has its values,
# a place for what comes after, and an empty text between trades.
_split = re.compile(f"{_PATTERN}|(.+)", re.DOTALL).split
_SIZE, _STRIDE = 1, 11
# The same frames, but only what they are of: at a third of the cost. What is found so
# has been received before, as a rule, and is not taken from here.
_SKIMMED = (
    r'\x81\x7e\x00(.)\{"stream":"[^"]++","data":\{"e":"trade","E":[0-9]++'
    r',"s":"([^"]++)","t":([1-9][0-9]{0,17}+),[^}]++\}\}'
)
_skim = re.compile(f"{_SKIMMED}|(.+)", re.DOTALL).split
_SKIM_STRIDE = 5


Columns = tuple[list[str], ...]
SYMBOLS, TRADE_IDS = 1, 2
"""Positions of two of the columns."""


def rows_of(columns: Columns, indexes: Sequence[int]) -> Columns:
    """Return the rows at these ascending indexes."""
    if len(indexes) == len(columns[SYMBOLS]):
        return columns
    first, last = indexes[0], indexes[-1]
    if last - first + 1 == len(indexes):
        # Mostly the known ones are in front.
        return tuple(column[first : last + 1] for column in columns)
    return tuple([column[index] for index in indexes] for column in columns)


def cut_plain_trades(
    text: str, position: int, known: frozenset[str]
) -> tuple[Columns | None, int]:
    """Take plain trades out of what was read, as far as they stand in one row.

    Args:
        text: Bytes as received, one character each (latin-1).
        position: Where a frame begins.
        known: The symbols to take trades of.

    Returns:
        The trades, as many as are handled well at once, in columns: event times,
        symbols, trade ids, prices, quantities, trade times, ``m``, ``M``; and the
        position after them. ``None`` if the frame there is unusual or not whole.
    """
    first = _begins(text, position)
    if first is None or first[3] not in known:
        return None, position
    if first.end() == len(text):
        # Most reads bring one trade.
        if ord(first[_SIZE]) + _HEADER_BYTES != len(text) - position:
            return None, position
        columns = [[value] for value in first.groups()]
        return tuple(columns[_SIZE:]), len(text)
    values, end = _values(_split, _STRIDE, text, position)
    # Frames must be as long as they say. Of frames whose lengths are right none can
    # pass for several: each header within another frame would add to the sum.
    sizes = values[_SIZE::_STRIDE]
    if _length(sizes) != end - position:
        del values[_count_honest(text, position) * _STRIDE :]
    symbols = values[3::_STRIDE]
    if not known.issuperset(symbols):
        strange = next(i for i, symbol in enumerate(symbols) if symbol not in known)
        del values[strange * _STRIDE :]
    if len(values) < len(sizes) * _STRIDE:
        sizes = values[_SIZE::_STRIDE]
        if not sizes:
            return None, position
        end = position + _length(sizes)
    return (
        values[2::_STRIDE],
        values[3::_STRIDE],
        values[4::_STRIDE],
        values[5::_STRIDE],
        values[6::_STRIDE],
        values[7::_STRIDE],
        values[8::_STRIDE],
        values[9::_STRIDE],
    ), end


def skim_plain_trades(
    text: str, position: int
) -> tuple[list[str], list[str], list[int]]:
    """Find out what trades are there, as far as they stand in one row.

    Args:
        text: Bytes as received, one character each (latin-1).
        position: Where a frame begins.

    Returns:
        Of each trade, its symbol, its id, and the length of its frame. Nothing if one
        of the frames is not as long as it says.
    """
    values, end = _values(_skim, _SKIM_STRIDE, text, position)
    sizes = values[_SIZE::_SKIM_STRIDE]
    if _length(sizes) != end - position:
        return [], [], []
    lengths = [_HEADER_BYTES + ord(size) for size in sizes]
    return values[2::_SKIM_STRIDE], values[3::_SKIM_STRIDE], lengths


def _values(
    split: Callable[[str], list[Any]], stride: int, text: str, position: int
) -> tuple[list[Any], int]:
    """Split a row of frames into values; return them and the position after it."""
    values = split(text[position : position + _CHARACTERS_AT_ONCE])
    end = min(len(text), position + _CHARACTERS_AT_ONCE)
    # What the last group has matched is what comes after the row.
    after = values[-2]
    if after is not None:
        end -= len(after)
        del values[-stride - 1 :]
    return values, end


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
