"""``k2 record``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from k2cli.cli.options import TailOptions, takes

if TYPE_CHECKING:
    from k2cli.cli.tail import Tail
    from k2cli.display.formats import LineFormat

_WHERE_TO = "Where to"


@takes(TailOptions)
def record(
    options: TailOptions,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to append to; - for stdout.",
            rich_help_panel=_WHERE_TO,
        ),
    ],
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Start FILE anew instead of going on with it.",
            rich_help_panel=_WHERE_TO,
        ),
    ] = False,
) -> int:
    """Record live trades to a file, one JSON object a line.

    k2 record -o trades.jsonl

    k2 record -o btc.jsonl BTCUSDT --duration 1h
    """
    from rich.console import Console

    from k2cli.capture.file import CaptureFile
    from k2cli.cli.pipe_output import PipeOutput
    from k2cli.cli.recording_output import RecordingOutput
    from k2cli.cli.run import configure_log, run_tail
    from k2cli.errors import SettingsError, printable

    if output.suffix in (".gz", ".zst"):
        raise SettingsError(
            f"{printable(str(output))}: compressed captures are not supported",
            "Leave the ending out, and compress the file afterwards",
        )
    log_output = configure_log(options)
    console = Console(stderr=True)
    if str(output) == "-":
        pipe = PipeOutput(_json_lines, numbered=True)
        progress = RecordingOutput(console, log_output, pipe)
        return run_tail(options, progress, log_output, in_order=True)
    with CaptureFile(output, overwrite=overwrite) as capture:
        progress = RecordingOutput(console, log_output)
        return run_tail(options, progress, log_output, capture, in_order=True)


def _json_lines(_tail: Tail) -> LineFormat:
    from k2cli.display.formats import line_format

    return line_format("json")
