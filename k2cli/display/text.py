"""Lines of styled text: cut, joined and spread to fit a width; frames made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.segment import Segment
from rich.text import Span, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console, ConsoleOptions

# Both colours of a badge are named, so that the words stand out on any background;
# reversed, so that they do without colours too (NO_COLOR removes only the colours).
WARNING_BADGE = "bold reverse yellow on black"
"""Style of words that are to be noticed: black on yellow."""

ERROR_BADGE = "bold reverse red on white"
"""Style of words about what is lost: white on red."""

ERROR_STYLE = "bold red"
"""Style of what is wrong, in reports and progress lines."""

LARGE_MARK = "◆"
"""Stands for what is large."""

BACKFILL_MARK = "↺"
"""Stands for trades that come late, from the history."""


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


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a line that is left out when the line gets too long.

    Attributes:
        text: What it says.
        priority: 0 stays longest.
        to_right: Whether it stands at the right end.
    """

    text: Text
    priority: int
    to_right: bool = False


def styled(runs: Iterable[tuple[str, str]]) -> Text:
    """Join runs of text, each with its rich style, to a line.

    Much cheaper than appending to a ``Text``: a screen has a thousand runs.
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


def padded(text: str, width: int) -> str:
    """Fill a text up with spaces to a width in cells."""
    return text + " " * (width - cell_len(text))


def fit(text: Text, width: int) -> Text:
    """Return a copy of a line that is cut, with ``…``, where it exceeds the width."""
    if width <= 0:
        return Text()
    text = text.copy()
    text.truncate(width, overflow="ellipsis")
    return text


def side_by_side(
    left: Sequence[Text], right: Sequence[Text], right_at: int
) -> list[Text]:
    """Join lines of two pictures, the right ones from a cell on."""
    lines = []
    for number in range(max(len(left), len(right))):
        line = fit(left[number] if number < len(left) else Text(), right_at)
        if number < len(right):
            line.append(" " * (right_at - cell_len(line.plain)))
            line.append_text(right[number])
        lines.append(line)
    return lines


def rule(title: str, width: int) -> Text:
    """Draw a line across, with a title in it."""
    text = f"── {title} "
    return fit(styled([(text + "─" * (width - cell_len(text)), "dim")]), width)


def spread(parts: Sequence[Part], width: int, gap: int = 2) -> Text:
    """Lay parts out on one line, some flush left, some flush right.

    Args:
        parts: In reading order; the least important are left out if need be.
        width: Cells of the line.
        gap: Cells between parts.
    """
    kept: set[int] = set()
    used = -gap
    for index in sorted(range(len(parts)), key=lambda i: parts[i].priority):
        cells = gap + cell_len(parts[index].text.plain)
        if kept and used + cells > width:
            break
        kept.add(index)
        used += cells
    space = " " * gap
    left, right = (
        Text(space).join(
            part.text
            for index, part in enumerate(parts)
            if index in kept and part.to_right is to_right
        )
        for to_right in (False, True)
    )
    if not right:
        return fit(left, width)
    filler = width - cell_len(left.plain) - cell_len(right.plain)
    return fit(Text.assemble(left, " " * max(0, filler), right), width)
