"""The man page, made from the help of the commands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from k2cli import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# A table of the manual's page of commands: a number, and what it means.
_STATUS = re.compile(r"^\| (\d+) \| (.+) \|$", re.MULTILINE)
# What rich takes for markup in the help of a command.
_MARKUP = re.compile(r"\[/?(?:not dim bold)?\]")
# The type of an argument, which its name says already.
_TYPE = re.compile(r" <(?:str|list\[str\])>$")


def man_page(program: Any, commands_page: str) -> str:
    """Return the man page ``k2(1)`` in roff.

    Args:
        program: The program's group of commands, as Typer makes it.
        commands_page: The manual's page of commands: it has the exit statuses.
    """
    context = program.make_context("k2", [], resilient_parsing=True)
    first, *rest = _plain(program.help).split("\n", 1)
    lines = [
        f'.TH K2 1 "" "k2 {__version__}" "k2"',
        ".SH NAME",
        rf"k2 \- {_escaped(first.rstrip('.'))}",
        ".SH SYNOPSIS",
        r".B k2",
        r"\fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]",
        ".SH DESCRIPTION",
        *_help("".join(rest)),
        *_options(program.params, context),
        ".SH COMMANDS",
    ]
    for name in program.list_commands(context):
        command = program.commands[name]
        own = command.make_context(name, [], parent=context, resilient_parsing=True)
        usage = " ".join(["k2", name, *command.collect_usage_pieces(own)])
        lines += [f".SS {_escaped(usage)}", *_help(_plain(command.help))]
        lines += _options(command.params, own)
    lines.append(".SH EXIT STATUS")
    for number, meaning in _STATUS.findall(commands_page):
        lines += [".TP", rf"\fB{number}\fR", _escaped(_unlinked(meaning))]
    lines += [
        ".SH ENVIRONMENT",
        ".TP",
        r"\fBK2_BINANCE_*\fR",
        r"Settings, which \fBk2 manual configuration\fR lists.",
        ".TP",
        r"\fBNO_COLOR\fR, \fBPAGER\fR",
        "As usual.",
        ".SH SEE ALSO",
        r"\fBk2 manual\fR lists the pages of the manual.",
    ]
    return "\n".join(lines) + "\n"


def _plain(text: str | None) -> str:
    return _MARKUP.sub("", text or "")


def _unlinked(text: str) -> str:
    return re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text).replace("`", "")


def _escaped(text: str) -> str:
    """Return text in which roff finds no requests, and no hyphens for options."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    # Not every roff reads UTF-8.
    escaped = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in escaped)
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _help(text: str) -> Iterator[str]:
    """Set paragraphs, and examples as they are."""
    for paragraph in filter(None, (part.strip("\n") for part in text.split("\n\n"))):
        lines = paragraph.split("\n")
        if not any(line.startswith("  ") for line in lines):
            yield from (".PP", *map(_escaped, lines))
            continue
        heads = [line for line in lines if not line.startswith("  ")]
        yield from (".PP", *map(_escaped, heads), ".PP", ".EX")
        yield from (_escaped(line) for line in lines if line.startswith("  "))
        yield ".EE"


def _options(parameters: Iterable[Any], context: Any) -> Iterator[str]:
    """Set options and arguments under the headings that the help has for them."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in parameters:
        record = parameter.get_help_record(context)
        if record is not None:
            panel = getattr(parameter, "rich_help_panel", None) or ""
            panels.setdefault(panel, []).append(record)
    for panel, records in panels.items():
        if panel:
            yield from (".PP", rf"\fI{_escaped(panel)}\fR")
        for names, meaning in records:
            words = _escaped(_TYPE.sub("", names))
            yield from (".TP", rf"\fB{words}\fR", _escaped(meaning))
