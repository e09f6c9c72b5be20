"""Proving a capture whole, or naming what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2cli.capture.checksum import MarkedChecksum
from k2cli.capture.compression import ENDINGS
from k2cli.capture.manifest import foreign_manifest, manifest_path, read_manifest
from k2cli.capture.reader import CaptureSource, sources_of
from k2cli.capture.report import Kind
from k2cli.capture.rotation import finished_sequence, growing_name
from k2cli.capture.verifier import Verifier
from k2cli.errors import OutputError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from k2cli.capture.manifest import FinishedFile, GrowingFile, Manifest
    from k2cli.capture.reader import AnyPath
    from k2cli.capture.report import Report


def verify(paths: AnyPath | Iterable[AnyPath]) -> Report:
    """Read a capture from start to end, and say whether it is whole.

    Args:
        paths: The capture: one file, or the files of its rotation in any order.
            Plain, gzip or Zstandard, told by content. Its manifest is found beside it.

    Returns:
        What was found; ``whole`` and ``missing`` sum it up.

    Raises:
        SettingsError: If a file cannot be read.
    """
    check = CaptureCheck(sources_of(paths))
    check.run()
    return check.with_journal()


class CaptureCheck:
    """Compares a capture with itself, and its files with its manifest.

    Args:
        sources: Its files, in order.

    Attributes:
        verifier: Judges what is in them.
        manifest: The capture's; ``None`` if there is none that can be used.
    """

    def __init__(self, sources: Sequence[CaptureSource]) -> None:
        self._sources = sources
        self._path = growing_path(sources)
        refused, is_damaged = "", False
        self.manifest: Manifest | None = None
        try:
            if self._path is not None:
                refused = foreign_manifest(self._path)
            if self._path is not None and not refused:
                self.manifest = read_manifest(self._path, own=False)
        except OutputError as exc:
            refused, is_damaged = exc.message, True
        self.verifier = Verifier(self.manifest)
        report = self.verifier.report
        report.manifest_refused = refused
        self._is_damaged = is_damaged
        self._entries: list[FinishedFile | GrowingFile | None] = []
        if self.manifest is not None:
            report.stated_sequence = self.manifest.platform_sequence
            for source in sources:
                entry = self._entry(self.manifest, source)
                self._entries.append(entry)
                if entry is not None:
                    source.checksum = MarkedChecksum(entry.size_bytes)

    def run(
        self,
        followed: Callable[[CaptureSource], Iterator[bytes]] = CaptureSource.chunks,
    ) -> Report:
        """Read all of it.

        Args:
            followed: Returns the chunks of a file.

        Raises:
            SettingsError: If a file cannot be read.
        """
        verifier = self.verifier
        verifier.read((one.name, followed(one)) for one in self._sources)
        if self._is_damaged:
            verifier.note(Kind.CHANGED, 0, verifier.report.manifest_refused)
        self._check_names()
        if self.manifest is not None:
            self._check_files(self.manifest)
        return verifier.report

    def with_journal(self) -> Report:
        """Return what was found, with the trades that wait beside the capture."""
        for source in self._sources:
            self.verifier.read_journal(source.path)
        return self.verifier.report

    def _entry(
        self, manifest: Manifest, source: CaptureSource
    ) -> FinishedFile | GrowingFile | None:
        """Return what is stated of a file, by its first record, or else by its name."""
        name = self._path.name if self._path is not None else ""
        by_name = finished_sequence(source.path.name, name)
        if by_name is None and source.path.name != name:
            return None  # it was compressed later on
        for number in (source.first_number(), by_name):
            if number is not None and (found := manifest.finished(number)) is not None:
                return found
            if number == manifest.growing.first_sequence:
                return manifest.growing
        return manifest.growing if by_name is None else None

    def _check_names(self) -> None:
        """Compare what is in finished files with their names."""
        for index, source in enumerate(self._sources):
            if self._path is None:
                return
            named = finished_sequence(source.path.name, self._path.name)
            number = source.first_number()
            if named is not None and number is not None and named != number:
                text = f"begins with number {number:,}, by its name with {named:,}"
                self.verifier.note(Kind.FILES, index, text)

    def _check_files(self, manifest: Manifest) -> None:
        for index, entry in enumerate(self._entries):
            checksum = self._sources[index].checksum
            if entry is not None and checksum is not None:
                text = _difference(entry, checksum, manifest)
                if text:
                    self.verifier.note(Kind.CHANGED, index, text)
        last = len(self._sources) - 1
        for file in manifest.files:
            if not any(entry is file for entry in self._entries) and not any(
                _is_packed(source.path.name, file.name) for source in self._sources
            ):
                self.verifier.note(
                    Kind.FILES, last, f"{printable(file.name)} is left out"
                )
        growing = manifest.growing
        if growing.size_bytes and not any(entry is growing for entry in self._entries):
            shown = printable(self._path.name) if self._path is not None else ""
            self.verifier.note(Kind.FILES, last, f"{shown} is left out")


def growing_path(sources: Sequence[CaptureSource]) -> Path | None:
    """Return the file of a capture that is written; ``None`` if they are of several."""
    found: set[Path] = set()
    for source in sources:
        if source.size_bytes is None:
            return None
        path = source.path.resolve() if source.path.is_symlink() else source.path
        found.add(path.with_name(growing_name(path.name)))
    if len(found) > 1:
        # Some may have been compressed since they were finished.
        found = {path for path in found if manifest_path(path).exists()}
    return found.pop() if len(found) == 1 else None


def _difference(
    entry: FinishedFile | GrowingFile, checksum: MarkedChecksum, manifest: Manifest
) -> str:
    """Say in what a file is not what is stated of it."""
    size_bytes = checksum.size_bytes
    if size_bytes < entry.size_bytes:
        return f"has {size_bytes:,} of the {entry.size_bytes:,} bytes that were written"
    if checksum.at_mark != entry.sha256:
        return f"its first {entry.size_bytes:,} bytes are not those that were written"
    if entry is not manifest.growing and size_bytes > entry.size_bytes:
        return f"has {size_bytes:,} bytes, of which {entry.size_bytes:,} were written"
    return ""


def _is_packed(name: str, original: str) -> bool:
    """Return whether a file is another one, compressed."""
    return any(name == f"{original}{ending}" for ending in ENDINGS)
