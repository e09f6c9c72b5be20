"""A line of the table, and the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Goal:
    """What is promised of a ratio."""

    text: str
    is_met: Callable[[float], bool]


def at_least(ratio: float) -> Goal:
    """Give the goal of a ratio of which more is better."""
    return Goal(f">= {ratio:g}", lambda value: value >= ratio)


def at_most(ratio: float) -> Goal:
    """Give the goal of a ratio of which less is better."""
    return Goal(f"<= {ratio:g}", lambda value: value <= ratio)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: What was measured.
        unit: Of the figures.
        ours: k2's figures, one for each round.
        against: What it is compared with.
        theirs: Its figures, of the same rounds.
        goal: What the ratio should be, if anything.
        note: What else there is to say.
    """

    name: str
    unit: str
    ours: Sequence[float]
    against: str
    theirs: Sequence[float]
    goal: Goal | None = None
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """Ours by theirs, round by round."""
        return [
            a / b if b else 0.0 for a, b in zip(self.ours, self.theirs, strict=True)
        ]


_HEADER = ("what", "k2", "against", "", "ratio", "min..max", "goal", "met")
_WIDTHS = (40, 20, 27, 8, 6, 12, 7, 3)


def header() -> str:
    """Give the table's first lines."""
    return f"{_columns(_HEADER)}\n{'-' * (sum(_WIDTHS) + 2 * len(_WIDTHS))}"


def line(row: Row) -> str:
    """Give a row's line."""
    ratios = row.ratios
    ratio = median(ratios)
    return _columns(
        (
            row.name,
            f"{_figure(median(row.ours))} {row.unit}",
            row.against,
            _figure(median(row.theirs)),
            f"{ratio:.2f}",
            f"{min(ratios):.2f}..{max(ratios):.2f}",
            row.goal.text if row.goal else "",
            ("yes" if row.goal.is_met(ratio) else "NO") if row.goal else "",
        )
    ) + (f"  {row.note}" if row.note else "")


def _columns(cells: Sequence[str]) -> str:
    def each() -> Iterator[str]:
        for cell, width in zip(cells, _WIDTHS, strict=True):
            yield cell.ljust(width)

    return "  ".join(each()).rstrip()


def _figure(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
