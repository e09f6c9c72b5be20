"""Trades on their way to the listeners, and what faults do to them there."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from k2cli.simulator.events import FORMS, trade_message, trade_stream
from k2cli.simulator.junk import junk_message
from k2cli.simulator.trades import Trade

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from k2cli.simulator.stream_session import StreamSession

MAX_REPEATED_TRADES = 10_000
"""How far back ``duplicate`` can reach."""


class Broadcast:
    """Who listens to which stream, and the way from a trade to its listeners."""

    def __init__(self) -> None:
        self._listeners: dict[str, dict[StreamSession, None]] = {}
        self._stream_names: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._recent: deque[Trade] = deque(maxlen=MAX_REPEATED_TRADES)
        self._skips: list[_Skip] = []
        self._silent: set[str] = set()
        self._reordering: list[Trade] = []
        self._reorder_count = 0
        self._reshape: _Reshape | None = None
        self._junk_sent = 0
        self.sessions: dict[StreamSession, None] = {}
        """The open stream connections, oldest first."""

    # Listeners

    def add(self, stream: str, session: StreamSession) -> None:
        """See ``Subscriptions``."""
        self._listeners.setdefault(stream, {})[session] = None
        self.notify()

    def remove(self, stream: str, session: StreamSession) -> None:
        """See ``Subscriptions``."""
        listeners = self._listeners[stream]
        del listeners[session]
        if not listeners:
            del self._listeners[stream]
        self.notify()

    def joined(self, session: StreamSession) -> None:
        """See ``Subscriptions``."""
        self.sessions[session] = None
        self.notify()

    def left(self, session: StreamSession) -> None:
        """See ``Subscriptions``."""
        self.sessions.pop(session, None)
        self.notify()

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Wait until anybody connects, leaves, subscribes or unsubscribes."""
        await self._changed.wait()

    def listener_count(self, symbol: str) -> int:
        """Tell how many connections that are not stalled listen to a symbol."""
        listeners = self._listeners.get(self._stream(symbol), {})
        return sum(not each.connection.is_stalled for each in listeners)

    def has_listener(self, symbols: Iterable[str]) -> bool:
        """Tell whether anybody listens to any of the symbols' trades."""
        return any(self.listener_count(symbol) for symbol in symbols)

    async def readable(self) -> None:
        """Wait until each reader has room for more."""
        while True:
            behind = [
                session.connection
                for session in self.sessions
                if not session.connection.readable.is_set()
            ]
            if not behind:
                return
            for connection in behind:
                await connection.readable.wait()

    # Trades

    def deliver(self, trades: Sequence[Trade]) -> None:
        """Send trades to whoever listens, as far as the faults let them pass."""
        self._recent.extend(trades)
        if self._skips or self._silent or self._reorder_count:
            trades = [trade for each in trades for trade in self._passing(each)]
        if self._reshape is not None:
            trades = [self._reshape.apply(trade) for trade in trades]
        self._send(trades)

    def _send(self, trades: Sequence[Trade]) -> None:
        for trade in trades:
            stream = self._stream(trade.symbol)
            listeners = self._listeners.get(stream)
            if listeners is None:
                continue
            messages: list[bytes | None] = [None] * FORMS
            for session in listeners:
                form = session.form
                message = messages[form]
                if message is None:
                    message = messages[form] = trade_message(trade, stream, form)
                session.outbox.append(message)
        for session in list(self.sessions):
            if session.outbox:
                session.flush()

    def _stream(self, symbol: str) -> str:
        name = self._stream_names.get(symbol)
        if name is None:
            name = self._stream_names[symbol] = trade_stream(symbol)
        return name

    def finish(self) -> None:
        """Send what is still held; no more trades will come."""
        held, self._reordering = self._reordering[::-1], []
        self._reorder_count = 0
        self._send(held)

    # Faults

    def _passing(self, trade: Trade) -> list[Trade]:
        if trade.symbol in self._silent:
            return []
        for skip in self._skips:
            if skip.symbol in (None, trade.symbol):
                skip.count -= 1
                if not skip.count:
                    self._skips.remove(skip)
                return []
        if not self._reorder_count:
            return [trade]
        self._reordering.append(trade)
        if len(self._reordering) < self._reorder_count:
            return []
        passing = self._reordering[::-1]
        self._reordering.clear()
        self._reorder_count = 0
        return passing

    def skip(self, count: int, symbol: str | None = None) -> None:
        """Let the next trades, or the next of a symbol, not reach anybody."""
        self._skips.append(_Skip(count, symbol))

    def silence(self, symbol: str) -> None:
        """Let no trade of a symbol reach anybody any more."""
        self._silent.add(symbol)

    def reorder(self, count: int) -> None:
        """Hold the next trades, and send them with the last one first."""
        self._reorder_count = count

    def reshape(self, *, skew_us: int, without_best_match: bool) -> None:
        """Change what events say from now on: their times, or leave ``M`` out."""
        self._reshape = _Reshape(skew_us, without_best_match)

    def repeat(self, count: int) -> None:
        """Send the last trades once more."""
        self._send(list(self._recent)[-count:])

    def send_junk(self, count: int) -> None:
        """Send malformed messages to each stream connection."""
        for number in range(self._junk_sent, self._junk_sent + count):
            for session in list(self.sessions):
                message = junk_message(number, combined=session.combined)
                if isinstance(message, str):
                    session.connection.send(message.encode())
                else:
                    session.connection.send_binary(message)
        self._junk_sent += count


class _Skip:
    def __init__(self, count: int, symbol: str | None) -> None:
        self.count = count
        self.symbol = symbol


class _Reshape:
    def __init__(self, skew_us: int, without_best_match: bool) -> None:
        self._skew_us = skew_us
        self._without_best_match = without_best_match

    def apply(self, trade: Trade) -> Trade:
        return Trade(
            trade.symbol,
            trade.id,
            trade.price,
            trade.quantity,
            trade.trade_time_us + self._skew_us,
            trade.event_time_us + self._skew_us,
            trade.buyer_is_maker,
            None if self._without_best_match else trade.best_match,
        )
