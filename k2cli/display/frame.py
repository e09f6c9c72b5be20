"""One drawing of the screen, and the lines that it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.text import Span, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console, ConsoleOptions


@dataclass(frozen=True, slots=True)
class Frame:
    """One drawing of the screen.

    Attributes:
        lines: As many as the screen has, none wider than it.
    """

    lines: tuple[Text, ...]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[Text | Segment]:
        for index, line in enumerate(self.lines):
            if index:
                yield Segment.line()
            # A Text ends its own line, which would make every second line empty.
            line = line.copy()
            line.end = ""
            yield line


def styled(runs: Iterable[tuple[str, str]]) -> Text:
    """Make a line of runs of text, each with its style.

    Much cheaper than appending to a ``Text``, as there are a thousand cells to a
    screen.

    Args:
        runs: Text and rich style; an empty style is the terminal's own.
    """
    spans = []
    end = 0
    texts = []
    for text, style in runs:
        start, end = end, end + len(text)
        if style and text:
            spans.append(Span(start, end, style))
        texts.append(text)
    return Text("".join(texts), spans=spans)
