"""One aligned line per trade, for those who read along: ``tail -f`` for a market."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.cells import cell_len

from k2cli.display.digits import clock_text, grouped, notional_text
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from k2cli.trade import TradeV2

# The terminal's own palette, so that it suits a dark and a light background.
_SIDE_COLOURS = {"BUY": "\x1b[32m", "SELL": "\x1b[31m"}
_DIM = "\x1b[2m"
_RESET = "\x1b[0m"

BACKFILL_MARK = "backfill"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatOptions:
    """What a line format may need to know.

    Attributes:
        colour: Whether escape sequences for colour are wanted.
        symbols: The symbols to come, as far as known; columns are laid out for them.
        price_decimals: Decimals of a symbol's tick size, by symbol.
        size_decimals: Decimals of a symbol's step size, by symbol.
    """

    colour: bool = False
    symbols: Collection[str] = ()
    price_decimals: Mapping[str, int] = field(default_factory=dict)
    size_decimals: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Widths:
    """Widths in cells; they only grow, so that the eye keeps its columns."""

    symbol: int = 8
    price_whole: int = 7
    price_fraction: int = 0
    size_whole: int = 3
    size_fraction: int = 0
    notional: int = 12


class ReadableLines:
    """Lines for people: time, symbol, side, price × size, notional.

    Times are UTC. The side is a word, so that colour only repeats it. A trade that
    came from the history to fill a gap ends in ``backfill``.

    Args:
        options: Colour, symbols, and decimals by symbol.
    """

    def __init__(self, options: FormatOptions) -> None:
        self._options = options
        self._widths = _Widths()
        for symbol in options.symbols:
            self._widths.symbol = max(self._widths.symbol, cell_len(printable(symbol)))

    def header(self) -> bytes:
        """Give nothing: the lines speak for themselves."""
        return b""

    def line(self, trade: TradeV2) -> bytes:
        r"""Give one trade as one line of UTF-8 with its ``\n``.

        Args:
            trade: Price and quantity must be decimal digits.
        """
        options, widths = self._options, self._widths
        symbol, side = printable(trade.symbol), printable(trade.side)
        currency = printable(trade.currency)
        price = grouped(trade.price, options.price_decimals.get(trade.symbol))
        size = grouped(trade.quantity, options.size_decimals.get(trade.symbol))
        notional = notional_text(trade.notional, trade.currency)

        width = cell_len(symbol)
        widths.symbol = max(widths.symbol, width)
        widths.price_whole = max(widths.price_whole, len(price[0]))
        widths.price_fraction = max(widths.price_fraction, len(price[1]))
        widths.size_whole = max(widths.size_whole, len(size[0]))
        widths.size_fraction = max(widths.size_fraction, len(size[1]))
        widths.notional = max(widths.notional, len(notional))

        time = clock_text(trade.timestamp)
        name = symbol + " " * (widths.symbol - width)
        price_text = price[0].rjust(widths.price_whole) + price[1].ljust(
            widths.price_fraction
        )
        size_text = size[0].rjust(widths.size_whole) + size[1].ljust(
            widths.size_fraction
        )
        rest = f"{size_text}  {notional:>{widths.notional}} {currency}"
        mark = ""
        if trade.vendor_data.get("source") == "backfill":
            mark = f"  {BACKFILL_MARK}"
        if not options.colour:
            text = f"{time}  {name}  {side:<4}  {price_text} × {rest}{mark}\n"
            return text.encode()
        colour = _SIDE_COLOURS.get(trade.side, "")
        text = (
            f"{_DIM}{time}{_RESET}  {name}  {colour}{side:<4}  {price_text}{_RESET}"
            f" {_DIM}×{_RESET} {rest}{_DIM}{mark}{_RESET}\n"
        )
        return text.encode()
