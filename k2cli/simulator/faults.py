"""Faults: what can go wrong, how it is written, and what it does to the exchange.

A fault is written ``NAME@POSITION[:ARGUMENT…]``; it strikes after so many published
trades over all symbols, 0: at the start. ``FAULTS`` is the list; a new fault is a row.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from k2cli.errors import SettingsError
from k2cli.simulator.api import FAILURE_STATUSES
from k2cli.simulator.router import REFUSAL_STATUSES, SERVICES, Refusal, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k2cli.simulator.api import Api, ApiSession
    from k2cli.simulator.connection import Connection
    from k2cli.simulator.router import Router
    from k2cli.simulator.streams import Broadcast, StreamSession

_duration = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_COUNT = 1_000_000


class FaultInjector:
    """Does to the exchange what faults are made of."""

    def __init__(self, broadcast: Broadcast, api: Api, router: Router) -> None:
        self.broadcast = broadcast
        self.api = api
        self._router = router
        self._shutdowns: list[asyncio.TimerHandle] = []

    @property
    def stream_connections(self) -> list[Connection]:
        """The open stream connections, oldest first."""
        return [session.connection for session in self.broadcast.sessions]

    def each_stream(self, act: Callable[[Connection], None]) -> None:
        """Do something to all stream connections that are open now."""
        for connection in self.stream_connections:
            act(connection)

    def drop(self, only_oldest: bool) -> None:
        """Reset TCP of all stream connections, or of the one that is open longest."""
        for connection in self.stream_connections[: 1 if only_oldest else None]:
            connection.reset()

    def announce_shutdown(self, lead_seconds: float | None) -> None:
        """Announce a shutdown, and close the connections of now, if ever, later."""
        sessions: list[StreamSession | ApiSession] = [
            *self.broadcast.sessions,
            *self.api.sessions,
        ]
        now_us = self.api.now_us()
        for session in sessions:
            session.announce_shutdown(now_us)

        def close() -> None:
            for session in sessions:
                session.connection.close(1001, "Going away")

        if lead_seconds is not None:
            loop = asyncio.get_running_loop()
            self._shutdowns.append(loop.call_later(lead_seconds, close))

    def refuse(
        self,
        status: int | None,
        count: int | None,
        seconds: float | None,
        services: tuple[Service, ...],
    ) -> None:
        """Refuse handshakes; see ``Refusal``."""
        until = float("inf")
        if seconds is not None:
            until = asyncio.get_running_loop().time() + seconds
        self._router.refusals.append(Refusal(status, services, count, until))

    def take_api_down(self, seconds: float | None) -> None:
        """Reset all API connections, and refuse new ones with 503."""
        for session in list(self.api.sessions):
            session.connection.reset()
        self.refuse(503, None, seconds, ("api",))

    def mute_api(self, count: int) -> None:
        """Leave the next API requests without a reply."""
        self.api.mute_next += count

    def withhold(self, count: int) -> None:
        """Keep the next trades out of the history for ever."""
        self.api.log.withhold_next += count

    def lag_history(self, seconds: float) -> None:
        """Let the history be behind what was published."""
        self.api.log.lag_seconds = seconds

    def skew_clock(self, seconds: float) -> None:
        """Let the server's clock be wrong: its time and that of its events."""
        self.api.skew_us = self.broadcast.skew_us = int(seconds * 1e6)

    def stop(self) -> None:
        """Cancel what is still to come."""
        for handle in self._shutdowns:
            handle.cancel()


