"""The arguments of a scripted fault, read from its text one after the other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from k2cli.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

_duration = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_COUNT = 1_000_000


class Arguments:
    """What follows the position in ``NAME@POSITION:ARG:ARG``.

    Each reader takes the first argument that it can read, so their order is free.

    Args:
        text: The fault as written, for messages.
        syntax: How it should be written, for messages.
        given: The arguments.
    """

    def __init__(self, text: str, syntax: str, given: Sequence[str]) -> None:
        self._text = text
        self._syntax = syntax
        self._left = list(given)

    def seconds(self) -> float | None:
        """Take a duration such as ``30s``, ``500ms`` or ``5m``."""
        for argument in self._left:
            match = _duration.fullmatch(argument)
            if match:
                self._left.remove(argument)
                return float(match[1]) * _SECONDS[match[2]]
        return None

    def number(self) -> int | None:
        """Take a whole number from 1 to 1,000,000."""
        for argument in self._left:
            if argument.isascii() and argument.isdigit():
                self._left.remove(argument)
                value = int(argument[:9])
                if not 1 <= value <= _MAX_COUNT:
                    raise self.wrong(f"{argument} is not from 1 to {_MAX_COUNT:,}")
                return value
        return None

    def choice(self, allowed: Sequence[int]) -> int:
        """Take the first argument, which must be one of the numbers allowed."""
        listed = ", ".join(map(str, allowed))
        if not self._left or self._left[0] not in map(str, allowed):
            raise self.wrong(f"it needs one of {listed}")
        return int(self._left.pop(0))

    def word(self, *allowed: str) -> str | None:
        """Take a word out of some, or any word if none are given."""
        for argument in self._left:
            if argument in allowed or (not allowed and not argument[:1].isdigit()):
                self._left.remove(argument)
                return argument
        return None

    def symbol(self) -> str | None:
        """Take a symbol in upper case; it may begin with a digit."""
        for argument in self._left:
            if len(argument) > 3 and argument == argument.upper():
                if argument.isdigit():
                    continue
                self._left.remove(argument)
                return argument
        return None

    def end(self) -> None:
        """Refuse what nobody has taken."""
        if self._left:
            raise self.wrong(f"{':'.join(self._left)!r} means nothing here")

    def wrong(self, why: str) -> SettingsError:
        """Make the error that says how it should be written."""
        return SettingsError(f"fault {self._text!r}: {why}", f"Write {self._syntax}")
