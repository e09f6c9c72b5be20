"""A repaired capture is the old one, the pending trades and the fetched ones."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from k2cli.capture.manifest import read_manifest
from k2cli.capture.merging import Outcome
from k2cli.capture.pending import PendingJournal, pending_ids
from k2cli.capture.reader import CaptureSource
from k2cli.capture.repair import CaptureRepair
from k2cli.capture.rotation import Rotation, finished_files
from k2cli.capture.verify import verify
from k2cli.capture.writer import CaptureFile
from k2cli.completeness.id_ranges import IdRange, IdRanges
from k2cli.errors import OutputError, SettingsError

from .captures import NAMES, batch, line_of, text_of

SYMBOLS = ("BTCUSDT", "ETHUSDT")
NONE: dict[str, IdRanges] = {}
DIED = 9


def record(path: Path, trades: list[tuple[str, int]], *, rotate: int = 0) -> None:
    """Make a capture of these trades, in files of so many bytes."""
    rotation = Rotation(size_bytes=rotate) if rotate else None
    with CaptureFile(path, rotation=rotation) as capture:
        for symbol, trade_id in trades:
            capture.write(batch(trade_id, symbol=symbol))


def let_wait(path: Path, trades: list[tuple[str, int]]) -> None:
    journal = PendingJournal(path)
    for symbol, trade_id in trades:
        journal.push(batch(trade_id, symbol=symbol))
    journal.close()


def all_files(path: Path) -> list[Path]:
    return [*finished_files(path), *([path] if path.exists() else [])]


def contents(path: Path) -> list[tuple[str, int]]:
    """Read symbols and ids of a capture, whose records are numbered from 1 on."""
    records = [
        json.loads(line)
        for file in all_files(path)
        for line in text_of(file).splitlines()
    ]
    numbers = [record["platform_sequence"] for record in records]
    assert numbers == list(range(1, len(records) + 1))
    return [(record["symbol"], record["source_sequence"]) for record in records]


def ids_of(path: Path, symbol: str = "BTCUSDT") -> list[int]:
    return [trade_id for each, trade_id in contents(path) if each == symbol]


def repaired(
    path: Path,
    history: set[tuple[str, int]],
    *,
    absent: dict[str, IdRanges] | None = None,
    give_up: bool = False,
) -> Outcome:
    """Repair a capture with what a history has."""
    repair = CaptureRepair([path])
    try:
        repair.scan(CaptureSource.chunks)
        for hole in repair.holes:
            for trade_id in range(hole.first_id, hole.last_id + 1):
                if (hole.symbol, trade_id) in history:
                    repair.add(batch(trade_id, symbol=hole.symbol))
        return repair.apply(absent or NONE, give_up=give_up)
    finally:
        repair.close()


def history_of(*ids: int, symbol: str = "BTCUSDT") -> set[tuple[str, int]]:
    return {(symbol, trade_id) for trade_id in ids}


def btc(*ids: int) -> list[tuple[str, int]]:
    return [("BTCUSDT", trade_id) for trade_id in ids]


def hidden(folder: Path) -> list[str]:
    """List what is beside a capture, but for its manifest."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.name.startswith(".") and not path.name.endswith(".manifest")
    )


