from __future__ import annotations

import gzip
import importlib
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.capture.compression import (
    BrokenBlock,
    Compression,
    GzipBlocks,
    compression_of,
)
from k2cli.capture.writer import CaptureFile
from k2cli.errors import SettingsError

from .captures import COMPRESSED_NAMES, batch, line_of, needs_zstd, text_of

ENDINGS = [".gz", pytest.param(".zst", marks=needs_zstd)]


def compression(ending: str) -> Compression:
    found = compression_of("trades.jsonl" + ending)
    assert found is not None
    return found


def test_a_plain_name_is_not_compressed() -> None:
    assert compression_of("trades.jsonl") is None
    assert compression_of("trades.gz.jsonl") is None


@pytest.mark.parametrize("ending", ENDINGS)
@given(texts=st.lists(st.binary(max_size=2000), max_size=6))
def test_blocks_are_found_from_either_end(ending: str, texts: list[bytes]) -> None:
    blocks = compression(ending)
    encoded = [blocks.encode(text) for text in texts]
    data = b"".join(encoded)
    assert all(block.startswith(blocks.beginning) for block in encoded)
    place = 0
    for text, block in zip(texts, encoded, strict=True):
        assert blocks.end(data, place) == place + len(block)
        assert blocks.start(data, place + len(block)) == place
        assert blocks.decode(data[place : place + len(block)]) == text
        place += len(block)
    assert blocks.end(data, place) is None
    assert blocks.start(data, 0) is None


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_block_cut_anywhere_is_not_whole(ending: str) -> None:
    blocks = compression(ending)
    before, block = blocks.encode(b"before\n" * 9), blocks.encode(b"a line\n" * 20)
    for size in range(len(block)):
        data = before + block[:size]
        assert blocks.end(data, 0) == len(before)
        assert blocks.end(data, len(before)) is None
        if size:
            assert blocks.start(data, len(data)) is None


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_block_changed_anywhere_is_not_read_as_another(ending: str) -> None:
    blocks = compression(ending)
    text = b'{"price":"61837.63000000"}\n' * 10
    block = bytearray(blocks.encode(text))
    for place in range(len(block)):
        block[place] ^= 0x40
        with suppress(BrokenBlock):
            assert blocks.decode(bytes(block)) == text
        block[place] ^= 0x40


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_boundary_is_one(ending: str) -> None:
    blocks = compression(ending)
    block = blocks.encode(b"a line\n" * 20)
    data = block * 3
    boundaries = {0, len(block), 2 * len(block), 3 * len(block)}
    for start in range(1, len(block)):
        found = blocks.boundary(data[start:])
        assert found is not None
        assert start + found in boundaries
    assert blocks.boundary(b"something else") is None


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_block_that_unpacks_to_too_much_is_refused(ending: str) -> None:
    blocks = compression(ending)
    largest = bytes(8 * 2**20)
    assert len(blocks.decode(blocks.encode(largest))) == len(largest)
    with pytest.raises(BrokenBlock, match="too long"):
        blocks.decode(blocks.encode(largest + b"\0" * 2**18))


def test_two_members_are_not_one_block() -> None:
    blocks = GzipBlocks()
    with pytest.raises(BrokenBlock):
        blocks.decode(blocks.encode(b"one\n") + blocks.encode(b"two\n"))


@given(st.lists(st.binary(max_size=500), max_size=4))
def test_pythons_gzip_reads_members(texts: list[bytes]) -> None:
    data = b"".join(GzipBlocks().encode(text) for text in texts)
    assert gzip.decompress(data) == b"".join(texts)


def capture_in(path: Path) -> bytes:
    with CaptureFile(path) as capture:
        capture.begin()
        for trade_id in range(50):
            capture.write(batch(trade_id))
            if trade_id % 7 == 0:
                capture.flush()
    return b"".join(line_of(i, i + 1) for i in range(50))


@pytest.mark.parametrize("name", COMPRESSED_NAMES)
def test_a_compressed_capture_is_what_others_read(tmp_path: Path, name: str) -> None:
    text = capture_in(tmp_path / name)
    assert text_of(tmp_path / name) == text
    assert (tmp_path / name).stat().st_size < len(text) / 2


@pytest.mark.parametrize("name", COMPRESSED_NAMES)
def test_the_usual_tools_read_it(tmp_path: Path, name: str) -> None:
    tool = shutil.which("gzip" if name.endswith("gz") else "zstd")
    if tool is None:
        pytest.skip("the tool is not here")
    text = capture_in(tmp_path / name)
    file = str(tmp_path / name)
    subprocess.run([tool, "-qt", file], check=True)
    assert (
        subprocess.run([tool, "-dc", file], check=True, capture_output=True).stdout
        == text
    )


def fake_imports(monkeypatch: pytest.MonkeyPatch, **modules: ModuleType | None) -> None:
    real = importlib.import_module

    def import_module(name: str) -> ModuleType:
        if name.replace(".", "_") in modules:
            module = modules[name.replace(".", "_")]
            if module is None:
                raise ModuleNotFoundError(name)
            return module
        return real(name)

    monkeypatch.setattr("k2cli.capture.compression.import_module", import_module)


def test_without_zstd_it_is_one_line_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_imports(monkeypatch, zstandard=None, compression_zstd=None)
    with pytest.raises(SettingsError) as caught:
        CaptureFile(tmp_path / "trades.jsonl.zst")
    assert "needs the package zstandard" in caught.value.message
    assert "k2cli[zst]" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@needs_zstd
def test_the_module_of_python_3_14_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    zstandard: Any = importlib.import_module("zstandard")

    def compress(data: bytes, *, options: dict[str, int]) -> bytes:
        assert options == {"level": 3, "checksum": 1}
        frame: bytes = zstandard.ZstdCompressor(write_checksum=True).compress(data)
        return frame

    module: Any = ModuleType("compression.zstd")
    module.CompressionParameter = SimpleNamespace(
        compression_level="level", checksum_flag="checksum"
    )
    module.compress = compress
    module.ZstdDecompressor = zstandard.ZstdDecompressor().decompressobj
    module.ZstdError = zstandard.ZstdError
    fake_imports(monkeypatch, compression_zstd=module, zstandard=None)
    blocks = compression(".zst")
    assert blocks.decode(blocks.encode(b"a line\n")) == b"a line\n"
    with pytest.raises(BrokenBlock):
        blocks.decode(blocks.encode(b"a line\n")[1:])
