"""A tape: recorded trades, played again with their own pauses or faster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from k2cli.errors import SettingsError
from k2cli.simulator.tape_file import whole_lines
from k2cli.simulator.tape_lines import (
    NotRecorded,
    RecordedTrade,
    read_line,
    split_symbol,
)
from k2cli.simulator.trades import SymbolInfo, Trade

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Tape:
    """A recorded file, played to whoever subscribes.

    It plays captures of k2 (TradeV2 lines) and lines of a receive time in
    nanoseconds, a space and the frame as it came; either may be compressed with gzip.
    The file is read once here, to know its symbols and that every line can be played,
    and once more while it plays; it is never held as a whole.

    Args:
        path: The file.
        speed: 1 plays with the pauses between the original receive times, 10 ten times
            as fast, 0 as fast as the readers read.

    Raises:
        SettingsError: The file cannot be read, holds no trade or a line that is no
            recording, or the speed is negative.

    Attributes:
        exchange_name: ``"BINANCE"``, or what the records say instead.
        symbols: The catalog made from the recording.
        trade_count: Trades in the file.
        skipped_count: Frames that are no trades, such as replies.
        notes: What else is worth telling a person, a line each.
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
        self.speed = speed
        # At full speed the tape would be over before a client has reconnected.
        self.pauses_when_alone = speed == 0
        self.notes: list[str] = []
        self.trade_count = 0
        self.skipped_count = 0
        self.exchange_name = "BINANCE"
        self.symbols: Mapping[str, SymbolInfo] = self._survey()

    def timeline(self, origin_us: int) -> Iterator[tuple[int, Trade]]:
        """Give the trades in the order of the file; see ``TradeSource``.

        The recorded times are kept, so the origin changes nothing.
        """
        first_us: int | None = None
        for _, line in whole_lines(self.path):
            try:
                recorded = read_line(line.rstrip()) if line.strip() else None
            except NotRecorded:
                raise SettingsError(
                    f"{self.path} has changed while it was played",
                    "Replay a copy of what is being written",
                ) from None
            if recorded is None:
                continue
            if first_us is None:
                first_us = recorded.received_us
            due_us = (
                int((recorded.received_us - first_us) / self.speed) if self.speed else 0
            )
            yield due_us, recorded.trade

    def _survey(self) -> dict[str, SymbolInfo]:
        found: dict[str, _Found] = {}
        number = 0
        for number, line in whole_lines(self.path):
            if not line:
                self.notes.append(f"line {number} is torn and was left out")
                continue
            text = line.rstrip()
            if not text:
                continue
            try:
                recorded = read_line(text)
            except NotRecorded as error:
                raise SettingsError(
                    f"{self.path}, line {number}: {error}",
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
        if not number:
            raise SettingsError(f"{self.path} is empty", "There is nothing to replay")
        if not found:
            raise SettingsError(
                f"{self.path} has no trades in it",
                "Replay a recording of trades, as 'k2 record' makes them",
            )
        return {symbol: each.info() for symbol, each in found.items()}


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
            base, quote = split_symbol(symbol)
        return SymbolInfo(
            symbol=symbol,
            base=base,
            quote=quote,
            tick_size=_step(self.price_decimals),
            step_size=_step(self.quantity_decimals),
        )


def _decimals(digits: str) -> int:
    _, _, fraction = digits.partition(".")
    return len(fraction.rstrip("0"))


def _step(decimals: int) -> str:
    if not decimals:
        return "1.00000000"
    return f"0.{'1'.rjust(decimals, '0').ljust(8, '0')}"
