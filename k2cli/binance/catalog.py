"""The exchange's catalog: which symbols there are, and what they are made of."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from platformdirs import user_cache_path
from pydantic import BaseModel, ConfigDict, ValidationError

from k2cli.binance.streams import catalog_file_name, exchange_of
from k2cli.binance.wire import DecimalDigits, ExchangeInfo, Lenient, Name, Status
from k2cli.errors import MalformedMessage, UnknownSymbol, printable
from k2cli.files import read_bounded, replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from k2cli.binance.wire import SymbolFilter

TRADING = "TRADING"
FRESH_SECONDS = 86_400.0
# Some 20 times what the whole catalog takes.
MAX_KEPT_BYTES = 16 * 2**20

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

    symbol: Name
    base_asset: Name
    quote_asset: Name
    status: Status
    tick_size: DecimalDigits
    step_size: DecimalDigits

    def to_dict(self) -> dict[str, str]:
        """Return the entry as ``k2 symbols --json`` prints it."""
        return asdict(self)


class Catalog:
    """Symbols by name.

    Args:
        symbols: The entries.
        whole: Whether these are all symbols of the exchange, or just those asked for.
        fetched_at_seconds: When the exchange gave it, Unix seconds.
        skipped: How many entries were left out, as they were not what is documented.
    """

    def __init__(
        self,
        symbols: Iterable[SymbolInfo],
        *,
        whole: bool,
        fetched_at_seconds: float,
        skipped: int = 0,
    ) -> None:
        self._by_symbol = {info.symbol: info for info in symbols}
        self.skipped = skipped
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
        skipped = len(entries) - len(infos)
        if skipped:
            log.warning("Skipped catalog entries that are not as documented", n=skipped)
        return cls(
            infos,
            whole=whole,
            fetched_at_seconds=fetched_at_seconds,
            skipped=skipped,
        )

    @property
    def is_credible(self) -> bool:
        """Whether it can be the catalog of an exchange that is open."""
        return self.skipped <= len(self) and any(
            info.status == TRADING for info in self
        )

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

    def check_assets(self, *, base: Iterable[str], quote: Iterable[str]) -> None:
        """See that there are such assets.

        Args:
            base: Base assets, as the exchange spells them.
            quote: Quote assets, likewise.

        Raises:
            UnknownSymbol: If there is no symbol with one of them; the hint says which
                may have been meant.
        """
        for kind, wanted, known in (
            ("base", base, {info.base_asset for info in self}),
            ("quote", quote, {info.quote_asset for info in self}),
        ):
            for asset in wanted:
                if asset not in known:
                    close = difflib.get_close_matches(asset, known, n=3, cutoff=0.6)
                    raise UnknownSymbol(
                        f"the exchange has no symbol with the {kind} asset "
                        f"{printable(asset, 40)}",
                        f"Did you mean {' or '.join(close)}?"
                        if close
                        else "'k2 symbols' lists those it has",
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
    """A file of the cache: anybody may have written it."""

    model_config = ConfigDict(strict=True)

    exchange: str
    fetched_at_seconds: float
    symbols: list[Lenient[SymbolInfo]]


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
            content = read_bounded(self._path(api_url), MAX_KEPT_BYTES, own=True)
            kept = _KeptCatalog.model_validate_json(content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            log.debug("Ignored the kept catalog", reason=printable(str(exc)))
            return None
        symbols = [each for each in kept.symbols if each is not None]
        catalog = Catalog(
            symbols,
            whole=True,
            fetched_at_seconds=kept.fetched_at_seconds,
            skipped=len(kept.symbols) - len(symbols),
        )
        if kept.exchange != exchange_of(api_url) or not catalog.is_credible:
            log.debug("Ignored the kept catalog", exchange=printable(kept.exchange))
            return None
        return catalog

    def save(self, api_url: str, catalog: Catalog) -> None:
        """Keep a whole catalog, replacing the one before; one beyond belief is not."""
        if not catalog.is_credible:
            return
        try:
            path = self._path(api_url)
            content = orjson.dumps(
                {
                    "exchange": exchange_of(api_url),
                    "fetched_at_seconds": catalog.fetched_at_seconds,
                    "symbols": [info.to_dict() for info in catalog],
                }
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            # Another k2 may read or write at the same time.
            replace_file(path, content, private=True)
        except (OSError, ValueError) as exc:
            log.debug("Could not keep the catalog", reason=printable(str(exc)))

    def _path(self, api_url: str) -> Path:
        return self._folder / catalog_file_name(api_url)
