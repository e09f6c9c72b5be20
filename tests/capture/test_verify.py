from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.capture import verifier as verifying
from k2cli.capture.reader import MAX_LINE_BYTES, BrokenOff
from k2cli.capture.report import Conclusion, Kind, Report
from k2cli.capture.verifier import Verifier
from k2cli.capture.verify import verify
from k2cli.errors import SettingsError

T_US = 1_723_161_255_342_000


def line(
    trade_id: int, number: int | None, symbol: str = "BTCUSDT", **more: Any
) -> bytes:
    exchange = more.get("exchange", "BINANCE")
    time_us = more.pop("time_us", T_US + trade_id * 1000)
    vendor_data = {
        "is_buyer_maker": "true",
        "is_best_match": "true",
        "event_type": "trade",
        "event_time": str(time_us + 500),
        "trade_time": str(time_us),
        "base_asset": symbol[:3],
        "quote_asset": symbol[3:],
    }
    if more.pop("repaired", False):
        del vendor_data["event_time"]
        vendor_data["source"] = "backfill"
    record = {
        "message_id": "f3b0c4ce-5d0a-4a7e-9f0e-0d5c2f9f2b11",
        "trade_id": f"{exchange}-{trade_id}",
        "symbol": symbol,
        "exchange": exchange,
        "asset_class": "crypto",
        "timestamp": time_us,
        "price": "61837.63000000",
        "quantity": "0.02000000",
        "currency": symbol[3:],
        "side": "SELL",
        "trade_conditions": [],
        "source_sequence": trade_id,
        "ingestion_timestamp": time_us + 900,
        "platform_sequence": number,
        "vendor_data": vendor_data,
    }
    return orjson.dumps(record | more) + b"\n"


def capture(ids: Iterable[int], first_number: int = 1, **more: Any) -> list[bytes]:
    return [line(one, number, **more) for number, one in enumerate(ids, first_number)]


def check(*files: list[bytes] | bytes) -> Report:
    """Verify files, cut in several ways: the findings must be the same."""
    contents = [b"".join(file) if isinstance(file, list) else file for file in files]

    def cut_at(place: int) -> Report:
        return Verifier().read(
            (f"file{position}", [content[:place], content[place:]])
            for position, content in enumerate(contents)
        )

    report = cut_at(0)
    # Behind the first line whole blocks of lines are checked at once.
    for place in (len(contents[0].partition(b"\n")[0]) + 1 if contents else 0, 700):
        assert cut_at(place).to_dict() == report.to_dict()
    return report


def found(report: Report) -> set[tuple[Kind | str, int, int]]:
    """Everything that is wrong: kind, file from 0, line from 1."""
    missing = {
        ("missing", *ids.place)
        for one in report.symbols.values()
        for ids in one.missing_ranges
    }
    return missing | {
        (one.kind, *one.place)
        for problems in report.problems.values()
        for one in problems
    }


def texts(report: Report, kind: Kind) -> list[str]:
    return [one.text for one in report.problems[kind]]


def test_a_whole_capture_is_whole() -> None:
    lines = [
        line(10, 1),
        line(7, 2, "ETHUSDT"),
        line(11, 3, repaired=True),
        line(12, 4),
        line(8, 5, "ETHUSDT"),
    ]
    report = check(lines)
    bitcoin = report.symbols["BTCUSDT"]
    assert report.conclusion is Conclusion.WHOLE
    assert found(report) == set()
    assert (bitcoin.trades, bitcoin.first_id, bitcoin.last_id) == (3, 10, 12)
    assert (bitcoin.repaired, bitcoin.gaps, bitcoin.missing) == (1, 0, 0)
    assert (report.trades, report.exchange) == (5, "BINANCE")
    assert report.files[0].lines == 5
    assert report.files[0].size_bytes == len(b"".join(lines))


@pytest.mark.parametrize("content", [[], [b""], [b"", b""]])
def test_no_record_proves_nothing(content: list[bytes]) -> None:
    assert check(*content).conclusion is Conclusion.EMPTY


def test_missing_ranges_are_named_where_they_open() -> None:
    report = check(capture([10, 11, 15, 16, 18]))
    (bitcoin,) = report.symbols.values()
    assert [tuple(ids) for ids in bitcoin.missing_ranges] == [
        (12, 14, (0, 3)),
        (17, 17, (0, 5)),
    ]
    assert (bitcoin.missing, bitcoin.gaps, bitcoin.trades) == (4, 2, 5)
    assert report.conclusion is Conclusion.NOT_WHOLE


