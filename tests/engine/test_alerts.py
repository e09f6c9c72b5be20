from __future__ import annotations

import pytest

from k2cli.engine.alerts import AlertWatch, parse_alert
from k2cli.errors import SettingsError
from k2cli.trade import TradeBatch
from tests.batches import BTC, ETH, FIRST_TIME_US, trade_batch


def prices(
    *values: float, second: float = 0, symbol: str = BTC, is_backfill: bool = False
) -> TradeBatch:
    times = [FIRST_TIME_US + int(second * 1e6)] * len(values)
    batch = trade_batch(
        range(len(values)), symbol, times_us=times, is_backfill=is_backfill
    )
    batch.prices = [f"{value:.8f}" for value in values]
    batch.quantities = ["2.00000000"] * len(values)
    return batch


def said(watch: AlertWatch, batch: TradeBatch) -> list[str]:
    return [f"{one.trade.symbol} {one.value_text}" for one in watch.observe(batch)]


def watch(*texts: str) -> AlertWatch:
    return AlertWatch([parse_alert(text) for text in texts])


def test_a_price_is_said_once_for_each_crossing() -> None:
    above = watch("price>100")
    assert said(above, prices(99, 100, 101, 102)) == ["BTCUSDT 101.00000000"]
    # It hovers about its limit: that is no new crossing.
    assert said(above, prices(99.95, 100.05, 99.95, 100.05)) == []
    assert said(above, prices(99.8, 100.5)) == ["BTCUSDT 100.50000000"]


def test_so_is_one_below_a_limit_and_one_that_is_so_at_first() -> None:
    below = watch("price<100")
    assert said(below, prices(99)) == ["BTCUSDT 99.00000000"]
    assert said(below, prices(100.05, 99.9, 100.2, 99.9)) == ["BTCUSDT 99.90000000"]


@pytest.mark.parametrize(
    ("text", "values", "found"),
    [
        ("move>1%/1m", (100, 101.5), ["BTCUSDT +1.5%"]),
        ("move>1%/1m", (100, 98.5), ["BTCUSDT -1.5%"]),
        ("rise>1%/1m", (100, 98.5), []),
        ("rise>1%/1m", (100, 101.5), ["BTCUSDT +1.5%"]),
        ("fall>1%/1m", (100, 101.5), []),
        ("fall>1%/1m", (100, 98.5), ["BTCUSDT -1.5%"]),
        ("move>2%/1m", (100, 101.5, 98.5), []),
    ],
)
def test_a_change_is_that_since_the_windows_beginning(
    text: str, values: tuple[float, ...], found: list[str]
) -> None:
    assert said(watch(text), prices(*values)) == found


def test_the_window_goes_on() -> None:
    """A slow move of 3 % never is one of 1 % in a minute; then a fast one is."""
    moving = watch("move>1%/1m")
    for second in range(300):
        assert said(moving, prices(100 + second / 100, second=second)) == []
    assert said(moving, prices(104.5, second=300)) == ["BTCUSDT +2.06%"]
    # It is still so much above; only after that it can be said again.
    assert said(moving, prices(104.6, second=320)) == []
    assert said(moving, prices(104.5, second=380)) == []
    assert said(moving, prices(106, second=382)) == ["BTCUSDT +1.34%"]


def test_after_silence_the_price_before_it_counts() -> None:
    moving = watch("move>1%/1m")
    assert said(moving, prices(100, second=0)) == []
    assert said(moving, prices(102, second=600)) == ["BTCUSDT +2%"]


def test_single_trades_are_said_once_in_a_while() -> None:
    large = watch("notional>1k")
    assert said(large, prices(499, 501, 502)) == ["BTCUSDT 1,002.00 USDT"]
    assert said(large, prices(600, second=9)) == []
    assert said(large, prices(600, second=11)) == ["BTCUSDT 1,200.00 USDT"]


def test_each_symbol_is_watched_for_itself_or_alone() -> None:
    both = watch("price>100", "ETHUSDT:price>50")
    assert said(both, prices(60)) == []
    assert said(both, prices(60, symbol=ETH)) == ["ETHUSDT 60.00000000"]
    assert said(both, prices(110, symbol=ETH)) == ["ETHUSDT 110.00000000"]
    assert said(both, prices(110)) == ["BTCUSDT 110.00000000"]


def test_the_history_says_nothing() -> None:
    assert said(watch("price>1", "notional>1"), prices(5, is_backfill=True)) == []


@pytest.mark.parametrize(
    ("text", "figure", "limit", "symbol", "window_seconds"),
    [
        ("price>65_000.5", "price", 65000.5, "", 0),
        ("BTC/USDT: price < 60,000", "price", 60000, "BTC/USDT", 0),
        ("move>1.5%/5m", "move", 0.015, "", 300),
        ("notional>2.5M", "notional", 2.5e6, "", 0),
    ],
)
def test_conditions_are_read(
    text: str, figure: str, limit: float, symbol: str, window_seconds: int
) -> None:
    rule = parse_alert(text)
    assert (rule.figure, rule.symbol) == (figure, symbol)
    assert rule.limit == pytest.approx(limit)
    assert rule.window_seconds == window_seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "price", "price>", "price=1", "prize>1", "price>0", "price>-1"),
        *("price>1%", "price>1/5m", "move>1%", "move>1/5m", "move<1%/5m"),
        *("move>1%/48h", "notional<5", "notional>5%", ":price>1", "A B:price>1"),
        *("price>1e9", "price>nan", "price>1\x1b[2J", "move>1%/0s"),
    ],
)
def test_other_texts_are_refused_with_the_grammar(text: str) -> None:
    with pytest.raises(SettingsError, match=r"Write price>65000") as found:
        parse_alert(text)
    assert str(found.value).isprintable()
