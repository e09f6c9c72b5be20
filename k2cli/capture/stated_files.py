"""The files of a capture as its manifest states them: sizes and checksums."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import structlog

from k2cli.capture.catch_up import contradicted
from k2cli.capture.checksum import ChecksumStopped, GrowingChecksum
from k2cli.capture.manifest import (
    FinishedFile,
    GrowingFile,
    manifest_path,
    write_manifest,
)
from k2cli.errors import printable

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from k2cli.capture.disk import DiskFile
    from k2cli.capture.manifest import Manifest

# What checksums may take of all the time that the process has used: at full speed they
# fall behind, and the manifest states less.
_MOST_SHARE = 0.08
_LEAST_SECONDS = 0.1

log: FilteringBoundLogger = structlog.get_logger()


class StatedFiles:
    """Keeps the checksums of a capture that is written, and writes its manifest.

    Its methods read and write files: they are called in another thread than the one
    that records, one at a time.

    Args:
        path: The file that is written.
        manifest: Of the capture as it was found.

    Attributes:
        first_sequence: ``platform_sequence`` of the first record of that file.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._path = path
        self._manifest = manifest
        self._checksum = GrowingChecksum()
        # The point that is being stated: size, and platform_sequence.
        self._point: tuple[int, int] | None = None
        # What checksums of former files have taken.
        self._spent_seconds = 0.0
        self._is_unwritable = False
        self._is_stopped = False
        self.first_sequence = manifest.growing.first_sequence

    def prove(self, disk: DiskFile, size_bytes: int) -> None:
        """Read the file as it was found; check that it is as was stated.

        Args:
            disk: The file.
            size_bytes: Its size up to the end of what is whole in it.

        Raises:
            OutputError: If it is not, or cannot be read.
        """
        found = self._manifest.growing
        try:
            sha256 = self._checksum.advance(disk, found.size_bytes)
            if sha256 != found.sha256:
                raise contradicted(
                    self._path, f"its first {found.size_bytes:,} bytes have changed"
                )
            self._checksum.advance(disk, size_bytes)
        except ChecksumStopped:
            self._is_stopped = True

    @property
    def is_stating(self) -> bool:
        """Whether ``go_on`` is to be called before ``state`` is."""
        return self._point is not None

    def state(
        self, disk: DiskFile, size_bytes: int, number: int, *, at_once: bool
    ) -> None:
        """State the file up to a point.

        What cannot be written is said, and does not end the recording.

        Args:
            disk: The file.
            size_bytes: Its size up to there.
            number: ``platform_sequence`` of the last record there.
            at_once: Whether to take whatever time the checksum needs. Else it is
                stated when ``go_on`` was called often enough.

        Raises:
            OutputError: If it cannot be read.
        """
        self._point = (size_bytes, number)
        self.go_on(disk, at_once=at_once)

    def go_on(self, disk: DiskFile, *, at_once: bool = False) -> None:
        """Go on with what ``state`` has begun.

        Raises:
            OutputError: If it cannot be read.
        """
        if self._point is None:
            return
        size_bytes, number = self._point
        most_seconds = _LEAST_SECONDS + _MOST_SHARE * time.process_time()
        most_seconds -= self._spent_seconds
        try:
            sha256 = self._checksum.advance(
                disk, size_bytes, math.inf if at_once else most_seconds
            )
        except ChecksumStopped:
            self._is_stopped = True
            return  # what was stated before is still true
        if sha256 is None:
            return
        self._point = None
        self._manifest.growing = GrowingFile(
            self.first_sequence, number if size_bytes else 0, size_bytes, sha256
        )
        self.write()

    def finish(self, disk: DiskFile, name: str, number: int) -> None:
        """Note that the file is about to be finished, before it is closed.

        Args:
            disk: The file.
            name: The name that it gets.
            number: ``platform_sequence`` of its last record.

        Raises:
            OutputError: If it cannot be read.
        """
        try:
            sha256 = self._checksum.advance(disk, disk.size_bytes)
        except ChecksumStopped:
            self._is_stopped = True
            return  # the next run catches up
        assert sha256 is not None  # noqa: S101 - for the type checker
        self._manifest.files.append(
            FinishedFile(name, self.first_sequence, number, disk.size_bytes, sha256)
        )
        self.first_sequence = number + 1
        self._point = None
        self._spent_seconds += self._checksum.spent_seconds
        self._checksum = GrowingChecksum()
        self._manifest.growing = GrowingFile(self.first_sequence)

    def stop(self) -> None:
        """Let nobody wait for a checksum any more."""
        self._checksum.stop()

    def write(self) -> None:
        """Write the manifest as it is; see ``state``."""
        if self._is_stopped:
            return
        try:
            write_manifest(self._path, self._manifest)
        except OSError as exc:
            if not self._is_unwritable:
                log.warning(
                    "The manifest cannot be written: the recording goes on without it",
                    file=printable(str(manifest_path(self._path))),
                    reason=printable(exc.strerror or str(exc)),
                )
            self._is_unwritable = True
            return
        self._is_unwritable = False
