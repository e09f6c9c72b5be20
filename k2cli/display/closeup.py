"""One symbol up close: its price over time, figures, sizes, gaps and tape."""

from __future__ import annotations

from math import floor, log10
from typing import TYPE_CHECKING

from rich.text import Text

from k2cli.display.columns import ARROWS
from k2cli.display.numbers import (
    age_text,
    duration_text,
    percent_text,
    rate_text,
    scaled_text,
    signed_text,
    span_text,
)
from k2cli.display.price_chart import candle_price_chart
from k2cli.display.prints import FLOORS_USD
from k2cli.display.symbol import seen_text
from k2cli.display.tape import Tape
from k2cli.display.text import Part, fit, rule, side_by_side, spread, styled
from k2cli.errors import printable

if TYPE_CHECKING:
    from k2cli.display.controls import Controls
    from k2cli.display.numbers import Precision
    from k2cli.display.symbol import SymbolState

# From this size on, the tape stands beside chart and figures, not below them.
_BESIDE_WIDTH, _BESIDE_LINES = 100, 14
_NARROWEST_LEFT = 48
_GAP = 2
# Lines from which on there is room below the title for figures, and for a chart.
_WITH_FIGURES = 3
_WITH_CHART = 9
_FIGURES_CELLS = 42
_HISTOGRAM_CELLS = 34
_MOST_HISTOGRAM_CELLS = 80
_MOST_CLASSES, _FEW_CLASSES = 10, 6
# Lines from which on there is room for sizes below the figures.
_WITH_HISTOGRAM = 32