class Arguments:
    """The arguments of a fault.

    Each reader takes the first argument that it can read, so their order is free.
    """

    def __init__(self, fault: str, syntax: str, texts: Sequence[str]) -> None:
        self._fault = fault
        self._syntax = syntax
        self._left = list(texts)

    def _take(self, fits: Callable[[str], object]) -> str | None:
        for argument in self._left:
            if fits(argument):
                self._left.remove(argument)
                return argument
        return None

    def seconds(self, default: float | None = None) -> float | None:
        """Take a duration such as ``30s``, ``500ms`` or ``5m``."""
        match = _duration.fullmatch(self._take(_duration.fullmatch) or "")
        return float(match[1]) * _SECONDS[match[2]] if match else default

    def needed_seconds(self) -> float:
        """Take a duration that must be there."""
        seconds = self.seconds()
        if seconds is None:
            raise self.wrong("it needs a duration")
        return seconds

    def number(self) -> int | None:
        """Take a whole number from 1 to 1,000,000."""
        text = self._take(lambda each: each.isascii() and each.isdigit())
        if text is not None and not 1 <= int(text[:9]) <= _MAX_COUNT:
            raise self.wrong(f"{text} is not from 1 to {_MAX_COUNT:,}")
        return None if text is None else int(text[:9])

    def count(self, default: int = 1) -> int:
        """Take a number, or the default."""
        return self.number() or default

    def close_code(self) -> int:
        """Take a code that a close frame can have; 1000 if there is none."""
        code = self.count(1000)
        allowed = code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010)
        if not (allowed or 1011 <= code <= 1014 or 3000 <= code < 5000):
            raise self.wrong(f"{code} is no close code that can be sent")
        return code

    def status(self, allowed: Sequence[int]) -> int:
        """Take the first argument, which must be one of the numbers allowed."""
        listed = [str(each) for each in allowed]
        if not self._left or self._left[0] not in listed:
            raise self.wrong(f"it needs one of {', '.join(listed)}")
        return int(self._left.pop(0))

    def has(self, word: str) -> bool:
        """Take a word, if it is there."""
        return self._take(lambda each: each == word) is not None

    def services(self) -> tuple[Service, ...]:
        """Take a service, or both of them."""
        return next(((name,) for name in SERVICES if self.has(name)), SERVICES)

    def symbol(self) -> str | None:
        """Take a symbol in upper case; it may begin with a digit."""
        return self._take(
            lambda each: len(each) > 3 and each == each.upper() and not each.isdigit()
        )

    def needed_symbol(self) -> str:
        """Take a symbol that must be there."""
        symbol = self.symbol()
        if symbol is None:
            raise self.wrong("it needs a symbol")
        return symbol

    def end(self) -> None:
        """Refuse what no reader has taken."""
        if self._left:
            raise self.wrong(f"{':'.join(self._left)!r} means nothing here")

    def wrong(self, why: str) -> SettingsError:
        """Return the error that says how the fault should be written."""
        return SettingsError(f"fault {self._fault!r}: {why}", f"Write {self._syntax}")


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A row of the table.

    Attributes:
        arguments: How its arguments are written.
        effect: What it does, for the help.
        read: Reads the arguments into those of ``strike``.
    """

    name: str
    arguments: str
    effect: str
    read: Callable[[Arguments], tuple[Any, ...]]
    strike: Callable[..., None]

    @property
    def syntax(self) -> str:
        """How it is written."""
        return f"{self.name}@POSITION{self.arguments}"


# fmt: off
FAULTS = (
    FaultKind(
        "drop", "[:oldest]", "reset TCP of all stream connections, or of the oldest",
        lambda given: (given.has("oldest"),),
        FaultInjector.drop,
    ),
    FaultKind(
        "cut", "", "end all stream connections in the middle of a frame",
        lambda _: (),
        lambda on: on.each_stream(lambda each: each.send_cut_frame()),
    ),
    FaultKind(
        "close", "[:CODE]",
        "close all stream connections, with code 1000 unless given",
        lambda given: (given.close_code(),),
        lambda on, code: on.each_stream(lambda each: each.close(code)),
    ),
    FaultKind(
        "skip", "[:COUNT][:SYMBOL]",
        "leave the next trades out of the streams; the history has them",
        lambda given: (given.count(), given.symbol()),
        lambda on, count, symbol: on.broadcast.skip(count, symbol),
    ),
    FaultKind(
        "silence", ":SYMBOL", "let a symbol's stream fall silent; the history goes on",
        lambda given: (given.needed_symbol(),),
        lambda on, symbol: on.broadcast.silent.add(symbol),
    ),
    FaultKind(
        "duplicate", "[:COUNT]", "send the last trades again",
        lambda given: (given.count(),),
        lambda on, count: on.broadcast.repeat(count),
    ),
    FaultKind(
        "reorder", "[:COUNT]", "send the next trades in reverse order",
        lambda given: (given.count(2),),
        lambda on, count: on.broadcast.reorder(count),
    ),
    FaultKind(
        "junk", "[:COUNT]", "send malformed messages on all stream connections",
        lambda given: (given.count(),),
        lambda on, count: on.broadcast.send_junk(count),
    ),
    FaultKind(
        "stall", "[:DURATION]",
        "keep the open stream connections up but dead, for ever unless given",
        lambda given: (given.seconds(),),
        lambda on, seconds: on.each_stream(lambda each: each.stall(seconds)),
    ),
    FaultKind(
        "shutdown", "[:DURATION|:never]",
        "announce serverShutdown, close with 1001 later (2s unless given)",
        lambda given: (None if given.has("never") else given.seconds(2.0),),
        FaultInjector.announce_shutdown,
    ),
    FaultKind(
        "refuse", ":STATUS[:COUNT|:DURATION][:streams|:api]",
        "refuse handshakes, so many or for so long, of one service or of both",
        lambda given: (
            given.status(REFUSAL_STATUSES),
            given.number(), given.seconds(), given.services(),
        ),
        FaultInjector.refuse,
    ),
    FaultKind(
        "hang", "[:COUNT|:DURATION][:streams|:api]",
        "accept TCP and never answer the handshake",
        lambda given: (None, given.number(), given.seconds(), given.services()),
        FaultInjector.refuse,
    ),
    FaultKind(
        "api-down", "[:DURATION]",
        "reset and refuse API connections, for ever unless given",
        lambda given: (given.seconds(),),
        FaultInjector.take_api_down,
    ),
    FaultKind(
        "api-error", ":STATUS[:COUNT]",
        "answer the next API requests with an error such as 429, 418 or 503",
        lambda given: (given.status(FAILURE_STATUSES), given.count()),
        lambda on, status, count: on.api.fail_next(status, count),
    ),
    FaultKind(
        "api-mute", "[:COUNT]", "leave the next API requests without a reply",
        lambda given: (given.count(),),
        FaultInjector.mute_api,
    ),
    FaultKind(
        "short-history", "[:COUNT]", "keep the next trades out of the history for ever",
        lambda given: (given.count(),),
        FaultInjector.withhold,
    ),
    FaultKind(
        "history-lag", ":DURATION",
        "let the history trail what was published; 0s ends it",
        lambda given: (given.needed_seconds(),),
        FaultInjector.lag_history,
    ),
    FaultKind(
        "clock-skew", ":DURATION[:behind]",
        "set the server's time and its events' times ahead, or behind",
        lambda given: (given.needed_seconds() * (-1 if given.has("behind") else 1),),
        FaultInjector.skew_clock,
    ),
)
"""All faults there are."""
# fmt: on
_BY_NAME = {kind.name: kind for kind in FAULTS}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong at a position; made by ``parse_fault``."""

    position: int
    kind: FaultKind
    arguments: tuple[Any, ...]

    def strike(self, injector: FaultInjector) -> None:
        """Let it happen."""
        self.kind.strike(injector, *self.arguments)


def parse_fault(text: str) -> Fault:
    """Read a fault.

    Args:
        text: ``NAME@POSITION[:ARGUMENT…]``, e.g. ``"skip@200:5"``.

    Raises:
        SettingsError: It cannot be read; the error says what is allowed.
    """
    name, at, rest = text.strip().partition("@")
    kind = _BY_NAME.get(name)
    if kind is None:
        raise SettingsError(
            f"there is no fault {name!r}", f"There are {', '.join(_BY_NAME)}"
        )
    position, *texts = rest.split(":")
    arguments = Arguments(text, kind.syntax, texts)
    if not at or not (position.isascii() and position.isdigit()) or len(position) > 15:
        raise arguments.wrong("its position is no whole number")
    values = kind.read(arguments)
    arguments.end()
    return Fault(int(position), kind, values)


def fault_help() -> list[tuple[str, str]]:
    """Return the syntax of each fault and what it does."""
    return [(kind.syntax, kind.effect) for kind in FAULTS]
