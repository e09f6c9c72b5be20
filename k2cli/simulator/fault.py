"""What a fault is: something that goes wrong, at which position, how it is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from k2cli.simulator.fault_arguments import Arguments
    from k2cli.simulator.levers import Levers


@dataclass(frozen=True, slots=True)
class Fault(ABC):
    """Something that goes wrong.

    Attributes:
        position: After how many published trades, over all symbols; 0: at the start.
    """

    name: ClassVar[str]
    syntax: ClassVar[str]
    effect: ClassVar[str]

    position: int

    @classmethod
    @abstractmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Make the fault from its arguments."""

    @abstractmethod
    def strike(self, levers: Levers) -> None:
        """Let it happen."""
