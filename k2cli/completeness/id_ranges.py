"""Sets of trade ids, kept as ranges."""

from __future__ import annotations

from array import array
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

    # Two numbers a range: after an outage there may be very many.
    __slots__ = ("_firsts", "_lasts", "ids")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self.ids = 0
        self._firsts, self._lasts = array("q"), array("q")
        for first_id, last_id in ranges:
            self.add(first_id, last_id)

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._firsts)

    def __iter__(self) -> Iterator[IdRange]:
        return map(IdRange, self._firsts, self._lasts)

    def __contains__(self, trade_id: object) -> bool:
        return isinstance(trade_id, int) and self.find(trade_id) is not None

    @property
    def first_id(self) -> int | None:
        """The lowest id; ``None`` if the set is empty."""
        return self._firsts[0] if self._firsts else None

    @property
    def last_id(self) -> int | None:
        """The highest id; ``None`` if the set is empty."""
        return self._lasts[-1] if self._lasts else None

    def find(self, trade_id: int) -> IdRange | None:
        """Return the range that has this id, if one does."""
        index = bisect_left(self._lasts, trade_id)
        if index < len(self._lasts) and self._firsts[index] <= trade_id:
            return IdRange(self._firsts[index], self._lasts[index])
        return None

    def add(self, first_id: int, last_id: int) -> None:
        """Add the ids from ``first_id`` to ``last_id``."""
        # Neighbours become one range.
        touched = self._touching(first_id - 1, last_id + 1)
        if touched.start < touched.stop:
            first_id = min(first_id, self._firsts[touched.start])
            last_id = max(last_id, self._lasts[touched.stop - 1])
        self._replace(touched, [IdRange(first_id, last_id)])

    def remove(self, first_id: int, last_id: int) -> list[IdRange]:
        """Remove the ids from ``first_id`` to ``last_id``; return those it had."""
        removed = self.within(first_id, last_id)
        touched = self._touching(first_id, last_id)
        left = [
            part
            for one in self._of(touched)
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
            for one in self._of(self._touching(first_id, last_id))
        ]

    def _of(self, touched: slice) -> Iterator[IdRange]:
        return map(IdRange, self._firsts[touched], self._lasts[touched])

    def _replace(self, touched: slice, ranges: list[IdRange]) -> None:
        self.ids += sum(one.ids for one in ranges)
        self.ids -= sum(one.ids for one in self._of(touched))
        self._firsts[touched] = array("q", [one.first_id for one in ranges])
        self._lasts[touched] = array("q", [one.last_id for one in ranges])

    def _touching(self, first_id: int, last_id: int) -> slice:
        """Find the ranges that have any of the ids."""
        return slice(
            bisect_left(self._lasts, first_id), bisect_right(self._firsts, last_id)
        )
