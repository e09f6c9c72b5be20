from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli import errors
from k2cli.errors import (
    ApiError,
    ConnectFailed,
    ExchangeRefused,
    K2Error,
    printable,
)

CLASSES: list[type[K2Error]] = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if issubclass(each, K2Error)
]
PACKAGE = Path(errors.__file__).parent
# These are no end of a run: one is noted and skipped, the other is no fault.
WITHOUT_HINT = {"MalformedMessage", "ReaderGone"}
ANY_TEXT = st.text(st.characters(exclude_categories=()))


def test_the_tree_drawn_in_the_docstring_is_the_tree_there_is() -> None:
    drawn: dict[str, str] = {}
    above: dict[int, str] = {0: "K2Error"}
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    ([│ ├└─]+)([A-Z]\w+)  .+", line)
        if match:
            depth = len(match[1]) // 3
            above[depth] = match[2]
            drawn[match[2]] = above[depth - 1]
    there_is = {
        each.__name__: each.__mro__[1].__name__
        for each in CLASSES
        if each is not K2Error
    }
    assert drawn == there_is


def make(kind: type[K2Error], message: str, hint: str) -> K2Error:
    more: dict[type[K2Error], dict[str, Any]] = {
        ApiError: {"status": 400, "code": -1121},
        ConnectFailed: {"permanent": True},
    }
    return kind(message, hint, **more.get(kind, {}))


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_reads_as_what_happened_and_what_to_do(kind: type[K2Error]) -> None:
    exc = make(kind, "it rains", "Take an umbrella")
    assert str(exc) == "it rains. Take an umbrella"
    assert (exc.message, exc.hint) == ("it rains", "Take an umbrella")
    assert str(make(kind, "it rains", "")) == "it rains"


def test_errors_carry_what_a_program_needs_to_know() -> None:
    refused = ExchangeRefused("no", retry_after_seconds=3.5)
    api_error = ApiError("no", status=400, code=-1121)
    assert refused.retry_after_seconds == 3.5
    assert (api_error.status, api_error.code) == (400, -1121)
    assert api_error.retry_after_seconds is None
    assert ConnectFailed("no", permanent=True).permanent


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("BTCUSDT 61685.99", "BTCUSDT 61685.99"),
        ("币安人生 é ✓", "币安人生 é ✓"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("a\r\n\tb", "a\\r\\n\\tb"),
        ("\x9b31m", "\\x9b31m"),
        ("\x7f\x00", "\\x7f\\x00"),
        # Text that would run backwards, or nowhere.
        ("\u202eTDSU\u2066", "\\u202eTDSU\\u2066"),
        ("\u2028\u200b\ufeff", "\\u2028\\u200b\\ufeff"),
        ("\udcff", "\\udcff"),
        (b"bytes \xff\x1b", "bytes \\xff\\x1b"),
        ("币".encode(), "币"),
        (b"", ""),
    ],
)
def test_text_from_the_wire_is_escaped(raw: str | bytes, shown: str) -> None:
    assert printable(raw) == shown


@pytest.mark.parametrize("character", ["x", "é", "币", "😀"])
def test_what_is_cut_off_is_marked(character: str) -> None:
    assert printable(character * 5, 5) == character * 5
    assert printable(character * 6, 5) == character * 5 + "…"
    assert printable((character * 5).encode(), 5) == character * 5
    assert printable((character * 6).encode(), 5) == character * 5 + "…"


@given(ANY_TEXT | st.binary(), st.integers(0, 300))
def test_whatever_comes_is_one_line_that_prints(raw: str | bytes, limit: int) -> None:
    shown = printable(raw, limit)
    assert shown.isprintable()
    # One character takes ten at most, as "\U0001f600" would.
    assert len(shown) <= limit * 10 + 1
    shown.encode()


@given(st.text(st.characters(exclude_categories=["C", "Z"])))
def test_text_that_prints_stays_as_it_is(text: str) -> None:
    assert printable(text, limit=len(text)) == text


def _raised_without_a_hint() -> Iterator[str]:
    """Give the places of the package that make an error without saying what to do."""
    names = {each.__name__ for each in CLASSES} - WITHOUT_HINT
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in names:
                continue
            keywords = {keyword.arg for keyword in node.keywords}
            if len(node.args) < 2 and not keywords & {"hint", None}:
                yield f"{file.relative_to(PACKAGE)}:{node.lineno}"


def test_every_error_says_what_to_do() -> None:
    assert list(_raised_without_a_hint()) == []
