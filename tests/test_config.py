from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from k2cli.config import BinanceConfig, explain_config, load_config
from k2cli.config_file import default_config_file
from k2cli.errors import SettingsError

FIELDS = list(BinanceConfig.model_fields)
# For each field the text of a value in the environment, and what it means.
VALUES: dict[str, list[tuple[str, Any]]] = {
    "enabled": [("true", True), ("false", False), ("0", False)],
    "websocket_url": [
        ("ws://h:1/stream", "ws://h:1/stream"),
        ("wss://[::1]:9443", "wss://[::1]:9443"),
        ("wss://data-stream.binance.vision", "wss://data-stream.binance.vision"),
    ],
    "fallback_urls": [
        ("ws://h:1,ws://i:2", ["ws://h:1", "ws://i:2"]),
        ("wss://h", ["wss://h"]),
        ('["wss://i:2/x"]', ["wss://i:2/x"]),
    ],
    "redundant": [("true", True), ("0", False), ("on", True)],
    "api_url": [
        ("ws://127.0.0.1:1/ws-api/v3", "ws://127.0.0.1:1/ws-api/v3"),
        ("wss://h", "wss://h"),
        ("ws://h:9", "ws://h:9"),
    ],
    "api_fallback_urls": [
        ("ws://h:1,ws://i:2", ["ws://h:1", "ws://i:2"]),
        ("wss://h", ["wss://h"]),
        ('["wss://i:2/x"]', ["wss://i:2/x"]),
    ],
    "rest_url": [
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("https://h", "https://h"),
        ("https://h:9", "https://h:9"),
    ],
    "symbols": [
        ("BNBBTC", ["BNBBTC"]),
        ("BTCUSDT, ethusdt SOLUSDT", ["BTCUSDT", "ethusdt", "SOLUSDT"]),
        ('["BTC/USDT","ETHUSDT"]', ["BTC/USDT", "ETHUSDT"]),
    ],
    "reconnect_delay": [("0.5", 0.5), ("3600", 3600.0), ("7", 7.0)],
    "max_reconnect_attempts": [("0", 0), ("3", 3), ("1000", 1000)],
    "open_timeout": [("0.5", 0.5), ("300", 300.0), ("7", 7.0)],
    "ping_interval": [("0.25", 0.25), ("30", 30.0), ("7", 7.0)],
}
DEFAULTS: dict[str, Any] = {
    "enabled": False,
    "websocket_url": "wss://stream.binance.com:9443/stream",
    "fallback_urls": [
        "wss://stream.binance.com:443/stream",
        "wss://data-stream.binance.vision/stream",
    ],
    "redundant": False,
    "api_url": "wss://ws-api.binance.com:443/ws-api/v3",
    "api_fallback_urls": ["wss://ws-api.binance.com:9443/ws-api/v3"],
    "rest_url": "https://data-api.binance.vision",
    "symbols": ["BTCUSDT", "ETHUSDT"],
    "reconnect_delay": 5.0,
    "max_reconnect_attempts": 10,
    "open_timeout": 10.0,
    "ping_interval": 10.0,
}


@pytest.fixture(autouse=True)
def users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the developer's own settings out."""
    for variable in os.environ:
        if variable.upper().startswith("K2_"):
            monkeypatch.delenv(variable)
    folder = tmp_path / "config" / "k2"
    folder.mkdir(parents=True)
    monkeypatch.setattr("platformdirs.user_config_path", lambda *_, **__: folder)
    return folder


def write(file: Path, **settings: Any) -> Path:
    # JSON's texts, numbers, booleans and lists are TOML's.
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    file.write_text("\n".join(["[binance]", *lines, ""]), encoding="utf-8")
    return file


def refusal(
    options: dict[str, Any] | None = None, config_file: Path | None = None
) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_config(options or {}, config_file)
    assert str(caught.value).isprintable()
    return caught.value


def test_every_field_is_tested_here() -> None:
    assert list(VALUES) == list(DEFAULTS) == FIELDS


def test_the_defaults_are_those_of_the_contract() -> None:
    assert load_config({}).model_dump() == DEFAULTS
    assert BinanceConfig().model_dump() == DEFAULTS


