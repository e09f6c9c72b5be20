"""Exit statuses, and which error leads to which."""

from __future__ import annotations

from enum import IntEnum

from k2cli import errors


class ExitStatus(IntEnum):
    """How a ``k2`` command ended."""

    DONE = 0
    BUG = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    OUTPUT = 5
    INCOMPLETE = 6
    INTERRUPTED = 130


# The first class that fits counts: a class stands before its bases.
_STATUSES: tuple[tuple[type[errors.K2Error], ExitStatus], ...] = (
    (errors.SettingsError, ExitStatus.USAGE),
    (errors.ExchangeUnreachable, ExitStatus.UNREACHABLE),
    (errors.MalformedMessage, ExitStatus.UNREACHABLE),
    (errors.ExchangeRefused, ExitStatus.REFUSED),
    (errors.UnknownSymbol, ExitStatus.REFUSED),
    (errors.LogUnreachable, ExitStatus.UNREACHABLE),
    (errors.LogRefused, ExitStatus.REFUSED),
    (errors.ReaderGone, ExitStatus.DONE),
    (errors.OutputError, ExitStatus.OUTPUT),
)


def exit_status(error: errors.K2Error) -> ExitStatus:
    """Return the status that a command ends with because of an error."""
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return status
    return ExitStatus.BUG
