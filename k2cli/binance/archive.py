"""The exchange's daily archives: all trades of a symbol and a day in one file.

They are made the next day and cost no request weight. Files come late, and some lack
trades, so that only what has the right checksum counts, and of that only its ids.
"""

from __future__ import annotations

import hashlib
import http.client
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from k2cli.binance.decoder import batch_from_history
from k2cli.binance.handshake import explain_status, host_of
from k2cli.binance.http_get import in_thread, opener, unreachable
from k2cli.binance.transport import now_us
from k2cli.completeness.id_ranges import IdRange
from k2cli.errors import K2Error, MalformedMessage, OutputError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import IO, BinaryIO

    from k2cli.completeness.id_ranges import IdRanges
    from k2cli.trade import Instrument, TradeBatch

DATA_URL = "https://data.binance.vision"
"""Where Binance's archives are."""

_CHUNK_BYTES = 2**20
_MOST_CHECKSUM_BYTES = 4096
# The busiest days so far had archives of a few hundred megabytes.
_MOST_ZIP_BYTES = 8 * 2**30
_MOST_CSV_BYTES = 64 * 2**30
_MOST_TRADES = 1000

_opener = opener("Name that address with --data-url if it is to be trusted")


class DailyArchives:
    """Downloads archives, and reads what is wanted of them.

    Args:
        url: The data host, e.g. ``DATA_URL``.
        folder: Where to keep a file while it is being read.
        timeout_seconds: Longest silence of the server.
        on_bytes: Called with the number of bytes of each piece that has come.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        timeout_seconds: float = 30.0,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._url = url.rstrip("/")
        self._host = host_of(url)
        self._folder = folder
        self._timeout_seconds = timeout_seconds
        self._on_bytes = on_bytes

    async def read(
        self,
        instrument: Instrument,
        day: int,
        wanted: IdRanges,
        on_batch: Callable[[TradeBatch], object],
    ) -> IdRange | None:
        """Read the wanted trades of a day.

        Args:
            instrument: The symbol, with its assets.
            day: Days since 1970-01-01, UTC.
            wanted: Ids; may lose those that ``on_batch`` has taken.
            on_batch: Takes trades, marked as back-filled.

        Returns:
            The first and the last id of the archive: ids between them that it lacks are
            not there. ``None`` if there is no archive of this day, or an empty one.

        Raises:
            ConnectFailed: If the host cannot be reached.
            ExchangeRefused: If it refuses this address.
            MalformedMessage: If the archive is not what its checksum says, or no
                archive.
            OutputError: If there is no room for it.
        """
        steps = self._steps(instrument, day, wanted)
        spans: IdRange | None = None
        while True:
            step = await in_thread(partial(next, steps, None))
            if step is None:
                return spans
            if isinstance(step, int):
                self._on_bytes(step)
            elif isinstance(step, IdRange):
                spans = step
            else:
                on_batch(step)

    def _steps(
        self, instrument: Instrument, day: int, wanted: IdRanges
    ) -> Iterator[int | TradeBatch | IdRange]:
        date = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
        symbol = urllib.parse.quote(instrument.symbol, safe="")
        name = f"{symbol}-trades-{date:%Y-%m-%d}.zip"
        address = f"{self._url}/data/spot/daily/trades/{symbol}/{name}"
        with self._errors_explained(name):
            try:
                with self._get(f"{address}.CHECKSUM") as reply:
                    text = reply.read(_MOST_CHECKSUM_BYTES)
                expected = (
                    text.split()[0].decode("ascii").lower() if text.split() else ""
                )
                with tempfile.TemporaryFile(dir=self._folder) as file:
                    yield from self._download(address, file, expected, name)
                    yield from self._read(file, instrument, wanted, name)
            except urllib.error.HTTPError as exc:
                with exc:
                    if exc.code != http.HTTPStatus.NOT_FOUND:
                        body = exc.read(_MOST_CHECKSUM_BYTES)
                        raise explain_status(
                            exc.code, exc.headers, body, self._host
                        ) from exc

    def _download(
        self, address: str, file: BinaryIO, expected: str, name: str
    ) -> Iterator[int]:
        digest = hashlib.sha256()
        size_bytes = 0
        with self._get(address) as reply:
            while chunk := reply.read(_CHUNK_BYTES):
                digest.update(chunk)
                size_bytes += len(chunk)
                if size_bytes > _MOST_ZIP_BYTES:
                    raise MalformedMessage(f"{name} is too large for an archive")
                try:
                    file.write(chunk)
                except OSError as exc:
                    raise OutputError(
                        f"{printable(str(self._folder))} has no room for {name}: "
                        f"{printable(exc.strerror or str(exc))}",
                        "Make room and start again: k2 continues where it was",
                    ) from exc
                yield len(chunk)
        if digest.hexdigest() != expected:
            raise MalformedMessage(f"{name} is not what its checksum says")

    def _read(
        self, file: BinaryIO, instrument: Instrument, wanted: IdRanges, name: str
    ) -> Iterator[int | TradeBatch | IdRange]:
        first_id, last_id = None, -1
        # Most are not wanted: the bounds say so at less cost.
        lowest, highest = wanted.first_id or 0, wanted.last_id or 0
        entries: list[dict[str, Any]] = []
        with zipfile.ZipFile(file) as archive:
            members = [each for each in archive.infolist() if not each.is_dir()]
            if len(members) != 1 or members[0].file_size > _MOST_CSV_BYTES:
                raise MalformedMessage(f"{name} holds something else than one table")
            with archive.open(members[0]) as table:
                for lines in _blocks(table, name):
                    for line in lines:
                        id_text = line.partition(b",")[0]
                        if not id_text.isdigit():
                            continue  # a heading
                        trade_id = int(id_text)
                        first_id = (
                            trade_id if first_id is None else min(first_id, trade_id)
                        )
                        last_id = max(last_id, trade_id)
                        if lowest <= trade_id <= highest and trade_id in wanted:
                            entries.append(_entry(line))
                    while entries:
                        some, entries = entries[:_MOST_TRADES], entries[_MOST_TRADES:]
                        batch = batch_from_history(some, instrument, now_us())
                        if batch is None:
                            raise MalformedMessage(f"{name} is no table of trades")
                        yield batch
                    yield 0
        if first_id is not None:
            yield IdRange(first_id, last_id)

    def _get(self, address: str) -> Any:
        request = urllib.request.Request(address)  # noqa: S310 - the scheme is checked with the option
        return _opener.open(request, timeout=self._timeout_seconds)

    @contextmanager
    def _errors_explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, RuntimeError) as exc:
            raise MalformedMessage(
                f"{name} cannot be unpacked ({printable(str(exc))})"
            ) from exc
        except (OSError, ValueError, http.client.HTTPException) as exc:
            if isinstance(exc, K2Error):
                raise
            raise unreachable(self._host, exc) from exc


def _blocks(table: IO[bytes], name: str) -> Iterator[list[bytes]]:
    """Return the lines of a table, many at a time."""
    rest = b""
    while block := table.read(_CHUNK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > _CHUNK_BYTES:
            raise MalformedMessage(f"{name} is no table of trades")
        yield lines
    yield [rest]


def _entry(line: bytes) -> dict[str, Any]:
    """Return a line in the form that the history has."""
    cells = line.decode("ascii", "replace").strip().split(",")
    flags = {"true": True, "false": False}
    keys = ("id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch")
    entry: dict[str, Any] = dict(zip(keys, cells, strict=False))
    for key in ("id", "time"):
        text = entry.get(key, "")
        entry[key] = int(text) if text.isdigit() else None
    for key in ("isBuyerMaker", "isBestMatch"):
        entry[key] = flags.get(str(entry.get(key, "")).lower())
    return entry
