"""A column of numbers whose eventual width nobody knows at the start."""

from __future__ import annotations

# Blank cells that aligned points may leave in a column, and no more: a price of
# 0.00001174 below one of 61,837.63 would tear it apart.
_WIDEST_HOLE = 2


class NumberColumn:
    """Places numbers one below the other; it only grows, so that the eye keeps it.

    Points stand below points or, where that would tear holes into the column, all
    numbers are flush right.

    Args:
        whole: Cells before the point to begin with.
        decimals: Decimals to make room for from the start on.
    """

    def __init__(self, whole: int = 0, decimals: int = 0) -> None:
        self._whole = whole
        self._fraction = decimals + 1 if decimals else 0
        self._longest = max(whole, 1 + self._fraction)

    def take(self, number: tuple[str, str]) -> None:
        """Make room for a number, given as what is before its point and the rest."""
        whole, fraction = map(len, number)
        self._whole = max(self._whole, whole)
        self._fraction = max(self._fraction, fraction)
        self._longest = max(self._longest, whole + fraction)

    def cells(self, *, flush: bool | None = None) -> int:
        """Tell how wide it is.

        Args:
            flush: Whether numbers are flush right; ``None``: if that looks better.
        """
        return self._longest if self._is_flush(flush) else self._whole + self._fraction

    def text(self, number: tuple[str, str], *, flush: bool | None = None) -> str:
        """Place a number.

        Args:
            number: As for ``take``; it has been taken.
            flush: As for ``cells``.
        """
        if self._is_flush(flush):
            return "".join(number).rjust(self._longest)
        return number[0].rjust(self._whole) + number[1].ljust(self._fraction)

    def _is_flush(self, flush: bool | None) -> bool:
        if flush is not None:
            return flush
        return self._whole + self._fraction - self._longest > _WIDEST_HOLE
