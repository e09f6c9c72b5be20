from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.capture.rotation import (
    Rotating,
    Rotation,
    finished_name,
    finished_sequence,
    rotation,
)
from k2cli.errors import SettingsError

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1B", 1),
        ("500kB", 500_000),
        ("100MB", 100_000_000),
        ("100 mb", 100_000_000),
        ("1.5GB", 1_500_000_000),
        ("1KiB", 1024),
        ("64MiB", 64 * 2**20),
        ("2GiB", 2 * 2**30),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert rotation(text) == Rotation(size_bytes=size_bytes)


@pytest.mark.parametrize(
    ("text", "period_seconds"),
    [("30s", 30), ("15m", 900), ("1h", 3600), (" 1d ", 86_400), ("0.5h", 1800)],
)
def test_times(text: str, period_seconds: int) -> None:
    assert rotation(text) == Rotation(period_seconds=period_seconds)


@pytest.mark.parametrize(
    "text",
    ["", "1", "MB", "0MB", "0s", "-1h", "1M", "1G", "1w", "1e3s", "0.1s", "١h", "\x1b"],
)
def test_what_is_neither_is_one_line(text: str) -> None:
    with pytest.raises(SettingsError, match="is no size or time") as caught:
        rotation(text)
    assert str(caught.value).isprintable()
    assert "100MB" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "finished"),
    [
        ("trades.jsonl", "trades.000000000001.jsonl"),
        ("trades.jsonl.gz", "trades.000000000001.jsonl.gz"),
        ("trades.jsonl.zst", "trades.000000000001.jsonl.zst"),
        ("my.trades.jsonl", "my.trades.000000000001.jsonl"),
        ("trades", "trades.000000000001"),
        ("trades.gz", "trades.000000000001.gz"),
        (".jsonl", ".jsonl.000000000001"),
    ],
)
def test_names(name: str, finished: str) -> None:
    assert finished_name(name, 1) == finished
    assert finished_sequence(finished, name) == 1


@given(
    st.lists(st.integers(1, 10**12 - 1)), st.text(st.characters(exclude_characters="/"))
)
def test_names_sort_in_order(numbers: list[int], name: str) -> None:
    names = [finished_name(name, number) for number in sorted(numbers)]
    assert sorted(names) == names
    assert [finished_sequence(n, name) for n in names] == sorted(numbers)


@pytest.mark.parametrize(
    "other",
    [
        "trades.jsonl",
        "trades.1.jsonl",
        "trades.000000000001.jsonl.gz",
        "trades.000000000001.json",
        "trades.00000000000x.jsonl",
        "other.000000000001.jsonl",
        "trades.000000000001.000000000001.jsonl",
        "trades000000000001.jsonl",
    ],
)
def test_other_files_are_none_of_ours(other: str) -> None:
    assert finished_sequence(other, "trades.jsonl") is None


@given(st.integers(1, 10 * 86_400), st.integers(0, 2**61))
def test_a_period_ends_at_its_next_multiple(period_seconds: int, now_us: int) -> None:
    end_us = Rotation(period_seconds=period_seconds).period_end_us(now_us)
    assert end_us is not None
    assert end_us % (period_seconds * 1_000_000) == 0
    assert 0 < end_us - now_us <= period_seconds * 1_000_000


def test_a_size_has_no_period() -> None:
    assert Rotation(size_bytes=1).period_end_us(0) is None


def test_a_file_is_due_when_the_next_line_would_not_fit() -> None:
    rotating = Rotating(Rotation(size_bytes=100), 1, 0)
    assert not rotating.due(90, 10, DAY_US)
    assert rotating.due(90, 11, DAY_US)
    assert not rotating.due(0, 1000, DAY_US)


def test_a_file_is_due_when_its_period_is_over() -> None:
    rotating = Rotating(Rotation(period_seconds=3600), 1, 5 * HOUR_US + 17)
    assert not rotating.due(1, 1, 6 * HOUR_US - 1)
    assert rotating.due(1, 1, 6 * HOUR_US)
    rotating.begin(9, 6 * HOUR_US)
    assert rotating.first_sequence == 9
    assert not rotating.due(1, 1, 7 * HOUR_US - 1)
    # A trade that waited for a repair was received before.
    assert not rotating.due(1, 1, 5 * HOUR_US)


def test_an_empty_file_begins_with_its_first_trade() -> None:
    rotating = Rotating(Rotation(period_seconds=3600), 1, 0)
    assert not rotating.due(0, 1, 9 * HOUR_US)
    assert not rotating.due(1, 1, 10 * HOUR_US - 1)
    assert rotating.due(1, 1, 10 * HOUR_US)
