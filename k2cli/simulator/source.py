"""Where trades come from: what the exchange asks of a market or a tape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from k2cli.simulator.trades import SymbolInfo, Trade


class TradeSource(Protocol):
    """A source of trades that the exchange plays in order."""

    @property
    def exchange_name(self) -> str:
        """``"SIM"`` for a made-up market, else the exchange of the recording."""

    @property
    def symbols(self) -> Mapping[str, SymbolInfo]:
        """The catalog, by symbol."""

    @property
    def waits_for_subscriber(self) -> bool:
        """Whether playing starts only when the first client subscribes."""

    @property
    def waits_for_readers(self) -> bool:
        """Whether a slow reader slows the playing, rather than being thrown out."""

    @property
    def pauses_when_alone(self) -> bool:
        """Whether playing rests while nobody is subscribed to anything."""

    def timeline(self, origin_us: int) -> Iterator[tuple[int, Trade]]:
        """Give the trades in the order in which they are published.

        Args:
            origin_us: When playing starts, Unix microseconds UTC.

        Yields:
            When the trade is due, in microseconds after the start, and the trade.
        """
