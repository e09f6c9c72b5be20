"""When a capture goes on in a new file, and what the finished one is called."""

from __future__ import annotations

import re
from dataclasses import dataclass

from k2cli.capture.compression import ENDINGS
from k2cli.errors import SettingsError, printable

_SIZE_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_TIME_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# Enough for a trillion trades to sort by name.
_SEQUENCE_DIGITS = 12
_NEVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Rotation:
    """When to go on in a new file; one of the two is given.

    Attributes:
        size_bytes: No file gets larger than this, unless it holds a single line.
        period_seconds: Files end at the multiples of this, counted in UTC.
    """

    size_bytes: int | None = None
    period_seconds: int | None = None

    def period_end_us(self, now_us: int) -> int | None:
        """Tell when a file that is begun now is to end.

        Args:
            now_us: Unix microseconds UTC.

        Returns:
            Unix microseconds UTC, later than now; ``None`` if size alone decides.
        """
        if self.period_seconds is None:
            return None
        period_us = self.period_seconds * 1_000_000
        return (now_us // period_us + 1) * period_us


class Rotating:
    """Decides when the file being written is finished.

    Args:
        rotation: The rule.
        first_sequence: ``platform_sequence`` of the file's first record.
        begun_us: When that was received, Unix microseconds UTC; anything if there is
            none yet.

    Attributes:
        first_sequence: ``platform_sequence`` of the file's first record.
    """

    def __init__(self, rotation: Rotation, first_sequence: int, begun_us: int) -> None:
        self._rotation = rotation
        self._size_limit_bytes = rotation.size_bytes or _NEVER
        self.begin(first_sequence, begun_us)

    def due(self, size_bytes: int, line_bytes: int, now_us: int) -> bool:
        """Whether the next line belongs in a new file.

        Args:
            size_bytes: Size of the file; one without records is never finished.
            line_bytes: Size of the line.
            now_us: When the trade was received, Unix microseconds UTC.
        """
        if not size_bytes:
            self.begin(self.first_sequence, now_us)
            return False
        return (
            now_us >= self._period_end_us
            or size_bytes + line_bytes > self._size_limit_bytes
        )

    def begin(self, first_sequence: int, now_us: int) -> None:
        """Take note of a new file; see the arguments of the class."""
        self.first_sequence = first_sequence
        self._period_end_us = self._rotation.period_end_us(now_us) or _NEVER


def rotation(text: str) -> Rotation:
    """Read a size such as ``100MB`` or ``1GiB``, or a time such as ``1h`` or ``1d``.

    Raises:
        SettingsError: If it is neither.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)", text.strip(), re.ASCII)
    if found:
        size_unit = _SIZE_UNITS.get(found[2].lower())
        size_bytes = int(float(found[1]) * size_unit) if size_unit else 0
        if size_bytes:
            return Rotation(size_bytes=size_bytes)
        # An M is a month to some and a megabyte to others: only an m is a minute.
        time_unit = _TIME_UNITS.get(found[2])
        period_seconds = int(float(found[1]) * time_unit) if time_unit else 0
        if period_seconds:
            return Rotation(period_seconds=period_seconds)
    raise SettingsError(
        f"'{printable(text)}' is no size or time to rotate at",
        "Write 100MB, 1GiB, 1h or 1d",
    )


def finished_name(name: str, first_sequence: int) -> str:
    """Name a finished file.

    Args:
        name: Name of the file being written, e.g. ``trades.jsonl.gz``.
        first_sequence: ``platform_sequence`` of the finished file's first record.

    Returns:
        E.g. ``trades.000000000001.jsonl.gz``.
    """
    stem, ending = _parts(name)
    return f"{stem}.{first_sequence:0{_SEQUENCE_DIGITS}}{ending}"


def finished_sequence(finished: str, name: str) -> int | None:
    """Tell which ``platform_sequence`` a finished file begins with, by its name.

    Args:
        finished: A file's name.
        name: Name of the file being written.

    Returns:
        ``None`` if the first is not a finished file of the second.
    """
    stem, ending = _parts(name)
    if not (finished.startswith(f"{stem}.") and finished.endswith(ending)):
        return None
    digits = finished[len(stem) + 1 : len(finished) - len(ending)]
    if not re.fullmatch(rf"\d{{{_SEQUENCE_DIGITS},18}}", digits, re.ASCII):
        return None
    return int(digits)


def _parts(name: str) -> tuple[str, str]:
    compressed = next((ending for ending in ENDINGS if name.endswith(ending)), "")
    plain = name.removesuffix(compressed)
    stem, dot, kind = plain.rpartition(".")
    if not stem:
        return plain, compressed
    return stem, dot + kind + compressed
