"""What a capture lacks for good, kept beside it, so that no later run forgets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from k2cli.errors import OutputError, printable

if TYPE_CHECKING:
    from pathlib import Path

    from k2cli.capture.sequence import IdRange


class Losses:
    """The ids that were given up, a JSON line for each range.

    Args:
        capture: The capture; its losses are in a hidden file beside it, which
            ``trades*`` on a command line does not match.
    """

    def __init__(self, capture: Path) -> None:
        self._path = capture.with_name(f".{capture.name}.missing")

    def read(self) -> dict[str, list[IdRange]]:
        """Give what was given up so far, by symbol; a line cut short is passed over."""
        found: dict[str, list[IdRange]] = {}
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return found
        except OSError as exc:
            raise self._error(exc, "read") from exc
        for line in lines:
            try:
                loss = orjson.loads(line)
                ids = (int(loss["first_id"]), int(loss["last_id"]))
                found.setdefault(str(loss["symbol"]), []).append(ids)
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def add(self, symbol: str, ids: IdRange) -> None:
        """Note a loss, before anything behind it is written.

        Raises:
            OutputError: If it cannot be noted.
        """
        loss = {"symbol": symbol, "first_id": ids[0], "last_id": ids[1]}
        try:
            with self._path.open("ab") as file:
                # After a line that a crash cut short, too, this is one of its own.
                file.write(b"\n" * bool(file.tell()) + orjson.dumps(loss) + b"\n")
        except OSError as exc:
            raise self._error(exc, "written") from exc

    def forget(self) -> None:
        """Take the file away: the capture begins anew."""
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
