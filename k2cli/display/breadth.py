"""The whole market in a line or two: who rises, what is traded, what moves most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from k2cli.display.columns import SIDE_STYLES
from k2cli.display.numbers import percent_text, scaled_text
from k2cli.display.text import Part, spread
from k2cli.errors import printable

if TYPE_CHECKING:
    from k2cli.display.controls import Controls
    from k2cli.display.market import Breadth, MarketState

# Height and width from which on movers and prints have a line each.
_WITH_TWO_LINES = 36
_WIDE = 100


def breadth_lines(
    market: MarketState,
    controls: Controls,
    width: int,
    height: int,
    now_seconds: float,
) -> list[Text]:
    """Draw the line about the market, or two where the screen is large."""
    look = market.breadth(
        controls.window_seconds, now_seconds, controls.shows, controls.filter
    )
    facts = _facts(look)
    movers, prints = _movers(look), _prints(look)
    if height >= _WITH_TWO_LINES and width >= _WIDE:
        return [spread([*facts, *movers], width), spread(prints, width), Text()]
    # Movers and prints take turns in importance: one of each before a second.
    both = [part for pair in zip(movers, prints, strict=False) for part in pair]
    return [spread([*facts, *(both or movers)], width)]


def _facts(look: Breadth) -> list[Part]:
    parts = [
        Part(Text(f" ▲ {look.rising:,}", "green"), 0),
        Part(Text(f"▼ {look.falling:,}", "red"), 0),
        Part(Text(f"= {look.unchanged:,}", "dim"), 3),
    ]
    if look.usd_per_second:
        digits, scale = scaled_text(look.usd_per_second)
        amount = f"{digits:>5}{scale}".rstrip()
        parts.append(Part(Text(f"{amount:>6} USD/s", "bold"), 1))
    return parts


def _movers(look: Breadth) -> list[Part]:
    parts = []
    for place, mover in enumerate(look.movers):
        if not mover.change:
            continue
        change = "".join(percent_text(mover.change))
        style = "green" if mover.change > 0 else "red"
        words = "moved " if not place else ""
        text = Text.assemble(
            (words, "dim"), f"{printable(mover.symbol, 20)} ", (change, style)
        )
        parts.append(Part(text, 4 + 2 * place))
    return parts


def _prints(look: Breadth) -> list[Part]:
    parts = []
    for place, one in enumerate(look.prints):
        digits, scale = scaled_text(one.usd)
        words = " largest " if not place else ""
        text = Text.assemble(
            (words, "dim"),
            f"{printable(one.symbol, 20)} ",
            (printable(one.side, 4), SIDE_STYLES.get(one.side, "")),
            f" {digits.strip()}{scale}".rstrip(),
        )
        parts.append(Part(text, 5 + 2 * place))
    return parts
