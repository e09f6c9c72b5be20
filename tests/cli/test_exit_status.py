from __future__ import annotations

import inspect

import pytest

from k2cli import errors
from k2cli.cli.exit_status import ExitStatus, exit_status
from k2cli.errors import K2Error


def test_the_exit_statuses_are_those_of_the_contract() -> None:
    assert {status.name: status.value for status in ExitStatus} == {
        "DONE": 0,
        "BUG": 1,
        "USAGE": 2,
        "UNREACHABLE": 3,
        "REFUSED": 4,
        "OUTPUT": 5,
        "INCOMPLETE": 6,
        "INTERRUPTED": 130,
    }


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.SettingsError("x"), 2),
        (errors.ExchangeUnreachable("x"), 3),
        (errors.ConnectFailed("x", permanent=True), 3),
        (errors.AttemptsExhausted("x"), 3),
        (errors.ExchangeRefused("x"), 4),
        (errors.RestrictedLocation("x"), 4),
        (errors.AccessBlocked("x"), 4),
        (errors.TooManyRequests("x"), 4),
        (errors.AddressBanned("x"), 4),
        (errors.ApiError("x", status=400, code=None), 4),
        (errors.UnknownSymbol("x"), 4),
        (errors.MalformedMessage("x"), 3),
        (errors.LogUnreachable("x"), 3),
        (errors.LogRefused("x"), 4),
        (errors.OutputError("x"), 5),
        (errors.ReaderGone("x"), 0),
        (K2Error("x"), 1),
    ],
    ids=lambda each: type(each).__name__,
)
def test_every_error_has_its_status(error: K2Error, status: int) -> None:
    assert exit_status(error) == status


def test_no_error_is_forgotten_above() -> None:
    marks = test_every_error_has_its_status.pytestmark  # type: ignore[attr-defined]  # pytest puts it there
    tried = {type(error) for error, _ in marks[0].args[1]}
    kinds = {
        each
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, K2Error)
    }
    # BrokenOff never leaves the reader of captures.
    assert tried == kinds
