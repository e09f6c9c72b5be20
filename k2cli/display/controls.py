"""What a person has chosen with options and keys, and the help that names them."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.text import Text

from k2cli.display.columns import COLUMNS, LARGE_MARK, SORTABLE
from k2cli.display.numbers import span_text
from k2cli.display.text import BACKFILL_MARK, fit

if TYPE_CHECKING:
    from collections.abc import Iterator

_ASCENDING = {column.name: column.ascending for column in COLUMNS}
_LONGEST_FILTER = 20

_KEYS = (
    ("q, Ctrl-C", "quit and print the summary"),
    ("space", "pause or resume the screen; trades are still counted while it pauses"),
    ("s, S", "sort by the next column; reverse the order"),
    (
        "n p, PgDn PgUp",
        "next, previous page, of the help too; arrows: a row, Home: the top",
    ),
    ("/", "type part of a symbol to filter; Enter keeps it, Esc clears it"),
    ("w", "next window of time, now {window}"),
    ("t", "show or hide the tape of latest trades"),
    ("?, h", "show or hide this help"),
)
_MARKS = (
    ("● ○", "the connection delivers trades, or does not"),
    (
        f"✓ {BACKFILL_MARK} ✗",
        "no trades are missing; missing trades are being fetched; trades are lost",
    ),
    (LARGE_MARK, "a large trade, see the column size"),
    (BACKFILL_MARK, "a trade fetched from the history to fill a gap"),
)
# Cells of the names in the help, and the fewest of their meanings.
_NAME_CELLS = 16
_LEAST_MEANING_CELLS = 20


@dataclass(slots=True, kw_only=True)
class Controls:
    """The screen's settings, and what keys do to them.

    Attributes:
        has_keys: Whether there is a keyboard.
        sort: Name of the column that rows are sorted by; ``None`` for the order in
            which symbols were asked for, or the busiest first if they do not fit.
        is_reversed: Whether the order is reversed.
        windows_seconds: Windows of time to choose from, shortest first.
        window_seconds: The one for change and trend.
        shows_tape: Whether the tape is shown; ``None``: if there is room.
        is_paused: Whether the screen is paused.
        shows_help: Whether the help is shown instead of the table.
        filter: Part of the names of the symbols to show.
        is_typing: Whether what is typed goes into the filter.
        first_row: First row shown; the screen corrects what is too much.
        help_row: First line of the help shown; likewise.
        page_rows: Rows on the screen; the screen sets it.
        has_pages: Whether there are more rows than that; likewise.
        has_tape: Whether the tape is on the screen; likewise.
    """

    has_keys: bool = False
    sort: str | None = None
    is_reversed: bool = False
    windows_seconds: tuple[float, ...] = (300.0,)
    window_seconds: float = 300.0
    shows_tape: bool | None = None
    is_paused: bool = False
    shows_help: bool = False
    filter: str = ""
    is_typing: bool = False
    first_row: int = 0
    help_row: int = 0
    page_rows: int = 1
    has_pages: bool = False
    has_tape: bool = False

    @property
    def is_ascending(self) -> bool:
        """Whether rows are sorted from small to large."""
        return _ASCENDING.get(self.sort or "", False) is not self.is_reversed

    def shows(self, symbol: str) -> bool:
        """Return whether a symbol fits the filter."""
        return self.filter in symbol.upper()

    def press(self, key: str) -> bool:
        """Do what a key asks for.

        Args:
            key: The character typed, or the name of the key: ``"enter"``,
                ``"escape"``, ``"backspace"``, ``"up"``, ``"pagedown"`` ….

        Returns:
            Whether to quit.
        """
        if self.is_typing:
            self._type(key)
            return False
        if self.shows_help and key in {"escape", "q", "enter", " "}:
            self.shows_help = False
            return False
        match key:
            case "q":
                return True
            case " ":
                self.is_paused = not self.is_paused
            case "s":
                names = (None, *SORTABLE)
                self.sort = names[(names.index(self.sort) + 1) % len(names)]
                self.is_reversed = False
                self.first_row = 0
            case "S" if self.sort is not None:
                self.is_reversed = not self.is_reversed
                self.first_row = 0
            case "t":
                self.shows_tape = not self.has_tape
            case "w":
                windows = self.windows_seconds
                place = windows.index(self.window_seconds) + 1
                self.window_seconds = windows[place % len(windows)]
            case "/":
                self.is_typing = True
                self.shows_help = False
            case "escape":
                self._clear_filter()
            case "?" | "h":
                self.shows_help = not self.shows_help
                self.help_row = 0
            case "n" | "pagedown" | "right":
                self._scroll(self.page_rows)
            case "p" | "pageup" | "left":
                self._scroll(-self.page_rows)
            case "down":
                self._scroll(1)
            case "up":
                self._scroll(-1)
            case "home":
                self._scroll(-self.first_row - self.help_row)
        return False

    def _type(self, key: str) -> None:
        if key == "enter":
            self.is_typing = False
        elif key == "escape":
            self._clear_filter()
        elif key == "backspace":
            self.is_typing = bool(self.filter)
            self.filter = self.filter[:-1]
        elif len(key) == 1 and key.isalnum() and len(self.filter) < _LONGEST_FILTER:
            self.filter += key.upper()
        self.first_row = 0

    def _clear_filter(self) -> None:
        self.is_typing = False
        self.filter = ""
        self.first_row = 0

    def _scroll(self, rows: int) -> None:
        if self.shows_help:
            self.help_row = max(0, self.help_row + rows)
        else:
            self.first_row = max(0, self.first_row + rows)


def help_lines(controls: Controls, width: int) -> list[Text]:
    """Draw the help: keys, marks and columns."""
    window = span_text(controls.window_seconds)
    keys = [(key, does.format(window=window)) for key, does in _KEYS]
    columns = [(column.heading(window), column.meaning) for column in COLUMNS]
    lines: list[Text] = []
    for title, entries in (("keys", keys), ("marks", _MARKS), ("columns", columns)):
        if lines:
            lines.append(Text())
        lines.append(Text(f" {title}", "dim"))
        for name, meaning in entries:
            lines += _entry(name, meaning, width)
    return [fit(line, width) for line in lines]


def _entry(name: str, meaning: str, width: int) -> Iterator[Text]:
    words = wrap(meaning, max(_LEAST_MEANING_CELLS, width - _NAME_CELLS - 3)) or [""]
    for place, line in enumerate(words):
        shown = "" if place else name
        yield Text.assemble((f" {shown:<{_NAME_CELLS}} ", "bold"), line)
