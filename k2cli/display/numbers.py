"""Numbers and times as text: grouped, never an exponent, never rounded to nothing.

A number that is aligned on its decimal point is a pair: its integer part, and its
fraction with the point, e.g. ``("61,837", ".63")``.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

# Quote assets of which one unit is worth so much that cents of it are real money.
_NOTIONAL_DECIMALS = {"BTC": 6, "ETH": 5, "BNB": 4}
_LEAST_PRICE_DECIMALS = 2
_SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
_LEAST_SCALED = 0.0005
_LEAST_PERCENT = 0.005
_LONG_LAG_MS = 120_000
_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB")
# Most blank cells that aligned points may leave in a column: a price of 0.00001174
# below one of 61,837.63 would tear it apart.
_WIDEST_HOLE = 2


def significant_decimals(digits: str) -> int:
    """Count the decimals without padding zeros, e.g. 2 for ``"61837.63000000"``."""
    return len(digits.partition(".")[2].rstrip("0"))


def grouped(digits: str, decimals: int | None = None) -> tuple[str, str]:
    """Group the thousands of a number.

    Args:
        digits: Decimal digits without sign or exponent.
        decimals: Decimals to show; more are shown where the number has more that
            are not zero. ``None`` shows the digits as they are.
    """
    whole, _, fraction = digits.partition(".")
    if decimals is not None:
        decimals = max(decimals, len(fraction.rstrip("0")))
        fraction = fraction[:decimals].ljust(decimals, "0")
    return f"{int(whole or 0):,}", f".{fraction}" if fraction else ""


def counted(count: int, noun: str) -> str:
    """Return e.g. ``"1 trade"`` or ``"2,000 trades"``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def notional_text(notional: Decimal, currency: str) -> str:
    """Round price times quantity for reading; the quote asset decides how far."""
    return f"{notional:,.{_NOTIONAL_DECIMALS.get(currency, 2)}f}"


def scaled_text(amount: float) -> tuple[str, str]:
    """Write an amount in four digits, so that all amounts take the same room.

    Returns:
        The digits, e.g. ``"128.4"``, and the scale: ``"K"`` for thousands from 10,000
        on, ``"M"``, ``"B"``, ``"T"``, or a space. What would round to zero reads
        ``<.001``.
    """
    if 0 < amount < _LEAST_SCALED:
        return "<.001", " "
    if amount < 9_999.5:
        return _four_digits(amount), " "
    # Half a digit earlier, as 999,950 reads 1.000 M and not 1000 K.
    unit, letter = next(scale for scale in _SCALES if amount >= scale[0] * 0.99995)
    return _four_digits(amount / unit), letter


def signed_text(amount: float) -> str:
    """Write an amount in four digits with its sign, e.g. ``"+128.4K"``."""
    digits, scale = scaled_text(abs(amount))
    sign = "-" if amount < 0 else "+" if amount > 0 else ""
    return f"{sign}{digits}{scale}".rstrip()


def _four_digits(amount: float) -> str:
    if amount < 9.9995:
        return f"{amount:.3f}"
    if amount < 99.995:
        return f"{amount:.2f}"
    return f"{amount:.1f}" if amount < 999.95 else f"{amount:5,.0f}"


def percent_text(change: float) -> tuple[str, str]:
    """Write a relative change in percent, e.g. ``("+0", ".42%")`` for 0.0042."""
    percent = change * 100
    if abs(percent) < _LEAST_PERCENT:
        return "0", ".00%"
    whole, _, fraction = f"{percent:+,.2f}".partition(".")
    return whole, f".{fraction}%"


def rate_text(per_second: float) -> tuple[str, str]:
    """Write a rate, below 100 with one decimal."""
    if per_second >= 99.95:
        return f"{per_second:,.0f}", ""
    whole, _, fraction = f"{per_second:.1f}".partition(".")
    return whole, f".{fraction}"


def size_text(size_bytes: int) -> str:
    """Write a size with a decimal unit, e.g. ``"2.3 MB"``."""
    size = float(size_bytes)
    for unit in _SIZE_UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_SIZE_UNITS[-1]}"


def age_text(seconds: float) -> str:
    """Write the time since something in a few characters: ``now``, ``59s``, ``3m``."""
    if seconds < 1:
        return "now"
    for unit_seconds, letter in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit_seconds:
            return f"{seconds // unit_seconds:.0f}{letter}"
    return f"{int(seconds)}s"


def span_text(seconds: float) -> str:
    """Write a round length of time in words, e.g. ``"5 min"``."""
    for unit_seconds, name in ((3600, "h"), (60, "min")):
        if seconds >= unit_seconds and seconds % unit_seconds == 0:
            return f"{seconds / unit_seconds:.0f} {name}"
    return f"{seconds:g} s"


