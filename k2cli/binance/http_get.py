"""Plain HTTP GET, for the catalog and the archives: redirects, failures, threads."""

from __future__ import annotations

import asyncio
import threading
import urllib.parse
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

import structlog

from k2cli.binance.handshake import host_of
from k2cli.errors import TRY_AGAIN, ConnectFailed, printable
from k2cli.text import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

_Result = TypeVar("_Result")

log: FilteringBoundLogger = structlog.get_logger()


def opener(trust_hint: str) -> urllib.request.OpenerDirector:
    """Return what opens addresses, by redirects to the same host only.

    Args:
        trust_hint: What to do about an address elsewhere if it is to be trusted.
    """
    return urllib.request.build_opener(_SameHost(trust_hint))


def unreachable(host: str, reason: object) -> ConnectFailed:
    """Return the error that a host cannot be reached.

    Args:
        host: Fit for printing.
        reason: A text or an exception, as it comes.
    """
    return ConnectFailed(
        f"{host} cannot be reached ({printable(without_secrets(str(reason)))})",
        TRY_AGAIN,
        permanent=False,
    )


async def in_thread(work: Callable[[], _Result]) -> _Result:
    """Run it in a thread that nobody waits for when nobody wants its result.

    A thread of the event loop's own pool would hold up the end of the program.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_Result] = loop.create_future()

    def settle(result: _Result | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(cast("_Result", result))

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as exc:
            error = exc
        # The loop may have been closed since.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True, name="k2-http").start()
    return await done


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the same host only, and never away from TLS."""

    def __init__(self, trust_hint: str) -> None:
        self._trust_hint = trust_hint

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request to send instead."""
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        allowed = (
            new.hostname == old.hostname
            and new.scheme in ("http", "https")
            and not (old.scheme == "https" and new.scheme == "http")
        )
        shown = printable(without_secrets(newurl))
        if not allowed:
            fp.close()
            raise ConnectFailed(
                f"{host_of(req.full_url)} redirects to {shown}, which k2 does not "
                "follow",
                self._trust_hint,
                permanent=True,
            )
        log.info("The exchange redirects", to=shown)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
