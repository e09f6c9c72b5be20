"""Bursts: a steady market's time, stretched and squeezed."""

from __future__ import annotations

_PERIOD_US = 10_000_000
_CALM_US = 9_000_000


class Tempo:
    """Makes the last second of every ten busier than the others.

    Args:
        burst: How many times busier; 1 leaves time as it is.
    """

    def __init__(self, burst: float) -> None:
        self._burst = burst
        # How fast the steady time passes in a calm second, so that ten seconds of one
        # are ten of the other.
        self._calm_speed = _PERIOD_US / (_CALM_US + (_PERIOD_US - _CALM_US) * burst)

    def played_us(self, steady_us: int) -> int:
        """Give when something happens that would happen at a time if all were steady.

        Args:
            steady_us: Microseconds since the market opened, as is the result.
        """
        if self._burst == 1:
            return steady_us
        periods, rest_us = divmod(steady_us, _PERIOD_US)
        calm_us = _CALM_US * self._calm_speed
        if rest_us < calm_us:
            return periods * _PERIOD_US + int(rest_us / self._calm_speed)
        burst_us = (rest_us - calm_us) / (self._calm_speed * self._burst)
        return periods * _PERIOD_US + _CALM_US + int(burst_us)
