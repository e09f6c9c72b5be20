"""The whole screen: header, table, tape and footer, drawn to fit exactly."""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from k2cli.display.charts import chart_lines
from k2cli.display.columns import COLUMNS
from k2cli.display.controls import help_lines
from k2cli.display.numbers import span_text
from k2cli.display.status import footer_lines, header_line, message_line
from k2cli.display.table import Order, Table
from k2cli.display.tape import Tape
from k2cli.display.text import Frame, fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k2cli.display.controls import Controls
    from k2cli.display.market import MarketState, SymbolState
    from k2cli.display.numbers import Precision
    from k2cli.display.status import Status

# Lines of the screen from which on there is room for the message, for air below the
# header, and for a line of keys.
_WITH_MESSAGE = 8
_WITH_KEYS = 18
_WITH_AIR = 20
# Lines between header and footer from which on the tape gets a part even if not all
# symbols are on the screen, and which part.
_WITH_TAPE = 18
_TAPE_PART = 4
_LEAST_TAPE = 3
# Where it is this large at least, there is a chart beside the tape.
_LEAST_CHART = 6
# Lines from which on a chart is worth its place below another one.
_COMFORTABLE_CHART = 10
_NARROWEST_CHART = 31
_WIDEST_CHART = 201
_CHART_GAP = 2

_COLUMNS = {column.name: column for column in COLUMNS}
_FIRST_KEYS = (("q", "quit"), ("?", "help"))
_LAST_KEYS = (("s", "sort"), ("/", "find"), ("t", "tape"), ("w", "window"))


