"""The whole screen: header, table, tape and footer, drawn to fit exactly."""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING

from rich.text import Text

from k2cli.display.breadth import breadth_lines
from k2cli.display.closeup import CloseUp
from k2cli.display.columns import COLUMNS
from k2cli.display.controls import help_lines
from k2cli.display.numbers import signed_text
from k2cli.display.price_chart import chart_lines
from k2cli.display.prints import FLOORS_USD
from k2cli.display.status import footer_lines, header_line, message_line
from k2cli.display.table import Order, Table
from k2cli.display.tape import Tape
from k2cli.display.text import Frame, fit, rule, side_by_side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k2cli.display.columns import Column
    from k2cli.display.controls import Controls
    from k2cli.display.market import MarketState
    from k2cli.display.numbers import Precision
    from k2cli.display.status import Status
    from k2cli.display.symbol import SymbolState

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
# Symbols from which on there is a line about the whole market.
_WITH_BREADTH = 5
# Lines from which on a chart is worth its place below another one.
_COMFORTABLE_CHART = 10
_NARROWEST_CHART = 31
# Width from which on the largest fill has room beside the chart.
_WITH_LARGEST = 150
_WIDEST_CHART = 201
_CHART_GAP = 2

_FIRST_KEYS = (("q", "quit"), ("?", "help"))
_LAST_KEYS = (
    ("Enter", "open"),
    ("s", "sort"),
    ("/", "find"),
    ("m", "floor"),
    ("w", "window"),
    ("t", "tape"),
)
_SYMBOL_KEYS = (("Esc", "table"), ("w", "window"), ("m", "floor"), ("↑↓", "symbol"))


class ScreenView:
    """Draws the screen.

    Args:
        precision: Writes prices and sizes.
        columns: The table's columns.
    """

    def __init__(
        self, precision: Precision, columns: Sequence[Column] = COLUMNS
    ) -> None:
        self._table = Table(precision, columns)
        self._tape = Tape(precision)
        self._closeup = CloseUp(precision)
        self._opened: str | None = None
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
        if controls.opened is not None and controls.opened not in market:
            controls.opened = None
        if self._size != (width, height) or self._opened != controls.opened:
            self._table.forget_widths()
            self._tape.forget_widths()
            self._closeup.forget_widths()
            self._size, self._opened = (width, height), controls.opened

        above = [header_line(status, width)]
        if height >= _WITH_AIR:
            if len(market) >= _WITH_BREADTH and controls.opened is None:
                above += breadth_lines(market, controls, width, height, now_seconds)
            else:
                above.append(Text())
        most = 2 if height >= _WITH_KEYS else 1
        footer = footer_lines(status, _keys(controls), width, most)
        with_message = height >= _WITH_MESSAGE
        room = height - len(above) - len(footer) - with_message
        body: list[Text] = []
        note = ""
        if room > 0:
            body, note = self._body(
                market, controls, width, len(above), room, now_seconds
            )
            body = body[:room] + [Text()] * (room - len(body))
        below = [message_line(status, note, width)] if with_message else []
        lines = [*above, *body, *below, *footer]
        return Frame(tuple(lines[:height]))

    def _body(
        self,
        market: MarketState,
        controls: Controls,
        width: int,
        top: int,
        room: int,
        now_seconds: float,
    ) -> tuple[list[Text], str]:
        """Draw what is between the lines above, of which there are ``top``, and below.

        Returns:
            The lines, and a note about them.
        """
        if controls.shows_help:
            return _help(controls, width, room)
        if controls.opened is not None:
            state = market[controls.opened]
            lines = self._closeup.lines(
                state, controls, width=width, room=room, now_seconds=now_seconds
            )
            return lines, ""
        tape_room = _tape_room(controls, len(market), room)
        limit = max(1, room - 1 - tape_room)
        states = self._order.rows(
            market, controls, limit=limit, now_seconds=now_seconds
        )
        controls.page_rows = limit
        controls.rows = [state.symbol for state in states]
        controls.has_tape = tape_room > 0 and controls.shows_tape is not False
        controls.has_pages = len(states) > limit
        controls.first_row = max(0, min(controls.first_row, len(states) - limit))
        first = controls.first_row
        shown = states[first : first + limit]
        lines = self._table.lines(shown, controls, width=width, now_seconds=now_seconds)
        if room == 1:
            lines = lines[1:]
        controls.first_line = top + (room > 1)
        if not shown:
            what = f"no symbol has {controls.filter}" if len(market) else ""
            what = what or "waiting for the first trade"
            lines.append(fit(Text(f" {what}", "dim"), width))
        if tape_room:
            # Rows that the filter took away are the tape's.
            room -= len(lines)
            count = max(1, room // _COMFORTABLE_CHART)
            charted = _charted(shown, controls, count, are_all=limit >= len(states))
            lines += self._lower(market, charted, controls, width, room, now_seconds)
        return lines, _note(controls, first, len(shown), len(states), len(market))

    def _lower(
        self,
        market: MarketState,
        charted: Sequence[SymbolState],
        controls: Controls,
        width: int,
        room: int,
        now_seconds: float,
    ) -> list[Text]:
        """Draw the tape and, where there is room, symbols' prices beside it.

        Without the tape, they take its place.
        """
        has_chart = bool(charted) and room > _LEAST_CHART
        if controls.shows_tape is False:
            if not has_chart or width < _NARROWEST_CHART:
                return []
            return self._charts(charted, controls, min(width, _WIDEST_CHART), room)
        floor_usd = FLOORS_USD[controls.floor]
        look = market.breadth(
            controls.window_seconds, now_seconds, controls.shows, controls.filter
        )
        title = "latest trades, UTC"
        if floor_usd:
            title += f", from {floor_usd:,.0f} USD"
        if look.delta_usd:
            title += f", buy−sell {signed_text(look.delta_usd)} USD"
        prints = (
            one for one in market.tape(controls.floor) if controls.shows(one.symbol)
        )
        self._tape.look_at(prints, room - 1)
        left = self._tape.width(with_largest=width >= _WITH_LARGEST) + _CHART_GAP
        chart_width = min(width - left, _WIDEST_CHART)
        if not has_chart or chart_width < _NARROWEST_CHART:
            return [rule(title, width), *self._tape.lines(width)]
        tape = [rule(title, left - 1), *self._tape.lines(left - 1)]
        charts = self._charts(charted, controls, chart_width, room)
        return side_by_side(tape, charts, left)

    def _charts(
        self, charted: Sequence[SymbolState], controls: Controls, width: int, room: int
    ) -> list[Text]:
        return chart_lines(
            charted,
            self._precision,
            controls.window_seconds,
            width=width,
            height=room,
        )


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
    spare = room - 1 - symbols
    if controls.shows_tape is False:
        # Charts take its place, but no row's.
        return spare if spare > _LEAST_CHART else 0
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
        words.append(f"by {controls.sort} {'▲' if controls.is_ascending else '▼'}")
    elif shown < fitting:
        words.append("busiest first")
    return " · ".join(words)


def _keys(controls: Controls) -> tuple[tuple[str, str], ...]:
    if not controls.has_keys:
        return (("Ctrl-C", "ends"),)
    if controls.is_typing:
        return (("/", f"{controls.filter}▏"), ("Enter", "keep"), ("Esc", "clear"))
    space = ("space", "resume" if controls.is_paused else "pause")
    if controls.opened is not None and not controls.shows_help:
        return (*_FIRST_KEYS, space, *_SYMBOL_KEYS)
    pages = (("n", "next page"),) if controls.has_pages else ()
    return (*_FIRST_KEYS, space, *pages, *_LAST_KEYS)
