"""``k2 verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from k2cli.cli import options as shared  # noqa: TC001 - Typer reads annotations
from k2cli.cli.publish import (  # noqa: TC001 - likewise
    RegistryUrl,
    ToConfig,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from k2cli.capture.reader import CaptureSource
    from k2cli.capture.report import Report
    from k2cli.capture.verifier import Verifier

_REDRAWN_EVERY_SECONDS = 0.25
_LEAST_SYMBOLS = 10


def verify(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="A capture: one file, or the files of its rotation; - for stdin. "
            "Plain, gzip or zstd. Or the address of a log: kafka://host/TOPIC, "
            "nats://host/STREAM.",
            show_default=False,
        ),
    ],
    json: Annotated[
        bool, typer.Option("--json", help="Everything as one JSON object.")
    ] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Name every symbol and finding, not just the first 20 of a kind.",
        ),
    ] = False,
    registry: RegistryUrl = None,
    to_config: ToConfig = None,
    debug: shared.Debug = False,
) -> int:
    """Prove a capture whole, or name what is missing or wrong in it.

    The exit status is 0 for a whole capture and 6 for any other, an empty one too.

    Examples:
      k2 verify trades.jsonl
      k2 verify trades.*.jsonl trades.jsonl         # the files of a rotation
      k2 verify --json trades.jsonl | jq -r .verdict
      k2 verify kafka://localhost:9092/trades       # what k2 publish put there
    """
    del debug  # main() reads it
    import signal

    from k2cli.capture.report import Conclusion
    from k2cli.cli.exit_status import ExitStatus
    from k2cli.cli.pipe import print_bytes

    # As with Ctrl-C, the progress is taken off the terminal first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if (url := _log_url(files)) is not None:
        report = _read_log(url, registry, to_config)
    else:
        report = _read(_sources(files))
    print_bytes(_json(report) if json else _text(report, everything=everything))
    whole = report.conclusion is Conclusion.WHOLE
    return ExitStatus.DONE if whole else ExitStatus.INCOMPLETE


def _log_url(files: list[Path]) -> str | None:
    """Return the address of a log; a path has lost one of its slashes."""
    import re

    found = re.fullmatch(r"(kafka|nats):/+(.*)", str(files[0])) if files else None
    return f"{found[1]}://{found[2]}" if found and len(files) == 1 else None


def _read_log(url: str, registry: str | None, to_config: Path | None) -> Report:
    from k2cli.publish.destination import target_of
    from k2cli.publish.proof import prove

    target = target_of(url, to_config)
    if target.scheme == "nats":
        from k2cli.publish.nats import messages
    else:
        from k2cli.publish.kafka import messages
    if registry is None:
        return prove(target, messages)
    from k2cli.publish.avro import AvroDecoder, Registry

    return prove(target, messages, AvroDecoder(Registry(registry)))


def _sources(files: list[Path]) -> list[CaptureSource]:
    import sys

    from k2cli.capture.reader import CaptureSource, in_order
    from k2cli.errors import SettingsError

    if sum(str(path) == "-" for path in files) > 1:
        raise SettingsError("stdin can be read once only", "Write - once")
    return in_order(
        [
            CaptureSource(path, sys.stdin.buffer if str(path) == "-" else None)
            for path in files
        ]
    )


def _read(sources: list[CaptureSource]) -> Report:
    from rich.console import Console

    from k2cli.capture.verify import CaptureCheck

    check = CaptureCheck(sources)
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        check.run()
    else:
        with _Progress(console, sources, check.verifier) as progress:
            check.run(progress.followed)
    return check.with_journal()


class _Progress:
    """A line on a terminal that says how far the reading has come."""

    def __init__(
        self, console: Console, sources: list[CaptureSource], verifier: Verifier
    ) -> None:
        import time

        from k2cli.display.progress import live_line

        self._live = live_line(console)
        self._console = console
        self._sources = sources
        self._verifier = verifier
        self._clock = time.monotonic
        self._started = self._clock()
        self._next_drawing = self._started

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        from contextlib import suppress

        with suppress(OSError):  # the terminal is gone
            self._live.stop()

    def followed(self, source: CaptureSource) -> Iterator[bytes]:
        """Hand a file's chunks on, drawing now and then."""
        for chunk in source.chunks():
            yield chunk
            now = self._clock()
            if now >= self._next_drawing:
                self._next_drawing = now + _REDRAWN_EVERY_SECONDS
                self._draw(source, now)

    def _draw(self, source: CaptureSource, now: float) -> None:
        from k2cli.display.progress import Reading, reading_line

        sizes = [one.size_bytes for one in self._sources]
        known = [size for size in sizes if size is not None]
        reading = Reading(
            name=source.name,
            lines=self._verifier.lines,
            findings=self._verifier.report.findings,
            read_bytes=sum(one.read_bytes for one in self._sources),
            size_bytes=sum(known) if len(known) == len(sizes) else None,
            seconds=now - self._started,
        )
        line = reading_line(reading, self._console.width - 1)
        self._live.update(line, refresh=True)


def _json(report: Report) -> bytes:
    from k2cli.text import machine_json

    return machine_json(report.to_dict())


def _text(report: Report, *, everything: bool) -> bytes:
    import io
    import sys

    from rich.console import Console

    from k2cli.display.reports import verdict_lines

    # Drawn as for stdout, but written by print_bytes, which knows what can go wrong.
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=Console().is_terminal)
    # On a terminal, of hundreds of symbols those that leave the verdict on the screen.
    short = console.is_terminal and not everything
    most = max(_LEAST_SYMBOLS, console.height // 2) if short else None
    lines = verdict_lines(report.to_dict(), everything=everything, most=most)
    for line in lines:
        # Where a line is too long for a terminal, it is broken between words.
        console.print(line, soft_wrap=not console.is_terminal)
    return drawn.getvalue().encode(sys.stdout.encoding, "backslashreplace")
