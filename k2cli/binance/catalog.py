"""The exchange's catalog: which symbols there are, and what they are made of."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from k2cli.errors import MalformedMessage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TRADING = "TRADING"


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """One symbol of the catalog.

    Attributes:
        symbol: E.g. ``"BTCUSDT"``.
        base_asset: E.g. ``"BTC"``.
        quote_asset: E.g. ``"USDT"``.
        status: ``"TRADING"``, ``"BREAK"``, ``"HALT"`` …; unknown ones are kept.
        tick_size: Smallest price step, decimal digits; ``"0"`` if there is no rule.
        step_size: Smallest quantity step, decimal digits; ``"0"`` likewise.
    """

    symbol: str
    base_asset: str
    quote_asset: str
    status: str
    tick_size: str
    step_size: str

    def to_dict(self) -> dict[str, str]:
        """Give the entry as ``k2 symbols --json`` prints it."""
        return {
            "symbol": self.symbol,
            "base_asset": self.base_asset,
            "quote_asset": self.quote_asset,
            "status": self.status,
            "tick_size": self.tick_size,
            "step_size": self.step_size,
        }


class Catalog:
    """Symbols by name.

    Args:
        symbols: The entries.
        whole: Whether these are all symbols of the exchange, or just those asked for.
        fetched_at_seconds: When the exchange gave it, Unix seconds.
    """

    def __init__(
        self, symbols: Iterable[SymbolInfo], *, whole: bool, fetched_at_seconds: float
    ) -> None:
        self._by_symbol = {info.symbol: info for info in symbols}
        self.whole = whole
        self.fetched_at_seconds = fetched_at_seconds

    @classmethod
    def from_exchange_info(
        cls, reply: Mapping[str, Any], *, whole: bool, fetched_at_seconds: float
    ) -> Catalog:
        """Read an ``exchangeInfo`` result.

        Raises:
            MalformedMessage: If it has no list of symbols.
        """
        entries = reply.get("symbols") if isinstance(reply, dict) else None
        if not isinstance(entries, list):
            raise MalformedMessage("the exchange's catalog has no list of symbols")
        infos = (_symbol_info(entry) for entry in entries)
        return cls(
            (info for info in infos if info is not None),
            whole=whole,
            fetched_at_seconds=fetched_at_seconds,
        )

    def __len__(self) -> int:
        return len(self._by_symbol)

    def __iter__(self) -> Iterator[SymbolInfo]:
        return iter(self._by_symbol.values())

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._by_symbol

    def get(self, symbol: str) -> SymbolInfo | None:
        """Give the entry of a symbol, if there is one."""
        return self._by_symbol.get(symbol)

    def select(
        self,
        *,
        text: str = "",
        base: Iterable[str] = (),
        quote: Iterable[str] = (),
        status: str | None = TRADING,
    ) -> list[SymbolInfo]:
        """Give the symbols that fit every condition, by name.

        Args:
            text: Part of the symbol's name; empty for all.
            base: Base assets, any of them; empty for all.
            quote: Quote assets, any of them; empty for all.
            status: Status, or ``None`` for all.
        """
        bases, quotes = set(base), set(quote)
        return sorted(
            (
                info
                for info in self
                if text in info.symbol
                and (not bases or info.base_asset in bases)
                and (not quotes or info.quote_asset in quotes)
                and (status is None or info.status == status)
            ),
            key=lambda info: info.symbol,
        )

    def price_decimals(self) -> dict[str, int]:
        """Give the decimals of the tick size, by symbol, where there is such a rule."""
        return _decimals({info.symbol: info.tick_size for info in self})

    def size_decimals(self) -> dict[str, int]:
        """Give the decimals of the step size, likewise."""
        return _decimals({info.symbol: info.step_size for info in self})

    def suggestions(self, symbol: str, limit: int = 3) -> list[str]:
        """Give the names that a mistyped symbol may have meant, likeliest first."""
        trading = [info for info in self if info.status == TRADING]
        of_base = [
            base + quote
            for base in (symbol,)
            for quote in ("USDT", "USDC", "FDUSD", "BTC", "EUR")
            if base + quote in self
        ]
        names = [info.symbol for info in trading]
        close = difflib.get_close_matches(symbol, names, n=limit, cutoff=0.7)
        return list(dict.fromkeys(of_base + close))[:limit]


def _decimals(sizes: Mapping[str, str]) -> dict[str, int]:
    # A size of zero is a rule that is switched off.
    return {
        symbol: len(size.partition(".")[2].rstrip("0"))
        for symbol, size in sizes.items()
        if size.strip("0.")
    }


def _symbol_info(entry: object) -> SymbolInfo | None:
    """Read one entry; ``None`` for one without the names that make a symbol."""
    if not isinstance(entry, dict):
        return None
    names = [entry.get(key) for key in ("symbol", "baseAsset", "quoteAsset", "status")]
    if not all(isinstance(name, str) for name in names):
        return None
    filters = entry.get("filters")
    # By type, never by position, which has changed over the years.
    by_type = {
        rule.get("filterType"): rule
        for rule in (filters if isinstance(filters, list) else [])
        if isinstance(rule, dict)
    }
    symbol, base, quote, status = map(str, names)
    return SymbolInfo(
        symbol,
        base,
        quote,
        status,
        tick_size=_size(by_type.get("PRICE_FILTER"), "tickSize"),
        step_size=_size(by_type.get("LOT_SIZE"), "stepSize"),
    )


def _size(rule: Mapping[str, Any] | None, key: str) -> str:
    size = rule.get(key) if rule else None
    return size if isinstance(size, str) else "0"
