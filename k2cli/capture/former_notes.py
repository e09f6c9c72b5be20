"""What an earlier version of k2 has noted as given up, to be taken over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from k2cli.completeness.id_ranges import IdRange
from k2cli.errors import OutputError, printable
from k2cli.files import read_bounded
from k2cli.text import is_name
from k2cli.trade import MAX_ID

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES = 64 * 2**20


def read_former_notes(path: Path) -> dict[str, list[IdRange]]:
    """Read the ids that an earlier version of k2 has noted as given up, by symbol.

    It kept them in ``.trades.jsonl.missing``, a JSON line for each range.

    Raises:
        OutputError: If that cannot be read, or was not written by k2.
    """
    notes = former_notes_path(path)
    shown = printable(str(notes))
    found: dict[str, list[IdRange]] = {}
    try:
        lines = read_bounded(notes, _MOST_BYTES, own=True).split(b"\n")
    except FileNotFoundError:
        return found
    except OSError as exc:
        raise OutputError(
            f"{shown} cannot be read: {printable(exc.strerror or str(exc))}",
            "It names the trades that the capture lacks: see to it first",
        ) from exc
    for line in lines:
        try:
            lost = orjson.loads(line)
        except ValueError:
            continue  # a crash has cut it short
        try:
            symbol, ids = lost["symbol"], IdRange(lost["first_id"], lost["last_id"])
            is_sound = is_name(symbol) and all(type(each) is int for each in ids)
        except (KeyError, TypeError, AttributeError):
            is_sound = False
        if not is_sound or not 0 <= ids.first_id <= ids.last_id <= MAX_ID:
            raise OutputError(
                f"{shown} holds what k2 does not write: {printable(line, 80)}",
                "It names the trades that the capture lacks: correct it, or move it "
                "away",
            )
        found.setdefault(symbol, []).append(ids)
    return found


def former_notes_path(path: Path) -> Path:
    """Return where an earlier version of k2 has noted what was given up."""
    return path.with_name(f".{path.name}.missing")
