from __future__ import annotations

import sys
from pathlib import Path

import pytest

from k2cli.capture.pending import PendingJournal, journal_path
from k2cli.errors import OutputError
from k2cli.trade import TradeBatch
from tests.engine.fakes import batch_of


def ids(trades: list[TradeBatch]) -> list[int]:
    return [int(each) for trade in trades for each in trade.trade_ids]


def singles(*trade_ids: int, symbol: str = "BTCUSDT") -> list[TradeBatch]:
    return [batch_of(each, symbol=symbol) for each in trade_ids]


@pytest.fixture(params=["beside a capture", "of this process"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> PendingJournal:
    beside = request.param == "beside a capture"
    return PendingJournal(tmp_path / "trades.jsonl" if beside else None)


def test_trades_come_out_by_id_and_only_below_the_bound(
    journal: PendingJournal,
) -> None:
    for trade in singles(8, 5, 6, 20):
        journal.push(trade)
    assert journal.first("BTCUSDT") == (0, 5)
    assert ids(journal.pop("BTCUSDT", 7)) == [5, 6]
    assert ids(journal.pop("BTCUSDT", 7)) == []
    assert (journal.trades, journal.first("BTCUSDT")) == (2, (0, 8))
    assert ids(journal.pop("BTCUSDT", None)) == [8, 20]
    assert (journal.trades, "BTCUSDT" in journal) == (0, False)
    journal.close()


def test_no_more_come_out_than_are_asked_for(journal: PendingJournal) -> None:
    for trade in singles(1, 2, 3):
        journal.push(trade)
    assert ids(journal.pop("BTCUSDT", None, most=2)) == [1, 2]
    assert journal.first("BTCUSDT") == (0, 3)
    assert ids(journal.pop("BTCUSDT", None, most=0)) == []
    journal.close()


def test_symbols_wait_apart(journal: PendingJournal) -> None:
    journal.push(singles(7)[0])
    journal.push(singles(3, symbol="ETHUSDT")[0])
    assert ids(journal.pop("BTCUSDT", None)) == [7]
    assert "ETHUSDT" in journal
    journal.close()


def test_an_earlier_count_goes_first(journal: PendingJournal) -> None:
    journal.push(singles(3)[0], 1)
    journal.push(singles(900)[0], 0)
    assert ids(journal.pop("BTCUSDT", 2, 1)) == [900]
    assert ids(journal.pop("BTCUSDT", 4, 1)) == [3]
    journal.close()


def test_a_trade_comes_back_as_it_was(journal: PendingJournal) -> None:
    odd = batch_of(5, is_backfill=True)
    for trade in (batch_of(4), odd):
        journal.push(trade)
    back = journal.pop("BTCUSDT", None)
    assert [one.trade(0) for one in back] == [batch_of(4).trade(0), odd.trade(0)]
    assert [one.is_plain for one in back] == [True, False]
    journal.close()


def test_the_next_run_finds_what_waits(tmp_path: Path) -> None:
    capture = tmp_path / "trades.jsonl"
    first = PendingJournal(capture)
    for trade in singles(5, 6, 9):
        first.push(trade)
    assert ids(first.pop("BTCUSDT", 6)) == [5]
    first.close()
    second = PendingJournal(capture)
    again = []
    for trade in second.recover():
        again.append(trade)
        second.push_again(trade)
    # What had left it is there once more: the capture knows what it has.
    assert ids(again) == [5, 6, 9]
    second.push(singles(10)[0])
    assert ids(second.pop("BTCUSDT", None)) == [5, 6, 9, 10]
    second.close()
    assert not journal_path(capture).exists()


def test_every_cut_loses_at_most_the_last_line(tmp_path: Path) -> None:
    capture = tmp_path / "trades.jsonl"
    whole = PendingJournal(capture)
    for trade in singles(1, 2):
        whole.push(trade)
    whole.close()
    text = journal_path(capture).read_bytes()
    line_bytes = text.index(b"\n") + 1
    for cut in range(0, len(text) + 1, 7):
        journal_path(capture).write_bytes(text[:cut])
        journal = PendingJournal(capture)
        found = []
        for trade in journal.recover():
            found.append(trade)
            journal.push_again(trade)
        assert ids(found) == [1, 2][: cut // line_bytes]
        journal.push(singles(3)[0])
        journal.close()
        lines = journal_path(capture).read_bytes().splitlines()
        assert len(lines) == cut // line_bytes + 1


def test_space_is_taken_back_only_when_all_is_safe(tmp_path: Path) -> None:
    journal = PendingJournal(tmp_path / "trades.jsonl")
    journal.push(singles(1)[0])
    journal.pop("BTCUSDT", None)
    left = journal.left
    journal.push(singles(2)[0])
    journal.pop("BTCUSDT", None)
    journal.trim(left)
    assert journal.size_bytes > 0
    journal.trim(journal.left)
    assert journal.size_bytes == 0
    journal.push(singles(3)[0])
    assert ids(journal.pop("BTCUSDT", None)) == [3]
    journal.close()


def test_it_is_full_by_what_waits(tmp_path: Path) -> None:
    journal = PendingJournal(tmp_path / "trades.jsonl", max_bytes=700)
    journal.push(singles(1)[0])
    assert not journal.is_full
    journal.push(singles(2)[0])
    assert journal.is_full
    journal.pop("BTCUSDT", 2)
    assert not journal.is_full
    journal.close()


def test_a_link_is_refused(tmp_path: Path) -> None:
    capture = tmp_path / "trades.jsonl"
    (tmp_path / "other").write_text("")
    journal_path(capture).symlink_to(tmp_path / "other")
    with pytest.raises(OutputError, match="regular"):
        PendingJournal(capture)


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    capture = tmp_path / "trades.jsonl"
    journal_path(capture).write_bytes(b'{"a":1}\n')
    with pytest.raises(OutputError, match="damaged"):
        list(PendingJournal(capture).recover())


@pytest.mark.parametrize("taken_up", [0, 1])
def test_what_was_not_taken_up_to_its_end_is_kept(
    tmp_path: Path, taken_up: int
) -> None:
    capture = tmp_path / "trades.jsonl"
    first = PendingJournal(capture)
    for trade in singles(5, 6, 9):
        first.push(trade)
    first.close()
    text = journal_path(capture).read_bytes()
    second = PendingJournal(capture)
    recovered = second.recover()
    for _ in range(taken_up):
        next(recovered)
        second.push_again(singles(5)[0])
    second.close()
    assert journal_path(capture).read_bytes() == text


def test_a_damaged_journal_is_left_as_it_is(tmp_path: Path) -> None:
    capture = tmp_path / "trades.jsonl"
    first = PendingJournal(capture)
    for trade in singles(5, 6):
        first.push(trade)
    first.close()
    text = journal_path(capture).read_bytes().replace(b'{"message_id"', b"?", 2)
    text = text.replace(b"?", b'{"message_id"', 1)
    journal_path(capture).write_bytes(text)
    second = PendingJournal(capture)
    with pytest.raises(OutputError, match="damaged"):
        # The first one is in the capture already.
        list(second.recover())
    second.close()
    assert journal_path(capture).read_bytes() == text


def test_what_leaves_while_the_capture_is_synced_takes_no_space_back(
    tmp_path: Path,
) -> None:
    journal = PendingJournal(tmp_path / "trades.jsonl")
    journal.push(singles(1)[0])
    before_the_sync = journal.left
    journal.pop("BTCUSDT", None)
    journal.trim(before_the_sync)
    assert journal.size_bytes > 0
    journal.close()


@pytest.mark.parametrize("exchange", ["BINANCE", "SIM"])
def test_trades_of_another_exchange_are_refused(tmp_path: Path, exchange: str) -> None:
    capture = tmp_path / "trades.jsonl"
    first = PendingJournal(capture)
    first.push(batch_of(5))
    first.close()
    second = PendingJournal(capture, exchange=exchange)
    if exchange == "BINANCE":
        assert ids(list(second.recover())) == [5]
    else:
        with pytest.raises(OutputError, match="holds trades of BINANCE"):
            list(second.recover())
    second.close()


def test_what_is_taken_out_while_the_rest_is_recovered_does_not_disturb_it(
    tmp_path: Path,
) -> None:
    capture = tmp_path / "trades.jsonl"
    journal = PendingJournal(capture)
    for trade in singles(*range(1, 501)):
        journal.push(trade)
    journal.close()

    journal = PendingJournal(capture)
    recovered = []
    for trade in journal.recover():
        recovered += ids([trade])
        journal.push_again(trade)
        # As a gap that closes does; and the capture may be synced meanwhile.
        if recovered[-1] % 100 == 0:
            assert ids(journal.pop("BTCUSDT", None)) == recovered[-100:]
            journal.trim(journal.left)
            assert not journal.tidy()
    assert recovered == [*range(1, 501)]
    journal.close()


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be replaced")
@pytest.mark.parametrize("crash", [False, True])
def test_what_has_left_takes_no_space_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, crash: bool
) -> None:
    """A gap of one symbol stays open while those of another come and go."""
    monkeypatch.setattr("k2cli.capture.pending._LEAST_DEAD_BYTES", 50_000)
    monkeypatch.setattr("k2cli.capture.pending._COPIED_AT_ONCE", 10)
    monkeypatch.setattr("k2cli.capture.pending._LEFT_AT_LAST_BYTES", 3_000)
    capture = tmp_path / "trades.jsonl"
    journal = PendingJournal(capture)
    most_bytes = 0
    for first in range(1, 4001, 40):
        journal.push(batch_of(*range(first, first + 20)))
        journal.push(batch_of(first, symbol="ETHUSDT"))
        while journal.tidy():
            # It goes on meanwhile.
            journal.push(batch_of(10**6 + journal.moves))
        before_the_sync = journal.left
        journal.pop("BTCUSDT", None, most=1000)
        journal.trim(before_the_sync)
        assert journal.size_bytes > 0
        journal.trim(journal.left, sync=True)
        journal.flush()
        most_bytes = max(most_bytes, journal_path(capture).stat().st_size)
    expected = [*range(1, 4001, 40)]
    assert journal.trades == len(expected)
    assert most_bytes < 200_000
    if crash:
        # What was being copied then counts nothing.
        text = journal_path(capture).read_bytes()
        capture = tmp_path / "after.jsonl"
        journal_path(capture).write_bytes(text)
        journal_path(capture).with_name(".after.jsonl.pending.new").write_bytes(b"{")
    else:
        assert ids(journal.pop("ETHUSDT", 41, most=9)) == [1]
        expected = expected[1:]
    journal.close()
    again = PendingJournal(capture)
    left = [trade for trade in again.recover() if trade.symbols == ["ETHUSDT"]]
    assert ids(left)[-len(expected) :] == expected
    again.close()
    assert not [*tmp_path.glob(".*.new")]
