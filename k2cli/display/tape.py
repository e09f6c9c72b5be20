"""The tape: the latest trades, newest first."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from rich.cells import cell_len

from k2cli.display.columns import LARGE_MARK, LARGE_STYLE, SIDE_STYLES
from k2cli.display.numbers import NumberColumn, clock_text, scaled_text
from k2cli.display.text import BACKFILL_MARK, padded, styled
from k2cli.errors import printable

if TYPE_CHECKING:
    from rich.text import Text

    from k2cli.display.controls import Controls
    from k2cli.display.market import MarketState, TapeEntry
    from k2cli.display.numbers import Precision

    _Number = tuple[str, str]

_LONGEST_SYMBOL = 20
# Time, side, notional and marks, and what stands between.
_FIXED_WIDTH = 15 + 2 + 6 + 3 + 8 + 4


class Tape:
    """Draws the latest trades, and remembers widths so that nothing jitters."""

    def __init__(self, precision: Precision) -> None:
        self._precision = precision
        self.forget_widths()

    def forget_widths(self) -> None:
        """Let columns be narrow again, for another size of the screen."""
        self._symbol_cells = 6
        self._prices = NumberColumn()
        self._sizes = NumberColumn()

    @property
    def width(self) -> int:
        """Cells that a line takes by what has been seen, marks included."""
        numbers = self._prices.cells() + self._sizes.cells()
        return _FIXED_WIDTH + self._symbol_cells + numbers

    def lines(
        self, market: MarketState, controls: Controls, *, width: int, room: int
    ) -> list[Text]:
        """Draw the latest trades of the symbols that fit the filter."""
        latest = (one for one in market.tape() if controls.shows(one.symbol))
        entries = [(entry, *self._texts(entry)) for entry in islice(latest, room)]
        return [self._line(*entry, width) for entry in entries]

    def _texts(self, entry: TapeEntry) -> tuple[str, _Number, _Number]:
        name = printable(entry.symbol, _LONGEST_SYMBOL)
        price = self._precision.price(entry.symbol, entry.price)
        size = self._precision.size(entry.symbol, entry.quantity)
        self._symbol_cells = max(self._symbol_cells, cell_len(name))
        self._prices.widen(price)
        self._sizes.widen(size)
        return name, price, size

    def _line(
        self, entry: TapeEntry, name: str, price: _Number, size: _Number, width: int
    ) -> Text:
        style = SIDE_STYLES.get(entry.side, "")
        digits, scale = scaled_text(float(entry.price) * float(entry.quantity))
        # Back-filled trades are old: they are drawn less prominently.
        rest = "dim" if entry.is_backfill else ""
        time = clock_text(entry.timestamp_us)
        runs = [
            (f" {time}  ", "dim"),
            (padded(name, self._symbol_cells) + "  ", rest),
            (f"{printable(entry.side, 4):<4}  ", style),
            (self._prices.text(price), style),
            (" × ", "dim"),
            (self._sizes.text(size), rest),
            (f"  {digits:>5}{scale}", LARGE_STYLE if entry.is_large else rest),
            (f" {LARGE_MARK}" if entry.is_large else "  ", LARGE_STYLE),
            (f" {BACKFILL_MARK}" if entry.is_backfill else "", ""),
        ]
        line = styled(runs)
        if cell_len(line.plain) > width:
            # Narrow: to the second, and then without the end of the line.
            runs[0] = (f"{time.partition('.')[0]} ", "dim")
            line = styled(runs)
            line.rstrip()
            line.truncate(width, overflow="crop")
        return line
