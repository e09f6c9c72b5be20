"""Settings: option, then environment, then config.toml, then default."""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from platformdirs import user_config_path
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from k2cli.errors import SettingsError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENVIRONMENT_PREFIX = "K2_BINANCE_"
TABLE = "binance"


def _url(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        try:
            parts = urlsplit(url)
            fits = parts.scheme in schemes and bool(parts.hostname)
            _ = parts.port  # raises ValueError for a port that is none
        except ValueError:
            fits = False
        if not fits:
            allowed = " or ".join(f"{scheme}://" for scheme in schemes)
            raise ValueError(f"an address that starts with {allowed}")
        return url

    return AfterValidator(check)


def _split(symbols: object) -> object:
    if isinstance(symbols, str):
        return [word for word in re.split(r"[\s,\[\]\"']+", symbols) if word]
    return symbols


def _check_symbols(symbols: list[str]) -> list[str]:
    for symbol in symbols:
        if not re.fullmatch(r"[\w/:-]{1,40}", symbol):
            raise ValueError("a list of symbols")
    return symbols


WebSocketUrl = Annotated[str, _url("wss", "ws")]
HttpUrl = Annotated[str, _url("https", "http")]


class BinanceConfig(BaseSettings):
    """How to reach Binance, and what to tail.

    Keyword arguments go before the environment's ``K2_BINANCE_*``, and that before the
    defaults; ``load_config`` adds the configuration file.

    Attributes:
        enabled: Whether a program that embeds k2 is to connect. A ``k2`` command is
            refused only where this is explicitly false.
        websocket_url: The market streams.
        api_url: The WebSocket API: catalog and history.
        rest_url: The data-only host, asked for the catalog where the API refuses.
        symbols: What to tail if no symbol is named.
        reconnect_delay: Seconds before the first attempt after a drop.
        max_reconnect_attempts: Consecutive failures before giving up; 0 for never.
        open_timeout: Seconds for one attempt to connect.
        ping_interval: Seconds between pings, and to wait for an answer: a connection on
            which nothing comes for so long after a ping is replaced.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True
    )

    enabled: bool = False
    websocket_url: WebSocketUrl = "wss://stream.binance.com:9443/stream"
    api_url: WebSocketUrl = "wss://ws-api.binance.com:443/ws-api/v3"
    rest_url: HttpUrl = "https://data-api.binance.vision"
    symbols: Annotated[
        list[str],
        NoDecode,
        BeforeValidator(_split),
        AfterValidator(_check_symbols),
        Field(min_length=1),
    ] = ["BTCUSDT", "ETHUSDT"]
    reconnect_delay: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 5
    max_reconnect_attempts: Annotated[int, Field(ge=0)] = 10
    open_timeout: Annotated[float, Field(gt=0, le=300, allow_inf_nan=False)] = 10
    ping_interval: Annotated[float, Field(ge=0.25, le=30, allow_inf_nan=False)] = 10


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
    of_options = {name: value for name, value in options.items() if value is not None}
    in_environment = {
        name: variable
        for variable in os.environ
        if variable.upper().startswith(ENVIRONMENT_PREFIX)
        and (name := variable[len(ENVIRONMENT_PREFIX) :].lower())
        in BinanceConfig.model_fields
    }
    below = {k: v for k, v in of_file.items() if k not in in_environment}
    try:
        return BinanceConfig(**{**below, **of_options})
    except ValidationError as exc:
        # One line names one field: the rest shows when that one is mended.
        error = exc.errors()[0]
        field = str(error["loc"][0])
        if field in of_options:
            source = "the command line"
        elif field in in_environment:
            source = in_environment[field]
        else:
            source = printable(str(file))
        raise SettingsError(
            f"{field} from {source} is {printable(repr(error['input']), 80)}",
            f"Allowed is {_allowed(field, error['msg'])}",
        ) from exc


def _read_table(file: Path, *, required: bool) -> dict[str, Any]:
    name = printable(str(file))
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
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
    unknown = sorted(key for key in table if key not in BinanceConfig.model_fields)
    if unknown:
        raise SettingsError(
            f"{name} has an unknown setting {printable(unknown[0])}",
            f"There are {', '.join(BinanceConfig.model_fields)}",
        )
    return table


def _allowed(field: str, message: str) -> str:
    """Say what a field takes, from pydantic's message."""
    kinds = {
        "enabled": "true or false",
        "symbols": "a list of symbols, like BTCUSDT,ETHUSDT",
        "reconnect_delay": "a number of seconds above 0, up to 3600",
        "max_reconnect_attempts": "a whole number from 0 on (0 = never give up)",
        "open_timeout": "a number of seconds above 0, up to 300",
        "ping_interval": "a number of seconds from 0.25 to 30",
    }
    return kinds.get(field, message.removeprefix("Value error, "))
