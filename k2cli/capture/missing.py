"""What a capture lacks for good, kept beside it, so that no later run forgets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from k2cli.completeness.id_ranges import IdRange
from k2cli.errors import OutputError, printable
from k2cli.trade import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class MissingRanges:
    """The ids that were given up, a JSON line for each range.

    Args:
        capture: The capture; the ranges are in a hidden file beside it, which
            ``trades*`` on a command line does not match.
    """

    def __init__(self, capture: Path) -> None:
        self._path = capture.with_name(f".{capture.name}.missing")

    def read(self) -> dict[str, list[IdRange]]:
        """Return what was given up so far, by symbol; a line cut short is skipped."""
        found: dict[str, list[IdRange]] = {}
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return found
        except OSError as exc:
            raise self._error(exc, "read") from exc
        for line in lines:
            try:
                lost = orjson.loads(line)
                ids = IdRange(int(lost["first_id"]), int(lost["last_id"]))
                found.setdefault(str(lost["symbol"]), []).append(ids)
            except (ValueError, KeyError, TypeError):
                continue
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
        lines = [
            orjson.dumps({"symbol": symbol, **ids._asdict()}) + b"\n"
            for symbol, lost in kept.items()
            for ids in lost
        ]
        aside = self._path.with_name(f"{self._path.name}.new")
        try:
            aside.write_bytes(b"".join(lines))
            aside.replace(self._path)
        except OSError as exc:
            raise self._error(exc, "written") from exc

    def add(self, symbol: str, ids: IdRange) -> None:
        """Note lost ids, before anything behind them is written.

        Raises:
            OutputError: If it cannot be noted.
        """
        lost = {"symbol": symbol, **ids._asdict()}
        try:
            with self._path.open("ab") as file:
                # After a line that a crash cut short, too, this is one of its own.
                file.write(b"\n" * bool(file.tell()) + orjson.dumps(lost) + b"\n")
        except OSError as exc:
            raise self._error(exc, "written") from exc

    def forget(self) -> None:
        """Remove the file: the capture begins anew."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as exc:
            raise self._error(exc, "removed") from exc

    def _error(self, exc: OSError, done: str) -> OutputError:
        return OutputError(
            f"{printable(str(self._path))} cannot be {done}: "
            f"{printable(exc.strerror or str(exc))}",
            "It names the trades that the capture lacks: see to it first",
        )
