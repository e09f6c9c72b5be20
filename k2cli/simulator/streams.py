"""The market streams: who is subscribed to what, and what faults do to trades."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from k2cli.simulator.events import (
    FORMS,
    GROUP_EVENTS,
    Form,
    encode,
    fills,
    shutdown_message,
    stream_name,
    trade_event,
    unit_of,
)
from k2cli.simulator.messages import answer_control, junk_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from k2cli.simulator.connection import Connection
    from k2cli.simulator.limits import Rules
    from k2cli.simulator.trades import SymbolInfo, Trade

MAX_REPEATED_TRADES = 10_000
"""How far back ``duplicate`` can reach."""


class StreamSession:
    """One open stream connection, its subscriptions and the form of its events."""

    is_stream = True

    def __init__(
        self, broadcast: Broadcast, rules: Rules, streams: list[str], form: Form
    ) -> None:
        self._broadcast = broadcast
        self._rules = rules
        self._initial = streams[: rules.streams_per_connection]
        self.streams: dict[str, None] = {}
        self.form = int(form)
        self.outbox: list[bytes] = []
        self.connection: Connection

    @property
    def combined(self) -> bool:
        """Whether events are wrapped."""
        return bool(self.form & Form.COMBINED)

    @combined.setter
    def combined(self, value: bool) -> None:
        self.form = self.form & ~Form.COMBINED | (Form.COMBINED if value else 0)

    def subscribe(self, streams: list[str]) -> bool:
        """Add subscriptions; ``False``, and no change, if that makes too many."""
        new = dict.fromkeys(name for name in streams if name not in self.streams)
        if len(self.streams) + len(new) > self._rules.streams_per_connection:
            return False
        self.streams.update(new)
        for name in new:
            self._broadcast.subscribe(name, self)
        return True

    def unsubscribe(self, streams: list[str]) -> None:
        """Remove subscriptions; one that is not there is no error."""
        for name in streams:
            if name in self.streams:
                del self.streams[name]
                self._broadcast.unsubscribe(name, self)

    def announce_shutdown(self, event_time_us: int) -> None:
        """Send the notice that the connection is about to be ended."""
        self.connection.send(shutdown_message(event_time_us, self.form))

    def opened(self, connection: Connection) -> None:
        """Begin: the handshake is done."""
        self.connection = connection
        if connection.compresses:
            self.form |= Form.UNFRAMED
        self._broadcast.join(self)
        self.subscribe(self._initial)

    def received(self, text: bytes) -> None:
        """Answer a control message."""
        limit = self._rules.control_text_bytes
        if limit is None or len(text) <= limit:
            flat = self._rules.flat_errors
            self.connection.send(answer_control(text, self, flat=flat))

    def closed(self) -> None:
        """End: the connection is gone."""
        self.unsubscribe(list(self.streams))
        self._broadcast.leave(self)


class Broadcast:
    """The way of trades to the subscribers, and the faults on it.

    Args:
        catalog: The symbols, for their tick sizes.

    Attributes:
        accepted: Stream connections accepted so far.
        silent: Symbols of which nothing is sent any more.
        skew_us: How far the times of events are wrong.
    """

    def __init__(self, catalog: Mapping[str, SymbolInfo]) -> None:
        self.sessions: dict[StreamSession, None] = {}
        self.accepted = 0
        self._catalog = catalog
        self.silent: set[str] = set()
        self.skew_us = 0
        self._subscribers: dict[str, dict[StreamSession, None]] = {}
        self._group_streams: set[str] = set()
        self._stream_names: dict[tuple[str, str], str] = {}
        self._changed = asyncio.Event()
        self._recent: deque[Trade] = deque(maxlen=MAX_REPEATED_TRADES)
        self._skips: list[tuple[int, str | None]] = []
        self._reordering: list[Trade] = []
        self._reorder_count = 0
        self._junk_count = 0

    # Subscribers

    def subscribe(self, stream: str, session: StreamSession) -> None:
        """Send a stream to a session from now on."""
        self._subscribers.setdefault(stream, {})[session] = None
        if stream.rpartition("@")[2] in GROUP_EVENTS:
            self._group_streams.add(stream)
        self.notify()

    def unsubscribe(self, stream: str, session: StreamSession) -> None:
        """Send a stream to a session no more."""
        subscribers = self._subscribers[stream]
        del subscribers[session]
        if not subscribers:
            del self._subscribers[stream]
            self._group_streams.discard(stream)
        self.notify()

    def join(self, session: StreamSession) -> None:
        """Add a session."""
        self.accepted += 1
        self.sessions[session] = None
        self.notify()

    def leave(self, session: StreamSession) -> None:
        """Remove a session."""
        self.sessions.pop(session, None)
        self.notify()

    def notify(self) -> None:
        """Wake up whoever waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def subscribed(
        self, symbols: Iterable[str], listeners: int = 1, *, any_of: bool = False
    ) -> None:
        """Wait for live connections that listen to each symbol, or to any of them."""
        enough = any if any_of else all
        while not enough(self._listeners(symbol) >= listeners for symbol in symbols):
            await self._changed.wait()

    def _listeners(self, symbol: str) -> int:
        return sum(
            not session.connection.is_stalled
            for kind in ("trade", *GROUP_EVENTS)
            for session in self._subscribers.get(self._stream(symbol, kind), ())
        )

    async def readable(self) -> None:
        """Wait until every reader has room for more."""
        while behind := [
            session.connection.readable
            for session in self.sessions
            if not session.connection.readable.is_set()
        ]:
            for readable in behind:
                await readable.wait()

    # Trades

    def deliver(self, trades: Sequence[Trade]) -> None:
        """Send trades to their subscribers, as far as the faults let them pass."""
        self._recent.extend(trades)
        if self._skips or self.silent or self._reorder_count:
            trades = [trade for each in trades for trade in self._passing(each)]
        if self.skew_us:
            trades = [
                replace(
                    trade,
                    trade_time_us=trade.trade_time_us + self.skew_us,
                    event_time_us=trade.event_time_us + self.skew_us,
                )
                for trade in trades
            ]
        self._send(trades)

    def finish(self) -> None:
        """Send what is still held; no more trades will come."""
        held, self._reordering = self._reordering[::-1], []
        self._reorder_count = 0
        self._send(held)

    def _send(self, trades: Sequence[Trade]) -> None:
        for trade in trades:
            stream = self._stream(trade.symbol)
            if stream in self._subscribers:
                self._post(stream, partial(trade_event, trade))
        if self._group_streams:
            self._send_groups(trades)
        for session in list(self.sessions):
            if session.outbox:
                session.connection.send_many(session.outbox)
                session.outbox.clear()

    def _send_groups(self, trades: Sequence[Trade]) -> None:
        for group in fills(trades):
            symbol = group[0].symbol
            for kind, event in GROUP_EVENTS.items():
                stream = self._stream(symbol, kind)
                if stream in self._group_streams:
                    info = self._catalog.get(symbol)
                    tick = info.tick_size if info else "0.00000001"
                    self._post(stream, partial(event, group, tick))

    def _post(self, stream: str, event: Callable[[int], dict[str, Any]]) -> None:
        """Put an event into its subscribers' outboxes, made once for each form."""
        messages: list[bytes | None] = [None] * FORMS
        for session in self._subscribers[stream]:
            form = session.form
            message = messages[form]
            if message is None:
                message = encode(event(unit_of(form)), stream, form)
                messages[form] = message
            session.outbox.append(message)

    def _stream(self, symbol: str, kind: str = "trade") -> str:
        name = self._stream_names.get((symbol, kind))
        if name is None:
            name = self._stream_names[symbol, kind] = stream_name(symbol, kind)
        return name

    # Faults

    def skip(self, count: int, symbol: str | None = None) -> None:
        """Send the next trades, or the next of a symbol, to nobody."""
        self._skips.append((count, symbol))

    def reorder(self, count: int) -> None:
        """Hold the next trades, and send them with the last one first."""
        self._reorder_count = count

    def repeat(self, count: int) -> None:
        """Send the last trades once more."""
        self._send(list(self._recent)[-count:])

    def send_junk(self, count: int) -> None:
        """Send malformed messages to each stream connection."""
        for number in range(self._junk_count, self._junk_count + count):
            for session in list(self.sessions):
                message = junk_message(number, combined=session.combined)
                if isinstance(message, str):
                    session.connection.send(message.encode())
                else:
                    session.connection.send(message, binary=True)
        self._junk_count += count

    def _passing(self, trade: Trade) -> list[Trade]:
        if trade.symbol in self.silent:
            return []
        for index, (count, symbol) in enumerate(self._skips):
            if symbol in (None, trade.symbol):
                if count > 1:
                    self._skips[index] = (count - 1, symbol)
                else:
                    del self._skips[index]
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
