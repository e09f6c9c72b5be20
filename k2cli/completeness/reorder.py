"""Keeping trades in order: later ones wait while a gap before them is filled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k2cli.trade import TradeBatch


class ReorderBuffer(Protocol):
    """Holds trades that have come but may not be handed on yet.

    A symbol's trades are ordered by how often the exchange
    had begun to count them anew (``resets``), then by id.
    """

    @property
    def trades(self) -> int:
        """How many wait, of all symbols."""

    @property
    def persists(self) -> bool:
        """Whether what waits at the end of a run is there for the next one."""

    @property
    def is_full(self) -> bool:
        """Whether no more should wait: a gap is to be given up."""

    def __contains__(self, symbol: object) -> bool:
        """Whether trades of a symbol wait."""

    def first(self, symbol: str) -> tuple[int, int] | None:
        """Return resets and id of the symbol's first trade; ``None`` if none waits."""

    def recover(self) -> Iterator[TradeBatch]:
        """Return what an earlier run has left, in the order in which it came."""

    def push(self, batch: TradeBatch, resets: int) -> None:
        """Let trades wait, of any symbols."""

    def push_again(self, trade: TradeBatch, resets: int) -> None:
        """Let a trade wait that an earlier run has left here and that was just read."""

    def pop(
        self, symbol: str, before_id: int | None, resets: int, most: int
    ) -> list[TradeBatch]:
        """Take out the symbol's first trades, in order, in one or several batches.

        Args:
            symbol: The symbol.
            before_id: Only lower ids, so that nothing is missing before them; any if
                ``None``.
            resets: Which count that id is of; trades of an earlier one go before it.
            most: How many at most.
        """
