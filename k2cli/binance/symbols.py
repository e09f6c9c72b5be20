"""Symbols: how people write them, and what base and quote asset they stand for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from k2cli.errors import SettingsError, printable
from k2cli.text import is_name

if TYPE_CHECKING:
    from k2cli.binance.catalog import Catalog

UNKNOWN = "UNKNOWN"

# Quote assets of Binance.com since 2017 and of Binance.US. One-letter quotes ("U") are
# left out: with them every symbol would match something.
QUOTE_ASSETS = frozenset(
    "USDT USDC BUSD TUSD FDUSD RLUSD USDP USDS USD1 PAX UST DAI VAI USD "
    "BTC ETH BNB TRX XRP DOGE DOT SOL "
    "EUR AEUR EURI GBP AUD TRY BRL BIDR IDRT IDR BKRW BVND RUB UAH NGN ZAR GYEN "
    "JPY MXN ARS COP CZK PLN RON".split()
)

# Bases that decide where two quote assets fit, one the other's ending: ADA/EUR and not
# AD/AEUR, BNB/USD (Binance.US) and not BN/BUSD.
WELL_KNOWN_BASES = frozenset(
    "BTC ETH BNB SOL XRP ADA DOGE TRX DOT LTC LINK AVAX MATIC SHIB UNI ATOM XLM ETC "
    "BCH EOS XMR NEO VET BAT ONT HNT OXT GRT LUNA THETA USDT USDC EUR GBP AUD".split()
)
_CONTESTED = {
    "AEUR": "EUR",
    "BIDR": "IDR",
    "BUSD": "USD",
    "FDUSD": "USD",
    "RLUSD": "USD",
    "TUSD": "USD",
}

_SEPARATORS = re.compile(r"[/\-_:]")


def ascii_lower(text: str) -> str:
    """Lower-case A-Z and leave every other character alone.

    Stream names are lower case, and symbols need not be ASCII: ``str.lower`` could
    change such a name into another one.
    """
    return text.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")


def ascii_upper(text: str) -> str:
    """Upper-case a-z and leave every other character alone."""
    return text.encode(errors="surrogatepass").upper().decode(errors="surrogatepass")


def normalize_symbol(text: str) -> str:
    """Return the exchange's spelling of a symbol that a person typed.

    Args:
        text: ``BTCUSDT``, ``btcusdt``, ``BTC/USDT``, ``BTC-USDT`` …

    Raises:
        SettingsError: If it cannot be a symbol.
    """
    symbol = ascii_upper(_SEPARATORS.sub("", text.strip()))
    if not is_name(symbol):
        raise SettingsError(
            f"'{printable(text, 40)}' is not a symbol",
            "Write symbols like BTCUSDT or BTC/USDT",
        )
    return symbol


def normalize_symbols(texts: list[str]) -> list[str]:
    """Return the symbols of all texts, each of which may hold several, without repeats.

    Args:
        texts: E.g. ``["BTCUSDT,eth/usdt", "BNBBTC"]``.
    """
    if "" in texts:
        raise SettingsError("a symbol is empty", "Name one, like BTCUSDT")
    words = [word for text in texts for word in re.split(r"[,\s]+", text) if word]
    return list(dict.fromkeys(normalize_symbol(word) for word in words))


def parse_binance_symbol(
    symbol: str, catalog: Catalog | None = None
) -> tuple[str, str, str]:
    """Split a symbol into base asset, quote asset and currency.

    Args:
        symbol: E.g. ``"BTCUSDT"``; also ``"btcusdt"``, ``"BTC/USDT"``, ``"BTC-USDT"``.
        catalog: The exchange's catalog, which knows. Without it, or for a symbol that
            it lacks, the ending decides, and that is a guess: newer quote assets are
            not known here.

    Returns:
        ``(base, quote, currency)``; currency is the quote asset. Where neither catalog
        nor ending can tell, ``(symbol, "UNKNOWN", "UNKNOWN")``.
    """
    spelled = ascii_upper(symbol.strip())
    parts = _SEPARATORS.split(spelled)
    name = "".join(parts)
    if catalog is not None and (info := catalog.get(name)) is not None:
        return info.base_asset, info.quote_asset, info.quote_asset
    if len(parts) == 2 and all(parts):
        return parts[0], parts[1], parts[1]
    quote = _guess_quote(name)
    if quote is None:
        return name, UNKNOWN, UNKNOWN
    return name.removesuffix(quote), quote, quote


def _guess_quote(name: str) -> str | None:
    quote = next(
        (name[i:] for i in range(1, len(name)) if name[i:] in QUOTE_ASSETS), None
    )
    shorter = _CONTESTED.get(quote or "")
    if quote == "USD":
        # New dollars of many names end so: BTCXUSD need not be BTCX/USD.
        base = name.removesuffix(quote)
        begins = {base[:-1], base[:-2], base[:-3]} & WELL_KNOWN_BASES
        return None if begins and base not in WELL_KNOWN_BASES else quote
    if quote is None or shorter is None:
        return quote
    longer_fits = name.removesuffix(quote) in WELL_KNOWN_BASES
    shorter_fits = name.removesuffix(shorter) in WELL_KNOWN_BASES
    if shorter_fits and not longer_fits:
        return shorter
    # AD/AEUR or ADA/EUR: both are real markets of one exchange, so an unknown base
    # leaves it open. USD is no quote asset of Binance.com; there the longer one holds.
    return None if quote in ("AEUR", "RLUSD") and not longer_fits else quote
