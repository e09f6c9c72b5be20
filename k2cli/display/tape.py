"""The tape: the latest trades, newest first."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from rich.cells import cell_len

from k2cli.display.columns import LARGE_MARK, LARGE_STYLE, SIDE_STYLES
from k2cli.display.digits import clock_text, scaled_text
from k2cli.display.frame import styled
from k2cli.display.number_column import NumberColumn
from k2cli.display.status import BACKFILL_MARK
from k2cli.errors import printable

if TYPE_CHECKING:
    from rich.text import Text

    from k2cli.display.controls import Controls
    from k2cli.display.market import MarketState, TapeEntry
    from k2cli.display.precision import Precision

_LONGEST_SYMBOL = 20
# Time, side, notional and marks, and what stands between.
_FIXED_WIDTH = 15 + 2 + 6 + 3 + 8 + 4


class Tape:
    """Draws the latest trades, and remembers widths so that nothing jitters.

    Args:
        precision: Writes prices and sizes.
    """

    def __init__(self, precision: Precision) -> None:
        self._precision = precision
        self.forget_widths()

    def forget_widths(self) -> None:
        """Let columns be narrow again, as the screen has changed."""
        self._symbol = 6
        self._price = NumberColumn()
        self._size = NumberColumn()

    @property
    def width(self) -> int:
        """Cells that a line takes by what has been seen, marks included."""
        numbers = self._price.cells() + self._size.cells()
        return _FIXED_WIDTH + self._symbol + numbers

    def lines(
        self, market: MarketState, controls: Controls, *, width: int, room: int
    ) -> list[Text]:
        """Draw the latest trades of the symbols that fit the filter.

        Args:
            market: Has the tape.
            controls: Has the filter.
            width: Cells.
            room: Most lines.
        """
        latest = (
            entry for entry in reversed(market.tape) if controls.shows(entry.trade[0])
        )
        entries = list(islice(latest, room))
        parts = [self._parts(entry) for entry in entries]
        return [
            self._line(entry, *part, width=width)
            for entry, part in zip(entries, parts, strict=True)
        ]

    def _parts(self, entry: TapeEntry) -> tuple[str, tuple[str, str], tuple[str, str]]:
        symbol, price_digits, size_digits, *_ = entry.trade
        name = printable(symbol, _LONGEST_SYMBOL)
        price = self._precision.price(symbol, price_digits)
        size = self._precision.size(symbol, size_digits)
        self._symbol = max(self._symbol, cell_len(name))
        self._price.take(price)
        self._size.take(size)
        return name, price, size

    def _line(
        self,
        entry: TapeEntry,
        name: str,
        price: tuple[str, str],
        size: tuple[str, str],
        *,
        width: int,
    ) -> Text:
        _, price_digits, size_digits, side, _, time_us, is_backfill = entry.trade
        style = SIDE_STYLES.get(side, "")
        digits, scale = scaled_text(float(price_digits) * float(size_digits))
        # Late trades are no news: they stand back.
        rest = "dim" if is_backfill else ""
        runs = [
            (f" {clock_text(time_us)}  ", "dim"),
            (name + " " * (self._symbol - cell_len(name)) + "  ", rest),
            (f"{printable(side, 4):<4}  ", style),
            (self._price.text(price), style),
            (" × ", "dim"),
            (self._size.text(size), rest),
            (f"  {digits:>5}{scale}", LARGE_STYLE if entry.is_large else rest),
            (f" {LARGE_MARK}" if entry.is_large else "  ", LARGE_STYLE),
            (f" {BACKFILL_MARK}" if is_backfill else "", ""),
        ]
        line = styled(runs)
        if cell_len(line.plain) > width:
            # Narrow: to the second, and then without the end of the line.
            time = clock_text(time_us).partition(".")[0]
            runs[0] = (f"{time} ", "dim")
            line = styled(runs)
            line.rstrip()
            line.truncate(width, overflow="crop")
        return line
