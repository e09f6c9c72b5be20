"""One aligned line per trade, for people: ``tail -f`` for a market."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from k2cli.display.numbers import NumberColumn, clock_text, grouped, notional_text
from k2cli.display.text import LARGE_MARK, padded
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

_GAP = 2  # cells between columns
_MOST_MARKS = 3
# A mean of fewer trades says little about what is usual.
_FEWEST_FOR_MEAN = 20


class SizeMarks:
    """Marks trades that are larger than usual: ``◆`` for every factor of ten.

    What is usual is the mean notional of the symbol's trades so far or, where only
    trades of a least notional are looked at, that.

    Args:
        least_notional: The least notional looked at, in the quote asset; 0 for any.
    """

    def __init__(self, least_notional: float = 0.0) -> None:
        self._least_notional = least_notional
        # By symbol: trades so far, and the sum of their notionals.
        self._sums: dict[str, tuple[int, float]] = {}

    def marks(self, symbol: str, notional: float) -> str:
        """Return a trade's marks, at most three; empty for a usual one."""
        usual = self._least_notional or self._usual(symbol, notional)
        count = 0
        while usual and count < _MOST_MARKS and notional >= usual * 10:
            usual *= 10
            count += 1
        return LARGE_MARK * count

    def _usual(self, symbol: str, notional: float) -> float:
        trades, total = self._sums.get(symbol, (0, 0.0))
        self._sums[symbol] = trades + 1, total + notional
        return total / trades if trades >= _FEWEST_FOR_MEAN else 0.0


class ReadableLines:
    """Lines for people: time, symbol, side, price × size, notional, marks.

    Times are UTC. The side is a word, so that colour only repeats it. A trade that is
    ten times larger than usual (see ``SizeMarks``) ends in ``◆``, a back-filled one in
    ``backfill``.

    Numbers align as ``NumberColumn`` says. Where the screen is too narrow, they are
    flush right, and the notional goes without its asset; then the time goes without
    its milliseconds.

    Args:
        options: Colour, width, symbols, and decimals by symbol.
    """

    def __init__(self, options: FormatOptions) -> None:
        self._options = options
        self._size_marks = SizeMarks(float(options.least_notional))
        names = [cell_len(printable(symbol)) for symbol in options.symbols]
        self._symbol_cells = max(8, *names) if names else 8
        self._notional_cells = 12
        self._price = NumberColumn(7, _most(options.price_decimals, options.symbols))
        self._size = NumberColumn(3, _most(options.size_decimals, options.symbols))

    def header(self) -> bytes:
        """Return nothing: people need no names for these columns."""
        return b""

    def line(self, trade: TradeV2) -> bytes:
        r"""Return one trade as one line of UTF-8 with its ``\n``.

        Args:
            trade: Price and quantity must be decimal digits.
        """
        options = self._options
        name, side = printable(trade.symbol), f"{printable(trade.side):<4}"
        price = grouped(trade.price, options.price_decimals.get(trade.symbol))
        size = grouped(trade.quantity, options.size_decimals.get(trade.symbol))
        amount = trade.notional
        notional = notional_text(amount, trade.currency)
        self._symbol_cells = max(self._symbol_cells, cell_len(name))
        self._price.widen(price)
        self._size.widen(size)
        self._notional_cells = max(self._notional_cells, len(notional))

        width = options.width
        narrow = width is not None and self._cells(narrow=False) > width
        tight = width is not None and self._cells(narrow=True) > width
        flush = True if narrow else None
        time = clock_text(trade.timestamp)
        if tight:
            time = time.partition(".")[0]
        name = padded(name, self._symbol_cells)
        price_text = self._price.text(price, flush=flush)
        size_text = self._size.text(size, flush=flush)
        notional = notional.rjust(self._notional_cells)
        currency = "" if narrow else f" {printable(trade.currency)}"
        marks = self._size_marks.marks(trade.symbol, float(amount))
        mark = f"  {marks}" if marks else ""
        backfill = "  backfill" if trade.vendor_data.get("source") == "backfill" else ""
        if not options.colour:
            return (
                f"{time}  {name}  {side}  {price_text} × {size_text}  "
                f"{notional}{currency}{mark}{backfill}\n"
            ).encode()
        # What matters most stands out, what is always there is dim.
        colour = _SIDE_COLOURS.get(trade.side, "")
        strong = _BOLD if marks else ""
        if marks:
            mark = f"  {strong}{colour}{marks}{_RESET}"
        if backfill:
            backfill = f"  {_YELLOW}backfill{_RESET}"
        return (
            f"{_DIM}{time}{_RESET}  {strong}{name}{_RESET}  "
            f"{strong}{colour}{side}  {price_text}{_RESET} "
            f"{_DIM}×{_RESET} {size_text}  "
            f"{strong}{notional}{_RESET}{_DIM}{currency}{_RESET}{mark}{backfill}\n"
        ).encode()

    def _cells(self, *, narrow: bool) -> int:
        """Return a line's width, its time to the millisecond."""
        flush = True if narrow else None
        numbers = self._price.cells(flush=flush) + 3 + self._size.cells(flush=flush)
        notional = self._notional_cells + (0 if narrow else 5)
        columns = (12, self._symbol_cells, 4, numbers, notional)
        return sum(columns) + _GAP * (len(columns) - 1)


def _most(decimals: Mapping[str, int], symbols: Collection[str]) -> int:
    return max((decimals.get(symbol, 0) for symbol in symbols), default=0)