class CloseUp:
    """Draws one symbol on the whole body of the screen."""

    def __init__(self, precision: Precision) -> None:
        self._precision = precision
        self._tape = Tape(precision, is_single=True)

    def forget_widths(self) -> None:
        """Let columns be narrow again, for another size or another symbol."""
        self._tape.forget_widths()

    def lines(
        self,
        state: SymbolState,
        controls: Controls,
        *,
        width: int,
        room: int,
        now_seconds: float,
    ) -> list[Text]:
        """Draw the symbol in so many lines at most."""
        state.advance(now_seconds)
        if state.is_quiet:
            name = printable(state.symbol, 20)
            waiting = Text.assemble((f" {name}  ", "bold"), ("no trade yet", "dim"))
            return [fit(waiting, width)]
        title = self._title(state, controls, width)
        room -= 1
        if width >= _BESIDE_WIDTH and room >= _BESIDE_LINES:
            return [title, *self._beside(state, controls, width, room, now_seconds)]
        return [title, *self._below(state, controls, width, room, now_seconds)]

    def _title(self, state: SymbolState, controls: Controls, width: int) -> Text:
        window = seen_text([state], controls.window_seconds)
        price = "".join(self._precision.price(state.symbol, state.last_price))
        arrow, style = ARROWS[state.direction]
        parts = [
            Part(Text(f" {printable(state.symbol, 20)}", "bold"), 1),
            Part(Text(price + arrow, f"bold {style}"), 0),
            Part(_percent(state.change(controls.window_seconds), window), 2),
            Part(_percent(state.change(None), "session"), 3),
        ]
        return spread(parts, width)

    def _beside(
        self,
        state: SymbolState,
        controls: Controls,
        width: int,
        room: int,
        now_seconds: float,
    ) -> list[Text]:
        """Draw chart and figures on the left, the tape on the right."""
        tape_width = min(
            self._tape.width(with_largest=True) + 2, width - _NARROWEST_LEFT - _GAP
        )
        left_width = width - tape_width - _GAP
        figures = self._figures(state, controls, now_seconds)
        if left_width >= _FIGURES_CELLS + _GAP + _HISTOGRAM_CELLS:
            cells = left_width - _FIGURES_CELLS - _GAP - 1
            cells = min(cells, _MOST_HISTOGRAM_CELLS)
            classes = _histogram(state, cells, _MOST_CLASSES)
            figures = side_by_side(figures, classes, _FIGURES_CELLS + _GAP)
        elif room >= _WITH_HISTOGRAM:
            figures += _histogram(state, _FIGURES_CELLS, _FEW_CLASSES)
        figures = figures[: room - _WITH_CHART]
        chart_lines = room - len(figures) - 1
        left = [
            *self._chart(state, controls, left_width - 1, chart_lines, now_seconds),
            *figures,
        ]
        right = self._tape_lines(state, controls, tape_width, room)
        return [fit(line, width) for line in side_by_side(left, right, left_width + 1)]

    def _below(
        self,
        state: SymbolState,
        controls: Controls,
        width: int,
        room: int,
        now_seconds: float,
    ) -> list[Text]:
        """Draw all below one another, the less the smaller the screen is."""
        lines: list[Text] = []
        if room >= _WITH_FIGURES:
            figures = self._short_figures(state, controls, width, now_seconds)
            lines += figures if room >= _WITH_CHART else figures[1:2]
        left = room - len(lines)
        if left >= _WITH_CHART:
            chart = (left * 3) // 5 - 1
            lines += self._chart(state, controls, width - 1, chart, now_seconds)
        lines += self._tape_lines(state, controls, width, room - len(lines))
        return lines

    def _chart(
        self,
        state: SymbolState,
        controls: Controls,
        width: int,
        height: int,
        now_seconds: float,
    ) -> list[Text]:
        """Draw the price, a title above it."""
        lines, seconds = candle_price_chart(
            state,
            self._precision,
            controls.window_seconds,
            width=width,
            height=height,
            now_seconds=now_seconds,
        )
        return [rule(f"price, {span_text(seconds)}", width), *lines]

    def _tape_lines(
        self, state: SymbolState, controls: Controls, width: int, room: int
    ) -> list[Text]:
        if room <= 0:
            return []
        floor_usd = FLOORS_USD[controls.floor]
        prints = reversed(state.detail.prints) if state.detail is not None else ()
        shown = (one for one in prints if one.usd >= floor_usd)
        delta = f"buy−sell {signed_text(state.delta)} {printable(state.quote, 10)}"
        above = f", from {floor_usd:,.0f} USD" if floor_usd else ""
        title = f"tape{above}, {delta.rstrip()}"
        self._tape.look_at(shown, room - 1)
        return [rule(title, width), *self._tape.lines(width)]

    def _figures(
        self, state: SymbolState, controls: Controls, now_seconds: float
    ) -> list[Text]:
        """Draw the figures of window and session below one another."""
        rows = self._rows(state, controls, now_seconds)
        lines = [rule("figures", _FIGURES_CELLS)]
        window = seen_text([state], controls.window_seconds)
        for name, of_window, of_session in [("", window, "session"), *rows]:
            text = f" {name:<11}{of_window:>14}{of_session:>15}"
            lines.append(styled([(text, "" if name else "dim")]))
        return lines

    def _short_figures(
        self,
        state: SymbolState,
        controls: Controls,
        width: int,
        now_seconds: float,
    ) -> list[Text]:
        """Draw the most important figures, of the window, and of the session; gaps."""
        window = seen_text([state], controls.window_seconds)
        rows = self._rows(state, controls, now_seconds)
        lines = []
        for which, title in ((1, window), (2, "session")):
            parts = [Part(Text(f" {title:<7}", "dim"), 0)]
            for place, row in enumerate(rows[1:]):
                if not row[which]:
                    continue
                text = Text.assemble((f"{row[0]} ", "dim"), row[which].strip())
                parts.append(Part(text, place + 1))
            lines.append(spread(parts, width))
        return [*lines, fit(_completeness(state, now_seconds), width)]

    def _rows(
        self, state: SymbolState, controls: Controls, now_seconds: float
    ) -> list[tuple[str, str, str]]:
        """Return name, and values over window and session, of every figure."""
        seconds = controls.window_seconds
        detail = state.detail
        candles = detail.candles(seconds, now_seconds) if detail is not None else []
        since = detail.started_seconds if detail is not None else now_seconds
        # The session goes back to the start, candles only to the first close look.
        session_seconds = now_seconds - state.started_seconds
        covered = min(seconds, now_seconds - since)

        def price(value: float) -> str:
            return "".join(self._precision.mean_price(state.symbol, value))

        volume = sum(candle.volume for candle in candles)
        bought = sum(candle.bought for candle in candles)
        sold = sum(candle.sold for candle in candles)
        trades = sum(candle.trades for candle in candles)
        notional = bought + sold
        quote = printable(state.quote, 10) or "quote"
        has_any = bool(candles)
        low = min((candle.low for candle in candles), default=0.0)
        high = max((candle.high for candle in candles), default=0.0)
        session_buys = (state.delta + state.notional) / 2
        return [
            ("over", duration_text(covered), duration_text(session_seconds)),
            ("high", price(high) if has_any else "–", price(state.high)),
            ("low", price(low) if has_any else "–", price(state.low)),
            ("VWAP", price(notional / volume) if volume else "–", price(state.vwap)),
            (quote, _amount(notional), _amount(state.notional)),
            ("buy−sell", signed_text(bought - sold), signed_text(state.delta)),
            ("buys", _share(bought, notional), _share(session_buys, state.notional)),
            ("trades", f"{trades:,}", f"{state.trades:,}"),
            (
                "trades/s",
                "".join(rate_text(trades / max(1.0, covered))),
                "".join(rate_text(state.trades / max(1.0, session_seconds))),
            ),
            ("volume", _amount(volume), _amount(state.volume)),
        ]