def test_a_duplicate_is_named() -> None:
    report = check(capture([10, 11, 12, 11]))
    assert found(report) == {(Kind.DUPLICATE, 0, 4)}
    assert texts(report, Kind.DUPLICATE) == ["BTCUSDT 11 once more"]
    assert report.symbols["BTCUSDT"].trades == report.trades == 3


def test_a_repaired_duplicate_is_no_repair() -> None:
    lines = [*capture([10, 11]), line(10, 3, repaired=True)]
    assert check(lines).symbols["BTCUSDT"].repaired == 0


def test_disorder_is_named_and_nothing_is_missing_by_it() -> None:
    report = check(capture([10, 13, 11, 12, 9]))
    assert found(report) == {(Kind.DISORDER, 0, n) for n in (3, 4, 5)}
    (bitcoin,) = report.symbols.values()
    assert (bitcoin.first_id, bitcoin.last_id, bitcoin.missing) == (9, 13, 0)
    assert texts(report, Kind.DISORDER)[0] == "BTCUSDT 11 behind 13"


def test_a_count_begun_anew_is_no_fault() -> None:
    lines = [
        *capture([1000, 1001]),
        *[line(n, n + 2, time_us=T_US + 5_000_000 + n) for n in (1, 2, 3)],
    ]
    report = check(lines)
    (bitcoin,) = report.symbols.values()
    assert report.conclusion is Conclusion.WHOLE
    assert (bitcoin.resets, bitcoin.trades) == (1, 5)
    assert (bitcoin.first_id, bitcoin.last_id) == (1000, 3)


def test_breaks_in_the_numbering_are_named() -> None:
    lines = [line(i, n) for i, n in enumerate([1, 2, 4, 5, 5, 6], 10)]
    report = check(lines)
    assert found(report) == {(Kind.NUMBERING, 0, 3), (Kind.NUMBERING, 0, 5)}
    assert texts(report, Kind.NUMBERING) == [
        "platform_sequence is 4, not 3",
        "platform_sequence is 5, not 6",
    ]


def test_a_capture_without_its_beginning_is_not_whole() -> None:
    report = check(capture([10, 11], first_number=501))
    assert texts(report, Kind.NUMBERING) == [
        "platform_sequence is 501, not 1: this is not where the capture began"
    ]


def test_a_stream_that_was_not_recorded_has_no_numbers() -> None:
    report = check([line(10, None), line(11, None)])
    assert found(report) == set()
    assert report.is_stream
    assert report.symbols["BTCUSDT"].trades == 2


def test_a_number_that_lacks_is_one_fault_not_two() -> None:
    report = check([line(10, 1), line(11, None), line(12, 3)])
    assert found(report) == {(Kind.SCHEMA, 0, 2)}


def test_a_violation_of_the_schema_is_named_and_the_sequence_goes_on() -> None:
    lines = capture(range(10, 20))
    lines[4] = line(14, 5, price="6.1e4")
    lines[6] = line(16, 7, timestamp="soon")
    report = check(lines)
    assert found(report) == {(Kind.SCHEMA, 0, 5), (Kind.SCHEMA, 0, 7)}
    assert texts(report, Kind.SCHEMA)[0].startswith('price is "6.1e4", ')
    assert report.trades == 10


def test_what_is_no_json_is_named() -> None:
    lines = capture(range(10, 14))
    report = check([*lines[:2], b"junk \x1b[2J\n", b"\n", b"[1]\n", *lines[2:]])
    assert found(report) == {(Kind.SCHEMA, 0, n) for n in (3, 4, 5)}
    assert all(text.isprintable() for text in texts(report, Kind.SCHEMA))


@pytest.mark.parametrize("first", ["BINANCE", "SIM"])
def test_exchanges_never_mix(first: str) -> None:
    other = "SIM" if first == "BINANCE" else "BINANCE"
    lines = [
        line(10, 1, exchange=first),
        line(500, 2, exchange=other),
        line(11, 3, exchange=first),
    ]
    report = check(lines)
    assert found(report) == {(Kind.SCHEMA, 0, 2)}
    assert texts(report, Kind.SCHEMA) == [
        f"exchange is {other}, where the capture began with {first}"
    ]
    assert report.symbols["BTCUSDT"].last_id == 11


