"""Records in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2cli.cli.stdout import RecordWriter
from k2cli.display.formats import JsonLines
from k2cli.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from k2cli.binance.burst import Burst
    from k2cli.cli.tail import Tail
    from k2cli.display.formats import LineFormat
    from k2cli.trade import TradeV2


class PipeOutput:
    """Every trade as a line on stdout, out at once.

    Args:
        make_format: Makes the line format once the symbols are known.
        numbered: Whether to number the records, as a capture has them.
    """

    def __init__(
        self, make_format: Callable[[Tail], LineFormat], *, numbered: bool = False
    ) -> None:
        self._make_format = make_format
        self._numbered = numbered
        self._number = 0
        self._tail: Tail | None = None
        self._writer: RecordWriter | None = None
        self._format: LineFormat | None = None
        self._header = b""

    def start(self, tail: Tail) -> None:
        """Make ready to write."""
        self._format = self._make_format(tail)
        self._header = self._format.header()
        self._tail = tail
        self._writer = RecordWriter(tail.reader_left)

    def write(self, trade: TradeV2) -> Awaitable[None] | None:
        """Write a line."""
        if self._format is None or self._writer is None:
            return None
        if self._numbered:
            self._number += 1
            return self._writer.write(trade.to_json_line(self._number))
        return self._writer.write(self._line(trade))

    def write_burst(
        self, burst: Burst, start: int, stop: int
    ) -> Awaitable[None] | None:
        """Write some of the trades of a burst, a line each."""
        if self._format is None or self._writer is None:
            return None
        if self._numbered:
            number = self._number + 1
            self._number += stop - start
            lines = burst.lines(start, stop, number)
        elif isinstance(self._format, JsonLines):
            lines = burst.lines(start, stop, None)
        else:
            return self._writer.write(
                b"".join(self._line(burst.trade(i)) for i in range(start, stop))
            )
        return self._writer.write("".join(lines).encode())

    def waits_seconds(self) -> float:
        """Tell how long the reader of stdout has not read what waits for it."""
        return self._writer.waits_seconds() if self._writer is not None else 0.0

    def finish(self) -> None:
        """Stop waiting for a reader that does not read."""
        if self._writer is not None:
            self._writer.abandon()

    def close(self) -> None:
        """Let go of stdout; say so if its reader has not read all."""
        self.finish()
        if self._writer is not None and self._tail is not None:
            records = self._writer.left_out
            if records:
                self._tail.stop.fail(
                    OutputError(
                        f"stdout was not read: {records:,} of its records are left out",
                        "Let its reader read to the end, or record to a file",
                    )
                )

    def _line(self, trade: TradeV2) -> bytes:
        assert self._format is not None, "written before the start"  # noqa: S101 - for the type checker
        line = self._header + self._format.line(trade)
        self._header = b""
        return line
