"""Telling a service manager how a run is, as ``sd_notify`` does."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from k2cli.cli.health import stuck_disk
from k2cli.display.numbers import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k2cli.cli.run import RunView
    from k2cli.engine.session import SessionSnapshot

_LOOK_EVERY_SECONDS = 1.0
_STATUS_EVERY_SECONDS = 5.0


class ServiceNotifier:
    """Tells a service manager that a run is ready, how it is, and that it lives.

    The watchdog hears of it only while the event loop turns and the disk answers.

    Args:
        address: Of the manager's datagram socket; abstract if it begins with ``@``.
        watchdog_seconds: How often the manager wants to hear of it; ``None`` for never.
    """

    def __init__(self, address: str, watchdog_seconds: float | None) -> None:
        if address.startswith("@"):
            address = f"\0{address[1:]}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._address = address
        self._watchdog_seconds = watchdog_seconds
        self._is_ready = False
        self._is_stopping = False
        self._status = ""
        self._next_status_seconds = 0.0
        self._telling: asyncio.Task[None] | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self | None:
        """Return the one that the manager has asked for, if there is one."""
        address = environment.get("NOTIFY_SOCKET", "")
        if address[:1] not in ("/", "@") or not hasattr(socket, "AF_UNIX"):
            return None
        wanted_us = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        if not (is_ours and wanted_us.isdecimal() and int(wanted_us)):
            return cls(address, None)
        return cls(address, int(wanted_us) / 1e6)

    def start(self, view: RunView) -> None:
        """Begin to tell."""
        self._telling = asyncio.create_task(self._tell_on(view))

    def stop(self) -> None:
        """Tell that it ends, and no more."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
            self._say_stopping()
            self._socket.close()

    async def _tell_on(self, view: RunView) -> None:
        every_seconds = _LOOK_EVERY_SECONDS
        if self._watchdog_seconds is not None:
            every_seconds = min(every_seconds, self._watchdog_seconds / 3)
        while True:
            self._tell(view)
            await asyncio.sleep(every_seconds)

    def _tell(self, view: RunView) -> None:
        snapshot = view.snapshot()
        if snapshot.received and not self._is_ready:
            self._is_ready = True
            self._next_status_seconds = 0.0
            self._send("READY=1")
        if view.is_ending():
            self._say_stopping()
        stuck = stuck_disk(view)
        if self._watchdog_seconds is not None and stuck is None:
            self._send("WATCHDOG=1")
        now_seconds = time.monotonic()
        if now_seconds >= self._next_status_seconds:
            self._next_status_seconds = now_seconds + _STATUS_EVERY_SECONDS
            self._say_status(status_line(snapshot, stuck or view.connection(snapshot)))

    def _say_status(self, text: str) -> None:
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def _say_stopping(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        # A manager that does not listen is no reason to stop.
        with suppress(OSError):
            self._socket.sendto(message.encode(), self._address)


def status_line(snapshot: SessionSnapshot, state: str) -> str:
    """Return the ledger of a run in a line."""
    found = [counted(snapshot.received, "trade"), counted(snapshot.gaps, "gap")]
    if snapshot.repaired:
        found.append(f"{snapshot.repaired:,} repaired")
    missing = snapshot.repairing + snapshot.lost
    found.append(f"{missing:,} missing" if missing else "nothing missing")
    if snapshot.pending:
        found.append(f"{snapshot.pending:,} pending")
    return f"{state}: {', '.join(found)}"
