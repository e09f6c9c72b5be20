"""Trades as lines for a pipe: a new format is a class and an entry in ``FORMATS``."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from datetime import UTC, datetime
from string import Formatter
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from k2cli.errors import SettingsError, printable
from k2cli.text import printable_json
from k2cli.trade import KEYS, VENDOR_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from decimal import Decimal

    from k2cli.trade import TradeV2

CSV_COLUMNS = (*KEYS[:-1], *VENDOR_KEYS)
"""The record's keys in order, with ``vendor_data`` laid out flat at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatOptions:
    """What a line format may need to know.

    Attributes:
        colour: Whether escape sequences for colour are wanted.
        symbols: The symbols to come, as far as known; columns are laid out for them.
        price_decimals: Decimals of a symbol's tick size, by symbol.
        size_decimals: Decimals of a symbol's step size, by symbol.
        least_notional: The least notional of the trades to come, in the quote asset;
            0 for any.
        width: Cells of the reader's screen; ``None`` for no limit, as of a file.
    """

    colour: bool = False
    symbols: Collection[str] = ()
    price_decimals: Mapping[str, int] = field(default_factory=dict)
    size_decimals: Mapping[str, int] = field(default_factory=dict)
    least_notional: Decimal | float = 0.0
    width: int | None = None


class LineFormat(Protocol):
    """A way to write trades, one line each, in UTF-8."""

    def header(self) -> bytes:
        """Return what comes before the first trade; may be empty."""

    def line(self, trade: TradeV2) -> bytes:
        r"""Return one trade as one line with its ``\n``."""


# What a cell begins with that a spreadsheet runs.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


class JsonLines:
    """JSON lines: the record itself."""

    def __init__(self, options: FormatOptions) -> None:
        del options  # JSON is the same for every reader

    def header(self) -> bytes:
        """Return nothing: every line stands alone."""
        return b""

    def line(self, trade: TradeV2) -> bytes:
        r"""Return one trade as one line of JSON with its ``\n``."""
        return _json_line(trade)


def _json_line(trade: TradeV2) -> bytes:
    line = trade.to_json_line()
    # JSON lets DEL and the C1 controls stand as they are; a terminal acts on them.
    if line.isascii() and b"\x7f" not in line:
        return line
    return printable_json(line.decode()).encode()


class _Row:
    """A file for the csv writer, which returns each written row to the caller."""

    def write(self, row: str, /) -> str:
        return row


class CsvLines:
    r"""Comma-separated values: a header, ``\n`` line ends, empty for null.

    Conditions are joined by ``;``. What is not printable is escaped, and what a
    spreadsheet would run gets an apostrophe in front.
    """

    def __init__(self, options: FormatOptions) -> None:
        del options  # CSV is the same for every reader
        self._writer = csv.writer(_Row(), lineterminator="\n")

    def header(self) -> bytes:
        """Return the column names."""
        return self._row(CSV_COLUMNS)

    def line(self, trade: TradeV2) -> bytes:
        r"""Return one trade as one row of UTF-8 with its ``\n``."""
        record = trade.to_dict()
        vendor = record.pop("vendor_data")
        cells = (
            *map(_cell, record.values()),
            *[vendor.get(key, "") for key in VENDOR_KEYS],
        )
        return self._row(tuple(map(_harmless, cells)))

    def _row(self, cells: tuple[str, ...]) -> bytes:
        row: str = self._writer.writerow(cells)
        if not row[:-1].isprintable():
            row = self._writer.writerow([printable(c, len(c)) for c in cells])
        return row.encode()


def _cell(value: str | int | list[str] | None) -> str:
    if value is None:
        return ""
    return ";".join(value) if isinstance(value, list) else str(value)


def _harmless(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULAS) else cell


class TemplateLines:
    r"""A line as a template like ``{symbol} {price}`` has it.

    Between braces stand keys of the record or of ``vendor_data``, ``notional``,
    ``time`` (UTC, ISO 8601) or ``json``; ``{{`` is a brace, ``\t`` a tab. What is not
    printable in a value is escaped, so that a line stays one.

    Args:
        template: What a line is made of.

    Raises:
        SettingsError: If it has another name between braces, or a single brace.
    """

    def __init__(self, template: str) -> None:
        text = template.replace("\\t", "\t").replace("\\n", "\n")
        try:
            pieces = list(Formatter().parse(text))
        except ValueError:
            raise _wrong_template(template, "a brace that stands alone") from None
        self._pieces: list[tuple[str, str | None]] = []
        for literal, name, spec, conversion in pieces:
            if name is not None and (name not in TEMPLATE_NAMES or spec or conversion):
                raise _wrong_template(template, f"{{{name}}}")
            self._pieces.append((literal, name))

    def header(self) -> bytes:
        """Return nothing."""
        return b""

    def line(self, trade: TradeV2) -> bytes:
        r"""Return one trade as the template has it, with its ``\n``."""
        parts = []
        for literal, name in self._pieces:
            parts.append(literal)
            if name is not None:
                parts.append(_named(trade, name))
        return "".join(parts).encode() + b"\n"


TEMPLATE_NAMES = (*KEYS[:-1], *VENDOR_KEYS, "notional", "time", "json")
"""What a template may name."""


def _named(trade: TradeV2, name: str) -> str:
    """Return a value of a template, fit for a line."""
    if name == "json":
        return _json_line(trade)[:-1].decode()
    if name == "notional":
        whole, _, fraction = f"{trade.notional:f}".partition(".")
        return f"{whole}.{fraction.rstrip('0') or '0'}"
    if name == "time":
        moment = datetime.fromtimestamp(trade.timestamp / 1_000_000, UTC)
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if name in VENDOR_KEYS:
        value: str | int | list[str] | None = trade.vendor_data.get(name)
    else:
        value = getattr(trade, name)
    text = _cell(value)
    return printable(text, len(text))


def _wrong_template(template: str, what: str) -> SettingsError:
    return SettingsError(
        f"--format {printable(template, 80)!r} has {printable(what, 40)}",
        f"Between braces may stand {', '.join(TEMPLATE_NAMES)}; {{{{ is a brace",
    )


def _readable_lines(options: FormatOptions) -> LineFormat:
    # It measures text with rich, which a pipe of JSON need not wait for.
    from k2cli.display.lines import ReadableLines

    return ReadableLines(options)


FORMATS: Mapping[str, Callable[[FormatOptions], LineFormat]] = MappingProxyType(
    {"json": JsonLines, "csv": CsvLines, "lines": _readable_lines}
)
"""Every format by the name a user types."""


def line_format(name: str, options: FormatOptions | None = None) -> LineFormat:
    """Return the format of a name.

    Args:
        name: A key of ``FORMATS``, or a template, see ``TemplateLines``.
        options: What the reader wants; the defaults are for a pipe.

    Raises:
        SettingsError: If there is no such format.
    """
    if "{" in name:
        return TemplateLines(name)
    make = FORMATS.get(name)
    if make is None:
        raise SettingsError(
            f"There is no format {printable(name)!r}",
            f"Choose one of {', '.join(FORMATS)}",
        )
    return make(options or FormatOptions())
