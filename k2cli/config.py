"""Settings: option, then environment, then config.toml, then default."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from k2cli.config_file import (
    API_FALLBACK_URL,
    API_URL,
    default_config_file,
    own_api_url,
    read_environment,
    read_table,
    unknown_setting,
)
from k2cli.errors import SettingsError, printable
from k2cli.text import without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_T = TypeVar("_T")


def _with_host(url: str) -> str:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        raise ValueError("its brackets are wrong") from None
    try:
        port = urlsplit(url).port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("its port is not from 1 to 65535")
    if not host:
        raise ValueError("it has no host")
    return url


def _split(value: object) -> object:
    if isinstance(value, str):
        return [word for word in re.split(r"[\s,\[\]\"']+", value) if word]
    return value


def _not_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("no number")  # noqa: TRY004 - pydantic reports ValueError only
    return value


# A description says what is allowed, for the error message.
_WebSocketUrl = Annotated[
    str,
    Field(
        pattern=r"(?i)^wss?://",
        description="an address that starts with wss:// or ws://",
    ),
    AfterValidator(_with_host),
]
_WebSocketUrls = Annotated[
    list[_WebSocketUrl],
    BeforeValidator(_split),
    Field(description="a list of addresses that start with wss:// or ws://"),
]
_HttpUrl = Annotated[
    str,
    Field(
        pattern=r"(?i)^https?://",
        description="an address that starts with https:// or http://",
    ),
    AfterValidator(_with_host),
]
_Symbol = Annotated[str, Field(pattern=r"^[\w/:-]{1,40}\Z")]
_Seconds = Annotated[float, BeforeValidator(_not_boolean)]


# An address, and the setting that has others of the same exchange.
_FALLBACKS = {"websocket_url": "fallback_urls", "api_url": "api_fallback_urls"}


class BinanceConfig(BaseModel, frozen=True, extra="forbid", regex_engine="python-re"):
    """How to reach Binance, and what to tail.

    Keyword arguments go before the environment's ``K2_BINANCE_*``, and that before the
    defaults; ``load_config`` adds the configuration file. ``model_fields_set`` names
    the settings that are not left at their defaults.

    Attributes:
        enabled: Whether a program that embeds k2 is to connect; not, by default. A
            ``k2`` command is refused only where this is explicitly false.
        websocket_url: The market streams.
        fallback_urls: Other addresses of the same exchange, tried in turn after an
            attempt has failed; none where only ``websocket_url`` is given.
        redundant: Whether to keep two connections for every symbol, on different hosts
            where ``fallback_urls`` names some: when one is lost, no trade is.
        api_url: The WebSocket API: catalog and history.
        api_fallback_urls: Other addresses of the same API, likewise; none where only
            ``api_url`` is given.
        rest_url: The data-only host, asked for the catalog where the API refuses.
        symbols: What to tail if no symbol is named.
        reconnect_delay: Seconds before the first attempt after a drop.
        max_reconnect_attempts: Consecutive failures before giving up; 0 for never.
        open_timeout: Seconds for one attempt to connect.
        ping_interval: Seconds between pings, and to wait for an answer: a connection on
            which nothing comes for so long after a ping is replaced.

    Raises:
        SettingsError: If a value is wrong or a setting is unknown; names the field,
            where it came from and what is allowed.
    """

    enabled: Annotated[bool, Field(description="true or false")] = False
    websocket_url: _WebSocketUrl = "wss://stream.binance.com:9443/stream"
    fallback_urls: _WebSocketUrls = [
        "wss://stream.binance.com:443/stream",
        "wss://data-stream.binance.vision/stream",
    ]
    redundant: Annotated[bool, Field(description="true or false")] = False
    api_url: _WebSocketUrl = API_URL
    api_fallback_urls: _WebSocketUrls = [API_FALLBACK_URL]
    rest_url: _HttpUrl = "https://data-api.binance.vision"
    symbols: Annotated[
        list[_Symbol],
        BeforeValidator(_split),
        Field(min_length=1, description="a list of symbols, like BTCUSDT,ETHUSDT"),
    ] = ["BTCUSDT", "ETHUSDT"]
    reconnect_delay: Annotated[
        _Seconds,
        Field(gt=0, le=3600, description="a number of seconds above 0, up to 3600"),
    ] = 5.0
    max_reconnect_attempts: Annotated[
        int,
        BeforeValidator(_not_boolean),
        Field(ge=0, description="a whole number from 0 on (0 = never give up)"),
    ] = 10
    open_timeout: Annotated[
        _Seconds,
        Field(gt=0, le=300, description="a number of seconds above 0, up to 300"),
    ] = 10.0
    ping_interval: Annotated[
        _Seconds,
        Field(ge=0.25, le=30, description="a number of seconds from 0.25 to 30"),
    ] = 10.0

    @property
    def fallbacks(self) -> list[str]:
        """The addresses to try where ``websocket_url`` fails."""
        return self._beside("websocket_url")

    @property
    def api_fallbacks(self) -> list[str]:
        """The addresses to try where ``api_url`` fails."""
        return self._beside("api_url")

    def _beside(self, name: str) -> list[str]:
        fallbacks, given = _FALLBACKS[name], self.model_fields_set
        if name in given and fallbacks not in given:
            return []
        urls: list[str] = getattr(self, fallbacks)
        return urls

    @model_validator(mode="wrap")
    @classmethod
    def _check(
        cls,
        settings: Any,
        handler: ModelWrapValidatorHandler[Self],
        info: ValidationInfo,
    ) -> Self:
        """Take what is not given from the environment; the context tells sources."""
        if not isinstance(settings, dict):
            return handler(settings)
        environment = read_environment(cls.model_fields)
        values = _over(
            {name: text for name, (text, _) in environment.items()}, settings
        )
        sources = {name: variable for name, (_, variable) in environment.items()}
        sources |= info.context or dict.fromkeys(settings, "the program")
        streams = values.get("websocket_url")
        if isinstance(streams, str) and (own := own_api_url(streams)) is not None:
            values.setdefault("api_url", own)
        try:
            return handler(values)
        except ValidationError as exc:
            error = exc.errors(include_url=False)[0]
            name = str(error["loc"][0])
            # Our own words, where they say more than the setting's description.
            why = str(error["ctx"]["error"]) if error["type"] == "value_error" else ""
        if name not in cls.model_fields:
            raise unknown_setting(name, sources[name], cls.model_fields)
        raise SettingsError(
            f"{name} from {sources[name]} is {_shown(values[name])}"
            + (f": {why}" if why.startswith("it") else ""),
            f"Allowed is {cls.model_fields[name].description}",
        )


def explain_config(
    options: Mapping[str, Any], config_file: Path | None = None
) -> list[tuple[str, str, str]]:
    """Return name, value and source of every setting in force; passwords are hidden.

    Args:
        options: As for ``load_config``.
        config_file: Likewise.

    Raises:
        SettingsError: If a value is wrong.
    """
    config = load_config(options, config_file)
    found = _found(options, config_file)
    in_force = {
        "fallback_urls": config.fallbacks,
        "api_fallback_urls": config.api_fallbacks,
    }
    explained = []
    for name in BinanceConfig.model_fields:
        value = in_force.get(name, getattr(config, name))
        text = ",".join(value) if isinstance(value, list) else str(value)
        source = found[name][1] if name in found else "the default"
        explained.append((name, without_secrets(text), source))
    return explained


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
    found = _found(options, config_file)
    return BinanceConfig.model_validate(
        {name: value for name, (value, _) in found.items()},
        context={name: source for name, (_, source) in found.items()},
    )


def _found(
    options: Mapping[str, Any], config_file: Path | None
) -> dict[str, tuple[Any, str]]:
    """Return value and source of every setting that is not left at its default."""
    file = config_file or default_config_file()
    table = read_table(file, required=config_file is not None)
    found = {name: (value, printable(str(file))) for name, value in table.items()}
    found = _over(found, read_environment(BinanceConfig.model_fields))
    given = {
        name: (value, "the command line")
        for name, value in options.items()
        if value is not None
    }
    return _over(found, given)


def _over(below: Mapping[str, _T], above: Mapping[str, _T]) -> dict[str, _T]:
    """Return settings with others that go before them.

    Where those have an address, fallbacks from below are another exchange's.
    """
    foreign = {_FALLBACKS[name] for name in above if name in _FALLBACKS}
    kept = {name: value for name, value in below.items() if name not in foreign}
    return kept | dict(above)


def _shown(value: object) -> str:
    return printable(without_secrets(repr(value)), 80)
