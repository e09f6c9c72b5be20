"""A client of the market streams: its subscriptions and the form of its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from k2cli.simulator.events import Form, shutdown_message
from k2cli.simulator.stream_control import answer_control

if TYPE_CHECKING:
    from collections.abc import Iterable

    from k2cli.simulator.connection import Connection
    from k2cli.simulator.rules import Rules


class Subscriptions(Protocol):
    """Who keeps the list of listeners per stream."""

    def add(self, stream: str, session: StreamSession) -> None:
        """A session listens to a stream from now on."""

    def remove(self, stream: str, session: StreamSession) -> None:
        """A session does not listen any more."""

    def joined(self, session: StreamSession) -> None:
        """A session has opened."""

    def left(self, session: StreamSession) -> None:
        """A session has ended."""


class StreamSession:
    """One open stream connection.

    Args:
        subscriptions: Where the session registers what it listens to.
        rules: Limits and dialect.
        streams: Subscriptions of the address it connected to.
        combined: Whether events are wrapped; the client can change it.
        microseconds: Whether times are in microseconds; fixed for the connection.

    Attributes:
        form: The ``Form`` of its events.
        outbox: Messages of the batch under way, in order.
    """

    limits_frames = True

    def __init__(
        self,
        subscriptions: Subscriptions,
        rules: Rules,
        streams: list[str],
        *,
        combined: bool,
        microseconds: bool,
    ) -> None:
        self._subscriptions = subscriptions
        self._rules = rules
        self._initial = streams[: rules.streams_per_connection]
        self._streams: dict[str, None] = {}
        self.form = int(
            (Form.COMBINED if combined else 0)
            | (Form.MICROSECONDS if microseconds else 0)
        )
        self.outbox: list[bytes] = []
        self.connection: Connection

    @property
    def combined(self) -> bool:
        """Whether events are wrapped."""
        return bool(self.form & Form.COMBINED)

    @combined.setter
    def combined(self, value: bool) -> None:
        self.form = self.form & ~Form.COMBINED | (Form.COMBINED if value else 0)

    @property
    def streams(self) -> Iterable[str]:
        """Its subscriptions, each once."""
        return self._streams

    def subscribe(self, streams: list[str]) -> bool:
        """Add subscriptions; ``False``, and no change, if that makes too many."""
        new = dict.fromkeys(name for name in streams if name not in self._streams)
        if len(self._streams) + len(new) > self._rules.streams_per_connection:
            return False
        self._streams.update(new)
        for name in new:
            self._subscriptions.add(name, self)
        return True

    def unsubscribe(self, streams: list[str]) -> None:
        """Take subscriptions away; one that is not there is no error."""
        for name in streams:
            if name in self._streams:
                del self._streams[name]
                self._subscriptions.remove(name, self)

    def flush(self) -> None:
        """Send the outbox."""
        self.connection.send_many(self.outbox)
        self.outbox.clear()

    def announce_shutdown(self, event_time_us: int) -> None:
        """Say that the connection is about to be ended."""
        self.connection.send(shutdown_message(event_time_us, self.form))

    def opened(self, connection: Connection) -> None:
        """See ``Session``."""
        self.connection = connection
        if connection.compresses:
            self.form |= Form.UNFRAMED
        self._subscriptions.joined(self)
        self.subscribe(self._initial)

    def received(self, text: bytes) -> None:
        """See ``Session``."""
        limit = self._rules.control_text_bytes
        if limit is not None and len(text) > limit:
            return
        self.connection.send(answer_control(text, self, flat=self._rules.flat_errors))

    def closed(self) -> None:
        """See ``Session``."""
        self.unsubscribe(list(self._streams))
        self._subscriptions.left(self)
