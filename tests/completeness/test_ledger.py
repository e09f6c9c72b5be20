from __future__ import annotations

from k2cli.completeness.ledger import Ledger
from k2cli.completeness.sequence import accept_contiguous
from tests.batches import BTC, trade_batch


def filled(**ids: list[int]) -> Ledger:
    ledger = Ledger(ids)
    for symbol, each in ids.items():
        for trade_id in each:
            ledger.trackers[symbol].observe(trade_id, 1000 + trade_id)
    return ledger


def test_it_sums_up_all_symbols() -> None:
    ledger = filled(BTCUSDT=[1, 2, 5, 5], ETHUSDT=[7, 9], BNBBTC=[])
    assert ledger.trades == 5
    assert ledger.gaps == 2
    assert ledger.missing == 3
    assert ledger.duplicates == 1


def test_it_says_what_may_still_come_and_what_is_lost() -> None:
    ledger = filled(BTCUSDT=[1, 6, 9], ETHUSDT=[1, 3])
    ledger.trackers["BTCUSDT"].give_up(2, 3)
    assert ledger.missing == 7
    assert ledger.open == 5


def test_the_account_as_data_has_every_symbol_and_the_span_of_time() -> None:
    ledger = filled(BTCUSDT=[3, 5], ETHUSDT=[9, 10], BNBBTC=[])
    account = ledger.to_dict()
    assert account["verdict"] == "incomplete"
    assert list(account["symbols"]) == ["BTCUSDT", "ETHUSDT", "BNBBTC"]
    assert account["symbols"]["BTCUSDT"]["missing_ranges"] == [[4, 4]]
    assert account["symbols"]["BNBBTC"]["first_trade_us"] is None
    assert (account["first_trade_us"], account["last_trade_us"]) == (1003, 1010)


def test_its_verdict_says_whether_what_was_received_waits() -> None:
    ledger = filled(BTCUSDT=[1, 2], ETHUSDT=[1, 4])
    assert ledger.verdict == "incomplete"
    ledger.trackers["ETHUSDT"].pending = 1
    account = ledger.to_dict()
    assert (account["verdict"], account["pending"]) == ("pending", 1)
    assert account["symbols"]["ETHUSDT"]["pending"] == 1
    ledger.trackers["ETHUSDT"].observe(2, 1002)
    ledger.trackers["ETHUSDT"].observe(3, 1003)
    # As when a count has been reached: nothing is missing, and yet they wait.
    assert (ledger.missing, ledger.verdict) == (0, "pending")
    ledger.trackers["ETHUSDT"].pending = 0
    assert ledger.verdict == "complete"


def test_a_repaired_trade_may_be_the_first_of_the_account() -> None:
    ledger = Ledger(["BTCUSDT"])
    tracker = ledger.trackers["BTCUSDT"]
    tracker.resume(5, 1005)
    tracker.observe(8, 1008)
    tracker.observe(6, 1006)
    assert (tracker.first_time_us, tracker.last_time_us) == (1006, 1008)


def test_without_a_trade_of_its_own_a_run_has_no_span_of_time() -> None:
    ledger = Ledger(["BTCUSDT"])
    ledger.trackers["BTCUSDT"].resume(5, 1005)
    account = ledger.to_dict()
    assert (account["first_trade_us"], account["last_trade_us"]) == (None, None)


def test_contiguous_trades_count_for_the_span_of_time() -> None:
    ledger = Ledger([BTC])
    first_us = 1_723_161_255_342_000
    ledger.trackers[BTC].observe(1, first_us)
    rest = trade_batch([2, 3], times_us=[first_us + 2, first_us + 3])
    assert accept_contiguous(ledger.trackers, rest, 0) == 2
    account = ledger.to_dict()
    assert account["first_trade_us"] == first_us
    assert account["last_trade_us"] == first_us + 3
