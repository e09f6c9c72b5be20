"""The tape: the latest prints, newest first."""

from __future__ import annotations

from itertools import islice
from math import log10
from typing import TYPE_CHECKING

from rich.cells import cell_len

from k2cli.display.columns import LARGE_STYLE, SIDE_STYLES
from k2cli.display.numbers import (
    NumberColumn,
    clock_text,
    scaled_text,
    signed_text,
)
from k2cli.display.text import BACKFILL_MARK, LARGE_MARK, fit, padded, styled
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.text import Text

    from k2cli.display.numbers import Precision
    from k2cli.display.prints import Print

    _Number = tuple[str, str]
    _Run = tuple[str, str]

_LONGEST_SYMBOL = 20
_TIME_CELLS = 12
_SHORT_TIME_CELLS = 8
_FILLS_CELLS = 5
_DELTA_CELLS = 8
# A bar has a cell for each step above this worth; a step is a bit more than threefold.
_BAR_CELLS = 8
_BAR_FROM_USD = 100.0
_BAR_STEPS_A_DECADE = 2
# Lines from which on one of them is worth spending on headings.
_WITH_HEADINGS = 4


class Tape:
    """Draws the latest prints, and remembers widths so that nothing jitters.

    Args:
        precision: Writes prices and sizes.
        is_single: Whether all prints are of one symbol: then it is not named, and each
            line has the symbol's buys minus sells up to it.
    """

    def __init__(self, precision: Precision, *, is_single: bool = False) -> None:
        self._precision = precision
        self._is_single = is_single
        self._has_headings = False
        self._entries: list[tuple[Print, str, _Number, _Number, str]] = []
        self.forget_widths()

    def forget_widths(self) -> None:
        """Let columns be narrow again, for another size of the screen."""
        self._symbol_cells = 6
        self._prices = NumberColumn()
        self._sizes = NumberColumn()
        self._worth_cells = 8
        self._largest_cells = len("largest")

    def width(self, *, with_largest: bool) -> int:
        """Return the cells that a line takes, by what was seen.

        Args:
            with_largest: Whether the largest fill counts.
        """
        cells = self._numbers_cells() + _TIME_CELLS - _SHORT_TIME_CELLS
        cells += self._worth_cells + 2 + _BAR_CELLS + 1 + _FILLS_CELLS + 1
        if with_largest:
            cells += self._largest_cells + 2
        return cells + (_DELTA_CELLS + 2 if self._is_single else 0)

    def look_at(self, prints: Iterable[Print], room: int) -> None:
        """Take the latest prints for ``lines``, and make columns wide enough.

        Args:
            prints: Newest first.
            room: Lines for them, and for headings where there is room.
        """
        self._has_headings = room >= _WITH_HEADINGS
        self._entries = []
        for one in islice(prints, max(0, room - self._has_headings)):
            price, size = self._price(one), self._size(one)
            self._prices.widen(price)
            self._sizes.widen(size)
            worth = _worth(one)
            self._worth_cells = max(self._worth_cells, len(worth))
            name = printable(one.symbol, _LONGEST_SYMBOL)
            self._symbol_cells = max(self._symbol_cells, cell_len(name))
            self._largest_cells = max(self._largest_cells, len(self._largest(one)))
            self._entries.append((one, name, price, size, worth))

    def lines(self, width: int) -> list[Text]:
        """Draw what was looked at last, with as many columns as fit."""
        shown = self._shown(width)
        lines = [self._headings(shown, width)] if self._has_headings else []
        return [*lines, *[self._line(*one, shown, width) for one in self._entries]]

    def _price(self, one: Print) -> _Number:
        if one.trades == 1:
            return self._precision.price(one.symbol, one.price_digits)
        return self._precision.mean_price(one.symbol, one.mean_price)

    def _size(self, one: Print) -> _Number:
        size = self._precision.size(one.symbol, one.size_digits)
        return size if one.trades == 1 else self._precision.amount(one.symbol, one.size)

    def _largest(self, one: Print) -> str:
        if one.trades == 1:
            return ""
        return "".join(self._precision.amount(one.symbol, one.largest))

    def _numbers_cells(self) -> int:
        """Return the cells that a line cannot do without."""
        symbol = 0 if self._is_single else self._symbol_cells + 2
        numbers = self._prices.cells() + 3 + self._sizes.cells()
        return 1 + _SHORT_TIME_CELLS + 2 + symbol + 4 + 2 + numbers + 2

    def _shown(self, width: int) -> frozenset[str]:
        """Choose columns by priority until the next one does not fit."""
        left = width - self._numbers_cells()
        shown = set()
        for name, cells in (
            ("worth", self._worth_cells + 2),
            ("milliseconds", _TIME_CELLS - _SHORT_TIME_CELLS),
            ("fills", _FILLS_CELLS + 1),
            ("bar", _BAR_CELLS + 1),
            *([("delta", _DELTA_CELLS + 2)] if self._is_single else []),
            # Without a heading nobody would know what it is.
            *([("largest", self._largest_cells + 2)] if self._has_headings else []),
        ):
            left -= cells
            if left < 0:
                break
            shown.add(name)
        return frozenset(shown)

    def _headings(self, shown: frozenset[str], width: int) -> Text:
        time = _TIME_CELLS if "milliseconds" in shown else _SHORT_TIME_CELLS
        text = f" {'time UTC':<{time}}  "
        if not self._is_single:
            text += f"{'symbol':<{self._symbol_cells}}  "
        text += f"side  {'price':>{self._prices.cells()}} × "
        text += f"{'size':>{self._sizes.cells()}}"
        if "worth" in shown:
            text += f"  {'USD ':>{self._worth_cells}}"
        text += "  "
        if "bar" in shown:
            text += f" {'worth':<{_BAR_CELLS}}"
        if "fills" in shown:
            text += f" {'fills':>{_FILLS_CELLS}}"
        if "largest" in shown:
            text += f"  {'largest':>{self._largest_cells}}"
        if "delta" in shown:
            text += f"  {'buy−sell':>{_DELTA_CELLS}}"
        return fit(styled([(text.rstrip(), "dim")]), width)

    def _line(
        self,
        one: Print,
        name: str,
        price: _Number,
        size: _Number,
        worth: str,
        shown: frozenset[str],
        width: int,
    ) -> Text:
        style = SIDE_STYLES.get(one.side, "")
        # Back-filled trades are old: they are drawn less prominently.
        rest = "dim" if one.is_backfill else ""
        time = clock_text(one.millisecond * 1000)
        if "milliseconds" not in shown:
            time = time.partition(".")[0]
        runs: list[_Run] = [(f" {time}  ", "dim")]
        if not self._is_single:
            runs.append((padded(name, self._symbol_cells) + "  ", rest))
        runs += [
            (f"{printable(one.side, 4):<4}  ", style),
            (self._prices.text(price), style),
            (" × ", "dim"),
            (self._sizes.text(size), rest),
        ]
        if "worth" in shown:
            money = LARGE_STYLE if one.is_large else rest
            runs.append((f"  {worth:>{self._worth_cells}}", money))
        mark = LARGE_MARK if one.is_large else " "
        mark = BACKFILL_MARK if one.is_backfill else mark
        runs.append((f" {mark}", LARGE_STYLE if one.is_large else ""))
        if "bar" in shown:
            runs.append((f" {worth_bar(one.usd):<{_BAR_CELLS}}", style))
        if "fills" in shown:
            fills = f"{one.trades}" if one.trades > 1 else ""
            runs.append((f" {fills:>{_FILLS_CELLS}}", rest))
        if "largest" in shown:
            runs.append((f"  {self._largest(one):>{self._largest_cells}}", rest))
        if "delta" in shown:
            runs.append((f"  {signed_text(one.delta):>{_DELTA_CELLS}}", "dim"))
        line = styled(runs)
        line.rstrip()
        if cell_len(line.plain) > width:
            line.truncate(width, overflow="crop")
        return line


def worth_bar(usd: float) -> str:
    """Draw a worth as a bar: a cell more for every threefold, from 100 USD on."""
    if usd < _BAR_FROM_USD:
        return ""
    halves = round(2 * _BAR_STEPS_A_DECADE * log10(usd / _BAR_FROM_USD))
    cells, half = divmod(min(halves, 2 * _BAR_CELLS), 2)
    return "━" * cells + "╸" * half


def _worth(one: Print) -> str:
    """Write the worth in USD or, where there is no rate, in the quote asset."""
    if one.usd:
        return f"{one.usd:,.0f} " if one.usd >= 0.5 else "<1 "
    return "".join(scaled_text(one.notional))
