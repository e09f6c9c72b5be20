"""Parameters of an API request, read one by one, with Binance's errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PAGE = 1_000
_DEFAULT_PAGE = 500
_symbol_syntax = re.compile(r"[\w\-.]{1,20}")
# Accepted from clients that sign everything, and of no consequence.
_IGNORED = frozenset(
    {"apiKey", "signature", "timestamp", "recvWindow", "returnRateLimits"}
)


class ApiRefusal(Exception):
    """A request that is answered with an error.

    Args:
        code: Binance's error code, e.g. -1121.
        message: Its text.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Parameters:
    """A request's parameters; what nobody has read is an error in the end.

    Args:
        values: As sent.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._read: set[str] = set()

    def value(self, name: str) -> Any:
        """Give a parameter as it was sent; ``None`` if it was not."""
        self._read.add(name)
        return self._values.get(name)

    def symbol(self, name: str = "symbol") -> str:
        """Give a symbol that must be there; whether it exists is checked elsewhere."""
        value = self.value(name)
        if value is None or value == "":
            raise ApiRefusal(
                -1102,
                f"Mandatory parameter '{name}' was not sent, was empty/null, or "
                "malformed.",
            )
        return _checked_symbol(value, name)

    def optional_symbol(self) -> str | None:
        """Give the parameter ``symbol`` if it was sent."""
        return None if self.value("symbol") is None else self.symbol()

    def symbols(self) -> list[str] | None:
        """Give the parameter ``symbols`` if it was sent; none stands in it twice."""
        value = self.value("symbols")
        if value is None:
            return None
        if not isinstance(value, list) or not value:
            raise ApiRefusal(
                -1100,
                "Illegal characters found in parameter 'symbols'; legal range is "
                "'^[A-Z0-9-_.]{1,20}$'.",
            )
        symbols = [_checked_symbol(each, "symbols") for each in value]
        if len(set(symbols)) < len(symbols):
            raise ApiRefusal(-1151, "Symbol is present multiple times in the list.")
        return symbols

    def whole_number(self, name: str) -> int | None:
        """Give a number from 0 on, if it was sent."""
        value = self.value(name)
        if value is None:
            return None
        if type(value) is not int:
            raise ApiRefusal(
                -1100,
                f"Illegal characters found in parameter '{name}'; legal range is "
                "'^[0-9]{1,20}$'.",
            )
        if not 0 <= value < 2**63:
            raise _invalid(name)
        return value

    def limit(self) -> int:
        """Give the length of a page."""
        limit = self.whole_number("limit")
        if limit is None:
            return _DEFAULT_PAGE
        if not 1 <= limit <= MAX_PAGE:
            raise _invalid("limit")
        return limit

    def flag(self, name: str, *, default: bool) -> bool:
        """Give a switch."""
        value = self.value(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ApiRefusal(
                -1100,
                f"Illegal characters found in parameter '{name}'; legal range is "
                "'true or false'.",
            )
        return value

    def all_read(self) -> None:
        """Refuse parameters that the method does not have."""
        sent = self._values.keys() - _IGNORED
        if sent - self._read:
            raise ApiRefusal(
                -1104,
                f"Not all sent parameters were read; read '{len(sent & self._read)}' "
                f"parameter(s) but was sent '{len(sent)}'.",
            )


def _invalid(name: str) -> ApiRefusal:
    return ApiRefusal(-1130, f"Data sent for parameter '{name}' is not valid.")


def _checked_symbol(value: object, name: str) -> str:
    if not isinstance(value, str) or not _symbol_syntax.fullmatch(value):
        raise ApiRefusal(
            -1100,
            f"Illegal characters found in parameter '{name}'; legal range is "
            "'^[A-Z0-9-_.]{1,20}$'.",
        )
    return value
