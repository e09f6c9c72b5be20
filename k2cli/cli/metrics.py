"""The figures of a recording as Prometheus reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from k2cli.display.meters import lag_us
from k2cli.extras import import_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from k2cli.engine.session import SessionSnapshot

_EXTRA = {"what": "--metrics", "package": "prometheus-client", "extra": "metrics"}
# Of a symbol, by the ledger's keys.
_COUNTERS = {
    "trades": ("k2_symbol_trades", "Trades received, each once."),
    "gaps": ("k2_symbol_gaps", "Jumps in trade ids."),
    "repaired": ("k2_symbol_repaired_trades", "Trades that came from the history."),
}
_GAUGES = {
    "missing": ("k2_symbol_missing_trades", "Trades missing now."),
    "pending": ("k2_symbol_pending_trades", "Trades that wait behind missing ones."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A recording at one moment.

    Attributes:
        snapshot: How the run is doing.
        capture_bytes: Size of the files written; ``None`` where there are none.
        free_bytes: What is left on their disk, likewise.
        symbols: The ledger's figures by symbol; empty if they are not wanted.
    """

    snapshot: SessionSnapshot
    capture_bytes: int | None
    free_bytes: int | None
    symbols: Mapping[str, Mapping[str, Any]]


class Exposition:
    """Writes figures in the format that a scraper asks for.

    Raises:
        SettingsError: If the library for it is not installed.
    """

    def __init__(self) -> None:
        self._families = import_extra("prometheus_client.core", **_EXTRA)
        self._formats = import_extra("prometheus_client.exposition", **_EXTRA)

    def text(self, figures: Figures, accept: str) -> tuple[bytes, str]:
        """Return the text and its content type.

        Args:
            figures: What to write.
            accept: The request's header of this name.
        """
        encode, content_type = self._formats.choose_encoder(accept)
        families = [*self._totals(figures), *self._by_symbol(figures.symbols)]
        return encode(_Collected(families)), content_type

    def _totals(self, figures: Figures) -> Iterator[Any]:
        metrics = self._families
        snapshot, last = figures.snapshot, figures.snapshot.last_trade

        def count(name: str, what: str, value: float) -> Any:
            return metrics.CounterMetricFamily(name, what, value=value)

        def gauge(name: str, what: str, value: float | None) -> Any:
            family = metrics.GaugeMetricFamily(name, what)
            if value is not None:
                family.add_metric([], value)
            return family

        yield count("k2_trades", "Trades received, each once.", snapshot.received)
        yield count("k2_gaps", "Jumps in trade ids.", snapshot.gaps)
        yield count(
            "k2_repaired_trades",
            "Trades that came from the history.",
            snapshot.repaired,
        )
        yield count(
            "k2_duplicate_trades",
            "Trades dropped because they had come before.",
            snapshot.duplicates,
        )
        yield count(
            "k2_reconnects",
            "Connections made after the first ones.",
            snapshot.reconnects,
        )
        missing = snapshot.repairing + snapshot.lost
        yield gauge("k2_missing_trades", "Trades missing now.", missing)
        yield gauge(
            "k2_pending_trades",
            "Trades that wait on disk behind missing ones.",
            snapshot.pending,
        )
        health = snapshot.health
        yield gauge(
            "k2_connections",
            "Connections that are live.",
            health.live if health is not None else 0,
        )
        yield gauge(
            "k2_connections_wanted",
            "Connections that there should be.",
            health.connections if health is not None else None,
        )
        lag = lag_us(last) if last is not None else None
        yield gauge(
            "k2_lag_seconds",
            "From the newest trade's event time to its arrival, by two clocks.",
            None if lag is None else lag / 1e6,
        )
        yield gauge(
            "k2_last_trade_timestamp_seconds",
            "When the newest trade was made, Unix time.",
            None if last is None else last.timestamp / 1e6,
        )
        yield gauge("k2_uptime_seconds", "Age of the run.", snapshot.uptime_seconds)
        yield gauge(
            "k2_capture_bytes", "Size of the files written.", figures.capture_bytes
        )
        yield gauge("k2_disk_free_bytes", "Left on their disk.", figures.free_bytes)

    def _by_symbol(self, symbols: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
        if not symbols:
            return
        metrics = self._families
        for kind, make in (
            (_COUNTERS, metrics.CounterMetricFamily),
            (_GAUGES, metrics.GaugeMetricFamily),
        ):
            yield from self._labelled(kind, make, symbols)

    @staticmethod
    def _labelled(
        kind: Mapping[str, tuple[str, str]],
        make: Callable[..., Any],
        symbols: Mapping[str, Mapping[str, Any]],
    ) -> Iterator[Any]:
        for key, (name, what) in kind.items():
            family = make(name, what, labels=["symbol"])
            for symbol, account in symbols.items():
                family.add_metric([symbol], account[key])
            yield family


class _Collected:
    """Families as the library's encoders take them."""

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        """Return the families."""
        return self._families
