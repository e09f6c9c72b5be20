"""Groups of symbols that have a name in config.toml: ``k2 stream @majors``.

Shells that complete a word ask here too: nothing heavy is imported.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from k2cli.config_file import GROUPS_TABLE, default_config_file, read_table
from k2cli.errors import SettingsError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MARK = "@"
"""Begins a word that names a group."""

_is_name = re.compile(r"[\w-]{1,40}").fullmatch
_is_symbol = re.compile(r"[\w/:-]{1,40}").fullmatch


def load(file: Path | None = None) -> dict[str, list[str]]:
    """Return the named groups of symbols of a configuration file.

    Raises:
        SettingsError: If a group is no list of symbols.
    """
    table, source = _read(file)
    groups = {}
    for name, value in table.items():
        symbols = re.split(r"[\s,]+", value) if isinstance(value, str) else value
        if (
            not _is_name(name)
            or not isinstance(symbols, list)
            or not symbols
            or not all(isinstance(one, str) and _is_symbol(one) for one in symbols)
        ):
            raise SettingsError(
                f"the group {printable(name, 60)} from {source} is "
                f"{printable(repr(value), 80)}",
                "Allowed is a name of letters and digits, and a list of symbols, like "
                'majors = ["BTCUSDT", "ETHUSDT"]',
            )
        groups[name] = symbols
    return groups


def explain(file: Path | None = None) -> list[tuple[str, str, str]]:
    """Return name, symbols and source of every group."""
    _, source = _read(file)
    return [
        (f"{GROUPS_TABLE}.{name}", ",".join(symbols), source)
        for name, symbols in load(file).items()
    ]


def expanded(words: Iterable[str], file: Path | None = None) -> list[str]:
    """Return symbols as typed, with the symbols of a group for its name.

    Raises:
        SettingsError: If there is no such group; says which may have been meant.
    """
    split = [part for word in words for part in word.split(",")]
    if not any(word.startswith(MARK) for word in split):
        return split
    groups = load(file)
    found: list[str] = []
    for word in split:
        if not word.startswith(MARK):
            found.append(word)
        elif word[1:] in groups:
            found += groups[word[1:]]
        else:
            from k2cli.cli.checks import did_you_mean

            shown = printable(str(file or default_config_file()))
            there = ", ".join(f"{MARK}{name}" for name in groups)
            meant = did_you_mean(word, [f"{MARK}{name}" for name in groups])
            raise SettingsError(
                f"there is no group {printable(word, 60)}",
                f"{meant}There are {there}"
                if groups
                else f"Name groups below a line [{GROUPS_TABLE}] in {shown}",
            )
    return found


def _read(file: Path | None) -> tuple[dict[str, Any], str]:
    """Return the table of groups, and the file's name."""
    path = file or default_config_file()
    table = read_table(path, GROUPS_TABLE, required=file is not None)
    return table, printable(str(path))
