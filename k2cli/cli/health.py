"""Whether a recording is well, for whoever may restart it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k2cli.cli.run import RunView
    from k2cli.engine.session import SessionSnapshot

STUCK_DISK_SECONDS = 20.0
"""A disk that takes so long for a look at the file, or an fsync, hangs."""


def ailment(view: RunView, snapshot: SessionSnapshot) -> str | None:
    """Return what is wrong, in a few words; ``None`` if data flow to the disk.

    A market without trades is well: what counts is that connections answer.
    """
    if (stuck := stuck_disk(view)) is not None:
        return stuck
    if snapshot.health is None or not snapshot.health.live:
        return f"no connection to {view.venue.venue.name}: {view.connection(snapshot)}"
    return None


def stuck_disk(view: RunView) -> str | None:
    """Return since when the disk does not answer; ``None`` if it does."""
    if view.capture is None or view.capture.checked_seconds is None:
        return None
    silent_seconds = time.monotonic() - view.capture.checked_seconds
    if silent_seconds < STUCK_DISK_SECONDS:
        return None
    return f"the disk has not answered for {silent_seconds:.0f} s"
