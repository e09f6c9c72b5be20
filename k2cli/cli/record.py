"""``k2 record``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from k2cli.cli.options import TailOptions, duration_seconds, takes

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
    rotate: Annotated[
        str | None,
        typer.Option(
            "--rotate",
            metavar="SIZE|TIME",
            help="Go on in a new file at 100MB, or every 1h or 1d (UTC).",
            rich_help_panel=_WHERE_TO,
        ),
    ] = None,
    fsync: Annotated[
        str,
        typer.Option(
            "--fsync",
            metavar="SECONDS",
            help="How often to wait for the disk, which is what a power cut may lose; "
            "0: with every write; never.",
            rich_help_panel=_WHERE_TO,
        ),
    ] = "5",
    per_symbol: Annotated[
        bool,
        typer.Option(
            "--per-symbol",
            help="Show on the terminal what comes of every symbol, too.",
            rich_help_panel=_WHERE_TO,
        ),
    ] = False,
) -> int:
    """Record live trades to a file, one JSON object a line, and account for each.

    A file that exists is gone on with; what was missed meanwhile is fetched.

    Examples:
      k2 record -o trades.jsonl                     # until Ctrl-C
      k2 record -o btc.jsonl BTCUSDT --duration 1h
      k2 record -o usdt.jsonl.gz --quote USDT --rotate 1d
      k2 record -o - BTCUSDT -n 100 | wc -l
    """
    from rich.console import Console

    from k2cli.capture.file import CaptureFile
    from k2cli.capture.rotation import rotation as read_rotation
    from k2cli.cli.pipe_output import PipeOutput
    from k2cli.cli.recording_output import RecordingOutput
    from k2cli.cli.run import configure_log, run_tail
    from k2cli.errors import SettingsError

    if output.suffix == ".parquet":
        raise SettingsError(
            f"{output.name} cannot grow line by line, as a capture does",
            f"Record to {output.stem}.jsonl, then: k2 export {output.stem}.jsonl "
            f"-o {output.name}",
        )
    rotation = read_rotation(rotate) if rotate is not None else None
    fsync_seconds = _fsync_seconds(fsync)
    log_output = configure_log(options)
    console = Console(stderr=True)
    if str(output) == "-":
        if rotation is not None:
            raise SettingsError("stdout cannot be rotated", "Leave --rotate out")
        pipe = PipeOutput(_json_lines, numbered=True)
        progress = RecordingOutput(console, log_output, pipe, per_symbol=per_symbol)
        return run_tail(options, progress, log_output, in_order=True)
    with CaptureFile(
        output, overwrite=overwrite, rotation=rotation, fsync_seconds=fsync_seconds
    ) as capture:
        progress = RecordingOutput(console, log_output, per_symbol=per_symbol)
        return run_tail(options, progress, log_output, capture, in_order=True)


def _fsync_seconds(text: str) -> float | None:
    if text.strip().lower() == "never":
        return None
    if text.strip() == "0":
        return 0.0
    return duration_seconds(text)


def _json_lines(_tail: Tail) -> LineFormat:
    from k2cli.display.formats import line_format

    return line_format("json")
