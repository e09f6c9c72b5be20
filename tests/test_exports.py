from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import k2cli

PUBLIC = sorted(k2cli._HOMES)


def run(program: str) -> tuple[str, str]:
    """Run a program in a Python of its own; give its stdout and its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def modules_after(statement: str) -> set[str]:
    stdout, _ = run(f"import sys; {statement}; print(*sys.modules)")
    return set(stdout.split())


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_what_its_home_has(name: str) -> None:
    home = import_module(f"k2cli.{k2cli._HOMES[name]}")
    found = getattr(k2cli, name)
    assert found is getattr(home, name)
    assert found.__module__ == home.__name__


def test_all_names_what_there_is() -> None:
    assert sorted(k2cli.__all__) == sorted([*PUBLIC, "__version__"])
    assert len(set(k2cli.__all__)) == len(k2cli.__all__)


def test_type_checkers_see_the_names_that_there_are() -> None:
    tree = ast.parse(Path(k2cli.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {
        alias.name: str(node.module).removeprefix("k2cli.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname is None
    }
    assert seen == k2cli._HOMES


def test_the_names_of_the_contract_are_public() -> None:
    assert {
        "BinanceWebSocketClient",
        "BinanceConfig",
        "TradeV2",
        "parse_binance_symbol",
        "convert_binance_trade_to_v2",
        "K2Error",
    } <= set(PUBLIC)


def test_every_error_that_a_caller_can_meet_is_public() -> None:
    errors = import_module("k2cli.errors")
    kinds = {
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, errors.K2Error)
    }
    # ReaderGone is how the command treats its own closed pipe.
    assert kinds - {"ReaderGone"} <= set(PUBLIC)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = k2cli.nothing
    with pytest.raises(ImportError):
        exec("from k2cli import nothing")  # noqa: S102


def test_star_imports_work() -> None:
    names: dict[str, object] = {}
    exec("from k2cli import *", names)  # noqa: S102
    assert set(k2cli.__all__) <= set(names)


def test_the_version_is_that_of_the_distribution() -> None:
    assert k2cli.__version__ == version("k2cli")


def test_the_package_has_type_information() -> None:
    assert (Path(k2cli.__file__).parent / "py.typed").exists()


def test_help_needs_nothing_heavy() -> None:
    loaded = modules_after("import k2cli.cli.app")
    heavy = {
        "asyncio",
        "orjson",
        "platformdirs",
        "pydantic",
        "rich.live",
        "rich.table",
        "structlog",
        "websockets",
        "k2cli.binance",
        "k2cli.config",
        "k2cli.display",
        "k2cli.cli.log",
        "k2cli.simulator",
        "k2cli.trade",
    }
    assert "typer" in loaded
    assert heavy & loaded == set()


def test_importing_the_package_imports_none_of_its_parts() -> None:
    loaded = modules_after("import k2cli")
    assert {name for name in loaded if name.startswith("k2cli")} == {"k2cli"}


def test_the_library_logs_through_structlog_and_configures_nothing() -> None:
    stdout, _ = run(
        "import logging, structlog, k2cli\n"
        "for name in k2cli.__all__: getattr(k2cli, name)\n"
        "print(structlog.is_configured(), logging.getLogger().handlers)"
    )
    assert stdout == "False []\n"


def test_a_program_that_has_set_structlog_up_keeps_its_way() -> None:
    stdout, stderr = run(
        "import io, structlog\n"
        "own = io.StringIO()\n"
        "structlog.configure(logger_factory=structlog.PrintLoggerFactory(own))\n"
        "import k2cli.binance\n"
        "structlog.get_logger().warning('hello')\n"
        "print('hello' in own.getvalue())"
    )
    assert stdout == "True\n"
    assert stderr == ""


def test_a_pipe_of_json_waits_for_no_display() -> None:
    loaded = modules_after("import k2cli.cli.run, k2cli.cli.pipe, k2cli.capture.sink")
    assert "structlog" in loaded
    assert not loaded & {"rich.live", "tomllib", "k2cli.display.lines"}


def test_importing_the_package_hides_no_module_from_others() -> None:
    stdout, _ = run(
        "import builtins, sys, k2cli\n"
        "kept = builtins.__import__\n"
        "hidden = []\n"
        "def watched(name, *rest):\n"
        "    hidden.extend(each for each, module in sys.modules.items()\n"
        "                  if module is None)\n"
        "    return kept(name, *rest)\n"
        "builtins.__import__ = watched\n"
        "import k2cli.cli.run\n"
        "print(hidden)"
    )
    assert stdout == "[]\n"