def test_the_files_of_a_rotation_are_one_capture() -> None:
    lines = capture(range(10, 30))
    assert check(lines[:7], lines[7:9], [], lines[9:]).conclusion is Conclusion.WHOLE
    torn = check(lines[:7], lines[7:8], lines[9:])
    assert found(torn) == {("missing", 2, 1), (Kind.NUMBERING, 2, 1)}
    again = check(lines[:7], lines[6:])
    assert found(again) == {
        (Kind.DUPLICATE, 1, 1),
        (Kind.NUMBERING, 1, 1),
    }


@pytest.mark.parametrize("chunk_bytes", [1, 100, 1 << 20])
def test_every_cut_in_the_last_two_lines_is_a_torn_tail(chunk_bytes: int) -> None:
    lines = capture(range(10, 15))
    content = b"".join(lines)
    ends = {len(b"".join(lines[:n])): n for n in range(6)}
    step = 1 if chunk_bytes > 1 else 97
    for cut in range(len(b"".join(lines[:3])), len(content) + 1, step):
        torn = content[:cut]
        chunks = [torn[i : i + chunk_bytes] for i in range(0, len(torn), chunk_bytes)]
        report = Verifier().read([("torn", chunks)])
        whole_lines = torn.count(b"\n")
        assert report.trades == report.files[0].lines == whole_lines
        expected = set() if cut in ends else {(Kind.TORN, 0, whole_lines + 1)}
        assert found(report) == expected


def test_a_last_line_that_is_no_json_is_a_torn_tail() -> None:
    lines = capture(range(10, 13))
    torn = lines[2][:200] + b"\n"
    assert found(check([*lines[:2], torn])) == {(Kind.TORN, 0, 3)}
    # A later line shows that it was not the tail.
    assert found(check([*lines[:2], torn, lines[2]])) == {(Kind.SCHEMA, 0, 3)}
    assert found(check([*lines[:2], torn, b'{"mess'])) == {
        (Kind.SCHEMA, 0, 3),
        (Kind.TORN, 0, 4),
    }
    # Every file of a rotation has its own tail.
    assert found(check([*lines[:2], torn], lines[2:])) == {(Kind.TORN, 0, 3)}


@pytest.mark.parametrize(
    ("damaged", "kind"), [(False, Kind.TORN), (True, Kind.DAMAGED)]
)
def test_compressed_data_that_break_off_are_named(damaged: bool, kind: Kind) -> None:
    lines = capture(range(10, 13))

    def chunks() -> Iterator[bytes]:
        yield b"".join(lines)[:-5]
        raise BrokenOff("gone", damaged=damaged)

    assert found(Verifier().read([("packed", chunks())])) == {(kind, 0, 3)}


def test_a_line_without_an_end_needs_no_memory() -> None:
    lines = capture(range(10, 12))
    verifier = Verifier()
    verifier.begin_file("long")
    verifier.feed(lines[0])
    for _ in range(64):
        verifier.feed(b"x" * 65536)
        assert len(verifier._rest) <= MAX_LINE_BYTES
    verifier.feed(b"\n" + lines[1])
    verifier.end_file()
    assert found(verifier.report) == {(Kind.SCHEMA, 0, 2)}
    assert verifier.report.files[0].lines == verifier.lines == 3
    # At once, too.
    at_once = check([lines[0], b"x" * (MAX_LINE_BYTES + 1) + b"\n", lines[1]])
    assert texts(at_once, Kind.SCHEMA) == ["longer than 1,048,576 bytes"]
    assert found(check(b"x" * (2 * MAX_LINE_BYTES))) == {
        (Kind.SCHEMA, 0, 1),
        (Kind.TORN, 0, 1),
    }


def test_problems_are_counted_beyond_those_that_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verifying, "MOST_PROBLEMS", 3)
    report = check(capture([10, 11, *[10] * 8]))
    assert len(report.problems[Kind.DUPLICATE]) == 3
    assert report.counts[Kind.DUPLICATE] == 8


def test_symbols_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "MOST_SYMBOLS", 2)
    lines = [line(1, n, f"S{n:02}USDT") for n in range(1, 5)]
    report = check([b" " + one for one in lines])
    assert len(report.symbols) == 2
    assert found(report) == {(Kind.SCHEMA, 0, 3), (Kind.SCHEMA, 0, 4)}


