"""Faults as they are written on a command line, and the order in which they strike."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from k2cli.errors import SettingsError
from k2cli.simulator.fault_arguments import Arguments
from k2cli.simulator.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from k2cli.simulator.fault import Fault

_BY_NAME = {kind.name: kind for kind in FAULTS}


def parse_fault(text: str) -> Fault:
    """Read a fault.

    Args:
        text: ``NAME@POSITION[:ARG…]``, e.g. ``"skip@200:5"``.

    Raises:
        SettingsError: It cannot be read; the error says what is allowed.
    """
    name, at, rest = text.strip().partition("@")
    kind = _BY_NAME.get(name)
    if kind is None:
        raise SettingsError(
            f"there is no fault {name!r}", f"There are {', '.join(_BY_NAME)}"
        )
    position, *given = rest.split(":")
    arguments = Arguments(text, kind.syntax, given)
    if not at or not (position.isascii() and position.isdigit()) or len(position) > 15:
        raise arguments.wrong("its position is no whole number")
    fault = kind.read(int(position), arguments)
    arguments.end()
    return fault


def fault_help() -> list[tuple[str, str]]:
    """Give the syntax of each fault and what it does, for a command's help."""
    return [(kind.syntax, kind.effect) for kind in FAULTS]


class FaultSchedule:
    """Faults by position, the next one first; equal ones as they were added.

    Args:
        faults: In any order.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._added = 0
        self._queue: list[tuple[int, int, Fault]] = []
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        """Add a fault; one whose position has passed strikes at the next chance."""
        heappush(self._queue, (fault.position, self._added, fault))
        self._added += 1

    def room(self, published: int) -> int | None:
        """Tell how many trades may be published before the next fault, if any."""
        return max(0, self._queue[0][0] - published) if self._queue else None

    def due(self, published: int) -> list[Fault]:
        """Take the faults whose position is reached."""
        due = []
        while self._queue and self._queue[0][0] <= published:
            due.append(heappop(self._queue)[2])
        return due
