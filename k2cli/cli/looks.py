"""How the live table looks at first: options, then ``[display]`` of config.toml."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from k2cli.cli.options import duration_seconds
from k2cli.config_file import (
    DISPLAY_TABLE,
    default_config_file,
    read_table,
    unknown_setting,
)
from k2cli.display.columns import COLUMNS, SORTABLE
from k2cli.display.numbers import short_span
from k2cli.display.prints import FLOORS_USD
from k2cli.errors import SettingsError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_COLUMN_NAMES = tuple(column.name for column in COLUMNS)
_SHORTEST_SECONDS, _LONGEST_SECONDS = 10.0, 86_400.0


def _columns(value: object) -> object:
    return re.split(r"[\s,]+", value.strip()) if isinstance(value, str) else value


def _seconds(value: object) -> object:
    try:
        return duration_seconds(value) if isinstance(value, str) else value
    except Exception as exc:
        raise ValueError(str(exc)) from None


def _known(value: str) -> str:
    if value not in _COLUMN_NAMES:
        raise ValueError("no column")
    return value


def _floor(value: object) -> object:
    if value not in FLOORS_USD:
        raise ValueError("no floor")
    return value


class DisplayConfig(BaseModel, frozen=True, extra="forbid", strict=True):
    """How the live table looks at first; what keys change is not kept.

    Attributes:
        columns: The columns to show, from left to right; all of them, as many as fit,
            if empty.
        sort: The column that rows are sorted by; empty for none.
        window: Seconds that change and trend look back over.
        tape: Whether the tape is shown; ``None``: if there is room.
        floor: Least worth in USD of the prints on the tape.
        mouse: Whether the mouse works.
    """

    columns: Annotated[
        list[Annotated[str, BeforeValidator(_known)]],
        BeforeValidator(_columns),
        Field(description=f"a list of {', '.join(_COLUMN_NAMES)}"),
    ] = []
    sort: Annotated[
        str,
        Field(
            pattern=f"^({'|'.join(SORTABLE)}|)$",
            description=f"one of {', '.join(SORTABLE)}",
        ),
    ] = ""
    window: Annotated[
        float,
        BeforeValidator(_seconds),
        Field(
            ge=_SHORTEST_SECONDS,
            le=_LONGEST_SECONDS,
            description="a time from 10s to 24h, like 15m",
        ),
    ] = 300.0
    tape: Annotated[bool | None, Field(description="true or false")] = None
    floor: Annotated[
        float,
        BeforeValidator(_floor),
        Field(description=f"one of {', '.join(f'{usd:.0f}' for usd in FLOORS_USD)}"),
    ] = 0.0
    mouse: Annotated[bool, Field(description="true or false")] = True

    @classmethod
    def load(
        cls, options: Mapping[str, Any] | None = None, file: Path | None = None
    ) -> Self:
        """Put the looks together.

        Args:
            options: What the command line says, ``None`` for nothing.
            file: The file to read; the user's own, if there is one, when not given.

        Raises:
            SettingsError: If a value is wrong or a setting is unknown; names it, where
                it came from and what is allowed.
        """
        values, sources = cls._found(options or {}, file)
        for name in values:
            if name not in cls.model_fields:
                raise unknown_setting(name, sources[name], cls.model_fields)
        try:
            return cls.model_validate(values)
        except ValidationError as exc:
            name = str(exc.errors()[0]["loc"][0])
        raise SettingsError(
            f"{name} from {sources[name]} is {printable(repr(values[name]), 80)}",
            f"Allowed is {cls.model_fields[name].description}",
        )

    @classmethod
    def explain(cls, file: Path | None = None) -> list[tuple[str, str, str]]:
        """Return name, value and source of every look in force."""
        looks = cls.load(file=file)
        _, sources = cls._found({}, file)
        texts = {
            "columns": ",".join(looks.columns) or "all that fit",
            "sort": looks.sort or "none",
            "window": short_span(looks.window),
            "tape": "if there is room" if looks.tape is None else str(looks.tape),
            "floor": f"{looks.floor:g} USD",
            "mouse": str(looks.mouse),
        }
        return [
            (f"{DISPLAY_TABLE}.{name}", text, sources.get(name, "the default"))
            for name, text in texts.items()
        ]

    @staticmethod
    def _found(
        options: Mapping[str, Any], file: Path | None
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the values that are not left at their defaults, and their sources."""
        path = file or default_config_file()
        values = read_table(path, DISPLAY_TABLE, required=file is not None)
        sources = dict.fromkeys(values, printable(str(path)))
        for name, value in options.items():
            if value is not None:
                values[name], sources[name] = value, f"--{name}"
        return values, sources