def lost_of(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Return the ids that the manifest names as missing, by symbol."""
    manifest = read_manifest(path)
    assert manifest is not None
    states = manifest.symbols.items()
    return {symbol: state.missing for symbol, state in states if state.missing}


def note_former(path: Path, symbol: str, first_id: int, last_id: int) -> None:
    """Note lost ids as earlier versions of k2 have."""
    lost = {"symbol": symbol, "first_id": first_id, "last_id": last_id}
    with path.with_name(f".{path.name}.missing").open("a") as notes:
        notes.write(json.dumps(lost) + "\n")


ids_on_disk = st.lists(
    st.tuples(st.sampled_from(SYMBOLS), st.integers(1, 3)), min_size=1, max_size=40
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=ids_on_disk,
    pending=st.lists(
        st.tuples(st.sampled_from(SYMBOLS), st.integers(1, 3)), max_size=8
    ),
    holed=st.sets(st.tuples(st.sampled_from(SYMBOLS), st.integers(1, 150)), max_size=9),
    rotate=st.sampled_from([0, 600, 2000]),
    name=st.sampled_from(["t.jsonl", "t.jsonl.gz"]),
)
def test_any_capture_with_any_holes_becomes_the_union_in_order(
    steps: list[tuple[str, int]],
    pending: list[tuple[str, int]],
    holed: set[tuple[str, int]],
    rotate: int,
    name: str,
) -> None:
    last = dict.fromkeys(SYMBOLS, 0)
    trades: list[tuple[str, int]] = []
    waiting: list[tuple[str, int]] = []
    for symbol, step in steps:
        last[symbol] += step
        trades.append((symbol, last[symbol]))
    first = dict(reversed(trades))
    ends = dict(last)
    for symbol, step in pending:
        if symbol in first:
            last[symbol] += step
            waiting.append((symbol, last[symbol]))
    everything = {
        (symbol, trade_id)
        for symbol, first_id in first.items()
        for trade_id in range(first_id, last[symbol] + 1)
    }
    history = everything - holed
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        record(path, trades, rotate=rotate)
        let_wait(path, waiting)
        outcome = repaired(path, history)
        at_hand = {*trades, *waiting, *history}
        found = contents(path)
        for symbol, first_id in first.items():
            ids = [trade_id for each, trade_id in found if each == symbol]
            there = [n for each, n in sorted(at_hand) if each == symbol]
            # Behind the end of what was written, up to the first id that is not there.
            stops = next(
                (n for n in range(ends[symbol] + 1, last[symbol]) if n not in there),
                last[symbol] + 1,
            )
            assert ids == [n for n in there if n < stops]
            left = [n for n in there if n >= stops]
            assert pending_ids(path).get(symbol, []) == left
            assert outcome.still_pending.get(symbol, 0) == len(left)
            lost = lost_of(path).get(symbol, [])
            assert [n for a, b in lost for n in range(a, b + 1)] == [
                n for n in range(first_id, ends[symbol]) if n not in there
            ]
        # The order of what was there is as it was.
        assert [one for one in found if one in set(trades)] == trades
        again = repaired(path, everything)
        assert set(contents(path)) == everything
        assert not again.missing
        assert verify(all_files(path)).whole
        assert hidden(Path(folder)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_hole_is_filled_in_the_same_compression(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    record(path, btc(1, 2, 6, 7))
    beginning = path.read_bytes()[:2]
    path.chmod(0o640)
    outcome = repaired(path, history_of(3, 4, 5))
    assert outcome.filled == {"BTCUSDT": 3}
    assert outcome.renumbered_from == 3
    assert ids_of(path) == [1, 2, 3, 4, 5, 6, 7]
    assert path.read_bytes()[:2] == beginning
    assert path.stat().st_mode & 0o777 == 0o640
    assert hidden(tmp_path) == []


def test_files_before_the_first_hole_stay_and_later_ones_get_new_names(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.jsonl"
    record(path, btc(1, 2, 3, 7, 8, 9), rotate=1200)
    before = [file.name for file in all_files(path)]
    assert before == ["t.000000000001.jsonl", "t.000000000003.jsonl", "t.jsonl"]
    first = all_files(path)[0].stat().st_ino
    repaired(path, history_of(4, 5, 6))
    assert ids_of(path) == list(range(1, 10))
    assert all_files(path)[0].stat().st_ino == first
    for file in finished_files(path):
        number = CaptureSource(file).first_number()
        assert file.name == f"t.{number:012}.jsonl"
    # A recorder goes on behind it.
    with CaptureFile(path, rotation=Rotation(size_bytes=1200)) as capture:
        capture.write(batch(10))
    assert ids_of(path) == list(range(1, 11))


def test_what_was_given_up_is_taken_out_of_the_notes_when_it_is_there(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.jsonl"
    record(path, btc(1, 5, 9))
    note_former(path, "BTCUSDT", 2, 4)
    outcome = repaired(path, history_of(2, 3, 4, 6))
    assert ids_of(path) == [1, 2, 3, 4, 5, 6, 9]
    assert lost_of(path) == {"BTCUSDT": [IdRange(7, 8)]}
    assert list(outcome.missing["BTCUSDT"]) == [IdRange(7, 8)]


@pytest.mark.parametrize("proven", [True, False])
def test_pending_trades_wait_for_what_may_be_there(
    tmp_path: Path, proven: bool
) -> None:
    path = tmp_path / "t.jsonl"
    record(path, btc(1, 2))
    let_wait(path, btc(5, 6, 8))
    absent = {"BTCUSDT": IdRanges([(3, 4)])} if proven else {}
    outcome = repaired(path, history_of(7), absent=absent)
    assert ids_of(path) == ([1, 2, 5, 6, 7, 8] if proven else [1, 2])
    # What was fetched behind the gap waits with them.
    assert pending_ids(path) == ({} if proven else {"BTCUSDT": [5, 6, 7, 8]})
    assert outcome.still_pending == ({} if proven else {"BTCUSDT": 4})
    assert lost_of(path) == ({"BTCUSDT": [IdRange(3, 4)]} if proven else {})


def test_give_up_merges_what_waits(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    record(path, btc(1, 2))
    let_wait(path, btc(5, 6))
    outcome = repaired(path, set(), give_up=True)
    assert ids_of(path) == [1, 2, 5, 6]
    assert outcome.merged == {"BTCUSDT": 2}
    assert lost_of(path) == {"BTCUSDT": [IdRange(3, 4)]}
    assert pending_ids(path) == {}
    # It may be there some day.
    repaired(path, history_of(3, 4))
    assert ids_of(path) == [1, 2, 3, 4, 5, 6]
    assert hidden(tmp_path) == []


def test_a_torn_tail_is_cut_away(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    record(path, btc(1, 2))
    with path.open("ab") as file:
        file.write(line_of(3, 3)[:-9])
    repaired(path, set())
    assert ids_of(path) == [1, 2]


def test_a_damaged_capture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    record(path, btc(1, 2, 5))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{}\n" + b"".join(lines[1:]))
    with pytest.raises(SettingsError, match="line 2"):
        repaired(path, set())


def test_a_capture_that_is_being_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with CaptureFile(path) as capture:
        capture.write(batch(1))
        with pytest.raises(OutputError, match="being written by another k2"):
            CaptureRepair([path])
    repair = CaptureRepair([path])
    with pytest.raises(OutputError, match="being written by another k2"):
        CaptureFile(path)
    repair.close()


def test_files_of_several_captures_are_refused(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        record(tmp_path / name, btc(1))
    with pytest.raises(SettingsError, match="several captures"):
        CaptureRepair([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no file"):
        CaptureRepair([tmp_path / "t.jsonl"])
    assert list(tmp_path.iterdir()) == []


def test_trades_of_another_exchange_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    record(path, btc(1, 5))
    repair = CaptureRepair([path])
    repair.scan(CaptureSource.chunks)
    with pytest.raises(OutputError, match="BINANCE"):
        repair.add(batch(2, exchange="SIM"))
    repair.close()


def test_what_was_fetched_is_there_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    record(path, btc(1, 9))
    repair = CaptureRepair([path])
    repair.scan(CaptureSource.chunks)
    repair.add(batch(2, 3, 4))
    spool = tmp_path / ".t.jsonl.repair"
    left = spool.read_bytes()
    repair.close()
    spool.write_bytes(left + b'{"message_id":"f3b')
    repair = CaptureRepair([path])
    repair.scan(CaptureSource.chunks)
    assert [hole[1:3] for hole in repair.holes] == [(5, 8)]
    repair.apply({}, give_up=False)
    repair.close()
    assert ids_of(path) == [1, 2, 3, 4, 9]


def test_a_repair_that_is_called_off_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    record(path, btc(1, 5))
    before = path.read_bytes()
    repair = CaptureRepair([path])
    repair.scan(CaptureSource.chunks)
    repair.add(batch(2, 3, 4))

    def call_off() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repair.apply({}, give_up=False, check=call_off)
    repair.close()
    assert path.read_bytes() == before
    assert hidden(tmp_path) == [".t.jsonl.repair"]


CALLS = ("open", "write", "fsync", "ftruncate", "replace", "unlink", "close")


def apply_and_die(path: Path, call: int) -> bool:
    """Repair in a process that ends at one of its system calls; return if it did."""
    with warnings.catch_warnings():
        # The child has one thread, and needs no more.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, DIED)
        return status == DIED
    status = 1
    calls = 0
    leave = os._exit

    def mortal(real: Callable[..., Any]) -> Callable[..., Any]:
        def function(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            # Odd: before it is done; even: when it is done.
            if calls * 2 - 1 == call:
                leave(DIED)
            result = real(*args, **options)
            if calls * 2 == call:
                leave(DIED)
            return result

        return function

    try:
        repair = CaptureRepair([path])
        repair.scan(CaptureSource.chunks)
        repair.add(batch(4, 5, 6))
        repair.add(batch(10))
        for name in CALLS:
            setattr(os, name, mortal(getattr(os, name)))
        repair.apply({}, give_up=False)
        repair.close()
        status = 0
    finally:
        leave(status)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
@pytest.mark.parametrize("then", ["repair", "record"])
def test_killed_at_any_system_call_the_next_one_copes(
    tmp_path: Path, name: str, then: str
) -> None:
    for call in count(1):
        folder = tmp_path / str(call)
        folder.mkdir()
        path = folder / name
        record(path, btc(1, 2, 3, 7, 8, 9), rotate=1200)
        let_wait(path, btc(11, 12))
        died = apply_and_die(path, call)
        if then == "record":
            with CaptureFile(path, rotation=Rotation(size_bytes=1200)):
                pass
            assert ids_of(path) in ([1, 2, 3, 7, 8, 9], list(range(1, 13)))
        repaired(path, history_of(4, 5, 6, 10))
        assert ids_of(path) == list(range(1, 13))
        assert verify(all_files(path)).whole
        assert hidden(folder) == []
        if not died:
            assert call > 30
            return
