"""Proving what a log holds, as a capture is proven."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from k2cli.capture.report import (
    FileFigures,
    Kind,
    Place,
    Problem,
    Report,
    SymbolAccount,
)
from k2cli.capture.verifier import MOST_PROBLEMS
from k2cli.completeness.sequence import Verdict
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from k2cli.publish.destination import Target

    Read = Callable[
        [Target, Callable[[int, int], None]], Iterable[tuple[int, int, bytes]]
    ]


def prove(
    target: Target,
    read: Read,
    decode: Callable[[bytes], dict[str, Any]] | None = None,
) -> Report:
    """Follow the trade ids of every symbol through a log.

    Every partition is reported as a file, every offset as a line. Numbers of captures
    are not looked at: several may meet in one log.

    Args:
        target: The log.
        read: Returns partition, offset and value of its messages, in their order by
            partition; it calls its second argument with a partition whose beginning is
            gone, and how many offsets that are.
        decode: Reads what is not JSON.
    """
    report = Report(is_log=True)
    places: dict[int, int] = {}

    def place(partition: int) -> int:
        if (file := places.get(partition)) is None:
            file = places[partition] = len(report.files)
            name = f"{target}[{partition}]" if target.scheme == "kafka" else str(target)
            report.files.append(FileFigures(name))
        return file

    def note_deleted(partition: int, offsets: int) -> None:
        report.files[place(partition)].deleted = offsets

    for partition, offset, value in read(target, note_deleted):
        file = place(partition)
        report.files[file].lines += 1
        report.files[file].size_bytes += len(value or b"")
        _observe(report, Place(file, offset), value, decode)
    return report


def _observe(
    report: Report,
    place: Place,
    value: bytes,
    decode: Callable[[bytes], dict[str, Any]] | None,
) -> None:
    try:
        trade = (
            orjson.loads(value)
            if decode is None or value.startswith(b"{")
            else decode(value)
        )
        symbol, trade_id, time_us = (
            trade["symbol"],
            trade["source_sequence"],
            trade["timestamp"],
        )
        exchange, vendor_data = trade["exchange"], trade["vendor_data"] or {}
        is_right = type(symbol) is str and type(trade_id) is int
    except (ValueError, KeyError, TypeError, AttributeError, EOFError):
        is_right = False
    if not is_right:
        _problem(report, Kind.SCHEMA, place, f"no trade: {printable(value or b'', 40)}")
        return
    report.exchange = report.exchange or exchange
    if exchange != report.exchange:
        shown = printable(str(exchange), 40)
        text = f"exchange is {shown}, where the log began with {report.exchange}"
        _problem(report, Kind.SCHEMA, place, text)
        return
    is_repaired = vendor_data.get("source") == "backfill"
    if isinstance(time_us, datetime):
        time_us = int(time_us.timestamp() * 1e6)
    time_us = time_us if type(time_us) is int else 0
    account = report.symbols.get(symbol)
    if account is None:
        report.symbols[symbol] = account = SymbolAccount(trade_id, time_us)
        account.repaired += is_repaired
        return
    highest = account.last_id
    verdict = account.observe(trade_id, time_us, place)
    shown = printable(symbol, 40)
    if verdict is Verdict.DUPLICATE:
        _problem(report, Kind.DUPLICATE, place, f"{shown} {trade_id} once more")
        return
    account.repaired += is_repaired
    if verdict is Verdict.LATE:
        text = f"{shown} {trade_id} behind {highest}"
        _problem(report, Kind.DISORDER, place, text)


def _problem(report: Report, kind: Kind, place: Place, text: str) -> None:
    report.counts[kind] += 1
    if len(report.problems[kind]) < MOST_PROBLEMS:
        report.problems[kind].append(Problem(kind, place, text))
