"""Reports in text: the summary of a run, the result of ``k2 verify``, the catalog."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.text import Text

from k2cli.display.numbers import (
    counted,
    duration_text,
    significant_decimals,
    size_text,
)
from k2cli.display.text import ERROR_STYLE, WARNING_BADGE, padded
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    Symbols = Sequence[tuple[str, Mapping[str, Any]]]

MOST_NAMED = 20
"""Problems of a kind that ``k2 verify`` names unless all are asked for."""

# Ranges of missing ids that a summary names per symbol; the count is always of all.
_MOST_RANGES = 20

# Key of a symbol's figures, and heading.
_SYMBOL_COLUMNS = {
    "trades": "trades",
    "rate": "trades/s",
    "first_id": "first id",
    "last_id": "last id",
    "gaps": "gaps",
    "repaired": "repaired",
    "missing": "missing",
    "pending": "pending",
    "duplicates": "duplicates",
    "disorders": "disorders",
    "resets": "resets",
    "strays": "strays",
}
_IDS = {"first_id", "last_id"}
# Columns that are shown even if all of their figures are 0.
_VERIFY_COLUMNS = ("trades", "first_id", "last_id", "gaps", "missing")
_SUMMARY_COLUMNS = (*_VERIFY_COLUMNS, "repaired", "duplicates")
_VERIFY_ALARMING = ("missing", "duplicates", "disorders")

# Names of one problem and of several, in the order in which they are reported.
_PROBLEMS = {
    "missing": ("missing", "missing"),
    "duplicate": ("duplicate", "duplicates"),
    "disorder": ("out of order", "out of order"),
    "time": ("time out of order", "times out of order"),
    "reset": ("reset not confirmed", "resets not confirmed"),
    "schema": ("schema violation", "schema violations"),
    "numbering": ("break in the numbering", "breaks in the numbering"),
    "files": ("not the files of the manifest", "not the files of the manifest"),
    "changed": ("changed since it was written", "changed since they were written"),
    "pending": ("pending trade", "pending trades"),
    "torn": ("torn tail", "torn tails"),
    "damaged": ("damaged file", "damaged files"),
}

_CATALOG_COLUMNS = {
    "symbol": "symbol",
    "base_asset": "base",
    "quote_asset": "quote",
    "status": "status",
    "tick_size": "tick size",
    "step_size": "step size",
}
_SIZES = ("tick_size", "step_size")
_TRADING = "TRADING"


def symbol_table(
    symbols: Symbols,
    *,
    always: Collection[str],
    alarming: Collection[str] = ("missing",),
    most: int | None = None,
) -> list[Text]:
    """Draw a table with a line per symbol, and their total.

    Args:
        symbols: Each symbol and its figures, by the keys of ``--summary`` and
            ``k2 verify --json``.
        always: Keys of columns that are shown even if all of their figures are 0.
        alarming: Keys of figures that should be 0.
        most: Symbols to show: of more, those with problems and the busiest. ``None``
            for all.
    """
    keys = [
        key
        for key in _SYMBOL_COLUMNS
        if key in always or any(figures.get(key) for _, figures in symbols)
    ]

    def importance(symbol: tuple[str, Mapping[str, Any]]) -> tuple[int, ...]:
        figures = symbol[1]
        wrong = sum(figures.get(key, 0) for key in alarming)
        return wrong, figures["gaps"], figures["trades"]

    def is_wrong(figures: Mapping[str, Any]) -> bool:
        return any(figures.get(key) for key in alarming)

    shown = list(symbols)
    if most is not None and len(symbols) > most:
        shown = sorted(symbols, key=importance, reverse=True)[:most]
    rows = [["symbol", *(_SYMBOL_COLUMNS[key] for key in keys)]]
    for symbol, figures in shown:
        cells = [_figure(key, figures[key]) for key in keys]
        rows.append([printable(symbol, 40), *cells])
    if len(symbols) > 1:
        totals = [
            "" if key in _IDS else f"{sum(figures[key] for _, figures in symbols):,}"
            for key in keys
        ]
        rows.append(["total", *totals])
    lines = _aligned(rows)
    lines[0].stylize("dim")
    for line, row, (_, figures) in zip(lines[1:], rows[1:], shown, strict=False):
        line.stylize("bold", 0, len(row[0]))
        if is_wrong(figures):
            line.stylize(ERROR_STYLE)
    if len(symbols) > 1:
        lines[-1].stylize("dim")
    left = len(symbols) - len(shown)
    if left:
        wrong = sum(is_wrong(figures) for _, figures in symbols)
        wrong -= sum(is_wrong(figures) for _, figures in shown)
        how = f"{wrong:,} of them not" if wrong else "all complete"
        note = Text(f"and {left:,} more, {how}", ERROR_STYLE if wrong else "dim")
        lines.insert(len(shown) + 1, note)
    return lines


def _figure(key: str, value: int | None) -> str:
    if value is None:
        return "-"
    return str(value) if key in _IDS else f"{value:,}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[Text]:
    names, *columns = zip(*rows, strict=True)
    name_cells = max(map(cell_len, names))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for name, *row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append(Text("  ".join([padded(name, name_cells), *cells])))
    return lines


def account_lines(account: Mapping[str, Any], *, most: int | None = None) -> list[Text]:
    """Draw a run's summary: symbols, missing trades, file and time, result.

    Args:
        account: As ``--summary`` writes it.
        most: Symbols to show: of more, those with problems and the busiest, and as
            many with missing trades. ``None`` for all.
    """
    symbols = list(account["symbols"].items())
    return [
        *symbol_table(symbols, always=_SUMMARY_COLUMNS, most=most),
        *_missing_ids(symbols, most),
        *_restarted_ids(symbols),
        *_first_with(account["connections"]),
        *_file_and_time(account),
        _result(account),
    ]


def _missing_ids(symbols: Symbols, most: int | None) -> Iterator[Text]:
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
        yield Text.assemble((f"{printable(name, 40)} lacks ", ERROR_STYLE), named)
    if most is not None and len(lacking) > most:
        left = len(lacking) - most
        yield Text(f"and {left:,} more that lack trades; --summary FILE names them")


def _restarted_ids(symbols: Symbols) -> Iterator[Text]:
    for name, figures in symbols:
        if figures["resets"]:
            times = counted(figures["resets"], "time")
            yield Text(f"{printable(name, 40)} restarted its trade ids: {times}")


def _first_with(connections: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    if connections:
        firsts = [
            f"{one['connection']} ({printable(one['host'], 60)}) {one['first_with']:,}"
            for one in connections
        ]
        yield Text(f"first with a trade: connection {', '.join(firsts)}")


def _file_and_time(account: Mapping[str, Any]) -> Iterator[Text]:
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


def _result(account: Mapping[str, Any]) -> Text:
    text = counted(account["trades"], "trade")
    if account["repaired"]:
        text += f", {account['repaired']:,} of them repaired"
    if account["verdict"] == "unwritten":
        unwritten = account.get("trades_unwritten", 0)
        lost = f", {unwritten:,} of them not written" if unwritten else ""
        return Text(f"not all written: {text} received{lost}", ERROR_STYLE)
    if account["verdict"] == "damaged":
        return Text(f"the recording's end is damaged: {text} before it", ERROR_STYLE)
    if account["verdict"] == "pending":
        behind = f" behind {account['missing']:,} missing" if account["missing"] else ""
        pending = counted(account["pending"], "trade")
        return Text(
            f"pending: {text}, {pending} waiting{behind}; the next run goes on from "
            "there",
            ERROR_STYLE,
        )
    if account["missing"]:
        return Text(f"incomplete: {text}, {account['missing']:,} missing", ERROR_STYLE)
    return Text(f"complete: {text}, nothing missing", "bold green")


def period_text(first_us: int, last_us: int) -> str:
    """Write a period, UTC, its date once if it is within a day."""
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


def verdict_lines(
    report: Mapping[str, Any], *, everything: bool = False, most: int | None = None
) -> list[Text]:
    """Draw what ``k2 verify`` found: symbols, problems, result.

    Args:
        report: As ``k2 verify --json`` prints it.
        everything: Whether to name every problem, not just the first ones of a kind.
        most: Symbols to show: of more, those with problems and the busiest. ``None``
            for all.
    """
    symbols = [(one["symbol"], one) for one in report["symbols"]]
    lines: list[Text] = []
    if symbols:
        lines += symbol_table(
            symbols, always=_VERIFY_COLUMNS, alarming=_VERIFY_ALARMING, most=most
        )
    for kind, (name, several) in _PROBLEMS.items():
        if kind == "missing":
            found = [
                {**ids, "text": _missing_text(symbol, ids["first_id"], ids["last_id"])}
                for symbol, figures in symbols
                for ids in figures["missing_ranges"]
            ]
            unnamed = sum(figures["unnamed_ranges"] for _, figures in symbols)
            total, several = len(found) + unnamed, "missing ranges"
        else:
            found = [one for one in report["problems"] if one["kind"] == kind]
            total = report["counts"][kind]
        if kind == "pending":
            # One of them stands for all of a symbol's.
            total = len(found)
        shown = found if everything else found[:MOST_NAMED]
        lines += [
            Text.assemble(
                (f"{printable(one['file'])}:{one['line']}: ", "bold"),
                (f"{name}: ", ERROR_STYLE),
                one["text"],
            )
            for one in shown
        ]
        if total > len(shown):
            hint = "; --all names them" if len(found) > len(shown) else ""
            left = total - len(shown)
            lines.append(Text(f"and {left:,} more: {several}{hint}", "dim"))
    lines += [
        Text(
            f"{printable(one['file'])}: the log has deleted its beginning, "
            f"{one['deleted']:,} offsets; this proves what is left",
            "yellow",
        )
        for one in report["files"]
        if one.get("deleted")
    ]
    if (note := _manifest_note(report)) is not None:
        lines.append(note)
    lines.append(_verdict(report))
    return lines


def _manifest_note(report: Mapping[str, Any]) -> Text | None:
    """Say that without a manifest less is known."""
    if report["kind"] != "capture" or report["verdict"] == "empty":
        return None
    if report["stated_sequence"] is not None:
        return None
    refused = report["manifest_refused"]
    why = printable(refused) if refused else "there is no manifest"
    return Text(
        f"{why}: a changed digit, or a missing first or last line, cannot be noticed",
        "dim",
    )


def repair_plan_lines(plan: Mapping[str, Any]) -> list[Text]:
    """Draw what a repair is going to do.

    Args:
        plan: ``ranges`` (each with ``symbol``, ``first_id`` and ``last_id``),
            ``archives`` (each with ``symbol`` and ``date``), ``trades``, ``requests``,
            ``minutes``, and ``pending``: how many symbols have pending trades.
    """
    ranges, archives = plan["ranges"], plan["archives"]
    lines = [
        Text(
            f"{printable(one['symbol'], 40)} {one['first_id']}-{one['last_id']}, "
            f"{counted(one['last_id'] - one['first_id'] + 1, 'trade')}"
        )
        for one in ranges[:MOST_NAMED]
    ]
    if len(ranges) > MOST_NAMED:
        lines.append(Text(f"and {len(ranges) - MOST_NAMED:,} more ranges", "dim"))
    lines += [
        Text(f"archive: {printable(one['symbol'], 40)} of {one['date']}")
        for one in archives[:MOST_NAMED]
    ]
    if len(archives) > MOST_NAMED:
        lines.append(Text(f"and {len(archives) - MOST_NAMED:,} more archives", "dim"))
    parts = []
    if ranges:
        parts.append(
            f"{counted(plan['trades'], 'trade')} to fetch, in "
            f"{counted(len(ranges), 'range')}"
        )
        parts.append(f"{counted(plan['requests'], 'request')} to the history")
        if archives:
            parts.append(counted(len(archives), "archive"))
        parts.append(f"about {counted(plan['minutes'], 'minute')}")
    else:
        parts.append("nothing to fetch")
    if plan["pending"]:
        parts.append(f"pending trades of {counted(plan['pending'], 'symbol')} to merge")
    lines.append(Text("plan: " + "; ".join(parts), "bold"))
    return lines


def repair_lines(outcome: Mapping[str, Any]) -> list[Text]:
    """Draw what a repair has done.

    Args:
        outcome: ``filled``, ``merged``, ``files`` and ``renumbered_from``.
    """
    done = [f"{counted(outcome['filled'], 'trade')} filled in"]
    if outcome["merged"]:
        done.append(f"{counted(outcome['merged'], 'pending trade')} merged")
    if outcome["files"]:
        done.append(f"{counted(outcome['files'], 'file')} written anew")
    if outcome["renumbered_from"]:
        done.append(
            f"platform_sequence is numbered anew from {outcome['renumbered_from']:,} on"
        )
    return [Text("repair: " + "; ".join(done), "bold")]


def _missing_text(symbol: str, first_id: int, last_id: int) -> str:
    shown = printable(symbol, 40)
    if first_id == last_id:
        return f"{shown} {first_id} before this trade"
    count = last_id - first_id + 1
    return f"{shown} {first_id}-{last_id}, {count:,} trades, before this one"


def _verdict(report: Mapping[str, Any]) -> Text:
    if report["verdict"] == "empty":
        return Text("empty: no records, which proves nothing", WARNING_BADGE)
    symbols = counted(len(report["symbols"]), "symbol")
    trades = f"{counted(report['trades'], 'trade')} of {symbols}"
    if len(report["files"]) > 1:
        trades += f" in {len(report['files']):,} files"
    if report["left_out"]:
        trades += f", {report['left_out']:,} left out by a filter"
    if report["verdict"] == "whole":
        if report["resets"]:
            return Text(
                f"{trades} in separate sequences: ids began anew "
                f"{counted(report['resets'], 'time')}; nothing missing in any",
                WARNING_BADGE,
            )
        order = ", all in order"
        if report["kind"] == "stream":
            trades, order = f"a stream of {trades}", ""
        text = f"whole: {trades}, nothing missing, nothing twice{order}"
        return Text(text, "bold green")
    counts = {"missing": report["missing"], **report["counts"]}
    found = [
        f"{count:,} {_PROBLEMS[kind][count != 1]}"
        for kind, count in counts.items()
        if count
    ]
    return Text(f"not whole: {trades}, {', '.join(found)}", ERROR_STYLE)


def catalog_lines(entries: Sequence[Mapping[str, str]]) -> list[Text]:
    """Draw a table of catalog entries, and their number.

    Args:
        entries: Texts by the keys of ``k2 symbols --json``.
    """
    columns = []
    for key, title in _CATALOG_COLUMNS.items():
        cells = [printable(entry[key], 40) for entry in entries]
        if key in _SIZES:
            cells = _aligned_on_points(cells)
        cells = [title, *cells]
        width = max(map(cell_len, cells))
        columns.append([padded(cell, width) for cell in cells])
    lines = [Text("  ".join(row)) for row in zip(*columns, strict=True)]
    heading, *rows = lines
    heading.stylize("dim")
    for row, entry in zip(rows, entries, strict=True):
        row.stylize("bold", 0, len(columns[0][0]))
        if entry["status"] == _TRADING:
            row.highlight_words([f" {_TRADING} "], "green")
    return [*lines, Text(counted(len(entries), "symbol"), "dim")]


def _aligned_on_points(sizes: Sequence[str]) -> list[str]:
    """Cut padding zeros, and put the points into one column."""
    kept = [significant_decimals(size) for size in sizes]
    wholes = [size.partition(".")[0] for size in sizes]
    room = max(map(len, wholes), default=0)
    width = room + 1 + max(kept, default=0)
    return [
        (
            whole.rjust(room) + size[len(whole) :][: decimals + 1 if decimals else 0]
        ).ljust(width)
        for size, whole, decimals in zip(sizes, wholes, kept, strict=True)
    ]
