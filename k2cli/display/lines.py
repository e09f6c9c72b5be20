"""One aligned line per trade, for those who read along: ``tail -f`` for a market."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from k2cli.display.digits import clock_text, grouped, notional_text
from k2cli.display.magnitude import Magnitude
from k2cli.display.number_column import NumberColumn
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from k2cli.display.formats import FormatOptions
    from k2cli.trade import TradeV2

# The terminal's own palette, so that it suits a dark and a light background.
_SIDE_COLOURS = {"BUY": "\x1b[32m", "SELL": "\x1b[31m"}
_BOLD = "\x1b[1m"
_DIM = "\x1b[2m"
_YELLOW = "\x1b[33m"
_RESET = "\x1b[0m"

BACKFILL_MARK = "backfill"
_MARGIN = 2  # cells between columns


class ReadableLines:
    """Lines for people: time, symbol, side, price × size, notional, marks.

    Times are UTC. The side is a word, so that colour only repeats it. A trade that is
    ten times larger than usual (see ``Magnitude``) ends in ``◆``, one that came from
    the history to fill a gap in ``backfill``.

    Numbers align as of ``NumberColumn``. Where the screen is too narrow, they stand
    flush right, and the notional goes without its asset; then the time goes without
    its milliseconds.

    Args:
        options: Colour, width, symbols, and decimals by symbol.
    """

    def __init__(self, options: FormatOptions) -> None:
        self._options = options
        self._magnitude = Magnitude(float(options.least_notional))
        self._symbol_cells = 8
        self._notional_cells = 12
        self._price = NumberColumn(7, _most(options.price_decimals, options.symbols))
        self._size = NumberColumn(3, _most(options.size_decimals, options.symbols))
        for symbol in options.symbols:
            self._take_symbol(printable(symbol))

    def header(self) -> bytes:
        """Give nothing: the lines speak for themselves."""
        return b""

    def line(self, trade: TradeV2) -> bytes:
        r"""Give one trade as one line of UTF-8 with its ``\n``.

        Args:
            trade: Price and quantity must be decimal digits.
        """
        options = self._options
        symbol, side = printable(trade.symbol), printable(trade.side)
        price = grouped(trade.price, options.price_decimals.get(trade.symbol))
        size = grouped(trade.quantity, options.size_decimals.get(trade.symbol))
        worth = trade.notional
        notional = notional_text(worth, trade.currency)
        self._take_symbol(symbol)
        self._price.take(price)
        self._size.take(size)
        self._notional_cells = max(self._notional_cells, len(notional))

        width = options.width
        narrow = width is not None and self._cells(narrow=False) > width
        tight = width is not None and self._cells(narrow=True) > width
        time = clock_text(trade.timestamp)
        flush = True if narrow else None
        name = symbol + " " * (self._symbol_cells - cell_len(symbol))
        columns = (
            time.partition(".")[0] if tight else time,
            name,
            f"{side:<4}",
            self._price.text(price, flush=flush),
            self._size.text(size, flush=flush),
            notional.rjust(self._notional_cells),
            "" if narrow else f" {printable(trade.currency)}",
        )
        marks = self._magnitude.marks(trade.symbol, float(worth))
        repaired = trade.vendor_data.get("source") == "backfill"
        if options.colour:
            return _coloured(columns, trade.side, marks, repaired=repaired)
        time, name, side, price_text, size_text, notional, currency = columns
        text = f"{time}  {name}  {side}  {price_text} × {size_text}  {notional}"
        tail = [part for part in (marks, BACKFILL_MARK if repaired else "") if part]
        return "  ".join([text + currency, *tail]).encode() + b"\n"

    def _take_symbol(self, symbol: str) -> None:
        self._symbol_cells = max(self._symbol_cells, cell_len(symbol))

    def _cells(self, *, narrow: bool) -> int:
        """Tell how wide a line is, its time to the millisecond."""
        flush = True if narrow else None
        numbers = self._price.cells(flush=flush) + 3 + self._size.cells(flush=flush)
        worth = self._notional_cells + (0 if narrow else 5)
        columns = (12, self._symbol_cells, 4, numbers, worth)
        return sum(columns) + _MARGIN * (len(columns) - 1)


def _most(decimals: Mapping[str, int], symbols: Collection[str]) -> int:
    return max((decimals.get(symbol, 0) for symbol in symbols), default=0)


def _coloured(
    columns: tuple[str, ...], side: str, marks: str, *, repaired: bool
) -> bytes:
    """Dress a line: what matters most stands out, what is always there steps back."""
    time, name, side_text, price, size, notional, currency = columns
    colour = _SIDE_COLOURS.get(side, "")
    strong = _BOLD if marks else ""
    text = (
        f"{_DIM}{time}{_RESET}  {strong}{name}{_RESET}  "
        f"{strong}{colour}{side_text}  {price}{_RESET} {_DIM}×{_RESET} {size}  "
        f"{strong}{notional}{_RESET}{_DIM}{currency}{_RESET}"
    )
    if marks:
        text += f"  {strong}{colour}{marks}{_RESET}"
    if repaired:
        text += f"  {_YELLOW}{BACKFILL_MARK}{_RESET}"
    return text.encode() + b"\n"
