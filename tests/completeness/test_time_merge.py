from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from k2cli.completeness.time_merge import TimeMerge
from tests.batches import BTC, ETH, trade_batch

Found = list[tuple[str, int, int]]
a_page = st.lists(st.integers(0, 50), min_size=1)


def given_by(merge: TimeMerge) -> Found:
    return [
        (batch.symbols[index], int(batch.trade_ids[index]), batch.timestamp_us(index))
        for batch in merge.take()
        for index in range(len(batch))
    ]


def test_a_trade_waits_for_earlier_ones_of_other_symbols() -> None:
    merge = TimeMerge([BTC, ETH])
    merge.add(
        BTC, trade_batch([1, 2, 3], BTC, times_us=[10**15, 10**15 + 5, 10**15 + 9])
    )
    assert given_by(merge) == []
    merge.add(ETH, trade_batch([7], ETH, times_us=[10**15 + 5]))
    assert [found[1] for found in given_by(merge)] == [1, 2, 7]
    merge.end(ETH)
    assert [found[1] for found in given_by(merge)] == [3]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([BTC, ETH]), st.lists(st.integers(0, 50), min_size=1)
        ),
        max_size=8,
    )
)
def test_all_come_once_by_their_times(pages: list[tuple[str, list[int]]]) -> None:
    merge = TimeMerge([BTC, ETH])
    ids, latest, found, expected = {BTC: 1, ETH: 1}, {BTC: 0, ETH: 0}, [], 0
    for symbol, steps in pages:
        times = []
        for step in steps:
            latest[symbol] += step
            times.append(10**15 + latest[symbol])
        numbers = range(ids[symbol], ids[symbol] + len(steps))
        ids[symbol] += len(steps)
        expected += len(steps)
        merge.add(symbol, trade_batch(numbers, symbol, times_us=times))
        found += given_by(merge)
    merge.end(BTC)
    merge.end(ETH)
    found += given_by(merge)
    assert [time_us for _, _, time_us in found] == sorted(each[2] for each in found)
    assert len(found) == expected
    for symbol in (BTC, ETH):
        own = [trade_id for name, trade_id, _ in found if name == symbol]
        assert own == list(range(1, ids[symbol]))
