"""Faults of the handshake, of the API and of the history behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from k2cli.simulator.api import FAILURE_STATUSES
from k2cli.simulator.door import REFUSAL_STATUSES, Side
from k2cli.simulator.fault import Fault

if TYPE_CHECKING:
    from k2cli.simulator.fault_arguments import Arguments
    from k2cli.simulator.levers import Levers


@dataclass(frozen=True, slots=True)
class Refuse(Fault):
    """Handshakes are answered with an HTTP error."""

    name = "refuse"
    syntax = "refuse@POSITION:STATUS[:COUNT|:DURATION][:streams|:api]"
    effect = "refuse handshakes, so many or for so long, of one service or of both"

    status: int
    count: int | None = None
    seconds: float | None = None
    sides: tuple[Side, ...] = ("streams", "api")

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        status = arguments.choice(REFUSAL_STATUSES)
        count, seconds = arguments.number(), arguments.seconds()
        return cls(position, status, count, seconds, _sides(arguments))

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.refuse(
            self.status, sides=self.sides, count=self.count, seconds=self.seconds
        )


@dataclass(frozen=True, slots=True)
class Hang(Fault):
    """Handshakes are never answered."""

    name = "hang"
    syntax = "hang@POSITION[:COUNT|:DURATION][:streams|:api]"
    effect = "accept TCP and never answer the handshake"

    count: int | None = None
    seconds: float | None = None
    sides: tuple[Side, ...] = ("streams", "api")

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        count, seconds = arguments.number(), arguments.seconds()
        return cls(position, count, seconds, _sides(arguments))

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.refuse(None, sides=self.sides, count=self.count, seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class ApiDown(Fault):
    """The API is gone for a while."""

    name = "api-down"
    syntax = "api-down@POSITION[:DURATION]"
    effect = "reset and refuse API connections, for ever unless given"

    seconds: float | None = None

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        return cls(position, arguments.seconds())

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.take_api_down(self.seconds)


@dataclass(frozen=True, slots=True)
class ApiError(Fault):
    """API requests are answered with an error."""

    name = "api-error"
    syntax = "api-error@POSITION:STATUS[:COUNT]"
    effect = "answer the next API requests with an error such as 429, 418 or 503"

    status: int
    count: int = 1

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        status = arguments.choice(FAILURE_STATUSES)
        return cls(position, status, arguments.number() or 1)

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.api.fail_next(self.status, self.count)


@dataclass(frozen=True, slots=True)
class ApiMute(Fault):
    """API requests get no reply."""

    name = "api-mute"
    syntax = "api-mute@POSITION[:COUNT]"
    effect = "leave the next API requests without a reply"

    count: int = 1

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        return cls(position, arguments.number() or 1)

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.api.mute_next += self.count


@dataclass(frozen=True, slots=True)
class ShortHistory(Fault):
    """Trades are published that the history does not have."""

    name = "short-history"
    syntax = "short-history@POSITION[:COUNT]"
    effect = "keep the next trades out of the history for ever"

    count: int = 1

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        return cls(position, arguments.number() or 1)

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.log.withhold(self.count)


@dataclass(frozen=True, slots=True)
class HistoryLag(Fault):
    """The history trails the streams."""

    name = "history-lag"
    syntax = "history-lag@POSITION:DURATION"
    effect = "let the history trail what was published; 0s ends it"

    lag_seconds: float

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        seconds = arguments.seconds()
        if seconds is None:
            raise arguments.wrong("it needs a duration")
        return cls(position, seconds)

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.lag_history(self.lag_seconds)


@dataclass(frozen=True, slots=True)
class ClockSkew(Fault):
    """The exchange's clock is wrong."""

    name = "clock-skew"
    syntax = "clock-skew@POSITION:DURATION[:behind]"
    effect = "set the server's time and its events' times ahead, or behind"

    seconds: float

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        seconds = arguments.seconds()
        if seconds is None:
            raise arguments.wrong("it needs a duration")
        return cls(position, -seconds if arguments.word("behind") else seconds)

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.skew_clock(self.seconds)


def _sides(arguments: Arguments) -> tuple[Side, ...]:
    if arguments.word("streams"):
        return ("streams",)
    if arguments.word("api"):
        return ("api",)
    return ("streams", "api")
