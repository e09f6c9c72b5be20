from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from k2cli.cli.log import LogFormat, LogOutput, configure, stderr_output

HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n\u202e\x9b31m"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put structlog and the standard library's logging back afterwards."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


def log() -> Any:
    return structlog.get_logger()


def plain(text: str) -> str:
    return COLOUR.sub("", text)


@pytest.mark.parametrize("log_format", ["auto", "json"])
def test_a_log_that_is_no_terminals_is_json(log_format: LogFormat) -> None:
    stream = io.StringIO()
    configure("info", log_format, stream)
    log().info("Connected", symbols=["BTCUSDT", "币安人生USDT"], failures=0)
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert list(entry) == ["timestamp", "level", "event", "symbols", "failures"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", entry["timestamp"])
    assert entry["level"] == "info"
    assert entry["event"] == "Connected"
    assert entry["symbols"] == ["BTCUSDT", "币安人生USDT"]
    assert "币安人生USDT" in line


def test_a_terminals_log_is_for_reading() -> None:
    stream = Terminal()
    configure("info", "auto", stream)
    log().warning("Trades are missing", symbol="BTCUSDT", trades=3)
    assert COLOUR.search(stream.getvalue())
    (line,) = plain(stream.getvalue()).splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d \[warning\] Trades are missing +symbol=BTCUSDT trades=3", line
    )


def test_each_format_can_be_had_everywhere() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    configure("info", "json", terminal)
    log().info("hello")
    assert json.loads(terminal.getvalue())["event"] == "hello"
    configure("info", "console", pipe)
    log().info("hello")
    assert pipe.getvalue().endswith("[info] hello\n")


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    terminal = Terminal()
    configure("info", "auto", terminal)
    log().error("hello", a=1)
    assert "\x1b" not in terminal.getvalue()


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_what_is_below_the_level_is_not_heard(level: str, heard: list[str]) -> None:
    for source in ("structlog", "standard library"):
        stream = io.StringIO()
        configure(level, "json", stream)
        logger = log() if source == "structlog" else logging.getLogger("somebody")
        for each in ("debug", "info", "warning", "error"):
            getattr(logger, each)("hello")
        lines = stream.getvalue().splitlines()
        assert [json.loads(line)["level"] for line in lines] == heard


@pytest.mark.parametrize("stream_type", [Terminal, io.StringIO])
def test_nothing_reaches_a_console_unescaped(stream_type: type[io.StringIO]) -> None:
    stream = stream_type()
    configure("debug", "console", stream)
    log().info(HOSTILE, text=HOSTILE, several=[HOSTILE], mapping={HOSTILE: HOSTILE})
    logging.getLogger("websockets.client").debug("< %s", HOSTILE)
    lines = plain(stream.getvalue()).splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert lines[0].count("owned") == 5


def test_a_traceback_reaches_a_console_without_the_peers_control_characters() -> None:
    stream = io.StringIO()
    configure("debug", "console", stream)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("websockets.client").exception("parser failed")
        log().exception("parser failed")
    lines = stream.getvalue().splitlines()
    assert all(line.isprintable() for line in lines)
    assert sum("Traceback (most recent call last)" in line for line in lines) == 2
    assert sum("owned" in line for line in lines) >= 2


def test_a_very_long_value_is_cut_on_a_console() -> None:
    stream = io.StringIO()
    configure("info", "console", stream)
    log().info("hello", text="x" * 10_000)
    assert len(stream.getvalue()) < 1000


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_other_libraries_log_the_same_way(log_format: LogFormat) -> None:
    stream = io.StringIO()
    configure("info", log_format, stream)
    logging.getLogger("websockets.client").warning("hello %s %d", "you", 7)
    (line,) = stream.getvalue().splitlines()
    if log_format == "json":
        entry = json.loads(line)
        assert entry["event"] == "hello you 7"
        assert entry["logger"] == "websockets.client"
        assert entry["level"] == "warning"
    else:
        assert "[warning] hello you 7" in line
        assert "websockets.client" in line


def test_a_percent_sign_of_another_library_is_just_that() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    logging.getLogger("somebody").info("100 % %s of it")
    logging.getLogger("somebody").info("%d %% done", 7)
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events == ["100 % %s of it", "7 % done"]


@pytest.mark.parametrize(
    ("number", "level"),
    [(15, "debug"), (25, "info"), (35, "warning"), (99, "critical")],
)
def test_a_level_of_another_librarys_own_is_the_one_below_it(
    number: int, level: str
) -> None:
    stream = io.StringIO()
    configure("debug", "json", stream)
    logging.getLogger("somebody").log(number, "hello")
    assert json.loads(stream.getvalue())["level"] == level


def test_an_exception_is_one_line_of_json() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("somebody").exception("it failed")
    (line,) = stream.getvalue().split("\n")[:-1]
    assert "ValueError" in json.loads(line)["exception"]


def test_setting_the_log_up_again_does_not_double_it() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", "json", first)
    configure("info", "json", second)
    log().info("hello")
    logging.getLogger("somebody").info("hello")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 2


def test_lines_go_to_the_display_while_it_has_the_screen() -> None:
    terminal = Terminal()
    output = configure("info", "console", terminal)
    held: list[str] = []
    with output.diverted(held.append):
        log().info("first")
        logging.getLogger("somebody").info("second")
    log().info("third")
    assert [plain(line).split()[2] for line in held] == ["first", "second"]
    assert not any("\n" in line for line in held)
    assert plain(terminal.getvalue()).endswith("[info] third\n")
    assert "first" not in terminal.getvalue()


def test_lines_go_back_to_the_terminal_when_the_display_fails() -> None:
    terminal = Terminal()
    output = configure("info", "console", terminal)
    held: list[str] = []
    with pytest.raises(ZeroDivisionError), output.diverted(held.append):
        raise ZeroDivisionError
    log().info("hello")
    assert held == []
    assert "hello" in terminal.getvalue()


def test_a_log_that_is_no_terminals_is_not_diverted() -> None:
    pipe = io.StringIO()
    output = configure("info", "json", pipe)
    held: list[str] = []
    with output.diverted(held.append):
        log().info("hello")
    assert held == []
    assert json.loads(pipe.getvalue())["event"] == "hello"


def test_the_latest_warning_is_kept_in_one_line() -> None:
    output = configure("info", "json", io.StringIO())
    assert output.latest_warning is None
    log().info("quiet")
    assert output.latest_warning is None
    log().warning("Trades are missing", symbol=HOSTILE, trades=3)
    log().info("quiet")
    latest = str(output.latest_warning)
    assert latest.startswith("Trades are missing: symbol ")
    assert latest.endswith(", trades 3")
    assert latest.isprintable()


def test_an_output_hands_on_what_is_written() -> None:
    stream = io.StringIO()
    output = LogOutput(stream)
    output.write("hello\n")
    output.flush()
    assert stream.getvalue() == "hello\n"


def test_what_stderr_cannot_encode_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(raw, encoding="ascii"))
    stream = stderr_output()
    configure("info", "json", stream)
    log().info("币安人生", text="\udcff")
    stream.flush()
    assert json.loads(raw.getvalue().decode("ascii"))["event"] == "币安人生"
