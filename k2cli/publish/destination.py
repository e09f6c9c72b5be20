"""Where trades are handed on to: the protocol, its errors, and its address."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from k2cli.errors import LogRefused, LogUnreachable, SettingsError, printable
from k2cli.files import read_bounded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BATCH_RECORDS = 10_000
"""Most records that are handed on at once, and acknowledged together."""

_SECRET = re.compile(
    "pass|secret|token|key|pem|seed|jaas|oauth|assertion", re.IGNORECASE
)
# What is so short may be a part of any word.
_SHORT_CHARACTERS = 3
_SCHEMES = ("kafka", "nats")
_MOST_CONFIG_BYTES = 2**20


class Record(NamedTuple):
    """One record of a capture.

    Attributes:
        line: As it stands in the capture, without the line end.
        symbol: E.g. ``"BTCUSDT"``.
        exchange: E.g. ``"BINANCE"``.
        time_us: Trade time, Unix microseconds UTC.
        trade_id: The exchange's trade id.
        ingestion_us: When it was received, Unix microseconds UTC.
        number: Its ``platform_sequence``.
    """

    line: bytes
    symbol: str
    exchange: str
    time_us: int
    trade_id: int
    ingestion_us: int
    number: int


class Capture(NamedTuple):
    """Which capture records are of.

    Attributes:
        identity: The same for the same capture, wherever it is.
        exchange: As in its records.
    """

    identity: str
    exchange: str


class Destination(Protocol):
    """A log that takes each record once."""

    def open(self, capture: Capture) -> int:
        """Connect, anew if need be.

        Returns:
            The number of a record before which all are there. Of later ones that are
            there too, ``send`` takes care.

        Raises:
            LogUnreachable: If it does not answer.
            LogRefused: If it does not want this capture, or this client.
        """

    def send(self, records: Sequence[Record]) -> Sequence[Record]:
        """Hand records on in their order, and wait until they are there for good.

        Returns:
            Those that were new. Others were there before, or do not fit.

        Raises:
            LogUnreachable: If some may not be there. ``open`` it again to learn which.
            LogRefused: If another publisher has taken over, or the log wants no more.
        """

    def close(self) -> None:
        """Disconnect."""


@dataclass(frozen=True, slots=True)
class Target:
    """The address of a log.

    Attributes:
        scheme: ``kafka`` or ``nats``.
        hosts: ``host:port``, several separated by commas.
        name: The topic or stream.
        options: The client's own settings.
    """

    scheme: str
    hosts: str
    name: str
    options: dict[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return printable(f"{self.scheme}://{self.hosts}/{self.name}")

    def unreachable(self, shown: str) -> LogUnreachable:
        """Return the error that it cannot be reached, for a reason fit for printing."""
        return LogUnreachable(
            f"{self} cannot be reached: {shown}",
            "Nothing is lost: start k2 publish again, and it goes on from there",
        )

    def refusal(self, shown: str) -> LogRefused:
        """Return the error that it refuses, for a reason fit for printing."""
        return LogRefused(f"{self} refuses: {shown}", "See to it, and try again")

    def cleaned(self, text: object) -> str:
        """Return a client's message, fit for printing and without secrets."""
        shown = str(text)
        secrets = [value for key, value in self.options.items() if _SECRET.search(key)]
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            shown = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", shown)
            if len(secret) > _SHORT_CHARACTERS:
                shown = shown.replace(secret, "***")
        return printable(shown, 300)


def target_of(url: str, config: Path | None = None) -> Target:
    """Read an address such as ``kafka://host:9092,host:9092/TOPIC?key=value``.

    Args:
        url: The address; what follows ``?`` are the client's own settings.
        config: A file with more of them, ``key=value`` a line; ``#`` begins a comment.

    Raises:
        SettingsError: If one of both cannot be read. It shows no secret.
    """
    no_address = SettingsError(
        "this is no address of a log",
        "Write kafka://host:9092/TOPIC or nats://host:4222/STREAM",
    )
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that are no address, and what else it knows
        raise no_address from None
    credentials, _, hosts = parts.netloc.rpartition("@")
    name = unquote(parts.path.strip("/"))
    if parts.scheme not in _SCHEMES or not hosts or not name or "/" in name:
        raise no_address
    options = {} if config is None else _read_config(config)
    options |= dict(parse_qsl(parts.query, keep_blank_values=True))
    if credentials:
        user, _, password = credentials.partition(":")
        keys = ("user", "password")
        if parts.scheme == "kafka":
            keys = ("sasl.username", "sasl.password")
        options |= zip(keys, map(unquote, (user, password)), strict=True)
    return Target(parts.scheme, hosts, name, options)


def _read_config(config: Path) -> dict[str, str]:
    shown = printable(str(config))
    try:
        text = read_bounded(config, _MOST_CONFIG_BYTES).decode()
    except (OSError, UnicodeDecodeError) as exc:
        why = printable(getattr(exc, "strerror", None) or "no text")
        raise SettingsError(
            f"{shown} cannot be read: {why}", "Name another file with --to-config"
        ) from exc
    options = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.strip().startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise SettingsError(
                f"{shown}, line {number}, is no setting", "Write key=value"
            )
        options[key.strip()] = value.strip()
    return options
