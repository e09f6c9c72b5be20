"""From what a connection receives to trades that are handed on."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import structlog

from k2cli.binance.burst import Burst, cut, pieces_of
from k2cli.binance.convert import BINANCE, trade_from_event
from k2cli.binance.handshake import SIMULATED
from k2cli.binance.leg import FrameKind, Leg
from k2cli.binance.message_ids import MessageIds
from k2cli.binance.wire import (
    SERVER_SHUTDOWN,
    TRADE,
    decode_frame,
    excerpt,
    is_reply,
)
from k2cli.errors import MalformedMessage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from structlog.typing import FilteringBoundLogger

    from k2cli.binance.burst import LinePieces
    from k2cli.trade import TradeV2

    OnMessage = Callable[[TradeV2], Awaitable[None] | None]
    OnBurst = Callable[[Burst], Awaitable[None] | None]

# How many malformed messages are named in the log before it gets terse.
_MOST_NAMED = 20

log: FilteringBoundLogger = structlog.get_logger()


class Reception:
    """Turns frames into trades, and hands each on once.

    Args:
        assets: Base and quote asset of every symbol that was asked for.
        on_message: Called with each trade; what it gives is awaited before the next.
        on_burst: Called instead with trades that came together, where it may be.

    Attributes:
        malformed_messages: Messages that were not what Binance documents, skipped.
        other_messages: Messages of other kinds, skipped.
        repeated_trades: Trades that came again from a connection's successor, left out.
        handed_on: Last trade ids handed on, by symbol, of legs with a successor.
    """

    def __init__(
        self,
        assets: Mapping[str, tuple[str, str]],
        on_message: OnMessage | None,
        on_burst: OnBurst | None,
    ) -> None:
        self.malformed_messages = 0
        self.other_messages = 0
        self.repeated_trades = 0
        self.handed_on: dict[str, int] = {}
        self._assets = assets
        self.on_message = on_message
        self._on_burst = on_burst
        self._message_ids = MessageIds()
        self._pieces: dict[str, dict[str, LinePieces]] = {}

    def text(
        self, text: str, position: int, received_us: int, leg: Leg
    ) -> tuple[int, Awaitable[None] | None]:
        """Hand on the plain trades that stand at a position of what was read."""
        exchange = SIMULATED if leg.simulated else BINANCE
        pieces = self._pieces.get(exchange)
        if pieces is None:
            pieces = self._pieces[exchange] = pieces_of(self._assets, exchange)
        trades, end = cut(text, position, pieces)
        if not trades:
            return position, None
        burst = Burst(trades, received_us, pieces, self._message_ids)
        if self._on_burst is None or leg.has_successor or leg.skip_to:
            return end, self._one_by_one(burst, leg)
        return end, self._on_burst(burst)

    def _one_by_one(self, burst: Burst, leg: Leg) -> Awaitable[None] | None:
        for index in range(len(burst)):
            held_back = self._hand_on(burst.trade(index), leg)
            if held_back is not None:
                return self._rest(held_back, burst, index + 1, leg)
        return None

    async def _rest(
        self, held_back: Awaitable[None] | None, burst: Burst, start: int, leg: Leg
    ) -> None:
        for index in range(start, len(burst)):
            if held_back is not None:
                await held_back
            held_back = self._hand_on(burst.trade(index), leg)
        if held_back is not None:
            await held_back

    def frame(
        self, frame: bytes, received_us: int, leg: Leg
    ) -> FrameKind | Awaitable[FrameKind]:
        """Hand on one frame's trade; say what the frame was."""
        try:
            event = decode_frame(frame)
            if event.get("e") != TRADE:
                return self._other(event)
            trade = trade_from_event(
                event,
                self._assets,
                received_us,
                SIMULATED if leg.simulated else BINANCE,
            )
        except MalformedMessage as exc:
            self._malformed(exc)
            return FrameKind.OTHER
        held_back = self._hand_on(trade, leg)
        return FrameKind.DATA if held_back is None else _then_data(held_back)

    def _hand_on(self, trade: TradeV2, leg: Leg) -> Awaitable[None] | None:
        """Hand on a trade, unless the connection before this one has done so."""
        symbol, trade_id = trade.symbol, trade.source_sequence or 0
        if leg.skip_to:
            if trade_id <= leg.skip_to.get(symbol, -1):
                self.repeated_trades += 1
                return None
            leg.skip_to.pop(symbol, None)
        if leg.has_successor:
            self.handed_on[symbol] = trade_id
        if self.on_message is None:
            return None
        held_back = self.on_message(trade)
        return held_back if inspect.isawaitable(held_back) else None

    def _other(self, event: dict[str, Any]) -> FrameKind:
        if event.get("e") == SERVER_SHUTDOWN:
            return FrameKind.SHUTDOWN
        if is_reply(event):
            log.debug("Received a reply", text=excerpt(event))
            return FrameKind.OTHER
        self.other_messages += 1
        level = log.info if self.other_messages == 1 else log.debug
        level("Skipped a message of another kind", text=excerpt(event))
        return FrameKind.OTHER

    def _malformed(self, exc: MalformedMessage) -> None:
        self.malformed_messages += 1
        level = log.warning if self.malformed_messages <= _MOST_NAMED else log.debug
        level(
            "Skipped a malformed message",
            reason=exc.message,
            malformed_messages=self.malformed_messages,
        )


async def _then_data(awaitable: Awaitable[None]) -> FrameKind:
    await awaitable
    return FrameKind.DATA
