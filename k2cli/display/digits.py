"""Numbers and times as text for people: grouped, never rounded away, no exponent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

# Quote assets of which one unit is worth so much that cents of it are real money.
_NOTIONAL_DECIMALS = {"BTC": 6, "ETH": 5, "BNB": 4}

_SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
_LEAST_SCALED = 0.0005
_LEAST_PERCENT = 0.005
_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB")


def significant_decimals(digits: str) -> int:
    """Count the decimals up to the last one that is not a padding zero.

    Args:
        digits: Decimal digits, e.g. ``"61837.63000000"``, which gives 2.
    """
    return len(digits.partition(".")[2].rstrip("0"))


def grouped(digits: str, decimals: int | None = None) -> tuple[str, str]:
    """Give a number as its integer part, thousands grouped, and its fraction.

    Args:
        digits: Decimal digits without sign or exponent.
        decimals: Decimals to show; more are shown where the number has more that
            are not zero. ``None`` shows the digits as they are.

    Returns:
        E.g. ``("61,837", ".63")``; the fraction is empty if no decimals are left.
    """
    whole, _, fraction = digits.partition(".")
    if decimals is not None:
        decimals = max(decimals, len(fraction.rstrip("0")))
        fraction = fraction[:decimals].ljust(decimals, "0")
    return f"{int(whole or 0):,}", f".{fraction}" if fraction else ""


def notional_text(notional: Decimal, currency: str) -> str:
    """Give a price times a quantity, rounded for reading.

    Args:
        notional: Amount in the quote asset.
        currency: The quote asset; it decides how many decimals are worth reading.
    """
    return f"{notional:,.{_NOTIONAL_DECIMALS.get(currency, 2)}f}"


def scaled_text(amount: float) -> tuple[str, str]:
    """Give an amount in four digits, so that amounts of any size take the same room.

    Args:
        amount: Not negative.

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


def _four_digits(amount: float) -> str:
    if amount < 9.9995:
        return f"{amount:.3f}"
    if amount < 99.995:
        return f"{amount:.2f}"
    return f"{amount:.1f}" if amount < 999.95 else f"{amount:5,.0f}"


def percent_text(change: float) -> tuple[str, str]:
    """Give a relative change as integer part, with its sign, and fraction.

    Args:
        change: E.g. 0.0042, which gives ``("+0", ".42%")``.
    """
    percent = change * 100
    if abs(percent) < _LEAST_PERCENT:
        return "0", ".00%"
    whole, _, fraction = f"{percent:+,.2f}".partition(".")
    return whole, f".{fraction}%"


def age_text(seconds: float) -> str:
    """Give a time gone by in a few characters: ``now``, ``59s``, ``3m``."""
    if seconds < 1:
        return "now"
    for unit_seconds, letter in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit_seconds:
            return f"{seconds // unit_seconds:.0f}{letter}"
    return f"{int(seconds)}s"


def span_text(seconds: float) -> str:
    """Give a round length of time in words, e.g. ``"5 min"``."""
    for unit_seconds, name in ((3600, "h"), (60, "min")):
        if seconds >= unit_seconds and seconds % unit_seconds == 0:
            return f"{seconds / unit_seconds:.0f} {name}"
    return f"{seconds:g} s"


def rate_text(per_second: float) -> tuple[str, str]:
    """Give a rate as integer part and fraction: a decimal only where it tells.

    Args:
        per_second: Events per second.
    """
    if per_second >= 99.95:
        return f"{per_second:,.0f}", ""
    whole, _, fraction = f"{per_second:.1f}".partition(".")
    return whole, f".{fraction}"


def clock_text(timestamp_us: int) -> str:
    """Give the time of day, UTC, as ``HH:MM:SS.mmm``.

    Args:
        timestamp_us: Unix microseconds.
    """
    seconds, micros = divmod(timestamp_us, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours % 24:02}:{minute:02}:{second:02}.{micros // 1000:03}"


def duration_text(seconds: float) -> str:
    """Give a length of time as ``HH:MM:SS``, with days in front from one day on.

    Args:
        seconds: Length in seconds; a negative one counts as zero.
    """
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour:02}:{minute:02}:{second:02}"
    return f"{days}d {clock}" if days else clock


def size_text(size_bytes: int) -> str:
    """Give a size with a decimal unit, e.g. ``"2.3 MB"``."""
    size = float(size_bytes)
    for unit in _SIZE_UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_SIZE_UNITS[-1]}"
