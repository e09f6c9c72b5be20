"""The ``k2`` program: its commands, and one line for whatever goes wrong."""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from inspect import cleandoc
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from k2cli import __version__
from k2cli.cli import stdio
from k2cli.cli.config import config
from k2cli.cli.doctor import doctor
from k2cli.cli.exit_status import ExitStatus, exit_status
from k2cli.cli.export import export
from k2cli.cli.manual import manual
from k2cli.cli.publish import publish
from k2cli.cli.record import record
from k2cli.cli.repair import repair
from k2cli.cli.schema import schema
from k2cli.cli.simulate import SimulateCommand, simulate
from k2cli.cli.stream import stream
from k2cli.cli.symbols import symbols
from k2cli.cli.verify import verify
from k2cli.errors import K2Error, OutputError
from k2cli.text import printable, printable_lines, without_secrets

_HELP = """Live trades of Binance Spot: watch them, pipe them, record them.

    A tour on the exchange that is built in; leave --demo out for the real one:
      k2 stream --demo --all                        # watch; Ctrl-C ends it
      k2 stream --demo BTCUSDT --json -n 10 | jq -r .price
      k2 record --demo -o trades.jsonl -n 200       # record
      k2 verify trades.jsonl                        # prove it complete
      k2 symbols --demo btc                         # see what there is
      k2 manual                                     # read more
    """


def _dressed(text: str) -> str:
    """Let the examples of a help text stand out, in the markup of rich."""
    return re.sub(
        r"^( +k2 .*?)(  #.*)?$",
        lambda found: f"[not dim bold]{found[1]}[/]{found[2] or ''}",
        cleandoc(text),
        flags=re.MULTILINE,
    )


app = typer.Typer(
    name="k2",
    help=_dressed(_HELP),
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _complete_command(incomplete: str) -> list[str]:
    names = [one.callback.__name__ for one in app.registered_commands if one.callback]
    return sorted(name for name in names if name.startswith(incomplete))


def help(  # noqa: A001 - the name of the command
    command: Annotated[
        str,
        typer.Argument(
            metavar="COMMAND",
            help="The command to explain. Without one, all are listed.",
            show_default=False,
            autocompletion=_complete_command,
        ),
    ] = "",
) -> int:
    """Show what a command does, as COMMAND --help does.

    Examples:
      k2 help                                       # all commands
      k2 help stream
    """
    words = [command, "--help"] if command else ["--help"]
    return app(words, prog_name="k2", standalone_mode=False) or 0


for command in (
    stream,
    record,
    symbols,
    verify,
    repair,
    export,
    publish,
    simulate,
    manual,
    schema,
    config,
    doctor,
    help,
):
    app.command(
        help=_dressed(command.__doc__ or ""),
        cls=SimulateCommand if command is simulate else None,
    )(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"k2 {__version__}")
        raise typer.Exit


@app.callback()
def _k2(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run ``k2`` with the process's arguments, and exit with its status."""
    stdio.install()
    debug = "--debug" in sys.argv[1:]
    status: int
    try:
        status = app(prog_name="k2", standalone_mode=False) or ExitStatus.DONE
    except (KeyboardInterrupt, Abort):
        status = ExitStatus.INTERRUPTED
    except TyperException as exc:
        # no_args_is_help comes as an exception too, its text printed already.
        message = exc.format_message().rstrip(".").replace("Value error, ", "")
        if message:
            stop = "" if message.endswith("?") else "."
            _complain(f"{message}{stop} '{_command(exc)} --help' shows what there is")
        status = ExitStatus.USAGE
    except K2Error as exc:
        if debug:
            _print_traceback()
        status = exit_status(exc)
        if str(exc) and status != ExitStatus.DONE:
            _complain(str(exc))
    except BrokenPipeError:
        status = ExitStatus.DONE
    except Exception as exc:
        if debug:
            _print_traceback()
        what = printable(f"{type(exc).__name__}: {exc}")
        _complain(f"a bug in k2 ({what}). --debug shows where; please report it")
        status = ExitStatus.BUG
    _leave(status)


def _command(exc: TyperException) -> str:
    context = getattr(exc, "ctx", None)
    return context.command_path if context is not None else "k2"


def _complain(message: str) -> None:
    text = printable_lines(without_secrets(message))
    print(f"k2: error: {text}", file=sys.stderr)  # noqa: T201 - stderr is talk


def _print_traceback() -> None:
    text = printable_lines(without_secrets(traceback.format_exc()))
    print(text, file=sys.stderr)  # noqa: T201 - stderr is talk


def _leave(status: int) -> None:
    # All is done, and the status is known: the interpreter's last moments do not change
    # it. (It would give signals back their default action, which is to kill.)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # A reader who closed stdout must not make the interpreter complain on its way out.
    try:
        sys.stdout.flush()
    except (OSError, OutputError) as exc:
        if isinstance(exc, OutputError) and status == ExitStatus.DONE:
            _complain(str(exc))
            status = ExitStatus.OUTPUT
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
