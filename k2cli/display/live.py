"""The terminal: taken over at the start, drawn on cheaply, given back at the end."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType, Segment
from rich.terminal_theme import MONOKAI, TerminalTheme

from k2cli.display.table import Frame
from k2cli.errors import OutputError, printable

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from rich.text import Text

FrameMaker = Callable[[int, int], Frame]
"""Draws the screen for a width and a height in cells."""

_Line = list[Segment]


class LiveTable:
    """Shows frames on a terminal's alternate screen.

    Only lines that changed are sent, so that it stays small over ssh. (``rich.live``
    repaints the whole screen each time.) Without a terminal, or on one that knows no
    escape sequences, it shows nothing. What else is written to the terminal between
    ``start`` and ``stop`` spoils the picture: hold it back.

    Args:
        console: Where to draw. Its size is read anew at every refresh.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = False
        self._make: FrameMaker | None = None
        self._size = (0, 0)
        self._lines: tuple[Text, ...] = ()

    @staticmethod
    def usable(console: Console) -> bool:
        """Say whether a console can show a live table."""
        return console.is_terminal and not console.is_dumb_terminal

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
        self._make = make
        if not self._started:
            return False
        console = self._console
        size = (console.size.width, console.size.height)
        lines = make(*size).lines
        resized = size != self._size or len(lines) != len(self._lines)
        changed = [
            row
            for row, line in enumerate(lines)
            if resized or _differ(line, self._lines[row])
        ]
        if not (changed or resized):
            return False
        # One block, one write: a terminal never shows half a frame.
        with console:
            if resized:
                console.control(Control.clear())
            for row in changed:
                segments = _segments(console, lines[row], size[0])
                console.update_screen_lines([segments], 0, row)
        self._size, self._lines = size, lines
        return True

    def stop(self) -> None:
        """Give the terminal back as it was; harmless twice, or if it is gone."""
        if not self._started:
            return
        self._started = False
        with contextlib.suppress(OSError), self._console:
            self._console.show_cursor(True)
            self._console.set_alt_screen(False)

    def save_svg(
        self, path: Path, title: str, *, width: int = 80, height: int = 24
    ) -> None:
        """Save a picture of what was drawn last, at a size of its own.

        Args:
            path: File to write; an existing one is replaced.
            title: Text in the picture's title bar.
            width: Cells.
            height: Lines.

        Raises:
            RuntimeError: If nothing was drawn yet.
            OutputError: If the file cannot be written.
        """
        if self._make is None:
            raise RuntimeError("save_svg() before the first refresh()")
        picture = svg(self._make(width, height), title, width=width, height=height)
        try:
            path.write_text(picture, encoding="utf-8", newline="\n")
        except OSError as error:
            raise OutputError(
                f"{printable(str(path))} cannot be written: {error.strerror}",
                "Choose another file",
            ) from error

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


def _differ(one: Text, other: Text) -> bool:
    # Two Texts that differ in nothing but the style of the whole count as equal.
    return one.style != other.style or one != other


def _segments(console: Console, line: Text, width: int) -> _Line:
    """Render one line, cut at the width, so that it covers what stood there before."""
    options = console.options.update(width=width, height=1, no_wrap=True)
    segments = list(console.render_lines(line, options, pad=False)[0])
    used = Segment.get_line_length(segments)
    if used < width:
        # Not on a full line: there it would take the last character with it.
        erase = Control((ControlType.ERASE_IN_LINE, 0))
        segments.append(erase.segment)
    return segments
