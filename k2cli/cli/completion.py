"""What the shell offers for symbols and assets: from what is at hand, without network.

That is the catalog that was kept last or, behind ``--demo``, that of the embedded
exchange. A shell asks at every press of its key: nothing heavy is imported here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import typer  # noqa: TC002 - Typer reads annotations

if TYPE_CHECKING:
    from collections.abc import Iterator

# As CatalogCache names them.
_KEPT = "catalog-*.json"
_TRADING = "TRADING"
_SEPARATORS = "/-"


class _Pair(NamedTuple):
    base: str
    quote: str
    status: str = _TRADING


def complete_symbol(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer symbols in the way the word begins: any case, with ``/`` or ``-``, listed.

    Args:
        ctx: The command line in front of the word.
        incomplete: The word so far; after a comma, another symbol begins.
    """
    listed, comma, begun = incomplete.rpartition(",")
    separator = next((sign for sign in _SEPARATORS if sign in begun), "")
    names = [separator.join(pair[:2]) for pair in _pairs(ctx)]
    return [f"{listed}{comma}{name}" for name in _fitting(names, begun)]


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


def complete_status(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the statuses that symbols have."""
    return _fitting(
        ["all", *(pair.status for pair in _pairs(ctx, any_status=True))], incomplete
    )


def _fitting(names: list[str], begun: str) -> list[str]:
    # A shell takes only what goes on as the word begins, in its case.
    cased = [name.lower() if begun.islower() else name for name in names]
    return sorted({name for name in cased if name.startswith(begun)})


def _pairs(ctx: typer.Context, *, any_status: bool = False) -> list[_Pair]:
    pairs = _demo_pairs() if ctx.params.get("demo") else _kept_pairs()
    return [pair for pair in pairs if any_status or pair.status == _TRADING]


def _demo_pairs() -> Iterator[_Pair]:
    from k2cli.simulator.listings import LISTINGS

    for one in LISTINGS:
        yield _Pair(one.base, one.quote, one.status)


def _kept_pairs() -> list[_Pair]:
    import orjson
    from platformdirs import user_cache_path

    kept = list(user_cache_path("k2", appauthor=False).glob(_KEPT))
    try:
        newest = max(kept, key=lambda file: file.stat().st_mtime)
        return [
            _Pair(entry["base_asset"], entry["quote_asset"], entry["status"])
            for entry in orjson.loads(newest.read_bytes())["symbols"]
        ]
    except (OSError, ValueError, TypeError, KeyError):
        return []  # nothing to offer is no fault
