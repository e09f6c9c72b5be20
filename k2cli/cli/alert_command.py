"""Running a command for each alert: without a shell, bounded in number and rate."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from k2cli.errors import SettingsError, printable
from k2cli.text import machine_json

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from k2cli.engine.alerts import Alert

MOST_AT_ONCE = 4
"""Commands that run at a time; alerts beyond that run none."""

MOST_PER_MINUTE = 30
"""Commands that begin within a minute, likewise."""

MOST_SECONDS = 30.0
"""How long a command may take; then it is killed."""

log: FilteringBoundLogger = structlog.get_logger()


class AlertCommand:
    """Runs a command for each alert.

    Nothing that was received becomes part of the command line: the facts are in the
    environment, as ``K2_ALERT_…``, and as JSON on stdin. What it prints is discarded.

    Args:
        line: The command and its arguments, as a shell would divide them.

    Raises:
        SettingsError: If it cannot be divided, or there is no such command.
    """

    def __init__(self, line: str) -> None:
        try:
            self._words = shlex.split(line)
        except ValueError as exc:
            raise SettingsError(
                f"--on-alert {printable(line, 60)!r} cannot be read: {exc}",
                "Close its quotes",
            ) from None
        if not self._words or shutil.which(self._words[0]) is None:
            what = printable(self._words[0], 60) if self._words else "it"
            raise SettingsError(
                f"--on-alert: there is no command {what}",
                "Name a program, like notify-send; for pipes and the like, sh -c '…'",
            )
        self._running: set[asyncio.Task[None]] = set()
        self._processes: set[asyncio.subprocess.Process] = set()
        self._begun_seconds: list[float] = []
        self._left_out = 0

    def run(self, alert: Alert) -> None:
        """Run the command for an alert, unless too many run or have begun."""
        now_seconds = time.monotonic()
        self._begun_seconds = [
            each for each in self._begun_seconds if each > now_seconds - 60
        ]
        if (
            len(self._running) >= MOST_AT_ONCE
            or len(self._begun_seconds) >= MOST_PER_MINUTE
        ):
            self._left_out += 1
            if self._left_out == 1:
                log.warning("Too many alerts: their command is left out for some")
            return
        self._begun_seconds.append(now_seconds)
        task = asyncio.create_task(self._run(alert_facts(alert)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def kill(self) -> None:
        """Kill what still runs, at once."""
        for process in self._processes:
            _kill(process)

    async def close(self) -> None:
        """Kill what still runs, and wait for its end."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._left_out:
            log.warning("Alerts without their command", alerts=self._left_out)

    async def _run(self, facts: dict[str, Any]) -> None:
        values = {
            f"K2_ALERT_{name.upper()}": str(value) for name, value in facts.items()
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env=os.environ | values,
                start_new_session=True,
            )
        except OSError as exc:
            reason = printable(exc.strerror or str(exc))
            log.warning("Cannot run the command of an alert", reason=reason)
            return
        self._processes.add(process)
        try:
            async with asyncio.timeout(MOST_SECONDS):
                await process.communicate(machine_json(facts))
            if process.returncode:
                log.warning("The command of an alert failed", status=process.returncode)
        except TimeoutError:
            log.warning("Killed the command of an alert", after_seconds=MOST_SECONDS)
        finally:
            _kill(process)
            await process.wait()
            self._processes.discard(process)


def alert_facts(alert: Alert) -> dict[str, Any]:
    """Return what a command is told of an alert."""
    trade, rule = alert.trade, alert.rule
    made = datetime.fromtimestamp(trade.timestamp / 1e6, UTC)
    return {
        "symbol": trade.symbol,
        "condition": rule.text,
        "figure": rule.figure,
        "value": alert.value_text,
        "text": f"{trade.symbol} {rule.text}: {alert.value_text}",
        "price": trade.price,
        "quantity": trade.quantity,
        "side": trade.side,
        "trade_id": trade.trade_id,
        "time": made.isoformat().replace("+00:00", "Z"),
        "exchange": trade.exchange,
    }


def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill a command and what it has started, if it has not ended."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