def _percent(change: float, over: str) -> Text:
    whole, fraction = percent_text(change)
    style = {"+": "green", "-": "red"}.get(whole[0], "")
    return Text.assemble((whole + fraction, style), (f" {over}", "dim"))


def _amount(value: float) -> str:
    return "".join(scaled_text(value)).strip()


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "–"


def _histogram(state: SymbolState, width: int, most_classes: int) -> list[Text]:
    """Draw how many taker orders there were of each size."""
    quote = printable(state.quote, 10)
    lines = [rule(f"sizes of orders, {quote}".rstrip(", "), width)]
    sizes = state.detail.sizes() if state.detail is not None else []
    if not sizes:
        return lines
    shown = sizes[-most_classes:]
    rest = sum(count for _, count in sizes[:-most_classes])
    shown[0] = (0.0 if rest else shown[0][0], shown[0][1] + rest)
    most = max(count for _, count in shown)
    cells = width - 24
    for least, count in reversed(shown):
        label = f"≥ {_round_amount(least)}" if least else "less"
        halves = -(-2 * cells * count // most)
        bar = "━" * (halves // 2) + "╸" * (halves % 2)
        lines.append(
            styled(
                [
                    (f" {label:>8} ", "dim"),
                    (f"{bar:<{cells}}", "cyan"),
                    (f" {count:>9,}", ""),
                ]
            )
        )
    return lines


def _round_amount(amount: float) -> str:
    """Write 1 or 3 times a power of ten."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if amount >= unit:
            return f"{amount / unit:.0f}{letter}"
    digits = max(0, -floor(log10(amount)))
    return f"{amount:.{digits}f}"


def _completeness(state: SymbolState, now_seconds: float) -> Text:
    """Say in words what happened to the symbol's completeness lately."""
    events = state.detail.events if state.detail is not None else ()
    said: list[tuple[str, str]] = [(" gaps    ", "dim")]
    for event in list(events)[-3:]:
        ago = age_text(now_seconds - event.seconds)
        said.append((f"{event.trades:,} {event.kind} {ago} ago  ", ""))
    if not events:
        said.append(("none", "dim"))
    return styled(said)
