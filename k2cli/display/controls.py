"""What a person has chosen with options and keys, and the help that names them."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.text import Text

from k2cli.display.columns import COLUMNS, SORTABLE
from k2cli.display.numbers import span_text
from k2cli.display.prints import FLOORS_USD
from k2cli.display.text import BACKFILL_MARK, LARGE_MARK, fit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ASCENDING = {column.name: column.ascending for column in COLUMNS}
_LONGEST_FILTER = 20
_MOUSE = frozenset({"click", "wheel-up", "wheel-down"})
_WHEEL_LINES = 3
_NEXT_PAGE = frozenset({"n", "pagedown", "right"})
_PREVIOUS_PAGE = frozenset({"p", "pageup", "left"})

_KEYS = (
    ("q, Ctrl-C", "quit and print the summary"),
    ("space", "pause or resume the screen; trades are still counted while it pauses"),
    ("s, S", "sort by the next column; reverse the order"),
    ("↑ ↓, Enter", "choose a symbol; look at it closely"),
    ("click, wheel", "choose a symbol, look at it closely; scroll. Right: as Esc"),
    ("M", "leave the mouse to the terminal, to select text; take it again"),
    ("Esc", "back to the table; clear the filter; put the cursor away"),
    ("n p, PgDn PgUp", "next, previous page or symbol; Home: the top"),
    ("/", "type part of a symbol to filter; Enter keeps it, Esc clears it"),
    ("w", "next window of time, now {window}"),
    ("t", "show or hide the tape of latest trades; charts take its place"),
    ("m", "on the tape only prints worth at least {floor}; then the next floor"),
    ("?, h", "show or hide this help"),
)
_MARKS = (
    ("● ○", "the connection delivers trades, or does not"),
    ("00:02:14", "how long it has been running"),
    (
        "lag",
        "time from the exchange to here; seconds: a slow line, or a wrong clock",
    ),
    (
        f"✓ {BACKFILL_MARK} ✗",
        "no trades are missing; missing trades are being fetched; trades are lost",
    ),
    ("!", "a warning, until it is half a minute old; on a line of gaps: a gap"),
    ("▲ ▼", "a price that rose or fell; a heading: the order of the rows"),
    ("▸", "the chosen row"),
    ("– <1", "nothing known; less than one of the unit"),
    ("━ ╌", "taker buys' share, and sells'"),
    (LARGE_MARK, "a large order, see the column size"),
    (BACKFILL_MARK, "trades fetched from the history to fill a gap"),
    ("━━╸", "worth of a print: a cell more for every threefold, from 100 USD on"),
    ("┃ █", "candles: rising, and falling; │ from the lowest to the highest price"),
    ("K M B T", "thousands, millions, 10^9, 10^12"),
)
_TAPE = (
    ("print", "the fills of one taker order: same symbol, side and millisecond"),
    ("price × size", "mean price and sum of its fills"),
    ("USD", "its worth, by the stream's own pairs"),
    ("fills, largest", "how many trades it is, and the size of the largest"),
    ("buy−sell", "taker buys minus sells since the start; in USD over all symbols"),
)
_MARKET = (
    ("▲ 14 ▼ 5 = 1", "symbols that rose, fell, or did neither over the window of time"),
    ("USD/s", "what all of them trade, over the last five seconds"),
    ("moved, largest", "the largest changes, and the largest orders, of the window"),
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
        rows: All symbols that fit the filter, in order; likewise.
        first_line: Line of the screen on which the first row is; likewise.
        takes_mouse: Whether the mouse is the screen's, not the terminal's.
        cursor: The chosen symbol, if one is.
        opened: The symbol that is looked at closely, if one is.
        floor: Index into ``FLOORS_USD``: the least worth of prints on the tape.
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
    rows: Sequence[str] = ()
    first_line: int = 0
    takes_mouse: bool = True
    cursor: str | None = None
    opened: str | None = None
    floor: int = 0

    @property
    def is_ascending(self) -> bool:
        """Whether rows are sorted from small to large."""
        return _ASCENDING.get(self.sort or "", False) is not self.is_reversed

    def shows(self, symbol: str) -> bool:
        """Return whether a symbol fits the filter."""
        return self.filter in symbol.upper()

    def press(self, key: str, line: int = 0) -> bool:
        """Do what a key or the mouse asks for.

        Args:
            key: The character typed, or the name of the key: ``"enter"``,
                ``"escape"``, ``"backspace"``, ``"up"``, ``"pagedown"`` …; or
                ``"click"``, ``"right-click"``, ``"wheel-up"``, ``"wheel-down"``.
            line: Where the mouse is on the screen.

        Returns:
            Whether to quit.
        """
        if key == "right-click":
            key = "escape"
        if key in _MOUSE:
            self._point(key, line)
            return False
        if self.is_typing:
            self._type(key)
            return False
        if self.shows_help:
            self._press_in_help(key)
            return False
        match key:
            case "q":
                return True
            case " ":
                self.is_paused = not self.is_paused
            case "w":
                windows = self.windows_seconds
                place = windows.index(self.window_seconds) + 1
                self.window_seconds = windows[place % len(windows)]
            case "m":
                self.floor = (self.floor + 1) % len(FLOORS_USD)
            case "M":
                self.takes_mouse = not self.takes_mouse
            case "?" | "h":
                self.shows_help = True
                self.help_row = 0
            case _ if self.opened is not None:
                self._press_in_symbol(key)
            case _:
                self._press_in_table(key)
        return False

    def _point(self, what: str, line: int) -> None:
        """Do what the mouse asks for."""
        if what != "click":
            lines = _WHEEL_LINES if what == "wheel-down" else -_WHEEL_LINES
            if self.shows_help:
                self._scroll_help(lines)
            elif self.opened is None:
                self.first_row = max(0, self.first_row + lines)
            return
        place = line - self.first_line
        if (
            self.shows_help
            or self.opened is not None
            or not (0 <= place < min(self.page_rows, len(self.rows) - self.first_row))
        ):
            return
        symbol = self.rows[self.first_row + place]
        if symbol == self.cursor:
            self.opened = symbol
        self.cursor = symbol

    def _press_in_help(self, key: str) -> None:
        if key in {"escape", "q", "enter", " ", "?", "h"}:
            self.shows_help = False
        elif key in _NEXT_PAGE:
            self._scroll_help(self.page_rows)
        elif key in _PREVIOUS_PAGE:
            self._scroll_help(-self.page_rows)
        elif key in {"up", "down"}:
            self._scroll_help(1 if key == "down" else -1)
        elif key == "home":
            self.help_row = 0

    def _press_in_symbol(self, key: str) -> None:
        if key in {"escape", "backspace"}:
            self.cursor, self.opened = self.opened, None
        elif key in {*_NEXT_PAGE, "down"}:
            self.opened = self._neighbour(self.opened, 1)
        elif key in {*_PREVIOUS_PAGE, "up"}:
            self.opened = self._neighbour(self.opened, -1)

    def _press_in_table(self, key: str) -> None:
        match key:
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
            case "/":
                self.is_typing = True
            case "escape" if self.cursor is not None:
                self.cursor = None
            case "escape":
                self._clear_filter()
            case "up" | "down":
                self._move_cursor(1 if key == "down" else -1)
            case "home":
                self.first_row = 0
                if self.cursor is not None and self.rows:
                    self.cursor = self.rows[0]
            case "enter" if self.rows:
                first = self.rows[min(self.first_row, len(self.rows) - 1)]
                self.opened = self.cursor if self.cursor in self.rows else first
            case _ if key in _NEXT_PAGE:
                self._scroll(self.page_rows)
            case _ if key in _PREVIOUS_PAGE:
                self._scroll(-self.page_rows)

    def _move_cursor(self, rows: int) -> None:
        """Choose the row below or above; at first, the first one on the screen."""
        if not self.rows:
            return
        if self.cursor not in self.rows:
            self.cursor = self.rows[min(self.first_row, len(self.rows) - 1)]
        else:
            self.cursor = self._neighbour(self.cursor, rows)
        place = self.rows.index(self.cursor)
        lowest = place - self.page_rows + 1
        self.first_row = max(0, min(max(self.first_row, lowest), place))

    def _neighbour(self, symbol: str | None, rows: int) -> str:
        """Return the symbol so many rows further down, at most the last one."""
        if symbol not in self.rows:
            return symbol or ""
        place = self.rows.index(symbol) + rows
        return self.rows[max(0, min(place, len(self.rows) - 1))]

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
        self.first_row = max(0, self.first_row + rows)
        self.cursor = None

    def _scroll_help(self, rows: int) -> None:
        self.help_row = max(0, self.help_row + rows)


def help_lines(controls: Controls, width: int) -> list[Text]:
    """Draw the help: keys, marks and columns."""
    window = span_text(controls.window_seconds)
    floor = f"{FLOORS_USD[controls.floor]:,.0f} USD"
    keys = [(key, does.format(window=window, floor=floor)) for key, does in _KEYS]
    columns = [(column.heading(window), column.meaning) for column in COLUMNS]
    lines: list[Text] = []
    for title, entries in (
        ("keys", keys),
        ("columns", columns),
        ("tape", _TAPE),
        ("line about the market, from five symbols on", _MARKET),
        ("marks", _MARKS),
    ):
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
