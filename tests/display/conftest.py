"""Trades and terminals for the display's tests."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pyte
import pytest
from rich.console import Console

from k2cli.trade import TradeV2

MakeTrade = Callable[..., TradeV2]


class Terminal(io.StringIO):
    """A terminal that a console can write to, with a screen to look at."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self.screen = pyte.Screen(width, height)
        self._stream = pyte.Stream(self.screen)
        self.console = Console(
            file=self,
            width=width,
            height=height,
            force_terminal=True,
            color_system="standard",
            legacy_windows=False,
            _environ={"TERM": "xterm-256color"},
        )

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        # The emulator does what a kernel's terminal driver does to a line feed.
        self._stream.feed(text.replace("\n", "\r\n"))
        return super().write(text)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def resize(self, width: int, height: int) -> None:
        self.screen.resize(height, width)
        self.console.size = (width, height)


@pytest.fixture
def make_trade() -> MakeTrade:
    def make(symbol: str = "BTCUSDT", **changes: Any) -> TradeV2:
        fields: dict[str, Any] = {
            "message_id": "f3b0c4ce-5d0a-4a7e-9f0e-0d5c2f9f2b11",
            "trade_id": "BINANCE-3735683259",
            "symbol": symbol,
            "exchange": "BINANCE",
            "asset_class": "crypto",
            "timestamp": 1723161255342000,
            "price": "61837.63000000",
            "quantity": "0.02000000",
            "currency": "USDT",
            "side": "SELL",
            "trade_conditions": [],
            "source_sequence": 3735683259,
            "ingestion_timestamp": 1723161254087896,
            "platform_sequence": None,
            "vendor_data": {
                "is_buyer_maker": "true",
                "is_best_match": "true",
                "event_type": "trade",
                "event_time": "1723161255343",
                "trade_time": "1723161255342",
                "base_asset": symbol.removesuffix("USDT"),
                "quote_asset": "USDT",
            },
        }
        return TradeV2(**(fields | changes))

    return make


@pytest.fixture
def make_terminal() -> Callable[[int, int], Terminal]:
    return Terminal
