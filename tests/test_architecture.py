"""The house's rules: who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import k2cli

ROOT = Path(k2cli.__file__).parent
# The packages and top-level modules that each of them may import, besides itself.
ALLOWED: dict[str, set[str]] = {
    "text": set(),
    "errors": {"text"},
    "files": set(),
    "extras": {"errors"},
    "config_file": {"errors", "files"},
    "shards": set(),
    "trade": set(),
    "schema": {"trade"},
    "config": {"config_file", "errors", "text"},
    "completeness": {"trade", "errors"},
    "binance": {"completeness", "config", "errors", "files", "shards", "trade", "text"},
    "capture": {"completeness", "errors", "files", "schema", "trade", "text"},
    "display": {"errors", "files", "trade", "text"},
    "simulator": {"capture", "errors", "trade", "text"},
    "publish": {
        *("capture", "completeness", "errors", "extras", "files", "schema", "trade")
    },
    "export": {"capture", "errors", "extras", "schema", "trade"},
    # The venue behind its protocol is Binance unless another one is given.
    "engine": {"binance", "capture", "completeness", "config", "errors", "trade"},
}
EVERYTHING = {*ALLOWED, "k2cli"}
ALLOWED |= {
    "__init__": EVERYTHING - {"k2cli", "display"},
    "cli": EVERYTHING,
    "manual": set(),
    "__main__": {"cli", "errors"},
}
# What imports a module whose name is its first argument.
IMPORTS = ("import_module", "__import__", "import_extra")
LAZY_NODES = ast.FunctionDef | ast.AsyncFunctionDef | ast.If
# What has effects, or depends on more than its arguments. A rule has neither.
EFFECTS = {
    *("datetime", "io", "os", "pathlib", "random", "secrets", "shutil", "signal"),
    *("socket", "subprocess", "sys", "tempfile", "threading", "time", "urllib"),
    *("platformdirs", "prompt_toolkit", "rich", "structlog", "typer", "websockets"),
}


@cache
def modules() -> list[tuple[str, Path]]:
    """Return each file, and the part of k2cli that it belongs to."""
    return [
        (file.relative_to(ROOT).with_suffix("").parts[0], file)
        for file in sorted(ROOT.rglob("*.py"))
    ]


@cache
def imports(file: Path, *, lazy: bool = True) -> frozenset[str]:
    """Return the full names that a file imports.

    Args:
        file: A module of k2cli.
        lazy: Whether those are among them that only functions import, or type checkers.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    package = ["k2cli", *file.relative_to(ROOT).parent.parts]
    return frozenset(imported(tree, package, lazy=lazy))


def imported(tree: ast.AST, package: list[str], *, lazy: bool) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            # What is imported from a package may be a module of it.
            yield from (f"{start}.{alias.name}" for alias in node.names)
        elif lazy or not isinstance(node, LAZY_NODES):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).endswith(IMPORTS)
                and isinstance(node.args[0], ast.Constant)
            ):
                yield str(node.args[0].value)
            yield from imported(node, package, lazy=lazy)


def part_of(name: str) -> str | None:
    """Return the part of k2cli that a full name belongs to, if it is ours."""
    names = name.split(".")
    if names[0] != "k2cli":
        return None
    return names[1] if len(names) > 1 and names[1] in ALLOWED else "k2cli"


SOURCE = """
import os, k2cli.one
from k2cli import two
from . import three
from .four import name
from ..five import name
if TYPE_CHECKING:
    from k2cli.six import Name
def function():
    from k2cli import seven
    class Inner:
        import k2cli.eight
    importlib.import_module("k2cli.nine")
    import_extra("k2cli.eleven", what="Eleven")
class Outer:
    async def method(self):
        __import__("k2cli.ten")
"""
EAGER = {
    *("os", "k2cli.one", "k2cli.two", "k2cli.here.three"),
    *("k2cli.here.four.name", "k2cli.five.name"),
}
LAZY = {
    *("k2cli.six.Name", "k2cli.seven", "k2cli.eight", "k2cli.nine", "k2cli.ten"),
    "k2cli.eleven",
}


@pytest.mark.parametrize(("lazy", "names"), [(True, EAGER | LAZY), (False, EAGER)])
def test_imports_are_found_wherever_they_stand(lazy: bool, names: set[str]) -> None:
    tree = ast.parse(SOURCE)
    assert set(imported(tree, ["k2cli", "here"], lazy=lazy)) == names


def test_every_part_has_its_rule() -> None:
    assert {part for part, _ in modules()} <= set(ALLOWED)


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_only_what_it_may(part: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for its_part, file in modules()
        if its_part == part
        for name in sorted(imports(file))
        if part_of(name) not in {None, part, *ALLOWED[part]}
    ]
    assert wrong == []


def test_the_arrows_make_no_circle() -> None:
    left = {part: others - {"k2cli"} for part, others in ALLOWED.items()}
    while left:
        free = {part for part, others in left.items() if not others & set(left)}
        assert free, f"a circle among {sorted(left)}"
        left = {part: others for part, others in left.items() if part not in free}


@pytest.mark.parametrize("part", ["binance", "config"])
def test_the_engine_needs_no_venue_of_its_own_to_be_imported(part: str) -> None:
    eager = {
        part_of(name)
        for its_part, file in modules()
        if its_part == "engine"
        for name in imports(file, lazy=False)
    }
    assert part not in eager


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
        ("prometheus_client", {"cli"}),
    ],
)
def test_a_library_is_imported_by_few(library: str, parts: set[str]) -> None:
    users = {
        part
        for part, file in modules()
        if any(name.split(".")[0] == library for name in imports(file))
    }
    assert users == parts


@pytest.mark.parametrize("part", ["completeness", "errors", "trade", "schema"])
def test_rules_have_no_effects(part: str) -> None:
    effects = {
        f"{file.relative_to(ROOT)} imports {name}"
        for its_part, file in modules()
        if its_part == part
        for name in imports(file)
        if name.split(".")[0] in EFFECTS
    }
    # Only to share texts between thousands of instruments.
    assert effects <= {"trade.py imports sys"}
