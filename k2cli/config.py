"""Settings: option, then environment, then config.toml, then default."""

from __future__ import annotations

import math
import os
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from platformdirs import user_config_path

from k2cli.errors import SettingsError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

ENVIRONMENT_PREFIX = "K2_BINANCE_"
TABLE = "binance"
API_URL = "wss://ws-api.binance.com:443/ws-api/v3"

_UNSET: Any = type("Unset", (), {"__repr__": lambda _: "<from the environment>"})()
_FLAGS = {"true": True, "1": True, "yes": True, "on": True}
_FLAGS |= {"false": False, "0": False, "no": False, "off": False}


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    return _FLAGS[str(value).strip().lower()]


def _url(*schemes: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str):
            raise TypeError
        parts = urlsplit(value)
        _ = parts.port  # raises ValueError for a port that is none
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError
        return value

    return read


def _symbols(value: object) -> list[str]:
    if isinstance(value, str):
        value = [word for word in re.split(r"[\s,\[\]\"']+", value) if word]
    if not isinstance(value, list | tuple) or not value:
        raise TypeError
    for symbol in value:
        if not re.fullmatch(r"[\w/:-]{1,40}", symbol):
            raise ValueError
    return list(value)


def _seconds(least: float, most: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise TypeError
        seconds = float(value)
        if not least <= seconds <= most:
            raise ValueError
        return seconds

    return read


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError
    count = int(value)
    if count < 0:
        raise ValueError
    return count


class _Rule(NamedTuple):
    """A setting: its default, how its value is read, and what it may be.

    ``read`` raises ``KeyError``, ``TypeError`` or ``ValueError`` for what it may not.
    """

    default: Any
    read: Callable[[object], Any]
    allowed: str


_WEBSOCKET = _url("wss", "ws"), "an address that starts with wss:// or ws://"
_HTTP = _url("https", "http"), "an address that starts with https:// or http://"
_ABOVE_0 = math.ulp(0.0)
_RULES = {
    "enabled": _Rule(False, _flag, "true or false"),
    "websocket_url": _Rule("wss://stream.binance.com:9443/stream", *_WEBSOCKET),
    "api_url": _Rule(API_URL, *_WEBSOCKET),
    "rest_url": _Rule("https://data-api.binance.vision", *_HTTP),
    "symbols": _Rule(
        ("BTCUSDT", "ETHUSDT"), _symbols, "a list of symbols, like BTCUSDT,ETHUSDT"
    ),
    "reconnect_delay": _Rule(
        5, _seconds(_ABOVE_0, 3600), "a number of seconds above 0, up to 3600"
    ),
    "max_reconnect_attempts": _Rule(
        10, _count, "a whole number from 0 on (0 = never give up)"
    ),
    "open_timeout": _Rule(
        10, _seconds(_ABOVE_0, 300), "a number of seconds above 0, up to 300"
    ),
    "ping_interval": _Rule(
        10, _seconds(0.25, 30), "a number of seconds from 0.25 to 30"
    ),
}


@dataclass(frozen=True, kw_only=True)
class BinanceConfig:
    """How to reach Binance, and what to tail.

    Keyword arguments go before the environment's ``K2_BINANCE_*``, and that before the
    defaults; ``load_config`` adds the configuration file.

    Attributes:
        enabled: Whether a program that embeds k2 is to connect; not, by default. A
            ``k2`` command is refused only where this is explicitly false.
        websocket_url: The market streams.
        api_url: The WebSocket API: catalog and history.
        rest_url: The data-only host, asked for the catalog where the API refuses.
        symbols: What to tail if no symbol is named.
        reconnect_delay: Seconds before the first attempt after a drop.
        max_reconnect_attempts: Consecutive failures before giving up; 0 for never.
        open_timeout: Seconds for one attempt to connect.
        ping_interval: Seconds between pings, and to wait for an answer: a connection on
            which nothing comes for so long after a ping is replaced.
        given: The settings that are no defaults.

    Raises:
        SettingsError: If a value is wrong; names the field, where it came from and what
            is allowed.
    """

    enabled: bool = _UNSET
    websocket_url: str = _UNSET
    api_url: str = _UNSET
    rest_url: str = _UNSET
    symbols: list[str] = _UNSET
    reconnect_delay: float = _UNSET
    max_reconnect_attempts: int = _UNSET
    open_timeout: float = _UNSET
    ping_interval: float = _UNSET
    given: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Take what is not given from the environment, and check everything."""
        environment = _environment()
        given = set()
        for name, rule in _RULES.items():
            value, source = getattr(self, name), "the program"
            if value is _UNSET and name in environment:
                source, value = environment[name]
            if value is _UNSET:
                value = rule.default
            else:
                given.add(name)
            object.__setattr__(self, name, _checked(name, value, source))
        object.__setattr__(self, "given", frozenset(given))

    def to_dict(self) -> dict[str, Any]:
        """Give the settings by their names."""
        settings = asdict(self)
        del settings["given"]
        return settings


def default_config_file() -> Path:
    """Give the place of config.toml in the user's configuration folder."""
    return user_config_path("k2", appauthor=False) / "config.toml"


def load_config(
    options: Mapping[str, Any], config_file: Path | None = None
) -> BinanceConfig:
    """Put the settings together.

    Args:
        options: Fields given on the command line, ``None`` for not given.
        config_file: The file to read; the user's own, if there is one, when not given.

    Raises:
        SettingsError: If a value is wrong; names the field, where it came from and what
            is allowed.
    """
    file = config_file or default_config_file()
    of_file = _read_table(file, required=config_file is not None)
    environment = _environment()
    settings = {
        name: _checked(name, value, printable(str(file)))
        for name, value in of_file.items()
        if name not in environment and options.get(name) is None
    }
    for name, value in options.items():
        if value is not None:
            settings[name] = _checked(name, value, "the command line")
    return BinanceConfig(**settings)


def _environment() -> dict[str, tuple[str, str]]:
    """Give name and text of the variables that are settings, by setting."""
    prefix = len(ENVIRONMENT_PREFIX)
    return {
        name: (variable, text)
        for variable, text in os.environ.items()
        if variable.upper().startswith(ENVIRONMENT_PREFIX)
        and (name := variable[prefix:].lower()) in _RULES
    }


def _checked(name: str, value: object, source: str) -> Any:
    rule = _RULES[name]
    try:
        return rule.read(value)
    except (KeyError, TypeError, ValueError):
        raise SettingsError(
            f"{name} from {source} is {printable(repr(value), 80)}",
            f"Allowed is {rule.allowed}",
        ) from None


def _read_table(file: Path, *, required: bool) -> dict[str, Any]:
    name = printable(str(file))
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if not required:
            return {}
        raise SettingsError(
            f"there is no configuration file {name}", "Check the name after --config"
        ) from None
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(
            f"{name} cannot be read ({printable(str(exc))})", "Check the file"
        ) from exc
    # Most people have no such file.
    import tomllib

    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError(
            f"{name} is not TOML: {printable(str(exc))}", "Mend it there"
        ) from exc
    table = content.get(TABLE, {})
    strange = sorted(key for key in content if key != TABLE)
    if strange or not isinstance(table, dict):
        raise SettingsError(
            f"{name} has {printable(strange[0]) if strange else TABLE} where only the "
            f"table [{TABLE}] belongs",
            f"Write settings below a line [{TABLE}]",
        )
    unknown = sorted(key for key in table if key not in _RULES)
    if unknown:
        raise SettingsError(
            f"{name} has an unknown setting {printable(unknown[0])}",
            f"There are {', '.join(_RULES)}",
        )
    return table
