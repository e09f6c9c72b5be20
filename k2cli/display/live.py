"""The terminal: taken over at the start, drawn on cheaply, given back at the end."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType, Segment, Segments
from rich.terminal_theme import MONOKAI, TerminalTheme
from rich.text import Text

from k2cli.display.cells import BLANK, Cell, cells_of, changes, segments_of
from k2cli.display.frame import Frame
from k2cli.errors import OutputError, printable

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

FrameMaker = Callable[[int, int], Frame]
"""Draws the screen for a width and a height in cells."""

# Blank cells at the end of a line that take more bytes than to erase it.
_WORTH_ERASING = 4


class LiveTable:
    """Shows frames on a terminal's alternate screen.

    Only cells that changed are sent, so that it stays small over ssh. (``rich.live``
    repaints the whole screen each time.) Without a terminal, or on one that knows no
    escape sequences, it shows nothing. What else is written to the terminal between
    ``start`` and ``stop`` spoils the picture: hold it back.

    Args:
        console: Where to draw. Its size is read anew at every refresh.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = False
        self._size = (0, 0)
        self._lines: tuple[Text, ...] = ()
        self._cells: list[list[Cell]] = []

    @staticmethod
    def usable(console: Console) -> bool:
        """Say whether a console can show a live table."""
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
        except BaseException:
            # An interrupt in here comes before any ``with`` block can see it.
            self.stop()
            raise

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
            self._cells = [[BLANK] * size[0] for _ in lines]
        for row, line in enumerate(lines):
            if _differ(line, self._lines[row]):
                # render() leaves the style of the whole text out.
                style = console.get_style(line.style)
                segments = Segment.apply_style(line.render(console), style)
                cells = cells_of(segments, size[0])
                for column, changed in changes(self._cells[row], cells):
                    sent += _drawn(row, column, changed, size[0])
                self._cells[row] = cells
        self._size, self._lines = size, lines
        if not sent:
            return False
        # One block, one write: a terminal never shows half a frame.
        console.print(Segments(sent), end="", crop=False)
        return True

    def stop(self) -> None:
        """Give the terminal back as it was; harmless twice, or if it is gone."""
        if not self._started:
            return
        self._started = False
        with contextlib.suppress(OSError), self._console:
            self._console.show_cursor(True)
            self._console.set_alt_screen(False)

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


def svg(
    frame: Frame,
    title: str,
    *,
    width: int,
    height: int,
    theme: TerminalTheme = MONOKAI,
) -> str:
    """Draw a frame as a picture of a terminal; the same frame gives the same bytes.

    Args:
        frame: Drawn for this width and height.
        title: Text in the picture's title bar.
        width: Cells.
        height: Lines.
        theme: Colours.
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
    return console.export_svg(title=printable(title), theme=theme, unique_id="k2")


def save_svg(path: Path, frame: Frame, title: str, *, width: int, height: int) -> None:
    """Save a frame as a picture of a terminal.

    Args:
        path: File to write; an existing one is replaced.
        frame: Drawn for this width and height.
        title: Text in the picture's title bar.
        width: Cells.
        height: Lines.

    Raises:
        OutputError: If the file cannot be written.
    """
    picture = svg(frame, title, width=width, height=height)
    try:
        path.write_text(picture, encoding="utf-8", newline="\n")
    except OSError as error:
        raise OutputError(
            f"{printable(str(path))} cannot be written: {error.strerror}",
            "Choose another file",
        ) from error


def _differ(one: Text, other: Text) -> bool:
    # Two Texts that differ in nothing but the style of the whole count as equal.
    return one.style != other.style or one != other


def _drawn(row: int, column: int, cells: list[Cell], width: int) -> list[Segment]:
    """Draw a stretch of cells at its place."""
    segments = [Control.move_to(column, row).segment]
    blank = 0
    if column + len(cells) == width:
        while blank < len(cells) and cells[-1 - blank] == BLANK:
            blank += 1
    if blank < _WORTH_ERASING:
        return [*segments, *segments_of(cells)]
    erase = Control((ControlType.ERASE_IN_LINE, 0)).segment
    return [*segments, *segments_of(cells[: len(cells) - blank]), erase]