@pytest.mark.parametrize("field", FIELDS)
def test_option_goes_before_environment_before_file_before_default(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, in_option), (in_environment, meant), (_, in_file) = VALUES[field]
    assert getattr(load_config({field: None}), field) == DEFAULTS[field]
    file = write(tmp_path / "k2.toml", **{field: in_file})
    assert getattr(load_config({}, file), field) == in_file
    monkeypatch.setenv(f"K2_BINANCE_{field.upper()}", in_environment)
    assert getattr(load_config({}, file), field) == meant
    config = load_config({field: in_option}, file)
    assert getattr(config, field) == in_option
    # What is set by nobody keeps its default.
    assert config.model_dump() == {**DEFAULTS, field: in_option}
    assert config.model_fields_set == {field}


@pytest.mark.parametrize(
    ("field", "text", "meant"),
    [(field, text, meant) for field in VALUES for text, meant in VALUES[field]],
)
def test_the_environment_is_read_as_text(
    monkeypatch: pytest.MonkeyPatch, field: str, text: str, meant: Any
) -> None:
    monkeypatch.setenv(f"k2_binance_{field}", text)
    assert getattr(load_config({}), field) == meant
    assert getattr(BinanceConfig(), field) == meant


def test_a_variable_may_be_written_in_lower_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "k2.toml", reconnect_delay=1)
    monkeypatch.setenv("k2_binance_reconnect_delay", "2")
    assert load_config({}, file).reconnect_delay == 2.0
    monkeypatch.setenv("k2_binance_reconnect_delay", "soon")
    message = refusal({}, file).message
    assert message.lower().startswith(
        "reconnect_delay from k2_binance_reconnect_delay is 'soon'"
    )


def test_the_users_own_file_is_read(users_folder: Path) -> None:
    assert default_config_file() == users_folder / "config.toml"
    write(users_folder / "config.toml", symbols=["BNBBTC"], reconnect_delay=1)
    config = load_config({})
    assert config.symbols == ["BNBBTC"]
    assert config.reconnect_delay == 1.0


def test_a_named_file_takes_the_place_of_the_users_own(
    users_folder: Path, tmp_path: Path
) -> None:
    write(users_folder / "config.toml", symbols=["BNBBTC"], reconnect_delay=1)
    config = load_config({}, write(tmp_path / "k2.toml", reconnect_delay=2))
    assert config.symbols == ["BTCUSDT", "ETHUSDT"]
    assert config.reconnect_delay == 2.0


def test_it_shows_who_has_switched_k2_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "enabled" not in load_config({}).model_fields_set
    in_file = load_config({}, write(tmp_path / "k2.toml", enabled=False))
    assert "enabled" in in_file.model_fields_set
    assert not in_file.enabled
    monkeypatch.setenv("K2_BINANCE_ENABLED", "false")
    in_environment = load_config({})
    assert "enabled" in in_environment.model_fields_set
    assert not in_environment.enabled


def test_settings_do_not_change_after_they_are_made() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        BinanceConfig().symbols = ["BNBBTC"]  # type: ignore[misc]  # that is the test


WRONG: list[tuple[str, str, str]] = [
    ("enabled", "maybe", "true or false"),
    ("websocket_url", "stream.binance.com", "starts with wss:// or ws://"),
    ("websocket_url", "https://stream.binance.com", "starts with wss:// or ws://"),
    ("websocket_url", "wss://", "starts with wss:// or ws://"),
    ("websocket_url", "wss://:9443", "starts with wss:// or ws://"),
    ("websocket_url", "wss://h:port", "starts with wss:// or ws://"),
    ("websocket_url", "wss://h:99999", "starts with wss:// or ws://"),
    ("websocket_url", "wss://[::1", "starts with wss:// or ws://"),
    ("websocket_url", "", "starts with wss:// or ws://"),
    ("api_url", "http://h", "starts with wss:// or ws://"),
    ("rest_url", "wss://h", "starts with https:// or http://"),
    ("rest_url", "\x1b[2J", "starts with https:// or http://"),
    ("symbols", "", "a list of symbols"),
    ("symbols", " , ", "a list of symbols"),
    ("symbols", "BTCUSDT,ETH.USDT", "a list of symbols"),
    ("symbols", "\x1b[2J", "a list of symbols"),
    ("symbols", "A" * 41, "a list of symbols"),
    ("reconnect_delay", "0", "above 0, up to 3600"),
    ("reconnect_delay", "-1", "above 0, up to 3600"),
    ("reconnect_delay", "3601", "above 0, up to 3600"),
    ("reconnect_delay", "inf", "above 0, up to 3600"),
    ("reconnect_delay", "nan", "above 0, up to 3600"),
    ("reconnect_delay", "soon", "above 0, up to 3600"),
    ("max_reconnect_attempts", "-1", "a whole number from 0 on"),
    ("max_reconnect_attempts", "1.5", "a whole number from 0 on"),
    ("max_reconnect_attempts", "ten", "a whole number from 0 on"),
    ("open_timeout", "0", "above 0, up to 300"),
    ("open_timeout", "301", "above 0, up to 300"),
    ("ping_interval", "0", "from 0.25 to 30"),
    ("ping_interval", "31", "from 0.25 to 30"),
]


