"""Sets of trade ids, kept as ranges."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class IdRange(NamedTuple):
    """Trade ids from ``first_id`` to ``last_id``, both included."""

    first_id: int
    last_id: int

    @property
    def ids(self) -> int:
        """How many ids these are."""
        return self.last_id - self.first_id + 1


class IdRanges:
    """A set of trade ids, as ascending ranges that do not touch each other.

    Args:
        ranges: First and last ids, in any order; ranges may overlap.

    Attributes:
        ids: How many ids are in the set.
    """

    __slots__ = ("_ranges", "ids")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self.ids = 0
        self._ranges: list[IdRange] = []
        for first_id, last_id in ranges:
            self.add(first_id, last_id)

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._ranges)

    def __iter__(self) -> Iterator[IdRange]:
        return iter(self._ranges)

    def __contains__(self, trade_id: object) -> bool:
        return isinstance(trade_id, int) and self.find(trade_id) is not None

    @property
    def first_id(self) -> int | None:
        """The lowest id; ``None`` if the set is empty."""
        return self._ranges[0].first_id if self._ranges else None

    @property
    def last_id(self) -> int | None:
        """The highest id; ``None`` if the set is empty."""
        return self._ranges[-1].last_id if self._ranges else None

    def find(self, trade_id: int) -> IdRange | None:
        """Return the range that has this id, if one does."""
        touched = self._ranges[self._touching(trade_id, trade_id)]
        return touched[0] if touched else None

    def add(self, first_id: int, last_id: int) -> None:
        """Add the ids from ``first_id`` to ``last_id``."""
        # Neighbours become one range.
        touched = self._touching(first_id - 1, last_id + 1)
        joined = self._ranges[touched]
        if joined:
            first_id = min(first_id, joined[0].first_id)
            last_id = max(last_id, joined[-1].last_id)
        self._replace(touched, [IdRange(first_id, last_id)])

    def remove(self, first_id: int, last_id: int) -> list[IdRange]:
        """Remove the ids from ``first_id`` to ``last_id``; return those it had."""
        removed = self.within(first_id, last_id)
        touched = self._touching(first_id, last_id)
        left = [
            part
            for one in self._ranges[touched]
            for part in (
                IdRange(one.first_id, min(one.last_id, first_id - 1)),
                IdRange(max(one.first_id, last_id + 1), one.last_id),
            )
            if part.first_id <= part.last_id
        ]
        self._replace(touched, left)
        return removed

    def within(self, first_id: int, last_id: int) -> list[IdRange]:
        """Return the part of the set from ``first_id`` to ``last_id``."""
        return [
            IdRange(max(one.first_id, first_id), min(one.last_id, last_id))
            for one in self._ranges[self._touching(first_id, last_id)]
        ]

    def _replace(self, touched: slice, ranges: list[IdRange]) -> None:
        self.ids += sum(one.ids for one in ranges)
        self.ids -= sum(one.ids for one in self._ranges[touched])
        self._ranges[touched] = ranges

    def _touching(self, first_id: int, last_id: int) -> slice:
        """Find the ranges that have any of the ids."""
        return slice(
            bisect_left(self._ranges, first_id, key=lambda one: one.last_id),
            bisect_right(self._ranges, last_id, key=lambda one: one.first_id),
        )
