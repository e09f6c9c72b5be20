from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.binance.streams import api_url, other_host_first, spread, stream_url
from k2cli.config import BinanceConfig

BASE = "wss://stream.binance.com:9443/stream"


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        (BASE, "wss://stream.binance.com:9443/stream?"),
        ("wss://stream.binance.com:9443", "wss://stream.binance.com:9443/stream?"),
        ("wss://stream.binance.com:9443/", "wss://stream.binance.com:9443/stream?"),
        ("wss://stream.binance.com:9443/ws", "wss://stream.binance.com:9443/stream?"),
        ("wss://stream.binance.com/ws/", "wss://stream.binance.com/stream?"),
        (
            "wss://data-stream.binance.vision/stream/",
            "wss://data-stream.binance.vision/stream?",
        ),
        ("ws://127.0.0.1:8080/proxy/stream", "ws://127.0.0.1:8080/proxy/stream?"),
        ("ws://[::1]:8080", "ws://[::1]:8080/stream?"),
    ],
)
def test_any_form_of_address_leads_to_the_combined_stream(
    base_url: str, expected: str
) -> None:
    url = stream_url(base_url, ["BTCUSDT", "ETHUSDT"])
    streams = "streams=btcusdt@trade/ethusdt@trade&timeUnit=MICROSECOND"
    assert url == expected + streams


def test_an_address_keeps_what_else_it_asks_for() -> None:
    url = stream_url("wss://h/stream?token=a%26b&empty=&timeUnit=x&streams=y", ["B"])
    assert url == (
        "wss://h/stream?streams=b@trade&timeUnit=MICROSECOND&token=a%26b&empty="
    )


def test_the_address_of_the_api_keeps_what_else_it_asks_for() -> None:
    assert api_url("wss://h/ws-api/v3?token=a%26b&empty=&timeUnit=x") == (
        "wss://h/ws-api/v3?token=a%26b&empty=&timeUnit=MICROSECOND"
    )


def test_symbols_beyond_ascii_are_percent_encoded() -> None:
    url = stream_url(BASE, ["币安人生USDT"])
    assert url.isascii()
    assert "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@trade" in url
    assert parse_qs(urlsplit(url).query)["streams"] == ["币安人生usdt@trade"]


SYMBOLS = st.lists(
    st.text("ABCXYZ0123456789币安人生é", min_size=1, max_size=40),
    unique=True,
    max_size=950,
)


@given(SYMBOLS, st.sampled_from([BASE, "ws://127.0.0.1:1", f"{BASE}?a={'x' * 500}"]))
def test_symbols_are_spread_whole_and_in_order_within_the_limits(
    symbols: list[str], base_url: str
) -> None:
    groups = spread(symbols, base_url)
    assert [symbol for group in groups for symbol in group] == symbols
    for group in groups:
        assert 0 < len(group) <= 450
        assert len(stream_url(base_url, group)) < 8004


def test_as_few_connections_as_possible_are_used() -> None:
    names = [f"S{number}USDT" for number in range(901)]
    assert [len(group) for group in spread(names, BASE)] == [450, 450, 1]
    assert [len(group) for group in spread(names[:450], BASE)] == [450]
    assert spread([], BASE) == []


@given(
    SYMBOLS,
    st.sampled_from([BASE, f"{BASE}?a={'x' * 5000}"]),
    st.lists(st.integers(0, 10**9), min_size=1, max_size=50),
)
def test_symbols_are_balanced_whole_and_in_order_within_the_limits(
    symbols: list[str], base_url: str, counts: list[int]
) -> None:
    activity = dict(zip(symbols, counts, strict=False))
    groups = spread(symbols, base_url, activity)
    assert sorted(symbol for group in groups for symbol in group) == sorted(symbols)
    positions = {symbol: number for number, symbol in enumerate(symbols)}
    for group in groups:
        assert 0 < len(group) <= 450
        assert len(stream_url(base_url, group)) < 8004
        assert list(group) == sorted(group, key=positions.__getitem__)


def test_busy_symbols_are_shared_out_evenly() -> None:
    names = [f"S{number}USDT" for number in range(3500)]
    # As on an exchange: a few have most of the trades, and stand together by name.
    activity = {name: 10**8 // (rank + 20) for rank, name in enumerate(names)}
    by_name = spread(names, BASE)
    balanced = spread(names, BASE, activity)

    def trades(group: tuple[str, ...]) -> int:
        return sum(activity[symbol] for symbol in group)

    assert len(balanced) == len(by_name)
    mean = sum(activity.values()) / len(balanced)
    assert trades(max(by_name, key=trades)) > 4 * mean
    assert trades(max(balanced, key=trades)) < 1.02 * mean
    assert trades(min(balanced, key=trades)) > 0.98 * mean


def test_symbols_of_unknown_activity_are_carried_all_the_same() -> None:
    names = [f"S{number}USDT" for number in range(950)]
    groups = spread(names, BASE, {"S7USDT": 1000, "ELSEUSDT": 5})
    assert sorted(symbol for group in groups for symbol in group) == sorted(names)
    assert len(groups) == 3
    assert min(len(group) for group in groups) > 40


@pytest.mark.parametrize("base_url", [BASE, f"{BASE}?token={'x' * 2000}"])
def test_long_names_are_spread_by_the_length_of_the_address(base_url: str) -> None:
    names = [f"{number:03d}{'币' * 37}" for number in range(60)]
    groups = spread(names, base_url)
    lengths = [len(stream_url(base_url, group)) for group in groups]
    assert max(lengths) < 8004
    assert min(lengths[:-1]) > 7000


def test_a_stream_is_named_in_ascii_lower_case_only() -> None:
    query = unquote(urlsplit(stream_url(BASE, ["İUSDT"])).query)
    assert query.startswith("streams=İusdt@trade&")


def test_a_second_connection_has_another_host_or_at_least_another_port() -> None:
    config = BinanceConfig()
    first, port, host = [config.websocket_url, *config.fallbacks]
    assert other_host_first([first, port, host]) == [host, port, first]
    assert other_host_first([first, port]) == [port, first]
    assert other_host_first([first]) == [first]
