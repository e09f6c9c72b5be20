r"""The fast path: many plain trades at once, from the bytes of one read.

Nearly every byte of a trade stream belongs to a frame that looks like this, and nothing
else does:

    \x81\x7e\x00\xac{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161601438123,
    "s":"BTCUSDT","t":3735693016,"p":"61685.99000000","q":"0.00017000",
    "T":1723161601437111,"m":true,"M":true}}

(without the line breaks): a whole, unmasked text frame of under 256 bytes, with the
keys in the order, and the values in the form, in which the exchange has always sent
them. One regular expression takes such frames out of a read, headers included, with
their values, in about half a microsecond each; JSON lines are then put together from
those texts. Whatever looks different in a single byte is left to the plain path
(``wire`` and ``convert``), which this one must equal: the tests hold them together.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING

from k2cli.trade import PlainTrade, TradeV2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from k2cli.binance.message_ids import MessageIds

_ByFlags = dict[str, tuple[str, str]]

_HEADER_BYTES = 4
# Times of 16 digits are microseconds. The ids are far below 2**63 with 18 digits, and
# prices and quantities below the 30 digits that the plain path takes.
_PATTERN = (
    r'\x81\x7e\x00(.)\{"stream":"[!#-\[\]-~]{1,80}","data":\{"e":"trade"'
    r',"E":([1-9][0-9]{15}),"s":"([0-9A-Z]{1,30})","t":([1-9][0-9]{0,17})'
    r',"p":"([0-9]{1,30}\.[0-9]{1,30})","q":"([0-9]{1,30}\.[0-9]{1,30})"'
    r',"T":([1-9][0-9]{15}),"m":((?:true|false),"M":(?:true|false))\}\}'
)
_begins = re.compile(_PATTERN, re.DOTALL).match
# What comes after the last plain trade ends the search: findall() would look beyond it.
_cut_all = re.compile(f"{_PATTERN}|(.+)", re.DOTALL).findall
_is_plain = re.compile("[0-9A-Z]{1,30}").fullmatch
_size = itemgetter(0)
_symbol = itemgetter(2)


def cut(
    text: str, position: int, known: Mapping[str, object]
) -> tuple[list[PlainTrade], int]:
    """Take plain trades out of what was read, as far as they stand in one row.

    Args:
        text: Bytes as received, one character each (latin-1).
        position: Where a frame begins.
        known: By the symbols to take trades of.

    Returns:
        The trades, and the position after them: of a frame that is unusual or not
        whole, or the end of the text.
    """
    first = _begins(text, position)
    if first is None or first[3] not in known:
        return [], position
    trades = _cut_all(text, position)
    end = len(text)
    if trades[-1][8]:
        end -= len(trades.pop()[8])
    # Frames must be as long as they say. Of frames whose lengths are right none can
    # pass for several: each header within another frame would add to the sum.
    if _length(trades) != end - position:
        del trades[_honest(text, position) :]
        end = position + _length(trades)
    if set(map(_symbol, trades)).difference(known):
        unknown = (i for i, trade in enumerate(trades) if trade[2] not in known)
        del trades[next(unknown) :]
        end = position + _length(trades)
    return trades, end


def _honest(text: str, position: int) -> int:
    """Count the plain frames from here on that are as long as they say."""
    count = 0
    while (found := _begins(text, position)) is not None:
        position += _HEADER_BYTES + ord(found[1])
        if found.end() != position:
            break
        count += 1
    return count


def _length(trades: list[PlainTrade]) -> int:
    return sum(map(ord, map(_size, trades))) + _HEADER_BYTES * len(trades)


class LinePieces:
    """What is the same in every JSON line of a symbol.

    Args:
        symbol: As on the wire.
        exchange: The record's ``exchange``.
        pair: Base and quote asset, plain as well.
        by_flags: Of another symbol with the same quote asset, to share.
    """

    __slots__ = ("by_flags", "exchange", "head", "pair", "tail")

    def __init__(
        self,
        symbol: str,
        exchange: str,
        pair: tuple[str, str],
        by_flags: _ByFlags | None = None,
    ) -> None:
        base, quote = pair
        self.exchange = exchange
        self.pair = pair
        self.head = (
            f'","symbol":"{symbol}","exchange":"{exchange}","asset_class":"crypto"'
            ',"timestamp":'
        )
        self.by_flags = by_flags or {
            f'{maker},"M":{best}': (
                (
                    f'","currency":"{quote}","side":"{side}"'
                    ',"trade_conditions":[],"source_sequence":'
                ),
                (
                    f',"vendor_data":{{"is_buyer_maker":"{maker}"'
                    f',"is_best_match":"{best}","event_type":"trade","event_time":"'
                ),
            )
            for maker, side in (("true", "SELL"), ("false", "BUY"))
            for best in ("true", "false")
        }
        self.tail = f'","base_asset":"{base}","quote_asset":"{quote}"}}}}\n'


def pieces_of(
    pairs: Mapping[str, tuple[str, str]], exchange: str
) -> dict[str, LinePieces]:
    """Make the pieces of all symbols whose lines need no escapes.

    Args:
        pairs: Base and quote asset by symbol.
        exchange: The records' ``exchange``.
    """
    by_quote: dict[str, _ByFlags] = {}
    pieces = {}
    for symbol, pair in pairs.items():
        if all(map(_is_plain, (symbol, *pair))):
            own = LinePieces(symbol, exchange, pair, by_quote.get(pair[1]))
            by_quote[pair[1]] = own.by_flags
            pieces[symbol] = own
    return pieces


class Burst:
    """Plain trades that came with one read, of symbols that were asked for.

    Args:
        trades: In the order in which they came.
        received_us: When they were received, Unix microseconds UTC.
        pieces: Of each symbol.
        message_ids: Where the records' ids come from.
    """

    __slots__ = ("_message_ids", "_pieces", "received_us", "trades")

    def __init__(
        self,
        trades: list[PlainTrade],
        received_us: int,
        pieces: Mapping[str, LinePieces],
        message_ids: MessageIds,
    ) -> None:
        self.trades = trades
        self.received_us = received_us
        self._pieces = pieces
        self._message_ids = message_ids.take(len(trades))

    def __len__(self) -> int:
        return len(self.trades)

    @property
    def exchange(self) -> str:
        """The records' ``exchange``."""
        return self._pieces[self.trades[0][2]].exchange

    def trade(self, index: int) -> TradeV2:
        """Give one of the trades as its record."""
        _, event_time, symbol, trade_id, price, quantity, trade_time, flags, _ = (
            self.trades[index]
        )
        pieces = self._pieces[symbol]
        base, quote = pieces.pair
        maker, _, best = flags.partition(',"M":')
        return TradeV2(
            message_id=self._message_ids[index],
            trade_id=f"{pieces.exchange}-{trade_id}",
            symbol=symbol,
            exchange=pieces.exchange,
            asset_class="crypto",
            timestamp=int(trade_time),
            price=price,
            quantity=quantity,
            currency=quote,
            side="SELL" if maker == "true" else "BUY",
            trade_conditions=[],
            source_sequence=int(trade_id),
            ingestion_timestamp=self.received_us,
            platform_sequence=None,
            vendor_data={
                "is_buyer_maker": maker,
                "is_best_match": best,
                "event_type": "trade",
                "event_time": event_time,
                "trade_time": trade_time,
                "base_asset": base,
                "quote_asset": quote,
            },
        )

    def lines(self, start: int, stop: int, platform_sequence: int | None) -> list[str]:
        r"""Give some of the trades as JSON lines with their ``\n``; all is ASCII.

        Args:
            start: Index of the first one.
            stop: Index after the last one.
            platform_sequence: Position of the first one in a capture; the others
                follow. ``None`` if they are not numbered.
        """
        ingestion = f',"ingestion_timestamp":{self.received_us},"platform_sequence":'
        pieces = self._pieces
        numbers: Sequence[int | str] = (
            ["null"] * (stop - start)
            if platform_sequence is None
            else range(platform_sequence, platform_sequence + stop - start)
        )
        lines = []
        for (
            (_, event_time, symbol, trade_id, price, quantity, trade_time, flags, _),
            message_id,
            number,
        ) in zip(
            self.trades[start:stop],
            self._message_ids[start:stop],
            numbers,
            strict=True,
        ):
            own = pieces[symbol]
            sided, flagged = own.by_flags[flags]
            lines.append(
                f'{{"message_id":"{message_id}","trade_id":"{own.exchange}-{trade_id}'
                f'{own.head}{trade_time},"price":"{price}","quantity":"{quantity}'
                f"{sided}{trade_id}{ingestion}{number}{flagged}{event_time}"
                f'","trade_time":"{trade_time}{own.tail}'
            )
        return lines
