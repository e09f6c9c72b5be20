"""How large a trade is beside the others, in marks that the eye finds."""

from __future__ import annotations

MARK = "◆"

# A mean of fewer trades says little about what is usual.
_LEAST_TRADES = 20
_MOST_MARKS = 3


class Magnitude:
    """Marks trades that are larger than usual: ``◆`` for every factor of ten.

    What is usual is the mean notional of the symbol's trades so far or, where only
    trades of a least notional are looked at, that.

    Args:
        least_notional: The least notional looked at, in the quote asset; 0 for any.
    """

    def __init__(self, least_notional: float = 0.0) -> None:
        self._least_notional = least_notional
        # By symbol: trades so far, and the sum of what they were worth.
        self._sums: dict[str, tuple[int, float]] = {}

    def marks(self, symbol: str, notional: float) -> str:
        """Give a trade's marks, at most three; empty for a usual one.

        Args:
            symbol: The symbol; with its quote asset goes the scale.
            notional: What the trade is worth, in the quote asset.
        """
        usual = self._least_notional or self._usual(symbol, notional)
        count = 0
        while usual and count < _MOST_MARKS and notional >= usual * 10:
            usual *= 10
            count += 1
        return MARK * count

    def _usual(self, symbol: str, notional: float) -> float:
        trades, total = self._sums.get(symbol, (0, 0.0))
        self._sums[symbol] = trades + 1, total + notional
        return total / trades if trades >= _LEAST_TRADES else 0.0
