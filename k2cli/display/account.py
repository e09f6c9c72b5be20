"""The account of a run, for people: worth reading, and worth pasting into a report."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text

from k2cli.display.digits import duration_text, size_text
from k2cli.display.symbol_table import ALARM, symbol_table
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Ranges of missing ids that are named per symbol; the count is always of all.
_MOST_RANGES = 20
_ALWAYS = (
    "trades",
    "first_id",
    "last_id",
    "gaps",
    "repaired",
    "missing",
    "duplicates",
)


def account_lines(account: Mapping[str, Any], *, most: int | None = None) -> list[Text]:
    """Draw an account: its symbols, what is missing, when and where to, the verdict.

    Args:
        account: As ``--summary`` writes it.
        most: Symbols to show: of more, those with trouble and the busiest, and as many
            that lack trades. ``None`` for all.
    """
    symbols = list(account["symbols"].items())
    return [
        *symbol_table(symbols, always=_ALWAYS, most=most),
        *_missing(symbols, most),
        *_restarted(symbols),
        *_facts(account),
        verdict_line(account),
    ]


def verdict_line(account: Mapping[str, Any]) -> Text:
    """Give a run's result in one line.

    Args:
        account: As ``--summary`` writes it.
    """
    text = counted(account["trades"], "trade")
    if account["repaired"]:
        text += f", {account['repaired']:,} of them repaired"
    if account["verdict"] == "unwritten":
        return Text(f"not all written: {text} received", ALARM)
    if account["verdict"] == "damaged":
        return Text(f"the recording's end is damaged: {text} before it", ALARM)
    if account["missing"]:
        return Text(f"incomplete: {text}, {account['missing']:,} missing", ALARM)
    return Text(f"complete: {text}, nothing missing", "bold green")


def counted(count: int, noun: str) -> str:
    """Give a number of things, e.g. ``"1 trade"`` or ``"2,000 trades"``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _missing(
    symbols: Sequence[tuple[str, Mapping[str, Any]]], most: int | None
) -> Iterator[Text]:
    lacking = [(name, figures) for name, figures in symbols if figures["missing"]]
    for name, figures in lacking[:most]:
        ranges = [
            str(first) if first == last else f"{first}-{last}"
            for first, last in figures["missing_ranges"]
        ]
        named = ", ".join(ranges[:_MOST_RANGES])
        if len(ranges) > _MOST_RANGES:
            named += f", and {len(ranges) - _MOST_RANGES:,} more ranges"
        if figures["missing_unnamed"]:
            named += f", and {counted(figures['missing_unnamed'], 'trade')} before them"
        yield Text.assemble((f"{printable(name, 40)} lacks ", ALARM), named)
    if most is not None and len(lacking) > most:
        left = len(lacking) - most
        yield Text(f"and {left:,} more that lack trades; --summary FILE names them")


def _restarted(symbols: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[Text]:
    for name, figures in symbols:
        if figures["resets"]:
            times = counted(figures["resets"], "time")
            yield Text(f"{printable(name, 40)} began to count anew: {times}")


def _facts(account: Mapping[str, Any]) -> Iterator[Text]:
    """Say where the trades went, from when they are, and how long it took."""
    if "file" in account:
        text = (
            f"{printable(account['file'])}: "
            f"{counted(account['trades_written'], 'trade')} written, "
            f"{account['platform_sequence']:,} in all, "
            f"{size_text(account['size_bytes'])}"
        )
        if account["files"] > 1:
            text += f" in {account['files']:,} files"
        yield Text(text)
    text = f"received in {duration_text(account['uptime_seconds'])}"
    if account["reconnects"]:
        text += f", {counted(account['reconnects'], 'reconnect')}"
    first_us, last_us = account["first_trade_us"], account["last_trade_us"]
    if first_us is not None and last_us is not None:
        text = f"{period_text(first_us, last_us)}, {text}"
    yield Text(text)


def period_text(first_us: int, last_us: int) -> str:
    """Give a span of time, UTC, its date once if it is within a day.

    Args:
        first_us: Its beginning, Unix microseconds.
        last_us: Its end, likewise.
    """
    try:
        first, last = map(_moment, (first_us, last_us))
    except (ValueError, OverflowError):  # the wire may say anything
        return f"{first_us} to {last_us} µs"
    day = f"{last:%Y-%m-%d} " if last.date() != first.date() else ""
    start = first.isoformat(" ", "milliseconds")
    return f"{start} to {day}{last.time().isoformat('milliseconds')} UTC"


def _moment(timestamp_us: int) -> datetime:
    seconds, micros = divmod(timestamp_us, 1_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return moment.replace(microsecond=micros)
