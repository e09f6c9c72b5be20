"""Running a tail from start to end, its account on stderr."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from k2cli.cli.tail import Output, Tail
from k2cli.log import LogOutput, configure, stderr_output

if TYPE_CHECKING:
    from k2cli.capture.file import CaptureFile
    from k2cli.cli.options import TailOptions


def configure_log(options: TailOptions) -> LogOutput:
    """Set the log up as the options say."""
    return configure(options.log_level.value, options.log_format.value, stderr_output())


def run_tail(
    options: TailOptions,
    output: Output,
    capture: CaptureFile | None = None,
    *,
    in_order: bool,
) -> int:
    """Run a tail and print its account, however it ends; see ``Tail``.

    Returns:
        The exit status.

    Raises:
        K2Error: If something went wrong.
    """

    async def run() -> int:
        tail = Tail(options, output, capture, in_order=in_order)
        try:
            return await tail.run()
        finally:
            with suppress(OSError):
                for line in tail.account():
                    print(line, file=sys.stderr)  # noqa: T201 - stderr is talk

    return asyncio.run(run())
