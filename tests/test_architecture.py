"""The house's rules: who may import whom. See the README's part on developing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import k2cli

PACKAGE = Path(k2cli.__file__).parent
# For each part of the package the parts that it may import, besides itself. The package
# itself stands for what k2cli/__init__.py gives.
ALLOWED: dict[str, set[str]] = {
    "trade": set(),
    "errors": set(),
    "config": {"errors"},
    "log": {"errors"},
    "binance": {"trade", "errors"},
    "capture": {"trade", "errors"},
    "display": {"trade", "errors"},
    "simulator": {"errors"},
    "export": {"errors"},
    "publish": {"capture", "errors"},
    "cli": {
        "k2cli",
        "trade",
        "errors",
        "config",
        "log",
        "binance",
        "capture",
        "display",
        "simulator",
        "export",
        "publish",
    },
    "__main__": {"cli"},
    "__init__": {"trade", "errors", "config", "binance"},
}
# Rules that take clocks and randomness as arguments, and do no input or output.
PURE = [
    "binance/backoff.py",
    "binance/budget.py",
    "binance/streams.py",
    "binance/symbols.py",
    "binance/wire.py",
    "capture/account.py",
    "capture/backwards.py",
    "capture/compression.py",
    "capture/hold.py",
    "capture/ledger.py",
    "capture/repair.py",
    "capture/report.py",
    "capture/resume.py",
    "capture/rotation.py",
    "capture/schema.py",
    "capture/sequence.py",
    "capture/silence.py",
    "capture/verify.py",
    "display/cells.py",
    "display/chart.py",
    "display/columns.py",
    "display/controls.py",
    "display/digits.py",
    "display/graphs.py",
    "display/lag.py",
    "display/layout.py",
    "display/market.py",
    "display/notice.py",
    "display/order.py",
    "display/precision.py",
    "display/status.py",
    "display/symbol.py",
    "display/table.py",
    "display/tape.py",
    "display/view.py",
    "display/window.py",
    "errors.py",
    "trade.py",
]
WITH_EFFECTS = {
    "asyncio",
    "datetime",
    "io",
    "os",
    "pathlib",
    "platformdirs",
    "random",
    "secrets",
    "socket",
    "structlog",
    "sys",
    "threading",
    "time",
    "urllib.request",
    "websockets",
}


def imported(source: str, module: str, *, is_package: bool = False) -> Iterator[str]:
    """Give the full names that a module's source imports, wherever it does.

    Args:
        source: The source.
        module: Full name of the module, which relative imports start from.
        is_package: Whether it is a package's ``__init__``.
    """
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) + 1 - node.level]
                start = ".".join([*parents, *([start] if start else [])])
            # What is imported from a package may be a module of it.
            yield from (f"{start}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith(("import_module", "__import__"))
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value)


def part_of(name: str) -> str | None:
    """Give the part of the package that a full name belongs to, if it is ours."""
    first, _, rest = name.partition(".")
    if first != "k2cli":
        return None
    part = rest.partition(".")[0]
    return part if part in ALLOWED else "k2cli"


def modules() -> Iterator[tuple[Path, str, str]]:
    """Give each file of the package, its part, and its full name."""
    for file in sorted(PACKAGE.rglob("*.py")):
        within = file.relative_to(PACKAGE).with_suffix("")
        names = [name for name in within.parts if name != "__init__"]
        yield file, within.parts[0], ".".join(["k2cli", *names])


@cache
def imports_of(file: Path, name: str) -> set[str]:
    source = file.read_text(encoding="utf-8")
    return set(imported(source, name, is_package=file.stem == "__init__"))


SOURCE = """
from __future__ import annotations
import os, k2cli.one
import k2cli.two as two
from typing import TYPE_CHECKING
from k2cli import three
from k2cli.four import name
from . import five
from .six import name
from .. import seven
from ..eight import name
if TYPE_CHECKING:
    from k2cli.nine import Name
def function():
    import k2cli.ten
    class Inner:
        from k2cli import eleven
    importlib.import_module("k2cli.twelve")
    __import__("k2cli.thirteen")
"""


@pytest.mark.parametrize(
    ("module", "is_package"), [("k2cli.binance.api", False), ("k2cli.binance", True)]
)
def test_imports_are_found_wherever_they_stand(module: str, is_package: bool) -> None:
    names = set(imported(SOURCE, module, is_package=is_package))
    assert {
        "os",
        "k2cli.one",
        "k2cli.two",
        "k2cli.three",
        "k2cli.four.name",
        "k2cli.binance.five",
        "k2cli.binance.six.name",
        "k2cli.seven",
        "k2cli.eight.name",
        "k2cli.nine.Name",
        "k2cli.ten",
        "k2cli.eleven",
        "k2cli.twelve",
        "k2cli.thirteen",
    } <= names


def test_every_part_of_the_package_has_its_rule() -> None:
    assert {part for _, part, _ in modules()} == set(ALLOWED)


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_point_one_way(part: str) -> None:
    wrong = [
        f"{name} imports {other}"
        for file, its_part, name in modules()
        if its_part == part
        for other in imports_of(file, name)
        if part_of(other) not in {None, part, *ALLOWED[part]}
    ]
    assert wrong == []


def test_nothing_imports_what_imports_it() -> None:
    for part, others in ALLOWED.items():
        for other in others & set(ALLOWED):
            assert part not in ALLOWED[other]


@pytest.mark.parametrize(
    ("library", "parts"),
    [
        ("typer", {"cli"}),
        ("rich", {"cli", "display"}),
        ("prompt_toolkit", {"cli"}),
        ("websockets", {"binance", "simulator"}),
        ("duckdb", {"export"}),
        ("confluent_kafka", {"publish"}),
        ("nats", {"publish"}),
    ],
)
def test_a_library_is_known_to_those_who_need_it(library: str, parts: set[str]) -> None:
    users = {
        part
        for file, part, name in modules()
        if any(each.partition(".")[0] == library for each in imports_of(file, name))
    }
    assert users == parts


@pytest.mark.parametrize("path", PURE)
def test_rules_do_no_input_or_output(path: str) -> None:
    file = PACKAGE / path
    names = imports_of(file, f"k2cli.{path.removesuffix('.py').replace('/', '.')}")
    effects = {
        name
        for name in names
        if any(name == each or name.startswith(f"{each}.") for each in WITH_EFFECTS)
    }
    assert effects == set()


def test_the_rules_that_are_named_here_exist() -> None:
    assert all((PACKAGE / path).is_file() for path in PURE)
