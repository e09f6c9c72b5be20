"""A market shared out: every symbol in one share, the same one for ever."""

from __future__ import annotations

from collections import Counter

from k2cli.shards import Shard

SYMBOLS = [f"{base}{quote}" for base in range(500) for quote in ("USDT", "BTC", "币")]


def owners(total: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for number in range(1, total + 1):
        shard = Shard(number, total)
        for symbol in filter(shard.has, SYMBOLS):
            assert symbol not in found
            found[symbol] = number
    assert set(found) == set(SYMBOLS)
    return found


def test_every_symbol_is_in_one_share_of_about_the_same_size() -> None:
    sizes = Counter(owners(5).values())
    assert set(sizes) == {1, 2, 3, 4, 5}
    assert all(250 < size < 350 for size in sizes.values())


def test_one_machine_more_moves_only_what_it_gets() -> None:
    before, after = owners(5), owners(6)
    moved = {symbol for symbol in SYMBOLS if before[symbol] != after[symbol]}
    assert {after[symbol] for symbol in moved} == {6}
    assert len(moved) < len(SYMBOLS) / 4


def test_shares_stay_what_they_are() -> None:
    """Captures of months depend on it."""
    names = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "币安人生USDT")
    found = {name: n for name in names for n in range(1, 6) if Shard(n, 5).has(name)}
    assert found == {"BTCUSDT": 5, "ETHUSDT": 2, "SOLUSDT": 2, "币安人生USDT": 3}
