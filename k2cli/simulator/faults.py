"""All faults there are.

A new one is a class in one of the modules imported here, and a line below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2cli.simulator.service_faults import (
    ApiDown,
    ApiError,
    ApiMute,
    ClockSkew,
    Hang,
    HistoryLag,
    Refuse,
    ShortHistory,
)
from k2cli.simulator.stream_faults import (
    Close,
    Cut,
    Drop,
    Duplicate,
    Junk,
    Reorder,
    Shutdown,
    Silence,
    Skip,
    Stall,
)

if TYPE_CHECKING:
    from k2cli.simulator.fault import Fault

FAULTS: tuple[type[Fault], ...] = (
    Drop,
    Cut,
    Close,
    Skip,
    Silence,
    Duplicate,
    Reorder,
    Junk,
    Stall,
    Shutdown,
    Refuse,
    Hang,
    ApiDown,
    ApiError,
    ApiMute,
    ShortHistory,
    HistoryLag,
    ClockSkew,
)
"""All faults there are."""
