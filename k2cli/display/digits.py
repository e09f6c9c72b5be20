"""Numbers and times as text for people: grouped, never rounded away, no exponent."""

from __future__ import annotations

from decimal import Decimal

# Quote assets of which one unit is worth so much that cents of it are real money.
_NOTIONAL_DECIMALS = {"BTC": 6, "ETH": 5, "BNB": 4}

# Thousands only from 100,000 on: five digits read well as they are.
_SCALES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**5, "K"))
_LEAST_VOLUME = Decimal("0.0005")
_SCALE_UNITS = {"T": 10**12, "B": 10**9, "M": 10**6, "K": 10**3}
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


def volume_text(volume: Decimal) -> tuple[str, str, str]:
    """Give a sum of quantities in at most seven characters before the point.

    Args:
        volume: Sum in the base asset, not negative.

    Returns:
        Integer part, fraction with its point, and scale (``"K"`` for thousands from
        100,000 on, ``"M"``, ``"B"``, ``"T"``, else empty). What would round to zero
        reads ``<0.001``.
    """
    scale = next((letter for floor, letter in _SCALES if volume >= floor), "")
    shown = volume / _SCALE_UNITS[scale] if scale else volume
    if 0 < shown < _LEAST_VOLUME:
        return "<0", ".001", ""
    whole, _, fraction = f"{shown:,.3f}".partition(".")
    return whole, f".{fraction}", scale


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