def short_span(seconds: float) -> str:
    """Write a round length of time in a few characters, e.g. ``"5m"``."""
    for unit_seconds, letter in ((3600, "h"), (60, "m")):
        if seconds >= unit_seconds and seconds % unit_seconds == 0:
            return f"{seconds / unit_seconds:.0f}{letter}"
    return f"{seconds:g}s"


def duration_text(seconds: float) -> str:
    """Write a length of time as ``HH:MM:SS``, with days in front from one day on."""
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour:02}:{minute:02}:{second:02}"
    return f"{days}d {clock}" if days else clock


def clock_text(timestamp_us: int) -> str:
    """Write the time of day of a Unix timestamp, UTC, as ``HH:MM:SS.mmm``."""
    seconds, micros = divmod(timestamp_us, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours % 24:02}:{minute:02}:{second:02}.{micros // 1000:03}"


def lag_text(lag_us: int) -> str:
    """Say how late trades arrive; a negative lag is a clock that is behind."""
    milliseconds = abs(lag_us) // 1000
    if milliseconds < 1000:
        text = f"{milliseconds} ms"
    elif milliseconds < _LONG_LAG_MS:
        text = f"{milliseconds / 1000:.1f} s"
    else:
        text = age_text(milliseconds / 1000)
    return f"lag {text}" if lag_us >= 0 else f"clock behind by {text}"


@dataclass(slots=True)
class Precision:
    """Writes prices and sizes with as many decimals as their symbol has.

    Args:
        price_decimals: Decimals of a symbol's tick size, by symbol. Where unknown, the
            most decimals seen so far are shown, so that numbers do not jitter.
        size_decimals: Decimals of a symbol's step size, likewise.
    """

    price_decimals: Mapping[str, int] = field(default_factory=dict)
    size_decimals: Mapping[str, int] = field(default_factory=dict)
    _prices: defaultdict[str, int] = field(
        default_factory=lambda: defaultdict(lambda: _LEAST_PRICE_DECIMALS), init=False
    )
    _sizes: defaultdict[str, int] = field(
        default_factory=lambda: defaultdict(int), init=False
    )

    def price(self, symbol: str, digits: str) -> tuple[str, str]:
        """Write a price as received."""
        return _written(digits, symbol, self.price_decimals, self._prices)

    def mean_price(self, symbol: str, price: float) -> tuple[str, str]:
        """Write a computed price, rounded to the symbol's decimals."""
        return _rounded(price, symbol, self.price_decimals, self._prices)

    def size(self, symbol: str, digits: str) -> tuple[str, str]:
        """Write a size as received."""
        return _written(digits, symbol, self.size_decimals, self._sizes)

    def amount(self, symbol: str, amount: float) -> tuple[str, str]:
        """Write a computed size, rounded to the symbol's decimals."""
        return _rounded(amount, symbol, self.size_decimals, self._sizes)


def _written(
    digits: str, symbol: str, known: Mapping[str, int], seen: dict[str, int]
) -> tuple[str, str]:
    decimals = known.get(symbol)
    if decimals is None:
        decimals = max(seen[symbol], significant_decimals(digits))
        seen[symbol] = decimals
    return grouped(digits, decimals)


def _rounded(
    amount: float, symbol: str, known: Mapping[str, int], seen: dict[str, int]
) -> tuple[str, str]:
    decimals = known.get(symbol)
    if decimals is None:
        decimals = seen[symbol]
    whole, _, fraction = f"{amount:,.{decimals}f}".partition(".")
    return whole, f".{fraction}" if fraction else ""


class NumberColumn:
    """Places numbers one below the other; it only grows, so that nothing jitters.

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

    def widen(self, number: tuple[str, str]) -> None:
        """Make room for a number."""
        whole, fraction = map(len, number)
        self._whole = max(self._whole, whole)
        self._fraction = max(self._fraction, fraction)
        self._longest = max(self._longest, whole + fraction)

    def cells(self, *, flush: bool | None = None) -> int:
        """Return the column's width.

        Args:
            flush: Whether numbers are flush right; ``None``: if that looks better.
        """
        return self._longest if self._is_flush(flush) else self._whole + self._fraction

    def text(self, number: tuple[str, str], *, flush: bool | None = None) -> str:
        """Place a number that the column has room for; ``flush`` as for ``cells``."""
        if self._is_flush(flush):
            return "".join(number).rjust(self._longest)
        return number[0].rjust(self._whole) + number[1].ljust(self._fraction)

    def _is_flush(self, flush: bool | None) -> bool:
        if flush is not None:
            return flush
        return self._whole + self._fraction - self._longest > _WIDEST_HOLE
