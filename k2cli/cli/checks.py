"""What is checked of a command line before anything is opened or connected."""

from __future__ import annotations

import os
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from k2cli.errors import OutputError, SettingsError, printable
from k2cli.files import check_replaceable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from k2cli.cli.options import TailOptions

# Hidden files stand beside a capture: its name, and some more characters.
_MOST_NAME_BYTES = 230
# What a capture is not, whatever its name says.
_OTHER_KINDS = frozenset(
    ".parquet .arrow .feather .avro .csv .tsv .xlsx .db .sqlite .bz2 .xz .zip .7z "
    ".lz4".split()
)


def check_options(options: TailOptions, **written: Path | None) -> None:
    """Check what ``k2 stream`` and ``k2 record`` were given.

    Args:
        options: What both have.
        written: Files to be written, by option; of these "output" is a capture.

    Raises:
        SettingsError: If something is wrong.
    """
    _check_symbols(options)
    writes = {f"--{name}": path for name, path in written.items() if path is not None}
    if options.summary is not None:
        writes["--summary"] = options.summary
    for name, path in writes.items():
        _check_written(name, path)
    if (output := writes.get("--output")) is not None:
        _check_capture(output)
    reads = {
        name: path
        for name, path in (("--replay", options.replay), ("--config", options.config))
        if path is not None
    }
    _check_apart(reads, writes)
    for name in writes.keys() & {"--summary", "--svg"}:
        _check_replaced(name, writes[name])


def did_you_mean(word: str, words: Collection[str]) -> str:
    """Return a sentence that says which word was meant; empty if none is close."""
    close = get_close_matches(word, words, n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(close)}? " if close else ""


def _check_symbols(options: TailOptions) -> None:
    for name, words in (
        ("--symbols", options.named_symbols),
        ("--quote", options.quote),
        ("--base", options.base),
    ):
        swallowed = next((word for word in words or () if word.startswith("-")), None)
        if swallowed is not None:
            raise SettingsError(
                f"{name} has no value: {printable(swallowed, 40)} follows it",
                f"Write one behind it, like {name} {_examples[name]}",
            )
    for name, words in (
        ("a symbol", [*(options.symbols or ()), *(options.named_symbols or ())]),
        ("--quote", options.quote),
        ("--base", options.base),
    ):
        if any(not word.replace(",", "").strip() for word in words or ()):
            raise SettingsError(
                f"{name} is empty",
                "Name one, like BTCUSDT; a script's variable may have no value",
            )


_examples = {"--symbols": "BTCUSDT", "--quote": "USDT", "--base": "BTC"}


def _check_written(name: str, path: Path) -> None:
    if str(path).startswith("~"):
        raise SettingsError(
            f"{name} {printable(str(path))} begins with ~, which only a shell replaces",
            f"Leave the quotes out, or write {Path.home() / 'FILE'}",
        )


def _check_capture(path: Path) -> None:
    if str(path) == "-":
        return
    if str(path) == ".":  # so does an empty text come here
        raise OutputError(
            "--output names no file: . is a folder", "Name a file, like trades.jsonl"
        )
    shown = printable(path.name, 60)
    if path.suffix.lower() in _OTHER_KINDS:
        raise SettingsError(
            f"{shown}: k2 records lines of JSON, and no {printable(path.suffix, 20)}",
            "Name the file .jsonl, .jsonl.gz or .jsonl.zst",
        )
    if len(os.fsencode(path.name)) > _MOST_NAME_BYTES:
        raise SettingsError(
            f"the name {shown} is longer than {_MOST_NAME_BYTES} bytes",
            "Choose a shorter one",
        )


def _check_apart(reads: Mapping[str, Path], writes: Mapping[str, Path]) -> None:
    """See that nothing is written over what is read, or written by another option."""
    pairs = [*combinations(writes.items(), 2)]
    pairs += [(read, write) for read in reads.items() for write in writes.items()]
    for (one, path), (other, other_path) in pairs:
        if _are_same(path, other_path):
            raise SettingsError(
                f"{one} and {other} are the same file, {printable(str(path))}",
                "Choose another name for one of them",
            )


def _are_same(one: Path, other: Path) -> bool:
    if "-" in (str(one), str(other)):
        return False
    try:
        return one.samefile(other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def _check_replaced(name: str, path: Path) -> None:
    shown = f"{name} {printable(str(path))}"
    try:
        check_replaceable(path)
        if not path.parent.is_dir():
            raise SettingsError(
                f"{shown} cannot be written: there is no folder "
                f"{printable(str(path.parent))}",
                "Make it first, or choose another place",
            )
    except IsADirectoryError:
        raise SettingsError(f"{shown} is a folder", "Name a file in it") from None
    except OSError as exc:
        raise SettingsError(
            f"{shown} cannot be written: {printable(exc.strerror or str(exc))}",
            "Choose another place",
        ) from exc
