"""Where settings come from: variables, config.toml, and what one says of another.

Shells that complete a word ask here too: nothing heavy is imported.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from k2cli.errors import SettingsError, printable
from k2cli.files import read_bounded

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

ENVIRONMENT_PREFIX = "K2_BINANCE_"
TABLE, DISPLAY_TABLE, GROUPS_TABLE = _TABLES = ("binance", "display", "groups")
API_URL = "wss://ws-api.binance.com:443/ws-api/v3"
API_FALLBACK_URL = "wss://ws-api.binance.com:9443/ws-api/v3"
_MOST_BYTES = 2**20


def default_config_file() -> Path:
    """Return the place of config.toml in the user's configuration folder."""
    from platformdirs import user_config_path  # not where only help is printed

    return user_config_path("k2", appauthor=False) / "config.toml"


def own_api_url(websocket_url: str) -> str | None:
    """Return the API's address beside streams on this machine; ``None`` elsewhere.

    What listens here is not Binance, so that Binance's API does not know its symbols.
    """
    try:
        parts = urlsplit(websocket_url)
        host = parts.hostname or ""
        is_here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return None
    if not is_here:
        return None
    return urlunsplit((parts.scheme, parts.netloc, "/ws-api/v3", "", ""))


def read_environment(names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return text and name of the variables that are settings, by setting.

    Args:
        names: Of all settings.

    Raises:
        SettingsError: If a variable is named like one, and there is no such setting.
    """
    found = {}
    for variable, text in os.environ.items():
        if not variable.upper().startswith(ENVIRONMENT_PREFIX):
            continue
        name = variable[len(ENVIRONMENT_PREFIX) :].lower()
        if name not in names:
            raise unknown_setting(name, printable(variable), names)
        found[name] = (text.strip(), variable)
    return found


def unknown_setting(name: str, source: str, names: Collection[str]) -> SettingsError:
    """Return an error that says which setting may have been meant."""
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    meant = f"Did you mean {close[0]}? " if close else ""
    return SettingsError(
        f"{source} has an unknown setting {printable(name, 60)}",
        f"{meant}There are {', '.join(names)}",
    )


def read_table(file: Path, table: str = TABLE, *, required: bool) -> dict[str, Any]:
    """Return the settings of a table of a configuration file.

    Args:
        file: A regular file.
        table: The table's name.
        required: Whether it is an error if there is no file.

    Raises:
        SettingsError: If it cannot be read, or holds something else.
    """
    name = printable(str(file))
    try:
        text = read_bounded(file, _MOST_BYTES).decode()
    except (FileNotFoundError, NotADirectoryError):
        if not required:
            return {}
        raise SettingsError(
            f"there is no configuration file {name}", "Check the name after --config"
        ) from None
    except IsADirectoryError:
        raise SettingsError(
            f"{name} is a folder, no configuration file",
            "Name the file in it, like config.toml",
        ) from None
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else None
        raise SettingsError(
            f"{name} cannot be read ({printable(why or str(exc))})",
            "Check the file",
        ) from exc
    # Most people have no such file.
    import tomllib

    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise SettingsError(
            f"{name} is not TOML: {printable(str(exc))}", "Correct it there"
        ) from exc
    for other, value in content.items():
        if other not in _TABLES or not isinstance(value, dict):
            close = get_close_matches(other, _TABLES, n=1)
            raise SettingsError(
                f"{name} has {printable(other, 60)} where only the tables "
                f"{', '.join(f'[{one}]' for one in _TABLES)} belong",
                f"Write settings below a line [{close[0] if close else TABLE}]",
            )
    found: dict[str, Any] = content.get(table, {})
    return found