@pytest.mark.parametrize(("field", "text", "allowed"), WRONG)
def test_a_wrong_value_names_its_field_its_source_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, field: str, text: str, allowed: str
) -> None:
    exc = refusal({field: text})
    assert exc.message.startswith(f"{field} from the command line is ")
    assert allowed in exc.hint
    monkeypatch.setenv(f"K2_BINANCE_{field.upper()}", text)
    exc = refusal()
    assert exc.message.startswith(f"{field} from K2_BINANCE_{field.upper()} is ")
    assert allowed in exc.hint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("enabled", "maybe"),
        ("enabled", 7),
        ("websocket_url", "stream.binance.com"),
        ("websocket_url", 7),
        ("api_url", True),
        ("rest_url", []),
        ("symbols", []),
        ("symbols", 7),
        ("symbols", [1]),
        ("symbols", [["BTCUSDT"]]),
        ("symbols", ["BTC USDT"]),
        ("reconnect_delay", "soon"),
        ("reconnect_delay", []),
        ("max_reconnect_attempts", -1),
        ("max_reconnect_attempts", 0.5),
        ("open_timeout", 0),
        ("open_timeout", "\u202e" * 200),
    ],
)
def test_a_wrong_value_of_a_file_names_its_field_and_the_file(
    tmp_path: Path, field: str, value: Any
) -> None:
    file = write(tmp_path / "k2.toml", **{field: value})
    exc = refusal({}, file)
    assert exc.message.startswith(f"{field} from {file} is ")
    assert exc.hint.startswith("Allowed is ")
    assert len(exc.message) < 300 + len(str(file))


def test_a_wrong_value_that_is_overruled_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "k2.toml", reconnect_delay="soon", open_timeout="late")
    monkeypatch.setenv("K2_BINANCE_RECONNECT_DELAY", "3")
    config = load_config({"open_timeout": 4}, file)
    assert (config.reconnect_delay, config.open_timeout) == (3.0, 4.0)


def test_of_several_wrong_values_one_is_named() -> None:
    exc = refusal({"reconnect_delay": 0, "open_timeout": 0})
    assert exc.message == "reconnect_delay from the command line is 0"


def test_an_unknown_setting_of_the_file_is_named(tmp_path: Path) -> None:
    exc = refusal({}, write(tmp_path / "k2.toml", symbol="BTCUSDT"))
    assert exc.message.endswith("has an unknown setting symbol")
    assert "symbols" in exc.hint


def test_an_unknown_variable_of_the_environment_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("K2_BINANCE_SYMBOL", "BTCUSDT")
    with pytest.raises(SettingsError, match=r"K2_BINANCE_SYMBOL has an unknown"):
        load_config({})
    with pytest.raises(SettingsError, match="Did you mean symbols"):
        BinanceConfig()


