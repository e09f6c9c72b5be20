"""The log: structlog to stderr, readable on a terminal, JSON otherwise."""

from __future__ import annotations

import io
import logging
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, TextIO

import structlog

from k2cli.text import printable, printable_json, printable_lines, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

LogFormat = Literal["auto", "console", "json"]
# Longest text of one value on a terminal.
_MOST_CHARACTERS = 400


class LogOutput:
    """Where log lines go: to stderr, or to a live display while it owns the screen.

    Attributes:
        latest_warning: The last event that was at least a warning, in one line.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._divert: Callable[[str], None] | None = None
        self.latest_warning: str | None = None

    def write(self, text: str) -> None:
        """Write a line, or hand it to whoever has the screen."""
        if self._divert is not None:
            if line := text.rstrip("\n"):
                self._divert(line)
        else:
            # Closed, it can say nothing; k2's own stderr never fails otherwise.
            with suppress(OSError, ValueError):
                self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def note_warning(
        self, _logger: WrappedLogger, _method: str, event: EventDict
    ) -> EventDict:
        """Keep a warning for whoever shows the latest; a structlog processor."""
        if event["level"] in ("warning", "error", "critical"):
            fields = [
                f"{key.replace('_', ' ')} {value}"
                for key, value in event.items()
                if key not in ("level", "event")
            ]
            line = ": ".join([str(event["event"]), *filter(None, [", ".join(fields)])])
            self.latest_warning = printable(line, _MOST_CHARACTERS)
        return event

    @contextmanager
    def diverted(self, to: Callable[[str], None]) -> Iterator[None]:
        """Hand every line to a callable as long as the context lasts.

        Unless stderr is no terminal: then lines cannot disturb a display.
        """
        self._divert = to if self._stream.isatty() else None
        try:
            yield
        finally:
            self._divert = None


def configure(level: str, log_format: LogFormat, stream: TextIO) -> LogOutput:
    """Set up structlog, and send what other libraries log the same way.

    Args:
        level: ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``.
        log_format: ``"console"``, ``"json"``, or ``"auto"`` for console on a terminal.
        stream: Where to write.
    """
    output = LogOutput(stream)
    number = logging.getLevelNamesMapping()[level.upper()]
    terminal = stream.isatty()
    as_console = log_format == "console" or (log_format == "auto" and terminal)
    rendering: list[Processor]
    if as_console:
        rendering = [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            _escape,
            structlog.dev.ConsoleRenderer(
                colors=terminal
                and not os.environ.get("NO_COLOR")
                and os.environ.get("TERM") != "dumb",
                pad_event_to=0,
                pad_level=False,
                sort_keys=False,
                exception_formatter=_escaped_traceback,
            ),
        ]
    else:
        rendering = [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _headline_first,
            structlog.processors.JSONRenderer(ensure_ascii=False),
            _escape_json,
        ]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _hide_secrets,
            output.note_warning,
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(output),  # type: ignore[arg-type]  # it only writes and flushes
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_ToStructlog()]
    root.setLevel(number)
    return output


class _ToStructlog(logging.Handler):
    """Sends the standard library's log records through structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"exc_info": record.exc_info} if record.exc_info else {}
        # structlog knows the usual levels only; another counts as the one below it.
        level = min(record.levelno // 10 * 10, logging.CRITICAL)
        structlog.get_logger().log(
            level, record.getMessage(), logger=record.name, **fields
        )


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep a peer's control characters from the terminal."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = printable(value, _MOST_CHARACTERS)
    return event


def _escaped_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    """Write a traceback, whose exceptions may hold a peer's text."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    stream.write(printable_lines(without_secrets(text.getvalue()), _MOST_CHARACTERS))


def _hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Take passwords and tokens out of whatever is to be logged."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = without_secrets(value)
    return event


def _escape_json(_logger: WrappedLogger, _method: str, text: Any) -> str:
    return printable_json(without_secrets(text))


def _headline_first(
    _logger: WrappedLogger, _method: str, event: EventDict
) -> EventDict:
    headline = {key: event.pop(key) for key in ("timestamp", "level", "event")}
    return {**headline, **event}


def stderr_output() -> TextIO:
    """Give stderr, with what it cannot encode escaped."""
    if hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(errors="backslashreplace")
    return sys.stderr
