"""``k2 export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from k2cli.cli import options as shared  # noqa: TC001 - Typer reads annotations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console
    from rich.progress import Progress, TaskID

    from k2cli.capture.reader import CaptureSource
    from k2cli.export.parquet import Exported


def export(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="A capture: one file, or the files of its rotation. "
            "Plain, gzip or zstd.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR|FILE.parquet",
            help="Where to: one file, or a folder.",
            show_default=False,
        ),
    ],
    partition: Annotated[
        str,
        typer.Option(
            metavar="KEYS",
            help="Divide the folder by date, by symbol, or by date,symbol.",
            show_default=False,
        ),
    ] = "",
    all_columns: Annotated[
        bool,
        typer.Option(
            "--all-columns", help="Write message_id, too: it doubles the size."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
    debug: shared.Debug = False,
) -> int:
    """Export a capture to Parquet (zstd): typed columns, exact decimals.

    The exit status is 6 if the capture lacks trades; the files are written all the
    same, and name in their metadata what is missing.

    Examples:
      k2 export trades.jsonl -o trades.parquet
      k2 export trades.*.jsonl.zst trades.jsonl.zst -o lake --partition date
    """
    del debug  # main() reads it
    import signal

    from rich.console import Console

    from k2cli.capture.reader import CaptureSource, in_order
    from k2cli.cli.exit_status import ExitStatus
    from k2cli.export.parquet import export_parquet

    # As with Ctrl-C, what is unfinished is removed first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    keys = _partition_keys(partition)
    sources = in_order([CaptureSource(path) for path in files])
    console = Console(stderr=True)
    with _progress(console) as progress:
        exported = export_parquet(
            _followed(sources, progress),
            output,
            partition=keys,
            name=files[-1].name.partition(".")[0] or "trades",
            all_columns=all_columns,
            overwrite=overwrite,
            on_written=_writing(progress),
        )
    typer.echo(_summary(exported), err=True)
    return ExitStatus.INCOMPLETE if exported.missing else ExitStatus.DONE


def _partition_keys(text: str) -> list[str]:
    from k2cli.errors import SettingsError, printable
    from k2cli.export.parquet import PARTITION_KEYS

    keys = [key.strip() for key in text.split(",") if key.strip()]
    if len(set(keys)) < len(keys) or not set(keys) <= set(PARTITION_KEYS):
        raise SettingsError(
            f"'{printable(text)}' is nothing to divide by",
            "Write --partition date, symbol, or date,symbol",
        )
    return keys


def _progress(console: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        BarColumn(24),
        TextColumn("{task.description}"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or console.is_dumb_terminal,
    )


def _followed(
    sources: list[CaptureSource], progress: Progress
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Return each file's name and chunks, showing how far the reading has come."""
    from k2cli.errors import printable

    sizes = [source.size_bytes for source in sources]
    known = [size for size in sizes if size is not None]
    task = progress.add_task(
        "reading", total=sum(known) if len(known) == len(sizes) else None
    )

    def chunks(source: CaptureSource) -> Iterator[bytes]:
        for chunk in _whole(source):
            progress.update(task, completed=sum(one.read_bytes for one in sources))
            yield chunk

    for source in sources:
        progress.update(task, description=printable(source.name, 40))
        yield source.name, chunks(source)
    progress.remove_task(task)


def _whole(source: CaptureSource) -> Iterator[bytes]:
    from k2cli.capture.reader import BrokenOff
    from k2cli.errors import OutputError, printable

    shown = printable(source.name)
    try:
        yield from source.chunks()
    except BrokenOff as exc:
        if exc.damaged:
            raise OutputError(
                f"{shown} {exc.message}", f"See what is whole: k2 verify {shown}"
            ) from exc
        typer.echo(f"k2: {shown}: {exc.message}; exported up to there", err=True)


def _writing(progress: Progress) -> Callable[[int, int], None]:
    task: list[TaskID] = []

    def on_written(done: int, total: int) -> None:
        if not task:
            task.append(progress.add_task("writing", total=None))
        progress.update(task[0], description=f"writing {done:,} of {total:,} files")

    return on_written


def _summary(exported: Exported) -> str:
    from k2cli.display.numbers import counted, size_text

    missing = f"{exported.missing:,} missing" if exported.missing else "nothing missing"
    return (
        f"exported: {counted(exported.trades, 'trade')} of "
        f"{counted(exported.symbols, 'symbol')} in "
        f"{counted(len(exported.files), 'file')} ({size_text(exported.size_bytes)}), "
        f"{missing}"
    )
