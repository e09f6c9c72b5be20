"""``/metrics`` and ``/healthz`` of a recording."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from concurrent.futures import CancelledError
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Thread
from typing import TYPE_CHECKING, Self

import structlog

from k2cli.cli.health import ailment
from k2cli.cli.metrics import Exposition, Figures
from k2cli.errors import SettingsError
from k2cli.text import printable

if TYPE_CHECKING:
    from typing import Any

    from structlog.typing import FilteringBoundLogger

    from k2cli.cli.run import RunView

# An event loop that does not answer for so long is stuck.
_ANSWER_SECONDS = 2.0
# A client that sends no request, or does not take the answer, is left.
_CLIENT_SECONDS = 5.0
_MOST_CLIENTS = 8
_POLL_SECONDS = 0.1
_TEXT = "text/plain; charset=utf-8"

log: FilteringBoundLogger = structlog.get_logger()


class MetricsServer:
    """Serves the figures of a run while its context lasts.

    It has threads of its own, so that it can say that the run hangs; the figures are
    taken in one turn of the run's event loop and therefore agree with each other.

    Args:
        address: Host and port; port 0 for a free one.
        per_symbol: Whether every symbol has figures of its own.

    Raises:
        SettingsError: If it cannot listen there, or the library is not installed.
    """

    def __init__(self, address: tuple[str, int], per_symbol: bool) -> None:
        self._exposition = Exposition()
        self._per_symbol = per_symbol
        self._view: RunView | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._absence = "starting: the symbols are not known yet"
        shown = printable("{}:{}".format(*address), 80)
        try:
            self._server = _Server(address, self._answer)
        except OSError as exc:
            raise SettingsError(
                f"--metrics cannot listen on {shown}: "
                f"{printable(exc.strerror or str(exc))}",
                "Choose another address",
            ) from exc

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"http://{f'[{host!s}]' if ':' in str(host) else host!s}:{port}"

    def __enter__(self) -> Self:
        Thread(
            target=self._server.serve_forever,
            args=(_POLL_SECONDS,),
            name="k2-metrics",
            daemon=True,
        ).start()
        log.info("Serving metrics", url=f"{self.url}/metrics")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def start(self, view: RunView) -> None:
        """Begin to serve a run's figures."""
        self._loop = asyncio.get_running_loop()
        self._view = view

    def stop(self) -> None:
        """Serve no figures any more."""
        self._view = None
        self._absence = "stopping"

    def _answer(self, path: str, accept: str) -> tuple[HTTPStatus, bytes, str]:
        """Answer a request, on one of the server's threads."""
        path = path.partition("?")[0]
        if path not in ("/metrics", "/healthz"):
            text = b"There are /metrics and /healthz\n"
            return HTTPStatus.NOT_FOUND, text, _TEXT
        found = self._figures(with_symbols=self._per_symbol and path == "/metrics")
        if isinstance(found, str):
            return HTTPStatus.SERVICE_UNAVAILABLE, f"{found}\n".encode(), _TEXT
        figures, wrong = found
        if path == "/metrics":
            return HTTPStatus.OK, *self._exposition.text(figures, accept)
        if wrong is not None:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"{wrong}\n".encode(), _TEXT
        return HTTPStatus.OK, b"ok\n", _TEXT

    def _figures(self, *, with_symbols: bool) -> tuple[Figures, str | None] | str:
        """Return the figures and what is wrong; a text if there are none."""
        view, loop = self._view, self._loop
        if view is None or loop is None:
            return self._absence
        path = view.capture.path if view.capture is not None else None
        # Here, because a hanging disk must not hold the run up for a scraper.
        free_bytes = shutil.disk_usage(path.parent).free if path is not None else None
        taking = _taken(view, free_bytes, with_symbols=with_symbols)
        try:
            asked = asyncio.run_coroutine_threadsafe(taking, loop)
        except RuntimeError:  # it is closed
            taking.close()
            return self._absence
        try:
            return asked.result(_ANSWER_SECONDS)
        except TimeoutError:
            asked.cancel()
            return f"the event loop has not answered for {_ANSWER_SECONDS:.0f} s"
        except CancelledError:
            return self._absence


async def _taken(
    view: RunView, free_bytes: int | None, *, with_symbols: bool
) -> tuple[Figures, str | None]:
    snapshot = view.snapshot()
    figures = Figures(
        snapshot=snapshot,
        capture_bytes=view.capture.size_bytes if view.capture is not None else None,
        free_bytes=free_bytes,
        symbols=view.symbol_figures() if with_symbols else {},
    )
    return figures, ailment(view, snapshot)


class _Server(ThreadingHTTPServer):
    """Listens, and serves a few clients at once."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], answer: Any) -> None:
        self.answer = answer
        self._free = BoundedSemaphore(_MOST_CLIENTS)
        family, *_, resolved = socket.getaddrinfo(
            *address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self.address_family = family
        super().__init__(resolved[:2], _Handler)  # type: ignore[arg-type]  # of a host and a port

    def process_request(self, request: Any, client_address: Any) -> None:
        """Leave a client that is one too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a client."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, unless it is only that the scraper has gone."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("Metrics cannot be served", error=printable(repr(error)))


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: _Server
    timeout = _CLIENT_SECONDS
    server_version = "k2"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        status, body, content_type = self.server.answer(
            self.path, self.headers.get("Accept", "")
        )
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: it is about every request."""
