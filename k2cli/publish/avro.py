"""Records in Avro, in Confluent's wire format, by the schema of a registry."""

from __future__ import annotations

import base64
import io
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import orjson

from k2cli.errors import LogRefused, LogUnreachable, SettingsError, printable
from k2cli.extras import import_extra

if TYPE_CHECKING:
    from collections.abc import Callable

    from k2cli.publish.destination import Record

_MAGIC = b"\0"
_ID_BYTES = 4
_ANSWER_SECONDS = 10.0
# A longer answer is cut, and no JSON then.
_MOST_ANSWER_BYTES = 2**20
_DECIMALS = ("price", "quantity")
# decimal(18,8); zeros at the end of a fraction say nothing.
_fits = re.compile(r"0*[0-9]{1,10}(?:\.[0-9]{1,8}0*)?").fullmatch


class _NoRedirects(HTTPRedirectHandler):
    """Follows none: the password in a request is for one host."""

    def redirect_request(self, *_: Any) -> None:
        """Return no other request, which makes it an error."""


_opener = build_opener(_NoRedirects)


class Registry:
    """A schema registry, which is only asked, never told.

    Args:
        url: Its address; a user and a password in it are not shown again.
    """

    def __init__(self, url: str) -> None:
        no_address = SettingsError(
            "this is no address of a registry", "Write --registry http://host:8081"
        )
        try:
            parts = urlsplit(url)
        except ValueError:
            raise no_address from None
        credentials, _, host = parts.netloc.rpartition("@")
        if parts.scheme not in ("http", "https") or not host:
            raise no_address
        self._url = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json"}
        if credentials:
            text = base64.b64encode(unquote(credentials).encode()).decode()
            self._headers["Authorization"] = f"Basic {text}"

    def latest(self, subject: str) -> tuple[int, Any]:
        """Return the id and the schema of a subject's latest version."""
        found = self._ask(f"subjects/{quote(subject, safe='')}/versions/latest")
        try:
            return int(found["id"]), orjson.loads(found["schema"])
        except (KeyError, TypeError, ValueError):
            raise self._no_schema() from None

    def schema(self, schema_id: int) -> Any:
        """Return the schema that has an id."""
        try:
            return orjson.loads(self._ask(f"schemas/ids/{schema_id}")["schema"])
        except (KeyError, TypeError, ValueError):
            raise self._no_schema() from None

    def _no_schema(self) -> LogRefused:
        return LogRefused(
            f"the registry {printable(self._url)} answers no schema",
            "Check --registry",
        )

    def _ask(self, path: str) -> Any:
        shown = printable(self._url)
        request = Request(f"{self._url}/{path}", headers=self._headers)  # noqa: S310 - http(s), see __init__
        try:
            with _opener.open(request, timeout=_ANSWER_SECONDS) as answer:
                return orjson.loads(answer.read(_MOST_ANSWER_BYTES))
        except HTTPError as exc:
            raise LogRefused(
                f"the registry {shown} has no {printable(unquote(path))} ({exc.code})",
                "Name the subject with --subject; k2 registers no schema",
            ) from None
        except (URLError, OSError, ValueError) as exc:
            raise LogUnreachable(
                f"the registry {shown} cannot be reached: "
                f"{printable(str(getattr(exc, 'reason', exc)))}",
                "Check --registry, and try again",
            ) from None


class AvroEncoder:
    """Makes records' values, and refuses what its decimals cannot hold.

    Args:
        registry: Where the schema is.
        subject: Its name there.
        on_refused: Called with a record that does not fit, and why.
    """

    def __init__(
        self,
        registry: Registry,
        subject: str,
        *,
        on_refused: Callable[[Record, str], None] = lambda record, why: None,
    ) -> None:
        fastavro = _fastavro()
        self._write = fastavro.schemaless_writer
        schema_id, schema = registry.latest(subject)
        try:
            self._schema = fastavro.parse_schema(schema)
        except Exception as exc:
            raise LogRefused(
                f"subject {printable(subject)} has no usable Avro schema: "
                f"{printable(str(exc))}",
                "Name another with --subject",
            ) from exc
        self._header = _MAGIC + schema_id.to_bytes(_ID_BYTES, "big")
        self._subject = printable(subject)
        self._on_refused = on_refused
        # Counted once, however often a batch is tried.
        self._refused_numbers: set[int] = set()

    @property
    def refused(self) -> int:
        """How many records did not fit so far."""
        return len(self._refused_numbers)

    def __call__(self, record: Record) -> bytes | None:
        """Return a record's value; ``None``, if it does not fit."""
        trade = orjson.loads(record.line)
        for name in _DECIMALS:
            digits = trade[name]
            if not _fits(digits):
                self._refuse(record, f"{name} {digits} does not fit decimal(18,8)")
                return None
            trade[name] = Decimal(digits) if len(digits) <= 19 else _shortened(digits)
        out = io.BytesIO()
        out.write(self._header)
        try:
            self._write(out, self._schema, trade)
        except (ValueError, TypeError, KeyError, OverflowError) as exc:
            raise LogRefused(
                f"the schema of {self._subject} does not take the record "
                f"{record.number:,}: {printable(str(exc))}",
                "Name the subject of TradeV2 with --subject",
            ) from exc
        return out.getvalue()

    def _refuse(self, record: Record, why: str) -> None:
        if record.number not in self._refused_numbers:
            self._refused_numbers.add(record.number)
            self._on_refused(record, why)


class AvroDecoder:
    """Reads values of any schema that a registry knows."""

    def __init__(self, registry: Registry) -> None:
        self._fastavro = _fastavro()
        self._registry = registry
        self._schemas: dict[int, Any] = {}

    def __call__(self, value: bytes) -> dict[str, Any]:
        """Return the record.

        Raises:
            ValueError: If it is none.
        """
        if value[:1] != _MAGIC or len(value) <= 1 + _ID_BYTES:
            raise ValueError("neither JSON nor Avro in Confluent's format")
        schema_id = int.from_bytes(value[1 : 1 + _ID_BYTES], "big")
        if schema_id not in self._schemas:
            schema = self._registry.schema(schema_id)
            self._schemas[schema_id] = self._fastavro.parse_schema(schema)
        found: dict[str, Any] = self._fastavro.schemaless_reader(
            io.BytesIO(value[1 + _ID_BYTES :]), self._schemas[schema_id], None
        )
        return found


def _shortened(digits: str) -> Decimal:
    whole, point, fraction = digits.partition(".")
    return Decimal(whole.lstrip("0").rjust(1, "0") + point + fraction.rstrip("0"))


def _fastavro() -> Any:
    return import_extra("fastavro", what="Avro", package="fastavro", extra="kafka")
