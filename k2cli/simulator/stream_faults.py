"""Faults of the streams: of their connections, and of what is sent on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from k2cli.simulator.fault import Fault

if TYPE_CHECKING:
    from k2cli.simulator.fault_arguments import Arguments
    from k2cli.simulator.levers import Levers


@dataclass(frozen=True, slots=True)
class Drop(Fault):
    """All stream connections end with a TCP reset."""

    name = "drop"
    syntax = "drop@POSITION"
    effect = "reset TCP of all stream connections"

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        return cls(position)

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.reset_streams()


@dataclass(frozen=True, slots=True)
class Cut(Fault):
    """All stream connections end in the middle of a frame."""

    name = "cut"
    syntax = "cut@POSITION"
    effect = "end all stream connections in the middle of a frame"

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        return cls(position)

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.cut_streams()


@dataclass(frozen=True, slots=True)
class Close(Fault):
    """All stream connections are closed with a close frame."""

    name = "close"
    syntax = "close@POSITION[:CODE]"
    effect = "close all stream connections, with code 1000 unless given"

    code: int = 1000

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        code = arguments.number() or 1000
        allowed = code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010)
        if not (allowed or 1011 <= code <= 1014 or 3000 <= code < 5000):
            raise arguments.wrong(f"{code} is no close code that can be sent")
        return cls(position, code)

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.close_streams(self.code)


@dataclass(frozen=True, slots=True)
class Stall(Fault):
    """The stream connections stay up and nothing comes, not even an answer."""

    name = "stall"
    syntax = "stall@POSITION[:DURATION]"
    effect = "keep the open stream connections up but dead, for ever unless given"

    seconds: float | None = None

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        return cls(position, arguments.seconds())

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.stall_streams(self.seconds)


@dataclass(frozen=True, slots=True)
class Shutdown(Fault):
    """A shutdown is announced, and then the connections are closed."""

    name = "shutdown"
    syntax = "shutdown@POSITION[:DURATION|:never]"
    effect = "announce serverShutdown, close with 1001 later (2s unless given)"

    lead_seconds: float | None = 2.0

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        if arguments.word("never"):
            return cls(position, None)
        seconds = arguments.seconds()
        return cls(position, 2.0 if seconds is None else seconds)

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.announce_shutdown(self.lead_seconds)


@dataclass(frozen=True, slots=True)
class Skip(Fault):
    """Trades are in the history, and nobody is told of them."""

    name = "skip"
    syntax = "skip@POSITION[:COUNT][:SYMBOL]"
    effect = "leave the next trades out of the streams; the history has them"

    count: int = 1
    symbol: str | None = None

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        return cls(position, arguments.number() or 1, arguments.symbol())

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.broadcast.skip(self.count, self.symbol)


@dataclass(frozen=True, slots=True)
class Silence(Fault):
    """A symbol's stream falls silent, while its trades go on."""

    name = "silence"
    syntax = "silence@POSITION:SYMBOL"
    effect = "let a symbol's stream fall silent; the history goes on"

    symbol: str

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        symbol = arguments.symbol()
        if symbol is None:
            raise arguments.wrong("it needs a symbol")
        return cls(position, symbol)

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.broadcast.silence(self.symbol)


@dataclass(frozen=True, slots=True)
class Duplicate(Fault):
    """The last trades are sent once more."""

    name = "duplicate"
    syntax = "duplicate@POSITION[:COUNT]"
    effect = "send the last trades again"

    count: int = 1

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        return cls(position, arguments.number() or 1)

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.broadcast.repeat(self.count)


@dataclass(frozen=True, slots=True)
class Reorder(Fault):
    """The next trades are held and sent with the last one first."""

    name = "reorder"
    syntax = "reorder@POSITION[:COUNT]"
    effect = "send the next trades in reverse order"

    count: int = 2

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        return cls(position, arguments.number() or 2)

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.broadcast.reorder(self.count)


@dataclass(frozen=True, slots=True)
class Junk(Fault):
    """Malformed messages come among the trades."""

    name = "junk"
    syntax = "junk@POSITION[:COUNT]"
    effect = "send malformed messages on all stream connections"

    count: int = 1

    @classmethod
    def read(cls, position: int, arguments: Arguments) -> Self:
        """Read its arguments; see ``Fault``."""
        return cls(position, arguments.number() or 1)

    def strike(self, levers: Levers) -> None:
        """Strike; see ``Fault``."""
        levers.broadcast.send_junk(self.count)
