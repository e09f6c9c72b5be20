"""Alerts of a run: a log line, the bell, and a command for each."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from k2cli.binance.symbols import normalize_symbols
from k2cli.cli.redrawn import SILENT_SECONDS, ring, ringing_fd
from k2cli.engine.alerts import AlertWatch, parse_alert
from k2cli.errors import SettingsError, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from k2cli.cli.alert_command import AlertCommand
    from k2cli.cli.options import TailOptions
    from k2cli.cli.run import RunView
    from k2cli.completeness.id_ranges import IdRange
    from k2cli.completeness.ledger import Ledger
    from k2cli.engine.alerts import Alert, AlertRule
    from k2cli.engine.protocols import SymbolSet
    from k2cli.trade import TradeBatch

log: FilteringBoundLogger = structlog.get_logger()


class AlertSink:
    """Takes the trades that come out, and says what begins to hold.

    Args:
        rules: The conditions.
        command: What is run for each; ``None`` for nothing.
    """

    in_order = False
    journal = None
    on_failure: Callable[[Exception], None]

    def __init__(self, rules: list[AlertRule], command: AlertCommand | None) -> None:
        self._rules = rules
        self._watch = AlertWatch(rules)
        self._command = command
        self._bell_fd = ringing_fd()
        self._next_ring_seconds = 0.0

    async def open(self, symbols: SymbolSet, ledger: Ledger) -> None:
        """See that there are the symbols that conditions are on.

        Raises:
            SettingsError: If one is not followed.
        """
        for rule in self._rules:
            if rule.symbol and rule.symbol not in ledger.trackers:
                raise SettingsError(
                    f"--alert is on {printable(rule.symbol)}, which is not followed",
                    "Add it to the symbols, or leave the alert out",
                )

    async def extend(self, ledger: Ledger) -> None:
        """Nothing is kept by symbol."""

    def write(self, batch: TradeBatch) -> None:
        """Look at trades."""
        for alert in self._watch.observe(batch):
            self._say(alert)

    def start(self, view: RunView) -> None:
        """See that no command outlasts k2, however that ends."""
        if self._command is not None:
            view.before_exit(self._command.kill)

    def stop(self) -> None:
        """``close`` ends the commands."""

    def lost(self, symbol: str, ids: IdRange) -> None:
        """The ledger names them."""

    async def flush(self) -> None:
        """Nothing waits."""

    async def close(self) -> None:
        """End the commands that still run."""
        if self._command is not None:
            await self._command.close()

    def _say(self, alert: Alert) -> None:
        log.warning(
            "Alert",
            symbol=alert.trade.symbol,
            condition=alert.rule.text,
            value=alert.value_text,
        )
        if self._bell_fd is not None and time.monotonic() >= self._next_ring_seconds:
            self._next_ring_seconds = time.monotonic() + SILENT_SECONDS
            with suppress(OSError):  # the terminal is gone
                ring(self._bell_fd)
        if self._command is not None:
            self._command.run(alert)


def alert_sink(options: TailOptions) -> AlertSink | None:
    """Return what watches for the alerts asked for; ``None`` if there are none.

    Raises:
        SettingsError: If one cannot be read, or there is no such command.
    """
    if not options.alert:
        if options.on_alert is not None:
            raise SettingsError("--on-alert goes with --alert", "Add it, or leave both")
        return None
    rules = [parse_alert(text) for text in options.alert]
    named = [
        replace(rule, symbol=normalize_symbols([rule.symbol])[0])
        if rule.symbol
        else rule
        for rule in rules
    ]
    if options.on_alert is None:
        return AlertSink(named, None)
    from k2cli.cli.alert_command import AlertCommand

    return AlertSink(named, AlertCommand(options.on_alert))
