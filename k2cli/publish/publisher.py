"""From the outbox to its destination, whatever happens to the destination."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from k2cli.errors import LogUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k2cli.publish.destination import Capture, Destination, Record
    from k2cli.publish.outbox import Outbox

_Result = TypeVar("_Result")

_IDLE_SECONDS = 0.2
_FIRST_DELAY_SECONDS = 0.5
_MOST_DELAY_SECONDS = 15.0


@dataclass(slots=True)
class SymbolLedger:
    """What was handed on of one symbol.

    Attributes:
        last_id: The last acknowledged trade's id.
        trades: Trades handed on that were not there before.
        missing: Ids that the capture lacks between them.
    """

    last_id: int
    trades: int = 0
    missing: int = 0


@dataclass(slots=True)
class Ledger:
    """What was handed on.

    Attributes:
        symbols: Account by symbol.
        trades: Trades handed on that were not there before.
        number: ``platform_sequence`` of the last one acknowledged.
        last_ingestion_us: When that was received, Unix microseconds UTC.
        retries: How often the log had to be tried again.
    """

    symbols: dict[str, SymbolLedger] = field(default_factory=dict)
    trades: int = 0
    number: int = 0
    last_ingestion_us: int = 0
    retries: int = 0

    @property
    def missing(self) -> int:
        """Ids that the capture lacks between its trades, of all symbols."""
        return sum(account.missing for account in self.symbols.values())

    def add(self, records: Sequence[Record], new: Sequence[Record]) -> None:
        """Count acknowledged records, of which some may have been there before."""
        self.trades += len(new)
        self.number = records[-1].number
        self.last_ingestion_us = records[-1].ingestion_us
        for record in records:
            trade_id = record.trade_id
            account = self.symbols.get(record.symbol)
            if account is None:
                account = SymbolLedger(trade_id - 1)
                self.symbols[record.symbol] = account
            if trade_id > account.last_id:
                account.missing += trade_id - account.last_id - 1
                account.last_id = trade_id
        for symbol, count in Counter(record.symbol for record in new).items():
            self.symbols[symbol].trades += count


class Publisher:
    """Hands the records of an outbox on.

    Args:
        outbox: Where they come from.
        destination: Where they go.
        retry_seconds: How long a log that does not answer is tried again.
        clock: Monotonic seconds.
        wait: Waits some seconds, less if the end is requested; says whether it is.
        on_progress: Called after every batch, and while there is nothing to do.
        on_retry: Called with the error and the seconds until the next attempt.

    Attributes:
        ledger: What was handed on so far.
        is_connecting: Whether the log is being opened; nothing is on its way then.
    """

    def __init__(
        self,
        outbox: Outbox,
        destination: Destination,
        *,
        retry_seconds: float,
        clock: Callable[[], float],
        wait: Callable[[float], bool],
        on_progress: Callable[[], None] = lambda: None,
        on_retry: Callable[[LogUnreachable, float], None] = lambda error, seconds: None,
    ) -> None:
        self.ledger = Ledger()
        self.is_connecting = False
        self._outbox = outbox
        self._destination = destination
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._wait = wait
        self._on_progress = on_progress
        self._on_retry = on_retry

    def run(self) -> None:
        """Hand on until the capture's end, or until the end is requested.

        Raises:
            LogUnreachable: If the log does not answer for too long.
            LogRefused: If it refuses.
            SettingsError: If the capture cannot be read on.
        """
        capture = self._outbox.capture()
        while capture is None:
            if not self._idle():
                return
            capture = self._outbox.capture()
        position = self._open(capture)
        if position is None:
            return
        self._outbox.skip_to(position)
        self.ledger.number = position - 1
        # What comes next is read while a batch is on its way.
        with ThreadPoolExecutor(1, "k2-outbox") as reader:
            reading = reader.submit(self._outbox.read)
            while not self._wait(0):
                records = reading.result()
                if not records and (self._outbox.finished or not self._idle()):
                    return
                reading = reader.submit(self._outbox.read)
                if records and not self._send(capture, records):
                    return
                self._on_progress()

    def _idle(self) -> bool:
        """Wait for more; say whether that makes sense."""
        self._on_progress()
        return not (self._outbox.finished or self._wait(_IDLE_SECONDS))

    def _open(self, capture: Capture) -> int | None:
        return self._retried(lambda _: self._connect(capture))

    def _connect(self, capture: Capture) -> int:
        self.is_connecting = True
        try:
            return self._destination.open(capture)
        finally:
            self.is_connecting = False

    def _send(self, capture: Capture, records: list[Record]) -> bool:
        def attempt(number: int) -> Sequence[Record]:
            if not number:
                return self._destination.send(records)
            position = self._connect(capture)
            rest = [one for one in records if one.number >= position]
            # Those before were committed, though the answer was lost.
            there = records[: len(records) - len(rest)]
            return [*there, *(self._destination.send(rest) if rest else [])]

        new = self._retried(attempt)
        if new is None:
            return False
        self.ledger.add(records, new)
        return True

    def _retried(self, attempt: Callable[[int], _Result]) -> _Result | None:
        """Try until it works; ``None`` if the end is requested meanwhile."""
        delay_seconds = _FIRST_DELAY_SECONDS
        number = 0
        since = self._clock()
        while True:
            try:
                return attempt(number)
            except LogUnreachable as exc:
                number += 1
                self.ledger.retries += 1
                if self._clock() + delay_seconds - since > self._retry_seconds:
                    raise
                self._on_retry(exc, delay_seconds)
                if self._wait(delay_seconds):
                    return None
                delay_seconds = min(delay_seconds * 2, _MOST_DELAY_SECONDS)
