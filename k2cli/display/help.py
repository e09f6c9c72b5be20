"""The help on the screen: keys, columns, marks."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from rich.text import Text

from k2cli.display.columns import COLUMNS, LARGE_MARK
from k2cli.display.digits import span_text
from k2cli.display.status import BACKFILL_MARK, fit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k2cli.display.controls import Controls

_KEYS = (
    ("q, Ctrl-C", "quit, with the account of the run"),
    ("space", "stop the picture, and go on; nothing is missed meanwhile"),
    ("s, S", "sort by the next column; the other way round"),
    (
        "n p, PgDn PgUp",
        "next, previous page, of the help too; arrows: a row, Home: the top",
    ),
    ("/", "type part of a symbol to filter; Enter keeps it, Esc clears it"),
    ("w", "next window of time, now {window}"),
    ("t", "the tape of latest trades on or off"),
    ("?, h", "this help on or off"),
)
_MARKS = (
    ("● ○", "the connection delivers, or does not"),
    (
        f"✓ {BACKFILL_MARK} ✗",
        "nothing is missing; missing trades are being fetched; they are lost",
    ),
    (LARGE_MARK, "a large trade, as of the column size"),
    (BACKFILL_MARK, "a trade that came late, from the history, to fill a gap"),
)
_LEFT = 16
_NARROWEST = 20


def help_lines(controls: Controls, width: int) -> list[Text]:
    """Draw the help.

    Args:
        controls: What is chosen now.
        width: Cells.
    """
    window = span_text(controls.window_seconds)
    keys = [(key, does.format(window=window)) for key, does in _KEYS]
    columns = [(c.header.format(window=window), c.meaning) for c in COLUMNS]
    lines: list[Text] = []
    for title, entries in (("keys", keys), ("marks", _MARKS), ("columns", columns)):
        if lines:
            lines.append(Text())
        lines.append(Text(f" {title}", "dim"))
        for name, meaning in entries:
            lines += _entry(name, meaning, width)
    return [fit(line, width) for line in lines]


def _entry(name: str, meaning: str, width: int) -> Iterator[Text]:
    words = wrap(meaning, max(_NARROWEST, width - _LEFT - 3)) or [""]
    for place, line in enumerate(words):
        shown = "" if place else name
        yield Text.assemble((f" {shown:<{_LEFT}} ", "bold"), line)
