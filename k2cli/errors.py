"""What can go wrong, and what a user can do about it.

The tree::

    K2Error
    ├─ SettingsError           an option, a variable or config.toml is wrong
    ├─ ExchangeUnreachable     the exchange cannot be reached
    │  ├─ ConnectFailed        one attempt failed: name, network, TLS, handshake
    │  └─ AttemptsExhausted    all attempts allowed have failed
    ├─ ExchangeRefused         the exchange answered, and said no
    │  ├─ RestrictedLocation   451: not from this country
    │  ├─ AccessBlocked        403: its firewall
    │  ├─ TooManyRequests      429: slow down
    │  ├─ AddressBanned        418: banned for not slowing down
    │  └─ ApiError             the API answered a request with an error code
    ├─ UnknownSymbol           not in the exchange's catalog
    ├─ MalformedMessage        not what is documented; a ValueError, too
    ├─ LogUnreachable          the log to publish to does not answer
    ├─ LogRefused              the log to publish to said no
    └─ OutputError             the output cannot be written
       └─ ReaderGone           whoever read our output has closed it
"""

from __future__ import annotations

from k2cli.text import printable as printable

TRY_AGAIN = "Check the network, and try again later"
"""The hint where nothing better is known."""


class K2Error(Exception):
    """Base of all errors that k2 raises on purpose.

    Args:
        message: What happened, in one line.
        hint: What the user can do about it, in one line; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class SettingsError(K2Error):
    """An option, an environment variable or the configuration file is wrong."""


class ExchangeUnreachable(K2Error):
    """The exchange cannot be reached."""


class ConnectFailed(ExchangeUnreachable):
    """One attempt to connect failed.

    Args:
        message: What happened, in one line.
        hint: What the user can do about it.
        permanent: Whether trying again can be expected to fail the same way.
    """

    def __init__(self, message: str, hint: str = "", *, permanent: bool) -> None:
        super().__init__(message, hint)
        self.permanent = permanent


class AttemptsExhausted(ExchangeUnreachable):
    """All attempts allowed have failed; the last failure is the ``__cause__``."""


class ExchangeRefused(K2Error):
    """The exchange answered and refused.

    Args:
        message: What happened, in one line.
        hint: What the user can do about it.
        retry_after_seconds: When the exchange allows another attempt, if it said so.
    """

    def __init__(
        self, message: str, hint: str = "", *, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message, hint)
        self.retry_after_seconds = retry_after_seconds


class RestrictedLocation(ExchangeRefused):
    """HTTP 451: the exchange does not serve this location."""


class AccessBlocked(ExchangeRefused):
    """HTTP 403: the exchange's firewall turned the request away."""


class TooManyRequests(ExchangeRefused):
    """HTTP or API status 429: a limit was hit."""


class AddressBanned(ExchangeRefused):
    """HTTP or API status 418: this address is banned for a while."""


class ApiError(ExchangeRefused):
    """The WebSocket API answered with an error.

    Args:
        message: What happened, in one line.
        hint: What the user can do about it.
        status: The reply's status, e.g. 400.
        code: The exchange's error code, e.g. -1121.
    """

    def __init__(
        self, message: str, hint: str = "", *, status: int, code: int | None
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.code = code


class UnknownSymbol(K2Error):
    """A symbol is not in the exchange's catalog."""


class MalformedMessage(K2Error, ValueError):
    """A message or a record is not what its documentation says."""


class LogUnreachable(K2Error):
    """The log to publish to does not answer; trying again may help."""


class LogRefused(K2Error):
    """The log to publish to said no; trying again does not help."""


class OutputError(K2Error):
    """The output cannot be written."""


class ReaderGone(OutputError):
    """Whoever read our output has closed it, as ``head`` does: no fault at all."""
