"""The terminal: its alternate screen, on which only cells that changed are drawn."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from itertools import compress, count, groupby
from operator import itemgetter, ne
from typing import TYPE_CHECKING, Self

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.cells import get_character_cell_size
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType, Segment, Segments
from rich.terminal_theme import MONOKAI
from rich.text import Text

from k2cli.display.text import Frame
from k2cli.errors import OutputError, printable
from k2cli.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

FrameMaker = Callable[[int, int], Frame]
"""Draws the screen for a width and a height in cells."""

# What stands in a cell, and its style in words; the text is empty in the second cell of
# a wide character.
_Cell = tuple[str, str]
_BLANK: _Cell = (" ", "")

# Most lines have no others: Latin, punctuation, arrows, lines, blocks, Braille.
_ONE_CELL_WIDE = frozenset(
    character
    for character in map(chr, (*range(0x20, 0x250), *range(0x2010, 0x2900)))
    if get_character_cell_size(character) == 1
)

# Presses and the wheel, told in digits (SGR): nothing of moves, and no raw bytes.
_MOUSE_ON, _MOUSE_OFF = "\x1b[?1000h\x1b[?1006h", "\x1b[?1006l\x1b[?1000l"

# Blank cells at the end of a line that take more bytes than to erase it.
_WORTH_ERASING = 4
# To go to another place takes about as many bytes.
_WORTH_SKIPPING = 8


class LiveTable:
    """Shows frames on a terminal's alternate screen.

    Only cells that changed are sent, so that it stays small over ssh. (``rich.live``
    repaints the whole screen each time.) Without a terminal, or on one that knows no
    escape sequences, it shows nothing. What else is written to the terminal between
    ``start`` and ``stop`` spoils the picture: hold it back.

    Args:
        console: Where to draw. Its size is read anew at every refresh.
        takes_mouse: Whether the terminal is to tell presses of the mouse, as keys.
    """

    def __init__(self, console: Console, *, takes_mouse: bool = False) -> None:
        self._console = console
        self._takes_mouse = takes_mouse
        self._started = False
        self._size = (0, 0)
        self._lines: tuple[Text, ...] = ()
        self._cells: list[list[_Cell]] = []

    @staticmethod
    def usable(console: Console) -> bool:
        """Return whether a console can show a live table."""
        return (
            console.is_terminal
            and not console.is_dumb_terminal
            and console.encoding.startswith("utf")
        )

    @property
    def is_usable(self) -> bool:
        """Whether its console can show a live table."""
        return self.usable(self._console)

    def start(self) -> None:
        """Switch to the alternate screen and hide the cursor; harmless twice."""
        if self._started or not self.usable(self._console):
            return
        self._started = True
        self._size = (0, 0)
        try:
            with self._console:
                self._console.set_alt_screen(True)
                self._console.show_cursor(False)
                if self._takes_mouse:
                    self._send(_MOUSE_ON)
        except BaseException:
            # An interrupt in here comes before any ``with`` block can see it.
            self.stop()
            raise

    def take_mouse(self, wanted: bool) -> None:
        """Have presses of the mouse told, or leave them to the terminal."""
        if wanted != self._takes_mouse:
            self._takes_mouse = wanted
            if self._started:
                self._send(_MOUSE_ON if wanted else _MOUSE_OFF)

    def refresh(self, make: FrameMaker) -> bool:
        """Draw what changed since the last refresh.

        Args:
            make: Called once with the width and height of the screen.

        Returns:
            Whether anything was sent to the terminal.
        """
        if not self._started:
            return False
        console = self._console
        size = (console.size.width, console.size.height)
        lines = make(*size).lines
        sent: list[Segment] = []
        if size != self._size or len(lines) != len(self._lines):
            sent.append(Control.clear().segment)
            sent.append(Control.home().segment)
            self._lines = (Text(),) * len(lines)
            self._cells = [[_BLANK] * size[0] for _ in lines]
        for row, line in enumerate(lines):
            if _differ(line, self._lines[row]):
                cells = _cells(line, size[0])
                for column, changed in _changes(self._cells[row], cells):
                    sent += self._drawn(row, column, changed, size[0])
                self._cells[row] = cells
        self._size, self._lines = size, lines
        if not sent:
            return False
        # One block, one write: a terminal never shows half a frame.
        console.print(Segments(sent), end="", crop=False)
        return True

    def _drawn(
        self, row: int, column: int, cells: list[_Cell], width: int
    ) -> Iterator[Segment]:
        """Draw a stretch of cells at its place."""
        yield Control.move_to(column, row).segment
        blank = 0
        if column + len(cells) == width:
            while blank < len(cells) and cells[-1 - blank] == _BLANK:
                blank += 1
        if blank < _WORTH_ERASING:
            blank = 0
        for words, run in groupby(cells[: len(cells) - blank], key=itemgetter(1)):
            style = self._console.get_style(words)
            yield Segment("".join(map(itemgetter(0), run)), style)
        if blank:
            yield Control((ControlType.ERASE_IN_LINE, 0)).segment

    def stop(self) -> None:
        """Restore the terminal; harmless twice, or if it is gone."""
        if not self._started:
            return
        self._started = False
        with contextlib.suppress(OSError), self._console:
            if self._takes_mouse:
                self._send(_MOUSE_OFF)
            self._console.show_cursor(True)
            self._console.set_alt_screen(False)

    def _send(self, codes: str) -> None:
        control = [(ControlType.BELL,)]  # any: it is no text to be measured or styled
        self._console.print(Segments([Segment(codes, None, control)]), end="")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


_FONT_FACE = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)


def svg(frame: Frame, title: str, *, width: int, height: int) -> str:
    """Draw a frame as a picture of a terminal; the same frame gives the same bytes.

    Args:
        frame: Drawn for this width and height.
        title: Text in the picture's title bar.
        width: Cells.
        height: Lines.
    """
    console = Console(
        file=io.StringIO(),
        record=True,
        width=width,
        height=height,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
        _environ={},
    )
    console.print(frame, crop=True, no_wrap=True, end="")
    return console.export_svg(
        title=printable(title),
        theme=MONOKAI,
        unique_id="k2",
        # Rich's own loads fonts from another server.
        code_format=_FONT_FACE.sub("", CONSOLE_SVG_FORMAT),
    )


def save_svg(path: Path, frame: Frame, title: str, *, width: int, height: int) -> None:
    """Save the picture that ``svg`` draws; an existing file is replaced.

    Raises:
        OutputError: If the file cannot be written.
    """
    picture = svg(frame, title, width=width, height=height)
    try:
        replace_file(path, picture.encode(), private=False)
    except OSError as error:
        raise OutputError(
            f"{printable(str(path))} cannot be written: "
            f"{printable(error.strerror or str(error))}",
            "Choose another file",
        ) from error


def _differ(one: Text, other: Text) -> bool:
    # Two Texts that differ in nothing but the style of the whole count as equal.
    return one.style != other.style or one != other


def _cells(line: Text, width: int) -> list[_Cell]:
    """Lay a line out on cells, cut or filled up to a width."""
    text = line.plain
    styles = [str(line.style)] * len(text)
    for start, end, style in line.spans:
        below = styles[start:end]
        if below.count("") == len(below):
            styles[start:end] = [str(style)] * len(below)
        else:
            styles[start:end] = [f"{words} {style}".strip() for words in below]
    cells = list(zip(text, styles, strict=True))
    if not _ONE_CELL_WIDE.issuperset(text):
        cells = _spread(cells)
    if len(cells) > width:
        is_halved = cells[width][0] == ""
        del cells[width:]
        if is_halved:
            cells[-1] = _BLANK
    cells.extend([_BLANK] * (width - len(cells)))
    return cells


def _spread(characters: Iterable[_Cell]) -> list[_Cell]:
    """Give every character the cells that it takes."""
    cells: list[_Cell] = []
    for character, style in characters:
        size = get_character_cell_size(character)
        if size:
            cells.append((character, style))
            if size > 1:
                cells.append(("", style))
        elif cells:
            # It joins the one before it, which may be two cells wide.
            last = -1 if cells[-1][0] else -2
            cells[last] = (cells[last][0] + character, cells[last][1])
    return cells


def _changes(old: list[_Cell], new: list[_Cell]) -> Iterator[tuple[int, list[_Cell]]]:
    """Yield the first cell's place and the cells of each stretch to be drawn anew.

    Stretches with little between them are one: to skip a few cells costs more than to
    draw them. Both lines are equally long.
    """
    differing = compress(count(), map(ne, new, old))
    start = end = -1
    for index in differing:
        if start >= 0 and index - end <= _WORTH_SKIPPING:
            end = index
            continue
        if start >= 0:
            yield _whole(new, start, end)
        start = end = index
    if start >= 0:
        yield _whole(new, start, end)


def _whole(new: list[_Cell], start: int, end: int) -> tuple[int, list[_Cell]]:
    """Begin and end a stretch with whole characters."""
    while start and not new[start][0]:
        start -= 1
    end += 1
    while end < len(new) and not new[end][0]:
        end += 1
    return start, new[start:end]