class ScreenView:
    """Draws the screen."""

    def __init__(self, precision: Precision) -> None:
        self._table = Table(precision)
        self._tape = Tape(precision)
        self._precision = precision
        self._order = Order(precision)
        self._size = (0, 0)

    def frame(
        self,
        market: MarketState,
        status: Status,
        controls: Controls,
        *,
        width: int,
        height: int,
        now_seconds: float,
    ) -> Frame:
        """Draw the screen.

        Args:
            market: The symbols.
            status: How the stream is doing.
            controls: What a person has chosen; is told what is on the screen.
            width: Cells of the screen, at least 1.
            height: Lines of the screen, at least 1.
            now_seconds: The clock of ``market.observe``.
        """
        if self._size != (width, height):
            self._table.forget_widths()
            self._tape.forget_widths()
            self._size = (width, height)

        above = [header_line(status, width)]
        if height >= _WITH_AIR:
            above.append(Text())
        most = 2 if height >= _WITH_KEYS else 1
        footer = footer_lines(status, _keys(controls), width, most)
        with_message = height >= _WITH_MESSAGE
        room = height - len(above) - len(footer) - with_message
        body: list[Text] = []
        note = ""
        if room > 0:
            body, note = self._body(market, controls, width, room, now_seconds)
            body = body[:room] + [Text()] * (room - len(body))
        below = [message_line(status, note, width)] if with_message else []
        lines = [*above, *body, *below, *footer]
        return Frame(tuple(lines[:height]))

    def _body(
        self,
        market: MarketState,
        controls: Controls,
        width: int,
        room: int,
        now_seconds: float,
    ) -> tuple[list[Text], str]:
        if controls.shows_help:
            return _help(controls, width, room)
        tape_room = _tape_room(controls, len(market), room)
        limit = max(1, room - 1 - tape_room)
        states = self._order.rows(
            market, controls, limit=limit, now_seconds=now_seconds
        )
        controls.page_rows = limit
        controls.has_tape = tape_room > 0
        controls.has_pages = len(states) > limit
        controls.first_row = max(0, min(controls.first_row, len(states) - limit))
        first = controls.first_row
        shown = states[first : first + limit]
        lines = self._table.lines(shown, controls, width=width, now_seconds=now_seconds)
        if room == 1:
            lines = lines[1:]
        if not shown:
            what = f"no symbol has {controls.filter}" if len(market) else ""
            what = what or "waiting for the first trade"
            lines.append(fit(Text(f" {what}", "dim"), width))
        if tape_room:
            # Rows that the filter took away are the tape's.
            room -= len(lines)
            count = max(1, room // _COMFORTABLE_CHART)
            charted = _charted(shown, controls, count, are_all=limit >= len(states))
            lines += self._lower(market, charted, controls, width, room)
        return lines, _note(controls, first, len(shown), len(states), len(market))

    def _lower(
        self,
        market: MarketState,
        charted: Sequence[SymbolState],
        controls: Controls,
        width: int,
        room: int,
    ) -> list[Text]:
        """Draw the tape, and where there is room symbols' prices beside it."""
        title = "── latest trades, UTC "
        tape = self._tape.lines(market, controls, width=width, room=room - 1)
        left = self._tape.width + _CHART_GAP
        chart_width = min(width - left, _WIDEST_CHART)
        if not charted or chart_width < _NARROWEST_CHART or room <= _LEAST_CHART:
            return [fit(Text(title.ljust(width, "─"), "dim"), width), *tape]
        first, *charts = chart_lines(
            charted,
            self._precision,
            controls.window_seconds,
            width=chart_width,
            height=room,
        )
        first.append("─" * (width - left - chart_width), "dim")
        lines = [Text.assemble((title.ljust(left - 1, "─") + " ", "dim"), first)]
        for index, line in enumerate(charts):
            beside = tape[index] if index < len(tape) else Text()
            beside = fit(beside, left)
            beside.append(" " * (left - cell_len(beside.plain)))
            lines.append(beside.append_text(line))
        return lines


def _help(controls: Controls, width: int, room: int) -> tuple[list[Text], str]:
    """Draw the part of the help that fits."""
    lines = help_lines(controls, width)
    controls.page_rows = room
    controls.help_row = max(0, min(controls.help_row, len(lines) - room))
    shown = lines[controls.help_row : controls.help_row + room]
    note = "Esc closes the help"
    if len(shown) < len(lines):
        last = controls.help_row + len(shown)
        note = f"{last} of {len(lines)} lines, n and p page · {note}"
    return shown, note


def _charted(
    shown: Sequence[SymbolState], controls: Controls, count: int, *, are_all: bool
) -> list[SymbolState]:
    """Choose the symbols to chart: the first by the order that rows are in, if any.

    Rows that all fit are in none, unless it was asked for: then it is the busiest.
    """
    traded = [state for state in shown if not state.is_quiet]
    if not are_all or controls.sort is not None:
        return traded[:count]
    busiest = nlargest(count, traded, key=lambda state: state.trades)
    return [state for state in traded if state in busiest]


def _tape_room(controls: Controls, symbols: int, room: int) -> int:
    """Return how many lines the tape gets, its title included."""
    if controls.shows_tape is False:
        return 0
    spare = room - 1 - symbols
    part = room // _TAPE_PART if room >= _WITH_TAPE else 0
    if controls.shows_tape:
        part = max(part, min(_LEAST_TAPE + 1, room // 2))
    tape = max(spare, part)
    return tape if tape >= _LEAST_TAPE else 0


def _note(controls: Controls, first: int, shown: int, fitting: int, total: int) -> str:
    """Say which symbols are shown, and in which order."""
    words = []
    if controls.filter and not controls.is_typing:
        words.append(f'"{controls.filter}"')
    if shown < fitting:
        words.append(f"{first + 1:,}–{first + shown:,} of {fitting:,}")
    elif controls.filter:
        words.append(f"{fitting:,} of {total:,}")
    if controls.sort is not None:
        window = span_text(controls.window_seconds)
        heading = _COLUMNS[controls.sort].heading(window)
        words.append(f"by {heading} {'▲' if controls.is_ascending else '▼'}")
    elif shown < fitting:
        words.append("busiest first")
    return " · ".join(words)


def _keys(controls: Controls) -> tuple[tuple[str, str], ...]:
    if not controls.has_keys:
        return (("Ctrl-C", "ends"),)
    if controls.is_typing:
        return (("/", f"{controls.filter}▏"), ("Enter", "keep"), ("Esc", "clear"))
    space = ("space", "resume" if controls.is_paused else "pause")
    pages = (("n", "next page"),) if controls.has_pages else ()
    return (*_FIRST_KEYS, space, *pages, *_LAST_KEYS)
