"""A capture since its manifest was written: a crash leaves it behind its files.

What is not stated yet is read, and judged as ``k2 verify`` judges it. Nothing is
written behind what is wrong.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import structlog

from k2cli.capture.checksum import MarkedChecksum
from k2cli.capture.former_notes import read_former_notes
from k2cli.capture.manifest import (
    FinishedFile,
    GrowingFile,
    Manifest,
    SymbolState,
    manifest_path,
    read_manifest,
)
from k2cli.capture.reader import BrokenOff, CaptureSource
from k2cli.capture.report import Kind
from k2cli.capture.resume import texts_backwards
from k2cli.capture.rotation import finished_files, finished_sequence
from k2cli.capture.verifier import Verifier
from k2cli.completeness.doubts import MOST_AHEAD_IDS
from k2cli.completeness.id_ranges import IdRange, IdRanges
from k2cli.errors import OutputError, SettingsError, printable

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from k2cli.capture.compression import Compression
    from k2cli.capture.disk import DiskFile
    from k2cli.capture.report import Report
    from k2cli.capture.rotation import CaptureState

    Lost = dict[str, list[IdRange]]

_PIECE_BYTES = 2**20
_NUMBER = re.compile(rb'"platform_sequence"\s*:\s*([0-9]{1,18})')
log: FilteringBoundLogger = structlog.get_logger()

# What a recorder does not leave behind, whenever it is killed.
_WRONG = (
    *(Kind.DAMAGED, Kind.SCHEMA, Kind.NUMBERING, Kind.DUPLICATE, Kind.DISORDER),
    *(Kind.TIME, Kind.RESET),
)


def take_up(
    path: Path, disk: DiskFile, state: CaptureState, compression: Compression | None
) -> tuple[Manifest, Lost]:
    """Return the manifest of a capture, up to date with its files.

    Where there is none, or where it states more than there is, it knows nothing of what
    is there: ``since_sequence`` says so.

    Args:
        path: The file that is written.
        disk: The same, open.
        state: What is in it.
        compression: How it is compressed.

    Returns:
        The manifest, and ids that are known to be missing besides, by symbol.

    Raises:
        OutputError: If manifest and files contradict each other, or the end of the
            files is wrong in itself.
    """
    manifest = read_manifest(path)
    number = state.end.platform_sequence
    if not number:
        if manifest is not None and manifest.files and not manifest.growing.size_bytes:
            return manifest, {}  # all its files were moved away
        return Manifest(), {}
    lost = read_former_notes(path)
    if manifest is not None and catch_up(
        manifest, path, state.end.whole_bytes, state.torn_finished
    ):
        return manifest, lost
    first_number = state.start.platform_sequence if state.start else number + 1
    with disk.reader() as file:
        text = next(texts_backwards(file, state.end.whole_bytes, compression), b"")
    _judge_end(text, path, first_number)
    if manifest is None:
        manifest = Manifest()
    else:
        log.warning(
            "The capture is shorter than its manifest states: resumed where it ends",
            file=printable(str(path)),
            platform_sequence=number,
            stated=manifest.platform_sequence,
        )
        for symbol, known in manifest.symbols.items():
            lost.setdefault(symbol, []).extend(IdRange(*ids) for ids in known.missing)
        files = [one for one in manifest.files if one.last_sequence <= number]
        filters = [one for one in manifest.filters if one.from_sequence <= number]
        manifest = Manifest(
            capture_id=manifest.capture_id, filters=filters, files=files
        )
    if state.start is not None and first_number == 1:
        manifest.capture_id = state.start.message_id
    manifest.exchange = state.end.exchange
    manifest.since_sequence = number + 1
    manifest.growing = GrowingFile(first_number)
    return manifest, lost


def catch_up(
    manifest: Manifest,
    path: Path,
    whole_bytes: int,
    torn_finished: tuple[Path, int] | None = None,
) -> bool:
    """Bring a manifest up to date with the capture's files.

    What it states of the file that is written stays, unless that is finished by now.

    Args:
        manifest: The capture's.
        path: The file that is written.
        whole_bytes: Its size up to the end of the last whole line or block.
        torn_finished: A finished file that a power cut tore, and what is whole in it.

    Returns:
        Whether it is; if not, the file that is written is shorter than stated, as a
        power cut can leave it.

    Raises:
        OutputError: If what was not stated yet is wrong.
    """
    growing = manifest.growing
    first_number, stated = growing.first_sequence, manifest.platform_sequence
    begun = [
        file
        for file in finished_files(path)
        if (finished_sequence(file.name, path.name) or 0) >= first_number
    ]
    if not begun and whole_bytes < growing.size_bytes:
        return False
    verifier = Verifier(manifest)
    verifier.begin_behind(stated + 1)
    known = set(verifier.report.symbols)
    start_bytes = growing.size_bytes
    finished = []
    for file in begun:
        if finished_sequence(file.name, path.name) != first_number:
            raise contradicted(path, f"{printable(file.name)} is not known to it")
        end_bytes = None
        if torn_finished is not None and torn_finished[0] == file:
            end_bytes = torn_finished[1]
        before = max(stated + 1 - first_number, 0)
        _read(verifier, file, start_bytes, end_bytes, before)
        next_number = max(verifier.next_number, first_number + 1)
        found = _finished(path, file, first_number, next_number - 1, end_bytes, growing)
        finished.append(found)
        start_bytes, first_number = 0, next_number
    lines_before = max(stated + 1 - first_number, 0)
    _read(verifier, path, start_bytes, whole_bytes, lines_before)
    refuse_wrong(verifier.report, path, manifest)
    _add(manifest, verifier, known)
    if finished:
        manifest.files += finished
        manifest.growing = GrowingFile(first_number)
    return True


def refuse_wrong(report: Report, path: Path, manifest: Manifest | None = None) -> None:
    """Raise if a recorder would go on behind something wrong.

    Args:
        report: Of the end of a capture.
        path: The file that is written.
        manifest: The capture's; by it, a jump over many ids may be in order.

    Raises:
        OutputError: If something is.
    """
    shown = printable(str(path))
    hint = f"k2 does not go on behind that. See what is wrong: k2 verify {shown}"
    for kind in _WRONG:
        for problem in report.problems[kind]:
            name = report.files[problem.place.file].name
            raise OutputError(
                f"{name}, line {problem.place.line}: {problem.text}", hint
            )
    noted = read_former_notes(path)
    for symbol, account in report.symbols.items():
        lost = IdRanges(noted.get(symbol, ()))
        if manifest is not None and symbol in manifest.symbols:
            for ids in manifest.symbols[symbol].missing:
                lost.add(*ids)
        for hole in account.holes:
            ids = IdRange(hole.first_id, hole.last_id)
            named = sum(part.ids for part in lost.within(*ids))
            if ids.ids - named > MOST_AHEAD_IDS:
                name = report.files[hole.place.file].name
                raise OutputError(
                    f"{name}, line {hole.place.line}: {printable(symbol, 40)} jumps "
                    f"over {ids.ids:,} ids that nobody has given up",
                    hint,
                )


def contradicted(path: Path, what: str) -> OutputError:
    """Return an error that says what in a capture its manifest contradicts."""
    return OutputError(
        f"{printable(str(path))} is not as its manifest states: {what}",
        f"See what is wrong: k2 verify {printable(str(path))}. To go on with it as it "
        f"is, move {printable(manifest_path(path).name)} away",
    )


def _judge_end(text: bytes, path: Path, first_number: int) -> None:
    """Judge the last lines of a file of which nothing is stated."""
    found = _NUMBER.search(text)
    if found is None:
        return
    number = int(found[1])
    verifier = Verifier()
    verifier.begin_behind(number)
    verifier.begin_file(str(path), max(number - first_number, 0))
    verifier.feed(text)
    verifier.end_file()
    refuse_wrong(verifier.report, path)


def _read(
    verifier: Verifier,
    path: Path,
    start_bytes: int,
    end_bytes: int | None,
    lines_before: int,
) -> None:
    """Read a file from a point on; where it is torn is where it ends."""
    verifier.begin_file(str(path), lines_before)
    if end_bytes is not None and start_bytes >= end_bytes:
        return
    try:
        source = CaptureSource(path, start_bytes=start_bytes, end_bytes=end_bytes)
        for chunk in source.chunks():
            verifier.feed(chunk)
    except BrokenOff as exc:
        verifier.end_file(exc)
    except SettingsError as exc:
        raise OutputError(exc.message, exc.hint) from exc
    else:
        verifier.end_file()


def _add(manifest: Manifest, verifier: Verifier, known: set[str]) -> None:
    """Add what was read to what is stated."""
    manifest.exchange = manifest.exchange or verifier.report.exchange
    for symbol, account in verifier.report.symbols.items():
        state = manifest.symbols.get(symbol)
        trades = account.trades
        if state is None:
            state = SymbolState(account.first_id, account.last_id, trades=0)
            manifest.symbols[symbol] = state
        elif symbol in known:
            trades -= 1  # the account begins with the last one that is stated
        if not trades:
            continue
        if state.trades is not None:
            state.trades += trades
        state.last_id, state.last_time_us = account.last_id, account.last_time_us
        named = IdRanges(state.missing)
        for ids in account.missing_ranges:
            named.add(ids.first_id, ids.last_id)
        state.missing = [(ids.first_id, ids.last_id) for ids in named]


def _finished(
    path: Path,
    file: Path,
    first_number: int,
    last_number: int,
    end_bytes: int | None,
    growing: GrowingFile,
) -> FinishedFile:
    """Return the entry of a file that was finished since."""
    mark = growing.size_bytes if first_number == growing.first_sequence else None
    checksum = MarkedChecksum(mark)
    try:
        size_bytes = file.stat().st_size if end_bytes is None else end_bytes
        with file.open("rb") as opened:
            while checksum.size_bytes < size_bytes:
                most = min(_PIECE_BYTES, size_bytes - checksum.size_bytes)
                piece = opened.read(most)
                if not piece:
                    break
                checksum.update(piece)
    except OSError as exc:
        raise OutputError(
            f"{printable(str(file))} cannot be read: "
            f"{printable(exc.strerror or str(exc))}",
            "Make it readable and start again",
        ) from exc
    if mark is not None and checksum.at_mark != growing.sha256:
        raise contradicted(path, f"the beginning of {printable(file.name)} has changed")
    return FinishedFile(
        file.name, first_number, last_number, checksum.size_bytes, checksum.digest()
    )
