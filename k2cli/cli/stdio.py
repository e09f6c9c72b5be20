"""The standard streams: there whatever the shell did, and talk that never ends a run.

Records go to stdout: where they are lost, that is an error. Everything else is talk on
stderr: what cannot be said is dropped.
"""

from __future__ import annotations

import io
import select
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from k2cli.errors import OutputError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_STDIN, _STDOUT, _STDERR = 0, 1, 2
# POSIX: a pipe that polls as writable takes this much without blocking (PIPE_BUF).
_CERTAIN_BYTES = 512 if sys.platform == "darwin" else 4096
_PATIENCE_SECONDS = 0.1


def install() -> None:
    """Make ``sys.stdin``, ``stdout`` and ``stderr`` what this module says they are."""
    if sys.stdin is None:
        sys.stdin = open(_STDIN, closefd=False)  # noqa: SIM115 - for good
    sys.stdout = _text(_Output(_STDOUT, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Talk(_STDERR, "w", closefd=False), sys.stderr)


@contextmanager
def talk(*, patient: bool) -> Iterator[None]:
    """Wait for a reader of stderr that does not read, or do not, in this context."""
    raw = getattr(getattr(sys.stderr, "buffer", None), "raw", None)
    if not isinstance(raw, _Talk):
        yield
        return
    before, raw.is_patient = raw.is_patient, patient
    try:
        yield
    finally:
        raw.is_patient = before


def stdout_error(exc: OSError) -> OutputError:
    """Return an error that says why stdout cannot be written."""
    return OutputError(
        f"stdout cannot be written: {printable(exc.strerror or str(exc))}",
        "Make room, or send it elsewhere",
    )


class _Output(io.FileIO):
    """Stdout, whose errors say what they are."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise stdout_error(exc) from exc


class _Talk(io.FileIO):
    """Stderr, which takes everything, and drops what cannot be said.

    Attributes:
        is_patient: Whether to wait for a reader that does not read.
    """

    is_patient = True
    _is_stuck = False

    def write(self, data: Any, /) -> int:
        view = memoryview(data)
        try:
            if self.is_patient:
                super().write(view)
            else:
                self._write_what_fits(view)
        except OSError:
            pass
        return len(view)

    def _write_what_fits(self, view: memoryview) -> None:
        """Write as long as the reader reads; wait a moment for it, but only once."""
        while view:
            patience = 0 if self._is_stuck else _PATIENCE_SECONDS
            # Windows can poll sockets only: there a write may block.
            if sys.platform != "win32":
                _, writable, _ = select.select((), (self,), (), patience)
                self._is_stuck = not writable
                if not writable:
                    return
            view = view[super().write(view[:_CERTAIN_BYTES]) or 0 :]


def _text(raw: io.FileIO, before: Any) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=raw.fileno() == _STDERR or raw.isatty(),
    )
