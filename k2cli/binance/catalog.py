"""The exchange's catalog: which symbols there are, and what they are made of."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
import structlog
from platformdirs import user_cache_path
from pydantic import BaseModel, ConfigDict, ValidationError

from k2cli.binance.wire import ExchangeInfo
from k2cli.errors import MalformedMessage, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from k2cli.binance.wire import SymbolFilter

TRADING = "TRADING"
FRESH_SECONDS = 86_400.0

log: FilteringBoundLogger = structlog.get_logger()


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
        """Return the entry as ``k2 symbols --json`` prints it."""
        return asdict(self)


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
        try:
            entries = ExchangeInfo.model_validate(reply).symbols
        except ValidationError:
            raise MalformedMessage(
                "the exchange's catalog has no list of symbols"
            ) from None
        infos = [
            SymbolInfo(
                each.symbol,
                each.base_asset,
                each.quote_asset,
                each.status,
                tick_size=_size(each.filters, "PRICE_FILTER", "tick_size"),
                step_size=_size(each.filters, "LOT_SIZE", "step_size"),
            )
            for each in entries
            if each is not None
        ]
        if len(infos) < len(entries):
            log.debug("Skipped catalog entries", count=len(entries) - len(infos))
        return cls(infos, whole=whole, fetched_at_seconds=fetched_at_seconds)

    def __len__(self) -> int:
        return len(self._by_symbol)

    def __iter__(self) -> Iterator[SymbolInfo]:
        return iter(self._by_symbol.values())

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._by_symbol

    def get(self, symbol: str) -> SymbolInfo | None:
        """Return the entry of a symbol, if there is one."""
        return self._by_symbol.get(symbol)

    def select(
        self,
        *,
        text: str = "",
        base: Iterable[str] = (),
        quote: Iterable[str] = (),
        status: str | None = TRADING,
    ) -> list[SymbolInfo]:
        """Return the symbols that fit every condition, by name.

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
        """Return the decimals of the tick size, by symbol, where it is a rule."""
        return _decimals({info.symbol: info.tick_size for info in self})

    def quantity_decimals(self) -> dict[str, int]:
        """Return the decimals of the step size, likewise."""
        return _decimals({info.symbol: info.step_size for info in self})

    def suggestions(self, symbol: str, limit: int = 3) -> list[str]:
        """Return the names that a mistyped symbol may have meant, likeliest first."""
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


def _size(filters: Iterable[SymbolFilter | None] | None, kind: str, name: str) -> str:
    # By type, never by position, which has changed over the years.
    of_kind = [each for each in filters or () if each is not None and each.kind == kind]
    size = getattr(of_kind[-1], name) if of_kind else None
    return size or "0"


class _KeptCatalog(BaseModel):
    """A file of the cache."""

    model_config = ConfigDict(strict=True)

    fetched_at_seconds: float
    symbols: list[SymbolInfo]


class CatalogCache:
    """Keeps whole catalogs between runs. A cache that fails is no error.

    Args:
        folder: Where the files are; the user's cache folder if not given.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or user_cache_path("k2", appauthor=False)

    def load(self, api_url: str) -> Catalog | None:
        """Return the catalog kept for an API, however old, if one is readable."""
        try:
            kept = _KeptCatalog.model_validate_json(self._path(api_url).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as exc:
            log.debug("Ignored the kept catalog", reason=printable(str(exc)))
            return None
        return Catalog(
            kept.symbols, whole=True, fetched_at_seconds=kept.fetched_at_seconds
        )

    def save(self, api_url: str, catalog: Catalog) -> None:
        """Keep a whole catalog, replacing the one before."""
        path = self._path(api_url)
        content = orjson.dumps(
            {
                "fetched_at_seconds": catalog.fetched_at_seconds,
                "symbols": [info.to_dict() for info in catalog],
            }
        )
        # Another k2 may read or write at the same time: replace the file as a whole.
        aside = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(content)
            aside.replace(path)
        except OSError as exc:
            log.debug("Could not keep the catalog", reason=str(exc))

    def _path(self, api_url: str) -> Path:
        slug = re.sub(r"[^a-z0-9.]+", "-", urlsplit(api_url).netloc.lower())
        return self._folder / f"catalog-{slug}.json"
