"""``k2 record``."""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from k2cli.cli.options import TailOptions, duration_seconds, takes
from k2cli.text import printable

if TYPE_CHECKING:
    from k2cli.cli.run import Display

_WHERE_TO = "Where to"
_SERVICE = "As a service"


def size_bytes(text: str) -> int:
    """Read a size such as ``500MB`` or ``10GB``."""
    from k2cli.capture.rotation import parse_size

    found = parse_size(text)
    if not found:
        raise typer.BadParameter(
            f"'{printable(text, 40)}' is no size; write 500MB or 10GB"
        )
    return found


def fsync_seconds(text: str) -> float:
    """Read how often to sync: seconds, ``0``, or ``never``, which is infinity."""
    word = text.strip().lower()
    if word in ("never", "0"):
        return math.inf if word == "never" else 0.0
    return duration_seconds(text)


class ListenAddress(NamedTuple):
    """Where to listen."""

    host: str
    port: int


def listen_address(text: str) -> ListenAddress:
    """Read an address to listen on, such as ``127.0.0.1:9464`` or ``[::1]:9464``."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and port.isdecimal() and port.isascii() and int(port[:6]) < 2**16):
        raise typer.BadParameter(
            f"'{printable(text, 60)}' is no address to listen on; write 127.0.0.1:9464"
        )
    return ListenAddress(host, int(port))


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
            help="Overwrite FILE instead of resuming it.",
            rich_help_panel=_WHERE_TO,
        ),
    ] = False,
    rotate: Annotated[
        str | None,
        typer.Option(
            "--rotate",
            metavar="SIZE|TIME",
            help="Start a new file at 100MB, or every 1h or 1d (UTC).",
            rich_help_panel=_WHERE_TO,
        ),
    ] = None,
    fsync: Annotated[
        float,
        typer.Option(
            "--fsync",
            metavar="SECONDS",
            parser=fsync_seconds,
            help="Seconds between fsyncs: what a power cut may lose. 0: all the time; "
            "never.",
            rich_help_panel=_WHERE_TO,
        ),
    ] = "5",  # type: ignore[assignment]  # Typer sends defaults through the parser
    max_pending: Annotated[
        int,
        typer.Option(
            "--max-pending",
            metavar="SIZE",
            parser=size_bytes,
            help="How much may wait on disk behind gaps; then the oldest gap is given "
            "up.",
            rich_help_panel=_WHERE_TO,
        ),
    ] = "10GB",  # type: ignore[assignment]  # likewise
    per_symbol: Annotated[
        bool,
        typer.Option(
            "--per-symbol",
            help="Show on the terminal what comes of every symbol, too.",
            rich_help_panel=_WHERE_TO,
        ),
    ] = False,
    metrics: Annotated[
        ListenAddress | None,
        typer.Option(
            "--metrics",
            metavar="HOST:PORT",
            parser=listen_address,
            help="Serve /metrics for Prometheus, and /healthz, at 127.0.0.1:9464.",
            rich_help_panel=_SERVICE,
        ),
    ] = None,
    metrics_per_symbol: Annotated[
        bool,
        typer.Option(
            "--metrics-per-symbol",
            help="Serve figures of every symbol, too.",
            rich_help_panel=_SERVICE,
        ),
    ] = False,
) -> int:
    """Record live trades to a file, one JSON object a line, and account for each.

    An existing file is resumed; what was missed meanwhile is fetched.

    Examples:
      k2 record -o trades.jsonl                     # until Ctrl-C
      k2 record -o btc.jsonl BTCUSDT --duration 1h
      k2 record -o usdt.jsonl.gz --quote USDT --rotate 1d
      k2 record -o - BTCUSDT -n 100 | wc -l
    """
    from rich.console import Console

    from k2cli.capture.rotation import parse_rotation
    from k2cli.capture.sink import CaptureSink
    from k2cli.cli.checks import check_options
    from k2cli.cli.pipe import PipeSink
    from k2cli.cli.progress import RecordingProgress
    from k2cli.cli.run import configure_log, run_session
    from k2cli.errors import SettingsError

    if output.suffix == ".parquet":
        raise SettingsError(
            f"{output.name} cannot grow line by line, as a capture does",
            f"Record to {output.stem}.jsonl, then: k2 export {output.stem}.jsonl "
            f"-o {output.name}",
        )
    rotation = parse_rotation(rotate) if rotate is not None else None
    check_options(options, output=output)
    log_output = configure_log(options)
    progress = RecordingProgress(
        Console(stderr=True), log_output, per_symbol=per_symbol
    )
    if str(output) == "-" and rotation is not None:
        raise SettingsError("stdout cannot be rotated", "Leave --rotate out")
    if metrics_per_symbol and metrics is None:
        raise SettingsError(
            "--metrics-per-symbol goes with --metrics", "Add it, or leave both"
        )
    with ExitStack() as serving:
        displays = [progress, *_service(serving, metrics, metrics_per_symbol)]
        if str(output) == "-":
            pipe = PipeSink(in_order=True)
            return run_session(
                options,
                log_output,
                pipe=pipe,
                displays=tuple(displays),
                rereads=True,
            )
        capture = CaptureSink(
            output,
            overwrite=overwrite,
            rotation=rotation,
            fsync_seconds=None if fsync == math.inf else fsync,
            max_pending_bytes=max_pending,
        )
        return run_session(
            options,
            log_output,
            capture=capture,
            displays=tuple(displays),
            rereads=True,
        )


def _service(
    serving: ExitStack, address: ListenAddress | None, per_symbol: bool
) -> list[Display]:
    """Return what tells a service manager, and a monitoring, how the run is."""
    found: list[Display] = []
    if address is not None:
        from k2cli.cli.metrics_server import MetricsServer

        found.append(serving.enter_context(MetricsServer(address, per_symbol)))
    if "NOTIFY_SOCKET" in os.environ:
        from k2cli.cli.notify import ServiceNotifier

        if (notifier := ServiceNotifier.from_environment(os.environ)) is not None:
            found.append(notifier)
    return found
