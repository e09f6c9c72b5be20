"""A recording: trades from a file, played with their own pauses or faster."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from k2cli.capture.reader import BrokenOff, CaptureSource
from k2cli.errors import SettingsError, printable
from k2cli.simulator.trades import SymbolInfo, Trade, TradeSource

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES = 1_048_576
"""Longest line; a record has a few hundred bytes."""

_any = re.compile(r".+", re.DOTALL)
_name = re.compile(r"[A-Z0-9_-]{1,32}")
_decimal = re.compile(r"[0-9]+(\.[0-9]+)?")
_whole = re.compile(r"[0-9]{1,19}")
# Milliseconds stay below this until the year 5138; microseconds are above since 1973.
_MICROSECONDS_FROM = 10**14
# Quote assets, to split a symbol of which a recording says no more than its name.
# A wrong split harms nothing here: it is the demo's catalog that shows it.
_QUOTES = sorted(
    "USDT USDC BUSD TUSD USDP FDUSD USDS USD1 USD PAX DAI BTC ETH BNB SOL XRP TRX DOGE "
    "DOT EUR EURI AEUR GBP AUD TRY BRL RUB UAH NGN ZAR JPY MXN ARS COP CZK PLN RON IDR "
    "IDRT BIDR BKRW BVND GYEN VAI UST".split(),
    key=len,
    reverse=True,
)


class Recording(TradeSource):
    """A recorded file, played to whoever subscribes.

    It plays captures of k2 (TradeV2 lines) and lines of a receive time in
    nanoseconds, a space and the frame as it came; either may be compressed with gzip
    or Zstandard. The file is read once here, to know its symbols and that every line
    can be played, and once more while it plays; it is never held as a whole.

    Args:
        path: The file.
        speed: 1 plays with the pauses between the original receive times, 10 ten times
            as fast, 0 as fast as the readers read.

    Raises:
        SettingsError: The file cannot be read, holds no trade or a line that is no
            recording, or the speed is negative.

    Attributes:
        name: The file, as it can be shown.
        trade_count: Trades in the file.
        skipped_count: Frames that are no trades, such as replies.
        damage: Why the recording is not complete; ``None`` if its end is whole.
    """

    waits_for_subscriber = True
    waits_for_readers = True

    def __init__(self, path: str | Path, speed: float = 1.0) -> None:
        if not 0 <= speed < float("inf"):
            raise SettingsError(
                f"a speed of {speed:g} is not possible",
                "1 is as recorded, 10 ten times as fast, 0 as fast as possible",
            )
        self.path = Path(path)
        self.name = printable(str(path))
        self.speed = speed
        # At full speed all would be played before a client has reconnected.
        self.pauses_when_alone = speed == 0
        self.damage: str | None = None
        self.trade_count = 0
        self.skipped_count = 0
        self.exchange_name = "BINANCE"
        self.symbols = self._survey()

    def timeline(self, origin_us: int) -> Iterator[tuple[int, Trade]]:
        """Yield the trades in the order of the file; see ``TradeSource``.

        The recorded times are kept, so the origin changes nothing.
        """
        first_us: int | None = None
        for _, line in self._lines():
            try:
                recorded = read_line(line)
            except NotRecorded:
                raise SettingsError(
                    f"{self.name} has changed while it was played",
                    "Replay a copy of what is being written",
                ) from None
            if recorded is None:
                continue
            if first_us is None:
                first_us = recorded.received_us
            due_us = (recorded.received_us - first_us) / self.speed if self.speed else 0
            yield int(due_us), recorded.trade

    def _survey(self) -> dict[str, SymbolInfo]:
        found: dict[str, _Found] = {}
        for number, line in self._lines():
            try:
                recorded = read_line(line)
            except NotRecorded as error:
                raise SettingsError(
                    f"{self.name}, line {number}: {error}",
                    "A recording has TradeV2 records, or lines of "
                    "<nanoseconds> <frame>",
                ) from None
            if recorded is None:
                self.skipped_count += 1
                continue
            self.trade_count += 1
            if recorded.exchange != "BINANCE":
                self.exchange_name = recorded.exchange
            symbol = recorded.trade.symbol
            if symbol not in found:
                found[symbol] = _Found(recorded)
            found[symbol].measure(recorded.trade)
        if not found:
            why = f": {self.damage}" if self.damage else ""
            raise SettingsError(
                f"{self.name} has no trades in it{why}",
                "Replay a recording of trades, as 'k2 record' makes them",
            )
        return {symbol: each.info() for symbol, each in found.items()}

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that are whole and not empty, with their numbers from 1."""
        number, rest, reasons = 0, b"", []
        source = CaptureSource(self.path)
        if source.size_bytes is None:
            # It is read twice, and opening a pipe would wait.
            raise SettingsError(
                f"{self.name} is no regular file", "Copy it to a file, and replay that"
            )
        with closing(source.chunks()) as chunks:
            try:
                for chunk in chunks:
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        number += 1
                        if text := line.rstrip():
                            yield number, text
                    if len(rest) > MAX_LINE_BYTES:
                        raise SettingsError(
                            f"{self.name}, line {number + 1}: longer than "
                            f"{MAX_LINE_BYTES} bytes",
                            "This is not a recording of trades",
                        )
            except BrokenOff as error:
                reasons.append(error.message)
        if rest:
            reasons.append(f"line {number + 1} is torn and was left out")
        self.damage = "; ".join(reasons) or None


