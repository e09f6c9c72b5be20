"""Texts from outside: which of them are names, and how they are shown.

There is one way to print for people, ``printable``, and one for machines,
``machine_json``. Neither lets a control character through.
"""

from __future__ import annotations

import re
from typing import Any

MAX_NAME_CHARACTERS = 40
# Letters to Unicode, and yet invisible.
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0")
# Of an address: user and password, and the values of a query.
_USER = re.compile(r"(?<=://)[^/\s?#]*@")
_USER_WITHOUT_SCHEME = re.compile(r"(?<![\w.@:/-])[^\s/@:'\"]+:[^\s/@'\"]+@(?=[\w\[])")
_QUERY_VALUE = re.compile(r"([?&#][\w.~%+-]*=)[^&#\s'\"<>)]*")
_AUTHORIZATION = re.compile(
    r"(authorization\W{1,4}(?:basic|bearer)?\s*)[^\s'\"]+", re.IGNORECASE
)
# What was asked for is no secret.
_NO_SECRETS = frozenset({"streams=", "timeUnit="})


def is_name(text: str) -> bool:
    """Return whether a text from outside can be a symbol, an asset or part of a status.

    Names go to shells, terminals, files and spreadsheets, so that nothing but letters
    and digits is admitted: of any script, as Binance has traded 币安人生USDT.
    """
    return (
        len(text) <= MAX_NAME_CHARACTERS
        and text.isalnum()
        and _FILLERS.isdisjoint(text)
    )


def printable(text: str | bytes, limit: int = 200) -> str:
    r"""Make text from outside fit for a terminal or a log line.

    Control characters, bidirectional overrides, lone surrogates and whatever else
    does not print become ``\x..`` or ``\u....``; what is beyond ``limit`` is cut.

    Args:
        text: Text or bytes as received; bytes are read as UTF-8 as far as that goes.
        limit: Longest result in characters, before the mark of a cut.

    Returns:
        One line that cannot move a cursor, ring a bell or change a colour.
    """
    if isinstance(text, bytes):
        text = text[: limit * 4 + 1].decode("utf-8", "backslashreplace")
    cut = text[:limit]
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii")
        for c in cut
    )
    return shown + "…" if len(text) > limit else shown


def printable_lines(text: str, limit: int = 1000) -> str:
    """Make a text of several lines fit for a terminal; see ``printable``."""
    return "\n".join(printable(line, limit) for line in text.split("\n"))


def printable_json(text: str) -> str:
    """Escape what JSON lets stand and a terminal would act on, such as DEL and C1."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _json_escape(c) for c in text)


def machine_json(value: Any, *, indent: bool = False) -> bytes:
    r"""Return a value as JSON for machines, with its ``\n``.

    Numbers may be of any size, and texts may hold anything.
    """
    import orjson  # not where only help is printed

    try:
        options = orjson.OPT_INDENT_2 if indent else 0
        text = orjson.dumps(value, option=options).decode()
    except TypeError:
        # A number beyond 64 bits, or a lone surrogate.
        import json

        text = json.dumps(
            value,
            ensure_ascii=False,
            indent=2 if indent else None,
            separators=None if indent else (",", ":"),
        )
    return printable_json(text).encode() + b"\n"


def without_secrets(text: str) -> str:
    """Return a text whose addresses have lost passwords and the values of queries.

    Args:
        text: An address, or a message of another library that may hold some.
    """
    text = _QUERY_VALUE.sub(
        lambda found: found[0] if found[1][1:] in _NO_SECRETS else f"{found[1]}***",
        text,
    )
    text = _AUTHORIZATION.sub(r"\1***", text)
    text = _USER.sub("***@", text)
    return _USER_WITHOUT_SCHEME.sub("***@", text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
