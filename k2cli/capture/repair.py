"""Repairing gaps from the exchange's history: what to ask for, and when to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k2cli.capture.sequence import IdRange

# The most trades that one request of the history gives.
PAGE_TRADES = 1000
# A trade that was jumped over is often on its way, by another connection say.
SETTLE_SECONDS = 0.3
# When to look again for ids that the history did not have: it is read from a database
# that may trail the stream by a moment. After the last look they are lost.
LOOK_AGAIN_SECONDS = (0.5, 1.0, 2.0, 4.0)


@dataclass(slots=True)
class Piece:
    """A part of a gap that is to be asked for.

    Attributes:
        symbol: Whose.
        first_id: First id wanted.
        last_id: Last id wanted.
        due_seconds: Not to be asked for before.
        looks: How often the history was found not to have it.
    """

    symbol: str
    first_id: int
    last_id: int
    due_seconds: float
    looks: int = 0


class RepairPlan:
    """The pieces that are to be asked for, the one that is due next first."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(
        self,
        symbol: str,
        first_id: int,
        last_id: int,
        now_seconds: float,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """Add a gap.

        Args:
            symbol: Whose.
            first_id: First id missing.
            last_id: Last id missing.
            now_seconds: The time now, by a monotonic clock.
            settle_seconds: How long to wait for the trades to come by themselves.
        """
        due = now_seconds + settle_seconds
        self._pieces.append(Piece(symbol, first_id, last_id, due))

    def take(self, now_seconds: float) -> Piece | None:
        """Take out the next piece that is due, if one is."""
        piece = min(self._pieces, key=lambda piece: piece.due_seconds, default=None)
        if piece is None or piece.due_seconds > now_seconds:
            return None
        self._pieces.remove(piece)
        return piece

    def due_in_seconds(self, now_seconds: float) -> float | None:
        """Tell how long until a piece is due; ``None`` if there is no piece."""
        due = min((piece.due_seconds for piece in self._pieces), default=None)
        return None if due is None else max(due - now_seconds, 0.0)

    def put_back(self, piece: Piece, due_seconds: float) -> None:
        """Ask for a piece again later: no answer was had, which is not its fault."""
        piece.due_seconds = due_seconds
        self._pieces.append(piece)

    def not_before(self, due_seconds: float) -> None:
        """Let all pieces wait at least so long."""
        for piece in self._pieces:
            piece.due_seconds = max(piece.due_seconds, due_seconds)

    def answered(
        self,
        piece: Piece,
        page: list[int],
        missing: list[IdRange],
        now_seconds: float,
    ) -> list[IdRange]:
        """Work out what an answer leaves to be done.

        Args:
            piece: What was asked for, with the page size ``PAGE_TRADES`` at most.
            page: All trade ids of the answer, ascending.
            missing: The ids of the piece that are missing still.
            now_seconds: The time now.

        Returns:
            Ids to give up: they were not there at several looks.
        """
        asked = min(piece.last_id - piece.first_id + 1, PAGE_TRADES)
        full = len(page) >= asked
        # A page that ends early is the end of the history: all of it was looked for.
        seen_to = page[-1] if full and page else piece.last_id
        absent = [(a, min(b, seen_to)) for a, b in missing if a <= seen_to]
        unseen = [(max(a, seen_to + 1), b) for a, b in missing if b > seen_to]
        if unseen:
            rest = Piece(piece.symbol, unseen[0][0], unseen[-1][1], now_seconds)
            self._pieces.append(rest)
        if not absent:
            return []
        if piece.looks >= len(LOOK_AGAIN_SECONDS):
            return absent
        due = now_seconds + LOOK_AGAIN_SECONDS[piece.looks]
        again = Piece(piece.symbol, absent[0][0], absent[-1][1], due, piece.looks + 1)
        self._pieces.append(again)
        return []