class NotRecorded(ValueError):
    """A line is neither a TradeV2 record nor a time followed by a frame."""


@dataclass(frozen=True, slots=True)
class RecordedTrade:
    """A trade, when it was received, and what else its line says."""

    received_us: int
    trade: Trade
    base: str | None = None
    quote: str | None = None
    exchange: str = "BINANCE"


def read_line(line: bytes) -> RecordedTrade | None:
    """Read a recorded line, without its end of line.

    Returns:
        The trade, or ``None`` for a frame that is no trade, such as a reply.

    Raises:
        NotRecorded: The line is of neither kind, and why.
    """
    if line.startswith(b"{"):
        return _record(_object(line))
    received, _, frame = line.partition(b" ")
    if not received.isdigit() or len(received) > 20:
        raise NotRecorded("it is neither a TradeV2 record nor a time and a frame")
    return _frame(int(received) // 1_000, _object(frame))


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NotRecorded(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise NotRecorded("not a JSON object")
    return value


def _record(record: dict[str, Any]) -> RecordedTrade:
    vendor = record.get("vendor_data")
    if not isinstance(vendor, dict):
        raise NotRecorded("no TradeV2 record: it has no vendor_data")
    trade_time_us = _integer(record, "timestamp")
    event_key = "event_time" if "event_time" in vendor else "E"
    buyer_is_maker = vendor.get("is_buyer_maker")
    if buyer_is_maker not in ("true", "false"):
        raise NotRecorded("is_buyer_maker is neither true nor false")
    best_match = vendor.get("is_best_match")
    return RecordedTrade(
        received_us=_integer(record, "ingestion_timestamp"),
        trade=Trade(
            symbol=_text(record, "symbol"),
            id=_integer(record, "source_sequence"),
            price=_text(record, "price", _decimal),
            quantity=_text(record, "quantity", _decimal),
            trade_time_us=trade_time_us,
            event_time_us=trade_time_us
            if vendor.get(event_key) is None
            else _microseconds(int(_text(vendor, event_key, _whole))),
            buyer_is_maker=buyer_is_maker == "true",
            best_match=None if best_match is None else best_match == "true",
        ),
        base=vendor.get("base_asset"),
        quote=vendor.get("quote_asset"),
        exchange=_text(record, "exchange", _name),
    )


def _frame(received_us: int, message: dict[str, Any]) -> RecordedTrade | None:
    event = message.get("data", message)
    if not isinstance(event, dict) or event.get("e") != "trade":
        return None
    buyer_is_maker, best_match = event.get("m"), event.get("M")
    if not isinstance(buyer_is_maker, bool):
        raise NotRecorded("m is neither true nor false")
    trade = Trade(
        symbol=_text(event, "s"),
        id=_integer(event, "t"),
        price=_text(event, "p", _decimal),
        quantity=_text(event, "q", _decimal),
        trade_time_us=_microseconds(_integer(event, "T")),
        event_time_us=_microseconds(_integer(event, "E")),
        buyer_is_maker=buyer_is_maker,
        best_match=best_match if isinstance(best_match, bool) else None,
    )
    return RecordedTrade(received_us, trade)


def _microseconds(time: int) -> int:
    return time if time > _MICROSECONDS_FROM else time * 1_000


def _integer(values: dict[str, Any], key: str) -> int:
    value = values.get(key)
    if type(value) is not int or not 0 <= value < 2**63:
        raise NotRecorded(f"{key} is no whole number")
    return value


def _text(values: dict[str, Any], key: str, syntax: re.Pattern[str] = _any) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not syntax.fullmatch(value):
        raise NotRecorded(f"{key} is missing, or not what it should be")
    return value


@dataclass(slots=True)
class _Found:
    """What the recording shows of a symbol."""

    first: RecordedTrade
    price_decimals: int = 0
    quantity_decimals: int = 0

    def measure(self, trade: Trade) -> None:
        self.price_decimals = max(self.price_decimals, _decimals(trade.price))
        self.quantity_decimals = max(self.quantity_decimals, _decimals(trade.quantity))

    def info(self) -> SymbolInfo:
        symbol = self.first.trade.symbol
        base, quote = self.first.base, self.first.quote
        if not base or not quote:
            known = (each for each in _QUOTES if symbol.endswith(each))
            quote = next((each for each in known if each != symbol), "")
            base = symbol.removesuffix(quote)
        tick_size, step_size = (
            f"{Decimal(1).scaleb(-decimals):.{max(8, decimals)}f}"
            for decimals in (self.price_decimals, self.quantity_decimals)
        )
        return SymbolInfo(symbol, base, quote, "TRADING", tick_size, step_size)


def _decimals(digits: str) -> int:
    _, _, fraction = digits.partition(".")
    return len(fraction.rstrip("0"))
