"""What a capture lacks for good, kept beside it, so that no later run forgets it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import orjson

from k2cli.completeness.id_ranges import IdRange
from k2cli.errors import OutputError, printable
from k2cli.files import open_regular, read_bounded, replace_file
from k2cli.text import is_name
from k2cli.trade import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# Some 600,000 ranges.
_MOST_BYTES = 64 * 2**20


class MissingRanges:
    """The ids that were given up, a JSON line for each range.

    Args:
        capture: The capture; the ranges are in a hidden file beside it, which
            ``trades*`` on a command line does not match.

    Attributes:
        path: Where it is.
    """

    def __init__(self, capture: Path) -> None:
        self.path = capture.with_name(f".{capture.name}.missing")

    def read(self) -> dict[str, list[IdRange]]:
        """Return what was given up so far, by symbol; a line cut short is skipped.

        Raises:
            OutputError: If it cannot be read, or was not written by k2.
        """
        found: dict[str, list[IdRange]] = {}
        try:
            lines = read_bounded(self.path, _MOST_BYTES, own=True).split(b"\n")
        except FileNotFoundError:
            return found
        except OSError as exc:
            raise self._error(exc, "read") from exc
        for line in lines:
            if (lost := self._lost(line)) is not None:
                symbol, ids = lost
                found.setdefault(symbol, []).append(ids)
        return found

    def drop_beyond(self, last_ids: Mapping[str, int]) -> None:
        """Forget what lies beyond the end of the capture: it will be noticed again.

        Args:
            last_ids: Id of the last trade in the capture, by symbol. Others are kept.

        Raises:
            OutputError: If the file cannot be written.
        """
        found = self.read()
        kept = {
            symbol: [ids for ids in lost if ids.last_id <= last_ids.get(symbol, MAX_ID)]
            for symbol, lost in found.items()
        }
        if kept == found:
            return
        try:
            replace_file(self.path, b"".join(self.lines(kept)), private=False)
        except OSError as exc:
            raise self._error(exc, "written") from exc

    def lines(self, lost: Mapping[str, Iterable[IdRange]]) -> list[bytes]:
        """Return what the file is to hold for these ids."""
        return [
            orjson.dumps({"symbol": symbol, **ids._asdict()}) + b"\n"
            for symbol, ranges in sorted(lost.items())
            for ids in sorted(ranges)
        ]

    def add(self, symbol: str, ids: IdRange) -> None:
        """Note lost ids, before anything behind them is written.

        Raises:
            OutputError: If it cannot be noted.
        """
        lost = {"symbol": symbol, **ids._asdict()}
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            fd = open_regular(self.path, flags, own=True, mode=0o666)
            with os.fdopen(fd, "ab") as file:
                # After a line that a crash cut short, too, this is one of its own.
                file.write(b"\n" * bool(file.tell()) + orjson.dumps(lost) + b"\n")
        except OSError as exc:
            raise self._error(exc, "written") from exc

    def forget(self) -> None:
        """Remove the file: the capture begins anew."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as exc:
            raise self._error(exc, "removed") from exc

    def _lost(self, line: bytes) -> tuple[str, IdRange] | None:
        try:
            lost = orjson.loads(line)
        except ValueError:
            return None  # a crash has cut it short
        try:
            symbol, first, last = lost["symbol"], lost["first_id"], lost["last_id"]
            is_sound = is_name(symbol) and all(
                type(each) is int for each in (first, last)
            )
            if is_sound and 0 <= first <= last <= MAX_ID:
                return symbol, IdRange(first, last)
        except (KeyError, TypeError, AttributeError):
            pass
        raise OutputError(
            f"{printable(str(self.path))} holds what k2 does not write: "
            f"{printable(line, 80)}",
            "It names the trades that the capture lacks: correct it, or move it away",
        )

    def _error(self, exc: OSError, done: str) -> OutputError:
        return OutputError(
            f"{printable(str(self.path))} cannot be {done}: "
            f"{printable(exc.strerror or str(exc))}",
            "It names the trades that the capture lacks: see to it first",
        )