@pytest.mark.parametrize(
    ("url", "api_url"),
    [
        ("ws://127.0.0.1:9443/stream", "ws://127.0.0.1:9443/ws-api/v3"),
        ("wss://localhost:1/ws", "wss://localhost:1/ws-api/v3"),
        ("ws://[::1]:7", "ws://[::1]:7/ws-api/v3"),
        ("wss://stream.binance.us:9443", DEFAULTS["api_url"]),
        ("wss://127.0.0.1.example.com", DEFAULTS["api_url"]),
    ],
)
def test_streams_on_this_machine_have_their_own_api(url: str, api_url: str) -> None:
    assert load_config({"websocket_url": url}).api_url == api_url
    given = load_config({"websocket_url": url, "api_url": "wss://h/x"})
    assert given.api_url == "wss://h/x"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            'symbols = ["BNBBTC"]',
            "has symbols where only the tables",
        ),
        (
            "[kraken]\na = 1",
            "has kraken where only the tables",
        ),
        (
            "binance = 7",
            "has binance where only the tables",
        ),
        (
            "[[binance]]\na = 1",
            "has binance where only the tables",
        ),
        (
            '"\\u001b[2J" = 1',
            "where only the tables [binance], ",
        ),
        ("[binance", "is not TOML: "),
        ("[binance]\nsymbols = BTCUSDT", "is not TOML: "),
        ("[binance]\na = 1\na = 2", "is not TOML: "),
        ("\x1b[2J", "is not TOML: "),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_says_so(
    tmp_path: Path, content: str, says: str
) -> None:
    file = tmp_path / "k2.toml"
    file.write_text(content)
    exc = refusal({}, file)
    assert exc.message.startswith(str(file))
    assert says in exc.message


@pytest.mark.parametrize("content", ["", "# nothing\n", "[binance]\n"])
def test_a_file_may_say_nothing(tmp_path: Path, content: str) -> None:
    file = tmp_path / "k2.toml"
    file.write_text(content)
    assert load_config({}, file).model_dump() == DEFAULTS


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    exc = refusal({}, tmp_path / "nowhere.toml")
    assert exc.message == f"there is no configuration file {tmp_path / 'nowhere.toml'}"


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    assert "is a folder" in refusal({}, tmp_path).message
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    assert "cannot be read" in refusal({}, binary).message


def test_an_option_that_is_not_given_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K2_BINANCE_WEBSOCKET_URL", "ws://h")
    assert load_config({"websocket_url": None}).websocket_url == "ws://h"


def test_a_program_is_told_what_is_wrong() -> None:
    with pytest.raises(SettingsError) as caught:
        BinanceConfig(open_timeout=0)
    assert caught.value.message == "open_timeout from the program is 0"
    assert BinanceConfig(symbols=["BNBBTC"]).symbols == ["BNBBTC"]


def test_an_unknown_setting_of_a_program_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        BinanceConfig(colour="blue")  # type: ignore[call-arg]  # that is the test
    assert caught.value.message == "the program has an unknown setting colour"
    assert caught.value.hint.startswith("There are enabled, websocket_url, ")


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("field", ["reconnect_delay", "max_reconnect_attempts"])
def test_true_is_no_number(tmp_path: Path, field: str, value: bool) -> None:
    exc = refusal({}, write(tmp_path / "k2.toml", **{field: value}))
    assert exc.message.endswith(f" is {value}")


def test_a_password_is_not_shown() -> None:
    exc = refusal({"websocket_url": "https://me:secret@proxy:1"})
    assert exc.message.endswith("is 'https://***@proxy:1'")


@pytest.mark.parametrize(
    ("address", "others"),
    [("websocket_url", "fallback_urls"), ("api_url", "api_fallback_urls")],
)
def test_an_address_that_goes_before_others_has_none_of_their_fallbacks(
    address: str, others: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fallbacks(**options: str) -> list[str]:
        config = load_config(options, file)
        return config.fallbacks if address == "websocket_url" else config.api_fallbacks

    file = write(tmp_path / "k2.toml", **{address: "wss://a", others: ["wss://b"]})
    assert fallbacks() == ["wss://b"]
    assert fallbacks(**{address: "wss://c"}) == []
    shown = {name: text for name, text, _ in explain_config({address: "wss://c"}, file)}
    assert shown[others] == ""
    monkeypatch.setenv(f"K2_BINANCE_{others.upper()}", "wss://d")
    assert fallbacks() == ["wss://d"]
    assert BinanceConfig.model_validate({address: "wss://c"}).model_fields_set == {
        address
    }
    monkeypatch.setenv(f"K2_BINANCE_{address.upper()}", "wss://e")
    assert fallbacks() == ["wss://d"]
    assert fallbacks(**{address: "wss://c"}) == []
