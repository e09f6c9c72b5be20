"""A market shared out among machines, by a hash of each symbol's name."""

from __future__ import annotations

from typing import NamedTuple

MOST_SHARDS = 1_000


class Shard(NamedTuple):
    """One machine's share of the symbols.

    Attributes:
        number: Which share, from 1 on.
        total: How many there are.
    """

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    def has(self, symbol: str) -> bool:
        """Return whether a symbol is in this share, and therefore in no other one.

        It depends on nothing but the name and the total. With one machine more, only
        the symbols that go to the new one move.

        Args:
            symbol: As the exchange spells it.
        """
        from hashlib import sha256  # not where only help is printed

        # Every share draws a number for the symbol; the highest one gets it.
        draws = (
            sha256(f"{number} {symbol}".encode()).digest()
            for number in range(1, self.total + 1)
        )
        _, winner = max((draw, number) for number, draw in enumerate(draws, 1))
        return winner == self.number
