"""SIGHUP: follow the symbols that are configured now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from k2cli.errors import K2Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from k2cli.engine.protocols import Venue
    from k2cli.engine.session import Session

_MOST_NAMED = 20

log: FilteringBoundLogger = structlog.get_logger()


class SymbolReloader:
    """Changes the symbols of a run when it is asked to.

    Args:
        session: The run.
        reread: Returns the run's exchange with the symbols that are configured now.
    """

    def __init__(self, session: Session, reread: Callable[[], Venue]) -> None:
        self._session = session
        self._reread = reread
        self._changing: asyncio.Task[None] | None = None
        self._is_asked_again = False
        self._is_over = False

    def ask(self) -> None:
        """Begin; asked meanwhile, it does so once more in the end."""
        if self._is_over:
            return
        if self._changing is not None and not self._changing.done():
            self._is_asked_again = True
        else:
            self._changing = asyncio.create_task(self._change())

    def cancel(self) -> None:
        """Leave the symbols as they are from now on."""
        self._is_over = True
        if self._changing is not None:
            self._changing.cancel()

    async def _change(self) -> None:
        while True:
            self._is_asked_again = False
            try:
                added, dropped = await self._session.change_symbols(self._reread())
            except K2Error as exc:
                log.error("The symbols stay as they are", reason=str(exc))  # noqa: TRY400 - for users
            except Exception as exc:
                self._session.fail(exc)
                raise
            else:
                log.info(
                    "Symbols changed" if added or dropped else "The same symbols",
                    added=added[:_MOST_NAMED],
                    dropped=dropped[:_MOST_NAMED],
                )
            if not self._is_asked_again:
                return
