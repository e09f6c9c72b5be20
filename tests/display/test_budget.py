"""What the screen costs: bytes to the terminal, and redraws. Counted, not timed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from k2cli.display.controls import Controls
from k2cli.display.market import MarketState
from k2cli.display.numbers import Precision
from k2cli.display.screen import ScreenView
from k2cli.display.terminal import LiveTable
from tests.display.trading import LIVE, observe

# The fixture's class lives in conftest, which is not to be imported.
MakeTerminal = Callable[[int, int], Any]


def lively(count: int, per_redraw: int) -> Iterator[tuple[MarketState, float]]:
    """Return a market of so many symbols, again and again a quarter second later."""
    chance = random.Random(5)  # noqa: S311 - no secret
    names = [f"COIN{i}USDT" for i in range(count)]
    market = MarketState(names, started_seconds=0.0)
    number, now_seconds = 0, 1.0
    while True:
        for _ in range(per_redraw):
            number += 1
            trade = (
                names[min(int(chance.expovariate(0.5)), count - 1)],
                f"{100 + chance.random():.2f}",
                f"{chance.lognormvariate(0, 2):.5f}",
                chance.choice(("BUY", "SELL")),
                number,
                number,
                False,
            )
            observe(market, [trade], now_seconds)
        yield market, now_seconds
        now_seconds += 0.25


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "height", "count", "per_redraw", "most_bytes"),
    [
        (80, 24, 2, 25, 2_000),
        (80, 24, 12, 25, 2_200),
        (120, 40, 2, 25, 4_000),
        (120, 40, 12, 25, 4_200),
        (120, 40, 300, 5000, 9_000),
        (250, 70, 300, 5000, 22_000),
    ],
)
def test_a_redraw_is_small(
    make_terminal: MakeTerminal,
    width: int,
    height: int,
    count: int,
    per_redraw: int,
    most_bytes: int,
) -> None:
    terminal = make_terminal(width, height)
    view, controls = ScreenView(Precision()), Controls(has_keys=True)
    markets = lively(count, per_redraw)
    sent = []
    with LiveTable(terminal.console) as live:
        for _ in range(12):
            market, now_seconds = next(markets)
            before = len(terminal.getvalue().encode())
            live.refresh(
                lambda w, h: view.frame(
                    market,  # noqa: B023 - drawn at once
                    LIVE,
                    controls,
                    width=w,
                    height=h,
                    now_seconds=now_seconds,  # noqa: B023 - drawn at once
                )
            )
            sent.append(len(terminal.getvalue().encode()) - before)
    # The first one draws the whole screen.
    assert 0 < sum(sent[2:]) / len(sent[2:]) < most_bytes


def test_a_market_in_which_nothing_happens_sends_nothing(
    make_terminal: MakeTerminal,
) -> None:
    terminal = make_terminal(120, 40)
    view = ScreenView(Precision())
    market, _ = next(lively(12, 100))

    def draw(live: LiveTable, now_seconds: float) -> bool:
        return live.refresh(
            lambda w, h: view.frame(
                market,
                LIVE,
                Controls(),
                width=w,
                height=h,
                now_seconds=now_seconds,
            )
        )

    with LiveTable(terminal.console) as live:
        assert draw(live, 100.0)
        assert not draw(live, 100.0)
        # Nor after a while, as ages are told in minutes by now.
        assert draw(live, 200.0)
        assert not draw(live, 200.5)


def test_sorting_thousands_of_symbols_is_done_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from k2cli.display import table

    sorts = 0
    real_sort = table.Order._sort

    def counted(self: table.Order, *arguments: Any) -> Any:
        nonlocal sorts
        sorts += 1
        return real_sort(self, *arguments)

    monkeypatch.setattr(table.Order, "_sort", counted)
    view, controls = ScreenView(Precision()), Controls(sort="change")
    markets = lively(3500, 10)
    for _ in range(41):  # ten seconds
        market, now_seconds = next(markets)
        view.frame(market, LIVE, controls, width=80, height=24, now_seconds=now_seconds)
    # One of them as the market begins to move.
    assert sorts == 7
