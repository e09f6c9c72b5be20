from __future__ import annotations

from typing import Any

from k2cli.display.catalog import catalog_lines


def entry(symbol: str, **changes: Any) -> dict[str, str]:
    return {
        "symbol": symbol,
        "base_asset": symbol.removesuffix("USDT"),
        "quote_asset": "USDT",
        "status": "TRADING",
        "tick_size": "0.01000000",
        "step_size": "0.00001000",
    } | changes


def test_it_is_a_table_with_the_points_in_one_column() -> None:
    lines = catalog_lines(
        [
            entry("BTCUSDT"),
            entry("PEPEUSDT", tick_size="0.00000001", step_size="1.00"),
            entry("币安人生USDT", tick_size="10.0", status="BREAK"),
        ]
    )
    assert [line.plain.rstrip() for line in lines] == [
        "symbol        base      quote  status   tick size    step size",
        "BTCUSDT       BTC       USDT   TRADING   0.01        0.00001",
        "PEPEUSDT      PEPE      USDT   TRADING   0.00000001  1",
        "币安人生USDT  币安人生  USDT   BREAK    10           0.00001",
        "3 symbols",
    ]
    assert len({line.cell_len for line in lines[:-1]}) == 1


def test_one_symbol_is_one() -> None:
    assert catalog_lines([entry("BTCUSDT")])[-1].plain == "1 symbol"


def test_what_the_exchange_says_is_escaped() -> None:
    lines = catalog_lines([entry("A\x1b[2J", status="\x07", tick_size="x\n")])
    assert all(line.plain.isprintable() for line in lines)
