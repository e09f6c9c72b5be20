"""Ids of records: random UUIDs, at little cost."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_CHARACTERS = 36
_DASHES = (8, 13, 18, 23)
_AT_ONCE = 1024
_VARIANT = bytes.maketrans(b"0123456789abcdef", b"89ab" * 4)


class MessageIds:
    """Random UUIDs v4 as text, drawn in blocks.

    The same as ``str(uuid.uuid4())`` at a twentieth of its cost: a block's random
    digits are laid out column by column between the dashes.

    Args:
        random_bytes: Returns that many random bytes.
    """

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._ids: list[str] = []

    def take(self, count: int) -> list[str]:
        """Return that many new ones."""
        while len(self._ids) < count:
            self._ids += self._block()
        left = len(self._ids) - count
        taken = self._ids[left:]
        del self._ids[left:]
        return taken

    def _block(self) -> list[str]:
        digits = self._random_bytes(16 * _AT_ONCE).hex().encode()
        block = bytearray(b"-") * (_CHARACTERS * _AT_ONCE)
        places = (p for p in range(_CHARACTERS) if p not in _DASHES)
        for digit, place in enumerate(places):
            column = digits[digit::32]
            # RFC 9562, 5.4: digit 12 is the version, the top bits of digit 16 are 10.
            if digit == 12:
                column = b"4" * _AT_ONCE
            elif digit == 16:
                column = column.translate(_VARIANT)
            block[place::_CHARACTERS] = column
        text = block.decode()
        return [
            text[start : start + _CHARACTERS]
            for start in range(0, len(text), _CHARACTERS)
        ]
