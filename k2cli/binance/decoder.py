"""From what a stream connection receives to batches of trades."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import ValidationError

from k2cli.binance.fast_path import Columns, cut_plain_trades
from k2cli.binance.message_ids import MessageIds
from k2cli.binance.symbols import parse_binance_symbol
from k2cli.binance.transport import now_us
from k2cli.binance.wire import (
    BINANCE,
    SERVER_SHUTDOWN,
    TRADE,
    HistoricalTrade,
    TradeEvent,
    decode_message,
    excerpt,
    is_reply,
    malformed,
    unwrap,
)
from k2cli.errors import MalformedMessage
from k2cli.trade import Instrument, TradeBatch, TradeV2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from k2cli.binance.catalog import Catalog

# How many malformed messages are named in the log before it gets terse.
_MOST_NAMED = 20

_message_ids = MessageIds()

log: FilteringBoundLogger = structlog.get_logger()


class Skipped(Enum):
    """What a message was that is no trade."""

    SHUTDOWN = "the exchange announces that it will close the connection"
    REPLY = "reply"
    OTHER = "other"
    MALFORMED = "malformed"


class MessageDecoder:
    """Turns what stream connections receive into batches of trades.

    Args:
        assets: Base and quote asset of every symbol that was asked for.

    Attributes:
        malformed_messages: Messages that were not what Binance documents, skipped.
        other_messages: Messages of other kinds, skipped.
    """

    def __init__(self, assets: Mapping[str, tuple[str, str]]) -> None:
        self.malformed_messages = 0
        self.other_messages = 0
        self._assets = assets
        self._instruments: dict[str, dict[str, Instrument]] = {}
        self._plain_symbols: frozenset[str] = frozenset()

    def decode_frames(
        self, text: str, position: int, received_us: int, exchange: str
    ) -> tuple[TradeBatch | None, int]:
        """Decode the plain trades that stand at a position of what was read.

        Args:
            text: Bytes as received, one character each (latin-1).
            position: Where a frame begins.
            received_us: When they were received, Unix microseconds UTC.
            exchange: The records' ``exchange``.

        Returns:
            The trades, if there are some, and the position after them.
        """
        instruments = self._instruments_of(exchange)
        columns, end = cut_plain_trades(text, position, self._plain_symbols)
        if columns is None:
            return None, position
        return _plain_batch(columns, instruments, received_us), end

    def cut_frames(
        self, text: str, position: int, exchange: str
    ) -> tuple[Columns | None, int]:
        """Cut the plain trades out: the first half of ``decode_frames``."""
        self._instruments_of(exchange)
        return cut_plain_trades(text, position, self._plain_symbols)

    def batch_of(self, columns: Columns, received_us: int, exchange: str) -> TradeBatch:
        """Make a batch of plain trades: the second half."""
        return _plain_batch(columns, self._instruments_of(exchange), received_us)

    def decode_message(
        self, message: bytes, received_us: int, exchange: str
    ) -> TradeBatch | Skipped:
        """Decode one message of any kind; what is no trade is counted and logged."""
        try:
            event = decode_message(message)
            if event.get("e") != TRADE:
                return self._skip(event)
            return batch_from_event(event, self._instruments_of(exchange), received_us)
        except MalformedMessage as exc:
            self.malformed_messages += 1
            level = log.warning if self.malformed_messages <= _MOST_NAMED else log.debug
            level(
                "Skipped a malformed message",
                reason=exc.message,
                malformed_messages=self.malformed_messages,
            )
            return Skipped.MALFORMED

    def _skip(self, event: dict[str, Any]) -> Skipped:
        if event.get("e") == SERVER_SHUTDOWN:
            return Skipped.SHUTDOWN
        if is_reply(event):
            log.debug("Received a reply", text=excerpt(event))
            return Skipped.REPLY
        self.other_messages += 1
        level = log.info if self.other_messages == 1 else log.debug
        level("Skipped a message of another kind", text=excerpt(event))
        return Skipped.OTHER

    def _instruments_of(self, exchange: str) -> dict[str, Instrument]:
        instruments = self._instruments.get(exchange)
        if instruments is None:
            instruments = self._instruments[exchange] = {
                symbol: Instrument(symbol, exchange, *pair)
                for symbol, pair in self._assets.items()
            }
            # Whether a symbol is plain does not depend on the exchange's name.
            self._plain_symbols = frozenset(
                each.symbol for each in instruments.values() if each.is_plain
            )
        return instruments


def convert_binance_trade_to_v2(
    message: str | bytes | Mapping[str, Any],
    *,
    catalog: Catalog | None = None,
    ingestion_timestamp: int | None = None,
    exchange: str = BINANCE,
) -> TradeV2:
    """Convert one ``@trade`` event.

    Args:
        message: The frame as received, or the event in it, wrapped or not.
        catalog: Where base and quote asset come from; without it, the symbol's ending.
        ingestion_timestamp: When the frame was received, Unix microseconds UTC; now if
            not given.
        exchange: The record's ``exchange``.

    Raises:
        MalformedMessage: If it is not a trade event as Binance documents it.
    """
    received_us = now_us() if ingestion_timestamp is None else ingestion_timestamp
    if isinstance(message, str | bytes):
        event = decode_message(message)
    else:
        event = unwrap(dict(message))
    symbol = event.get("s")
    instruments: dict[str, Instrument] = {}
    if type(symbol) is str:
        base, quote, _ = parse_binance_symbol(symbol, catalog)
        instruments[symbol] = Instrument(symbol, exchange, base, quote)
    return batch_from_event(event, instruments, received_us).trade(0)


def batch_from_event(
    event: Mapping[str, Any], instruments: Mapping[str, Instrument], received_us: int
) -> TradeBatch:
    """Make a batch of one trade from an event that is out of its wrapping.

    Args:
        event: The event's own keys.
        instruments: Of every symbol that was asked for.
        received_us: When its frame was received, Unix microseconds UTC.

    Raises:
        MalformedMessage: If it is not a trade event as Binance documents it, or of a
            symbol that was not asked for.
    """
    try:
        trade = TradeEvent.model_validate(event)
    except ValidationError as exc:
        raise malformed("trade event", event, exc) from None
    instrument = instruments.get(trade.symbol)
    if instrument is None:
        raise MalformedMessage(
            f"trade event of a symbol not asked for: {excerpt(event)}"
        )
    return _batch_of([trade], instrument, received_us)


def _plain_batch(
    columns: Columns, instruments: Mapping[str, Instrument], received_us: int
) -> TradeBatch:
    event_times, symbols, ids, prices, quantities, times, makers, bests = columns
    return TradeBatch(
        instruments=instruments,
        received_us=received_us,
        symbols=symbols,
        trade_ids=ids,
        prices=prices,
        quantities=quantities,
        trade_times=times,
        event_times=event_times,
        buyer_is_maker=makers,
        best_match=bests,
        message_ids=_message_ids.take(len(symbols)),
        is_plain=True,
    )


def batch_from_history(
    entries: Sequence[object], instrument: Instrument, received_us: int
) -> TradeBatch | None:
    """Make a batch from a page of the history: trades that the stream lost.

    They are marked as such. Entries that are no trades are left out.

    Args:
        entries: As received.
        instrument: Whose history was asked for; entries do not say.
        received_us: When the reply was received, Unix microseconds UTC.

    Returns:
        The trades by ascending id; ``None`` if there are none.
    """
    trades = []
    skipped, reason = 0, ""
    for entry in entries:
        try:
            trades.append(HistoricalTrade.model_validate(entry))
        except ValidationError as exc:
            skipped += 1
            reason = reason or malformed("trade", entry, exc).message
    if skipped:
        log.warning(
            "Skipped entries of the history", skipped_entries=skipped, reason=reason
        )
    if not trades:
        return None
    trades.sort(key=lambda trade: trade.trade_id)
    return _batch_of(trades, instrument, received_us)


def _batch_of(
    trades: Sequence[TradeEvent] | Sequence[HistoricalTrade],
    instrument: Instrument,
    received_us: int,
) -> TradeBatch:
    return TradeBatch(
        instruments={instrument.symbol: instrument},
        received_us=received_us,
        symbols=[instrument.symbol] * len(trades),
        trade_ids=[str(trade.trade_id) for trade in trades],
        prices=[trade.price for trade in trades],
        quantities=[trade.quantity for trade in trades],
        trade_times=[str(trade.trade_time) for trade in trades],
        event_times=[
            str(trade.event_time)
            if isinstance(trade, TradeEvent) and trade.event_time is not None
            else None
            for trade in trades
        ],
        buyer_is_maker=[_flag(trade.buyer_is_maker) for trade in trades],
        best_match=[
            None if trade.best_match is None else _flag(trade.best_match)
            for trade in trades
        ],
        message_ids=_message_ids.take(len(trades)),
        is_backfill=isinstance(trades[0], HistoricalTrade),
    )


def _flag(value: bool) -> str:
    return "true" if value else "false"
