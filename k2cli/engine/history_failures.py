"""What it means that the history has not answered: never that trades are not there."""

from __future__ import annotations

from dataclasses import dataclass

from k2cli.errors import (
    AddressBanned,
    ApiError,
    ConnectFailed,
    ExchangeRefused,
    MalformedMessage,
    TooManyRequests,
)

HistoryError = ConnectFailed | ExchangeRefused | MalformedMessage
"""How a request to the history fails."""

HISTORY_ERRORS = (ConnectFailed, ExchangeRefused, MalformedMessage)
"""The same, to be caught."""

# How long to wait where the exchange refuses without saying how long.
BAN_SECONDS = 120.0
_INVALID_SYMBOL = -1121


@dataclass(frozen=True, slots=True)
class HistoryFailure:
    """What to do after a request has failed.

    Attributes:
        is_about_question: Other questions may be answered.
        is_final: The same question will hardly be answered in the next minutes.
        closes: The connection is of no more use.
        wait_seconds: How long to wait at least with the next request.
    """

    is_about_question: bool = False
    is_final: bool = False
    closes: bool = False
    wait_seconds: float = 0.0


def explain_failure(error: HistoryError) -> HistoryFailure:
    """Say what to do after a request to the history has failed."""
    if isinstance(error, ApiError):
        # 5xx: nobody's question would be answered.
        return HistoryFailure(
            is_about_question=400 <= error.status < 500,
            is_final=error.code == _INVALID_SYMBOL,
        )
    if isinstance(error, TooManyRequests):
        return HistoryFailure(wait_seconds=error.retry_after_seconds or 0.0)
    if isinstance(error, ExchangeRefused):
        # Not from here (451, 403), or banned for a while.
        return HistoryFailure(
            is_final=not isinstance(error, AddressBanned),
            wait_seconds=error.retry_after_seconds or BAN_SECONDS,
        )
    is_final = isinstance(error, ConnectFailed) and error.permanent
    return HistoryFailure(is_final=is_final, closes=True)