def test_files_are_verified_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    lines = capture(range(10, 30))
    first, last = tmp_path / "t.1.jsonl.gz", tmp_path / "t.jsonl"
    first.write_bytes(gzip.compress(b"".join(lines[:9])))
    last.write_bytes(b"".join(lines[9:]))
    report = verify([last, str(first)])
    assert report.whole
    assert report.missing == 0
    assert [file.name for file in report.files] == [str(first), str(last)]
    # Of one file, just that one.
    alone = verify(first)
    assert alone.whole
    assert alone.trades == 9
    last.write_bytes(b"".join(lines[12:]))
    report = verify([first, last])
    assert not report.whole
    assert report.missing == 3
    with pytest.raises(SettingsError, match="there is no file"):
        verify(tmp_path / "nowhere")


def test_a_name_is_made_fit_for_printing() -> None:
    assert Verifier().read([("\x1b[2J", [])]).files[0].name == "\\x1b[2J"


SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT")
Trade = tuple[str, int, int]


def expected(trades: list[Trade]) -> set[tuple[Kind | str, int, int]]:
    """What is wrong with a capture, found the slow and plain way."""
    wrong: set[tuple[Kind | str, int, int]] = set()
    seen: dict[str, set[int]] = {symbol: set() for symbol in SYMBOLS}
    lacked: dict[tuple[str, int], int] = {}
    due = 1
    for at, (symbol, trade_id, number) in enumerate(trades, 1):
        ids = seen[symbol]
        if trade_id in ids:
            wrong.add((Kind.DUPLICATE, 0, at))
        elif ids and trade_id < max(ids):
            wrong.add((Kind.DISORDER, 0, at))
        ids.add(trade_id)
        for between in range(min(ids), max(ids)):
            if between not in ids:
                lacked.setdefault((symbol, between), at)
        if number != due:
            wrong.add((Kind.NUMBERING, 0, at))
        due = number + 1
    for (symbol, trade_id), at in lacked.items():
        if trade_id not in seen[symbol]:
            wrong.add(("missing", 0, at))
    return wrong


def missing_ids(trades: list[Trade], symbol: str) -> set[int]:
    ids = {trade_id for of, trade_id, _ in trades if of == symbol}
    return set(range(min(ids), max(ids))) - ids if ids else set()


@given(st.data())
def test_whatever_is_done_to_a_capture_is_named_and_nothing_else(
    data: st.DataObject,
) -> None:
    order = data.draw(st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=24))
    next_ids = {"BTCUSDT": 3735683259, "ETHUSDT": 98, "BNBUSDT": 1}
    trades: list[Trade] = []
    for number, symbol in enumerate(order, 1):
        trades.append((symbol, next_ids[symbol], number))
        next_ids[symbol] += 1
    for change in data.draw(
        st.lists(st.sampled_from(["delete", "duplicate", "swap"]), max_size=6)
    ):
        if not trades:
            break
        one = data.draw(st.integers(0, len(trades) - 1))
        other = data.draw(st.integers(0, len(trades) - 1))
        if change == "delete":
            del trades[one]
        elif change == "duplicate":
            trades.insert(other, trades[one])
        else:
            trades[one], trades[other] = trades[other], trades[one]
    content = b"".join(line(i, number, symbol) for symbol, i, number in trades)
    cut = data.draw(st.integers(0, 700))
    content = content[: len(content) - cut] if cut <= len(content) else content
    whole = content.count(b"\n")
    kept = trades[:whole]
    chunk_bytes = data.draw(st.sampled_from([1, 7, 300, 601, 5000, 1 << 18]))

    report = Verifier().read(
        [
            (
                "changed",
                (
                    content[i : i + chunk_bytes]
                    for i in range(0, len(content), chunk_bytes)
                ),
            )
        ]
    )

    torn = content and not content.endswith(b"\n")
    tail: set[tuple[Kind | str, int, int]] = (
        {(Kind.TORN, 0, whole + 1)} if torn else set()
    )
    assert found(report) == expected(kept) | tail
    for symbol, figures in report.symbols.items():
        named = {
            trade_id
            for ids in figures.missing_ranges
            for trade_id in range(ids.first_id, ids.last_id + 1)
        }
        assert named == missing_ids(kept, symbol)
        assert figures.missing == len(named)
    assert report.trades == len({trade[:2] for trade in kept})
    if found(report):
        assert report.conclusion is Conclusion.NOT_WHOLE
    else:
        assert report.conclusion is (Conclusion.WHOLE if kept else Conclusion.EMPTY)
