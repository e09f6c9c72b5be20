from __future__ import annotations

import pytest

from k2cli.capture.ledger import Ledger
from k2cli.capture.sequence import Verdict, pass_over
from k2cli.trade import PlainTrade


def filled(**ids: list[int]) -> Ledger:
    ledger = Ledger(ids)
    for symbol, each in ids.items():
        for trade_id in each:
            ledger.observe(symbol, trade_id, 1000 + trade_id)
    return ledger


def test_it_sums_up_all_symbols() -> None:
    ledger = filled(BTCUSDT=[1, 2, 5, 5], ETHUSDT=[7, 9], BNBBTC=[])
    assert ledger.trades == 5
    assert ledger.gaps == 2
    assert ledger.missing == 3
    assert ledger.duplicates == 1


def test_it_follows_each_symbol_on_its_own() -> None:
    ledger = Ledger(["BTCUSDT", "ETHUSDT"])
    assert ledger.observe("BTCUSDT", 5, 1) is Verdict.FIRST
    assert ledger.observe("ETHUSDT", 6, 1) is Verdict.FIRST
    assert ledger.observe("BTCUSDT", 6, 1) is Verdict.NEXT


def test_a_symbol_that_is_not_accounted_for_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Ledger(["BTCUSDT"]).observe("ETHUSDT", 1, 1)


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
    assert account["symbols"]["BTCUSDT"]["missing_ranges"] == [(4, 4)]
    assert account["symbols"]["BNBBTC"]["first_trade_us"] is None
    assert (account["first_trade_us"], account["last_trade_us"]) == (1003, 1010)


def test_a_repaired_trade_may_be_the_first_of_the_account() -> None:
    ledger = Ledger(["BTCUSDT"])
    tracker = ledger.trackers["BTCUSDT"]
    tracker.resume(5, 1005)
    ledger.observe("BTCUSDT", 8, 1008)
    ledger.observe("BTCUSDT", 6, 1006)
    assert (tracker.first_time_us, tracker.last_time_us) == (1006, 1008)


def test_without_a_trade_of_its_own_a_run_has_no_span_of_time() -> None:
    ledger = Ledger(["BTCUSDT"])
    ledger.trackers["BTCUSDT"].resume(5, 1005)
    account = ledger.to_dict()
    assert (account["first_trade_us"], account["last_trade_us"]) == (None, None)


def test_trades_that_are_passed_over_count_for_the_span_of_time() -> None:
    ledger = Ledger(["BTCUSDT"])
    ledger.observe("BTCUSDT", 1, 1_723_161_255_342_000)
    rest: list[PlainTrade] = [
        ("", "", "BTCUSDT", str(n), "1", "1", f"172316125534200{n}", "", "")
        for n in (2, 3)
    ]
    assert pass_over(ledger.trackers, rest, 0, 2) == 2
    account = ledger.to_dict()
    assert account["first_trade_us"] == 1_723_161_255_342_000
    assert account["last_trade_us"] == 1_723_161_255_342_003
