"""The lines of a recorded file, plain or gzip, without ever holding the whole of it."""

from __future__ import annotations

import gzip
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

from k2cli.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_LINE_BYTES = 1_048_576
"""Longest line; a record has a few hundred bytes."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Read the lines that have an end.

    A last line without its end, or what a cut gzip file breaks off with, is left out:
    the caller knows it by the last yield, which has an empty line then.

    Args:
        path: The file; compressed or not is seen from its first bytes.

    Yields:
        The line's number from 1, and the line with its end; ``b""`` for a torn one.

    Raises:
        SettingsError: The file cannot be read, or a line is too long.
    """
    with _opened(path) as file:
        number = 0
        while True:
            number += 1
            try:
                line = file.readline(MAX_LINE_BYTES)
            except EOFError:
                yield number, b""
                return
            except (OSError, zlib.error) as error:
                raise SettingsError(
                    f"cannot read {path}: {error}", "See whether it is whole"
                ) from None
            if not line:
                return
            if line.endswith(b"\n"):
                yield number, line
            elif len(line) >= MAX_LINE_BYTES:
                raise SettingsError(
                    f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes",
                    "This is not a recording of trades",
                )
            else:
                yield number, b""


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise SettingsError(f"there is no file {path}", "Check its name") from None
    except IsADirectoryError:
        raise SettingsError(f"{path} is a directory", "Name a file in it") from None
    except OSError as error:
        raise SettingsError(
            f"cannot open {path}: {error.strerror}", "See to its permissions"
        ) from None
    with file:
        magic = file.peek(4)[:4]
        if magic.startswith(_ZSTD_MAGIC):
            raise SettingsError(
                f"{path} is compressed with zstd, which cannot be replayed",
                f"Unpack it first: zstd -d {path}",
            )
        if not magic.startswith(_GZIP_MAGIC):
            yield file
            return
        with gzip.open(file) as unpacked:
            yield cast("IO[bytes]", unpacked)
