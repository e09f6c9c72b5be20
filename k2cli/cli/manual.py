"""``k2 manual``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from k2cli.cli import options as shared  # noqa: TC001 - Typer reads annotations

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_INDEX = "index"
# An entry of the index: its topic, and what the page is about.
_ENTRY = re.compile(r"^- \[(\w+)\]\(\1\.md\): (.+)$", re.MULTILINE)
# A link from page to page, which means nothing on a terminal.
_LINK = re.compile(r"\[([^\]]+)\]\((\w+)\.md(?:#[\w-]*)?\)")
_PICTURE = re.compile(r"^!\[.*\]\(.*\)\n\n?", re.MULTILINE)
# Longer lines of text are hard to read.
_WIDEST = 100


def complete_topic(incomplete: str) -> list[str]:
    """Offer the manual's topics."""
    names = (page.name for page in _folder().iterdir())
    topics = [name.removesuffix(".md") for name in names if name.endswith(".md")]
    return sorted(topic for topic in topics if topic.startswith(incomplete.lower()))


def manual(
    topic: Annotated[
        str,
        typer.Argument(
            metavar="TOPIC",
            help="The page to show. Without one, all topics are listed.",
            show_default=False,
            autocompletion=complete_topic,
        ),
    ] = "",
    pager: Annotated[
        bool,
        typer.Option(
            "--pager/--no-pager",
            help="Page what is longer than the screen, with $PAGER or less.",
        ),
    ] = True,
    man: Annotated[
        bool,
        typer.Option("--man", help="Print the man page k2(1), made from the help."),
    ] = False,
    debug: shared.Debug = False,
) -> int:
    """Show the manual: rendered on a terminal, as Markdown in a pipe.

    Examples:
      k2 manual                                     # the topics
      k2 manual recording
      k2 manual files > files.md
      k2 manual --man > k2.1
    """
    del debug  # main() reads it
    import sys

    if man:
        from k2cli.cli.app import app
        from k2cli.cli.man_page import man_page

        _write(man_page(typer.main.get_command(app), _page("commands")))
        return 0
    topics = dict([(_INDEX, "this list"), *_ENTRY.findall(_page(_INDEX))])
    name = topic.strip().lower().removesuffix(".md")
    if not name:
        width = max(map(len, topics))
        lines = [f"{each:<{width}}  {about}\n" for each, about in topics.items()]
        _write("".join(lines))
    elif name not in topics:
        raise _unknown(topic, list(topics))
    elif sys.stdout.isatty():
        _show(_page(name), paged=pager)
    else:
        _write(_page(name))
    return 0


def _folder() -> Traversable:
    from importlib.resources import files

    return files("k2cli") / "manual"


def _page(topic: str) -> str:
    return (_folder() / f"{topic}.md").read_text(encoding="utf-8")


def _unknown(topic: str, topics: list[str]) -> Exception:
    from k2cli.cli.checks import did_you_mean
    from k2cli.errors import SettingsError, printable

    return SettingsError(
        f"the manual has no page {printable(topic, 40)!r}",
        f"{did_you_mean(topic.lower(), topics)}'k2 manual' lists the topics",
    )


def _write(text: str) -> None:
    from k2cli.cli.pipe import print_bytes

    # In UTF-8 wherever it goes, as the pages are.
    print_bytes(text.encode())


def _show(text: str, *, paged: bool) -> None:
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    from k2cli.cli.pager import page, pager_command, shows_colours

    # The terminal's own colours, on its own background.
    theme = Theme({"markdown.code": "bold cyan", "markdown.code_block": "cyan"})
    text = _LINK.sub(r"\1 (`k2 manual \2`)", _PICTURE.sub("", text))
    console = Console(theme=theme)

    def rendered(console: Console) -> str:
        with console.capture() as captured:
            console.print(
                Markdown(text, code_theme="ansi_dark", hyperlinks=False),
                width=min(console.width, _WIDEST),
            )
        return captured.get()

    shown = rendered(console)
    command = None
    if paged:
        command = pager_command(lines=shown.count("\n"), screen_lines=console.height)
    if command is not None and not shows_colours():
        shown = rendered(Console(theme=theme, color_system=None))
    if command is None or not page(shown, command):
        _write(shown)
