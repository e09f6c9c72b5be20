"""What the shell offers for symbols and assets: from what is at hand, without network.

That is the catalog kept for the exchange at hand or, behind ``--demo``, that of the
embedded exchange. A shell asks at every press of its key: nothing heavy is imported
here. Shells evaluate what they are offered, so that only names are offered.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer  # noqa: TC002 - Typer reads annotations

from k2cli.cli import groups

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRADING = "TRADING"
_SEPARATORS = "/-"
_MOST_BYTES = 16 * 2**20


class _Pair(NamedTuple):
    base: str
    quote: str
    status: str = _TRADING


def complete_symbol(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer symbols in the way the word begins: any case, with ``/`` or ``-``, listed.

    Behind ``@``, the groups of the configuration are offered.

    Args:
        ctx: The command line in front of the word.
        incomplete: The word so far; after a comma, another symbol begins.
    """
    listed, comma, begun = incomplete.rpartition(",")
    if begun.startswith(groups.MARK):
        words = [groups.MARK + name for name in _groups(ctx)]
        return [f"{listed}{comma}{word}" for word in words if word.startswith(begun)]
    separator = next((sign for sign in _SEPARATORS if sign in begun), "")
    names = [separator.join(pair[:2]) for pair in _pairs(ctx)]
    offered = [f"{listed}{comma}{name}" for name in _fitting(names, begun)]
    return [word for word in offered if _is_harmless(word)]


def complete_base(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer base assets."""
    return _fitting([pair.base for pair in _pairs(ctx)], incomplete)


def complete_quote(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer quote assets."""
    return _fitting([pair.quote for pair in _pairs(ctx)], incomplete)


def complete_fault(incomplete: str) -> list[str]:
    """Offer the faults of the embedded exchange."""
    from k2cli.simulator.faults import FAULTS

    return sorted(
        f"{kind.name}@" for kind in FAULTS if kind.name.startswith(incomplete)
    )


def complete_alert(incomplete: str) -> list[str]:
    """Offer the figures that alerts are on: a comparison follows, in quotes."""
    from k2cli.engine.alerts import FIGURES

    return sorted(figure for figure in FIGURES if figure.startswith(incomplete))


def complete_status(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the statuses that symbols have."""
    return _fitting(
        ["all", *(pair.status for pair in _pairs(ctx, any_status=True))], incomplete
    )


def complete_columns(incomplete: str) -> list[str]:
    """Offer the columns of the live table; after a comma, another one."""
    from k2cli.display.columns import COLUMNS

    listed, comma, begun = incomplete.rpartition(",")
    names = _fitting([column.name for column in COLUMNS], begun)
    return [f"{listed}{comma}{name}" for name in names]


def complete_floor(incomplete: str) -> list[str]:
    """Offer the floors of the tape."""
    from k2cli.display.prints import FLOORS_USD

    return [text for usd in FLOORS_USD if (text := f"{usd:.0f}").startswith(incomplete)]


def _groups(ctx: typer.Context) -> list[str]:
    """Return the names of groups: letters, digits, and signs that no shell reads."""
    from k2cli.errors import SettingsError

    own: str | None = ctx.params.get("config")
    try:
        return sorted(groups.load(Path(own) if own else None))
    except SettingsError:
        return []


def _fitting(names: list[str], begun: str) -> list[str]:
    # A shell takes only what goes on as the word begins, in its case.
    cased = [name.lower() if begun.islower() else name for name in names]
    return sorted({name for name in cased if name.startswith(begun)})


def _is_harmless(offered: str) -> bool:
    """Return whether no shell reads it as anything but a word."""
    return all(sign.isalnum() or sign in ",/-" for sign in offered)


def _pairs(ctx: typer.Context, *, any_status: bool = False) -> list[_Pair]:
    pairs = _demo_pairs() if ctx.params.get("demo") else _kept_pairs(ctx)
    return [pair for pair in pairs if any_status or pair.status == _TRADING]


def _demo_pairs() -> Iterator[_Pair]:
    from k2cli.simulator.listings import LISTINGS

    for one in LISTINGS:
        yield _Pair(one.base, one.quote, one.status)


def _kept_pairs(ctx: typer.Context) -> list[_Pair]:
    import orjson
    from platformdirs import user_cache_path

    from k2cli.binance.streams import catalog_file_name, exchange_of
    from k2cli.files import read_bounded
    from k2cli.text import is_name

    try:
        url = _api_url(ctx)
        file = user_cache_path("k2", appauthor=False) / catalog_file_name(url)
        kept = orjson.loads(read_bounded(file, _MOST_BYTES, own=True))
        if kept["exchange"] != exchange_of(url):
            return []
        pairs = [
            _Pair(entry["base_asset"], entry["quote_asset"], entry["status"])
            for entry in kept["symbols"]
        ]
        return [pair for pair in pairs if all(map(is_name, pair))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []  # nothing to offer is no fault


def _api_url(ctx: typer.Context) -> str:
    """Return the address of the API that the command would ask."""
    import os

    from k2cli import config_file
    from k2cli.errors import SettingsError

    own: str | None = ctx.params.get("config")
    file = Path(own) if own else config_file.default_config_file()
    try:
        table = config_file.read_table(file, required=False)
    except SettingsError:
        table = {}

    def setting(option: str, name: str) -> str:
        variable = config_file.ENVIRONMENT_PREFIX + name.upper()
        given = ctx.params.get(option) or os.environ.get(variable) or table.get(name)
        return str(given or "")

    return (
        setting("api_url", "api_url")
        or config_file.own_api_url(setting("url", "websocket_url"))
        or config_file.API_URL
    )
