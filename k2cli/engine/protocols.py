"""What a run needs: a venue to take trades from, and sinks to hand them to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from k2cli.completeness.id_ranges import IdRange
    from k2cli.completeness.ledger import Ledger
    from k2cli.completeness.reorder import ReorderBuffer
    from k2cli.trade import TradeBatch


class SymbolSet(Protocol):
    """The symbols of a run, and what is known of them."""

    @property
    def symbols(self) -> Sequence[str]:
        """As the exchange spells them, in order."""

    @property
    def warnings(self) -> Sequence[str]:
        """What the user should know about them, a line each."""

    def price_decimals(self) -> Mapping[str, int]:
        """Return the decimals of the price step, by symbol, as far as known."""

    def quantity_decimals(self) -> Mapping[str, int]:
        """Return the decimals of the quantity step, by symbol, as far as known."""


class StreamHealth(Protocol):
    """How the connections of a stream are, all together."""

    @property
    def live(self) -> int:
        """How many are connected."""

    @property
    def connections(self) -> int:
        """How many there should be."""

    @property
    def retry_in_seconds(self) -> float | None:
        """Time until the next attempt of the one that waits longest, if one waits."""

    @property
    def failures(self) -> int:
        """How many attempts of that one have failed in a row."""

    @property
    def is_redundant(self) -> bool:
        """Whether there should be two connections for every symbol."""

    @property
    def delivers(self) -> bool:
        """Whether there is at least one for every symbol."""


class TradeStream(Protocol):
    """Live trades of some symbols.

    Attributes:
        first_with: How many trades each of two redundant connections was first with, by
            its name and host.
    """

    first_with: Counter[tuple[str, str]]

    @property
    def reconnects(self) -> int:
        """How many connections were made after the first ones."""

    async def connect(self) -> None:
        """Receive until disconnected.

        Raises:
            ExchangeUnreachable: If the exchange cannot be reached, or not any more.
            ExchangeRefused: If it does not serve this address.
        """

    async def disconnect(self) -> None:
        """End gracefully: what has arrived is still handed on."""

    def health(self) -> StreamHealth:
        """Return how the connections are."""

    def replace_connection(self, symbol: str, reason: str) -> None:
        """Have a symbol's connection replaced by a new one."""


class TradeHistory(Protocol):
    """Past trades of the same symbols. Methods raise as those of the API client do."""

    def extend(self, symbols: SymbolSet) -> None:
        """Give access to the past trades of further symbols."""

    @property
    def requests_per_minute(self) -> float:
        """How many pages the request budget allows."""

    def reserve(self) -> float:
        """Take the cost of one page from the request budget, if that has room.

        What was taken is spent on the next ``page`` or ``newest``.

        Returns:
            0 if it may be asked for now; else the seconds to wait.
        """

    async def page(self, symbol: str, first_id: int, most: int) -> TradeBatch | None:
        """Return trades by ascending id, from ``first_id`` on; ``None`` if none are."""

    async def newest(self, symbol: str) -> TradeBatch | None:
        """Return the newest trade; ``None`` if there is none."""

    async def newest_ids(self, symbols: Sequence[str]) -> Mapping[str, int] | None:
        """Return the ids of newest trades, of symbols that have traded in 24 hours.

        However many symbols are named, it costs no more than a few pages.

        Returns:
            ``None`` if the request budget has no room for it now.
        """

    async def ids_since(self, symbol: str, time_us: int) -> IdRange | None:
        """Return the ids of the trades made since a time; ``None`` if none were.

        Args:
            symbol: One of the symbols.
            time_us: Trade time, Unix microseconds.
        """

    async def close(self) -> None:
        """Close the connection; the next call opens another one."""


class Venue(Protocol):
    """An exchange. A second one is a second class with these methods."""

    @property
    def name(self) -> str:
        """What to call it, fit for printing: a host, a file."""

    async def look_up(self) -> SymbolSet:
        """Choose the symbols to follow, and look them up.

        Raises:
            UnknownSymbol: If one does not exist, or none fits the conditions.
            K2Error: If all are asked for and no catalog can be had.
        """

    def stream(
        self,
        symbols: SymbolSet,
        on_batch: Callable[[TradeBatch], Awaitable[None] | None],
        on_live: Callable[[], None],
    ) -> TradeStream:
        """Return a stream of the trades of these symbols, not connected yet.

        Args:
            symbols: As ``look_up`` has returned them.
            on_batch: Called with trades as they come; an awaitable that it returns
                holds the connection back until it is done.
            on_live: Called when a connection is made.
        """

    def history(self, symbols: SymbolSet) -> TradeHistory:
        """Return access to the past trades of these symbols."""


class Sink(Protocol):
    """Where the trades of a run go.

    Attributes:
        on_failure: To be called with a failure that no method can raise, because it
            shows later. The session sets it.
    """

    on_failure: Callable[[Exception], None]

    @property
    def journal(self) -> ReorderBuffer | None:
        """Where trades wait for a gap before them; ``None`` for a temporary file."""

    @property
    def in_order(self) -> bool:
        """Whether trades of a symbol must come by ascending id, not at once."""

    async def open(self, symbols: SymbolSet, ledger: Ledger) -> None:
        """Begin, or resume: then tell the ledger's trackers where each symbol stopped.

        Raises:
            OutputError: If it cannot be written.
        """

    async def extend(self, ledger: Ledger) -> None:
        """Make ready for further symbols, those of a ledger that has no others.

        Tell their trackers where each one stopped.

        Raises:
            OutputError: If that cannot be read.
        """

    def write(self, batch: TradeBatch) -> Awaitable[None] | None:
        """Take trades; an awaitable that is returned holds the stream back.

        Raises:
            OutputError: If they cannot be written.
        """

    def lost(self, symbol: str, ids: IdRange) -> None:
        """Note ids that were given up, before anything behind them is written."""

    async def flush(self) -> None:
        """Return when all that was written is acknowledged by whoever takes it.

        Raises:
            OutputError: If it was not.
        """

    async def close(self) -> None:
        """End, whatever happened; harmless if it never began."""
