"""The catalog on disk: one file per exchange, good for a day, useful for longer."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson
import structlog
from platformdirs import user_cache_path

from k2cli.binance.catalog import Catalog, SymbolInfo

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

FRESH_SECONDS = 86_400.0

log: FilteringBoundLogger = structlog.get_logger()


class CatalogCache:
    """Keeps whole catalogs between runs. A cache that fails is no error.

    Args:
        folder: Where the files are; the user's cache folder if not given.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or user_cache_path("k2", appauthor=False)

    def load(self, api_url: str) -> Catalog | None:
        """Give the catalog kept for an API, however old, if there is a readable one."""
        try:
            kept = orjson.loads(self._path(api_url).read_bytes())
            return Catalog(
                (SymbolInfo(**entry) for entry in kept["symbols"]),
                whole=True,
                fetched_at_seconds=float(kept["fetched_at_seconds"]),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as exc:
            log.debug("Ignored the kept catalog", reason=str(exc))
            return None

    def save(self, api_url: str, catalog: Catalog) -> None:
        """Keep a whole catalog, in place of the one before."""
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
