"""``k2 repair``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from k2cli.cli import options as shared

_HOW = "How to repair"


def repair(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="A capture; the finished files of its rotation belong to it.",
            show_default=False,
        ),
    ],
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only say what is missing, and what it takes to get it.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    give_up: Annotated[
        bool,
        typer.Option(
            "--give-up",
            help="Merge pending trades even behind a gap that stays.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    repair_weight: shared.RepairWeight = "50%",  # type: ignore[assignment]  # Typer sends defaults through the parser
    data_url: Annotated[
        str | None,
        typer.Option(
            "--data-url",
            metavar="HTTPS",
            help="Host of the daily archives; https://data.binance.vision for Binance.",
            rich_help_panel="Where from",
        ),
    ] = None,
    api_url: shared.ApiUrl = None,
    config: shared.Config = None,
    log_level: shared.Level = shared.LogLevel.INFO,
    log_format: shared.Format = shared.LogFormat.AUTO,
    debug: shared.Debug = False,
) -> int:
    """Make a capture whole: fetch what is missing, merge what is pending.

    New files take the place of the old ones; platform_sequence is numbered anew.
    Cut off at any moment, it continues where it was when it is started again.

    Examples:
      k2 repair --dry-run trades.jsonl              # what it would take
      k2 repair trades.jsonl                        # with all its rotated files
      k2 repair --repair-weight 90% trades.jsonl
    """
    del debug  # main() reads it
    import asyncio

    from k2cli.cli.log import configure, stderr_output
    from k2cli.cli.repair_run import RepairRun
    from k2cli.cli.venue import settings
    from k2cli.errors import SettingsError, printable

    log_output = configure(log_level.value, log_format.value, stderr_output())
    if any(str(path) == "-" for path in files):
        raise SettingsError("stdin cannot be repaired", "Name a file")
    if data_url is not None and not data_url.lower().startswith(
        ("http://", "https://")
    ):
        raise SettingsError(
            f"'{printable(data_url)}' is no address of archives",
            "Write one that starts with https:// or http://",
        )
    run = RepairRun(
        files,
        settings(url=None, api_url=api_url, config_file=config),
        log_output,
        dry_run=dry_run,
        give_up=give_up,
        share=repair_weight,
        data_url=data_url,
    )
    return asyncio.run(run.run())
