"""Running a tail from start to end, its account on stderr."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson
import structlog

from k2cli.cli.tail import Tail
from k2cli.errors import OutputError, printable
from k2cli.log import LogOutput, configure, stderr_output

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from k2cli.capture.file import CaptureFile
    from k2cli.cli.flow import Output
    from k2cli.cli.options import TailOptions


# Of hundreds of symbols, a terminal gets those that leave the verdict on its screen.
_LEAST_SYMBOLS = 10
_LINES_BESIDE_SYMBOLS = 8
# A catalog takes a moment. If it takes longer, a person is told what is waited for.
_SILENT_SECONDS = 1.5

log: FilteringBoundLogger = structlog.get_logger()


def configure_log(options: TailOptions) -> LogOutput:
    """Set the log up as the options say."""
    return configure(options.log_level.value, options.log_format.value, stderr_output())


def run_tail(
    options: TailOptions,
    output: Output,
    log_output: LogOutput,
    capture: CaptureFile | None = None,
    *,
    in_order: bool,
) -> int:
    """Run a tail and give its account, however it ends; see ``Tail``.

    SIGUSR1 gives the account so far, as Ctrl-T does where terminals know that.

    Returns:
        The exit status.

    Raises:
        K2Error: If something went wrong.
    """

    async def run() -> int:
        tail = Tail(options, output, capture, in_order=in_order)

        def give_account() -> None:
            try:
                if options.summary is not None:
                    _write_summary(options.summary, tail)
            finally:
                with suppress(OSError):
                    for line in _account_lines(tail):
                        log_output.write(f"{line}\n")
                    log_output.flush()

        def give_account_so_far() -> None:
            try:
                give_account()
            except OutputError as exc:
                log.warning(str(exc))

        if sys.platform != "win32":
            loop = asyncio.get_running_loop()
            for number in {signal.SIGUSR1, getattr(signal, "SIGINFO", signal.SIGUSR1)}:
                loop.add_signal_handler(number, give_account_so_far)
        waiting = asyncio.create_task(_say_what_is_waited_for(tail))
        try:
            return await tail.run()
        finally:
            waiting.cancel()
            give_account()

    return asyncio.run(run())


async def _say_what_is_waited_for(tail: Tail) -> None:
    await asyncio.sleep(_SILENT_SECONDS)
    if tail.account() is None:
        log.info("Waiting for the exchange to tell its symbols")


def _account_lines(tail: Tail) -> list[str]:
    """Draw the account as stderr takes it: on a terminal with colours, on a screen."""
    from rich.console import Console

    from k2cli.display.reports import account_lines

    account = tail.account()
    if account is None or not tail.has_readers():
        return []
    console = Console(stderr=True)
    most = None
    if console.is_terminal:
        most = max(_LEAST_SYMBOLS, console.height - _LINES_BESIDE_SYMBOLS)
    with console.capture() as captured:
        for line in account_lines(account, most=most):
            console.print(line, soft_wrap=not console.is_terminal)
    return captured.get().splitlines()


def _write_summary(file: Path, tail: Tail) -> None:
    account = tail.account()
    if account is None:
        return
    aside = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        aside.write_bytes(orjson.dumps(account, option=orjson.OPT_INDENT_2))
        aside.replace(file)
    except OSError as exc:
        raise OutputError(
            f"{printable(str(file))} cannot be written: "
            f"{printable(exc.strerror or str(exc))}",
            "Choose another place for --summary",
        ) from exc
