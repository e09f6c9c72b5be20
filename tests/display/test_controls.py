from __future__ import annotations

from dataclasses import replace

import pytest

from k2cli.cli.stream import SortColumn
from k2cli.display.columns import SORTABLE
from k2cli.display.controls import Controls
from k2cli.display.prints import FLOORS_USD


def pressed(*keys: str, **settings: object) -> Controls:
    controls = Controls(has_keys=True, **settings)  # type: ignore[arg-type]  # as named
    for key in keys:
        assert not controls.press(key)
    return controls


def test_quitting_is_said() -> None:
    assert Controls().press("q")


@pytest.mark.parametrize("key", ["x", "f1", "c-a", "é", "<any>", "tab"])
def test_a_key_without_a_meaning_does_nothing(key: str) -> None:
    assert pressed(key) == Controls(has_keys=True)


def test_space_pauses_and_resumes() -> None:
    assert pressed(" ").is_paused
    assert not pressed(" ", " ").is_paused


def test_sorting_goes_through_all_columns_and_back() -> None:
    controls = pressed()
    seen = []
    for _ in range(len(SORTABLE) + 1):
        controls.press("s")
        seen.append(controls.sort)
    assert seen == [*SORTABLE, None]


def test_names_go_up_and_numbers_down_unless_turned_round() -> None:
    assert pressed(sort="symbol").is_ascending
    assert not pressed(sort="volume").is_ascending
    assert pressed("S", sort="volume").is_ascending
    assert not pressed("S", "s", sort="notional").is_reversed


def test_the_options_are_the_columns_that_can_be_sorted_by() -> None:
    assert tuple(SortColumn) == SORTABLE


@pytest.mark.parametrize(
    ("keys", "row"),
    [
        (["n"], 10),
        (["pagedown", "right"], 20),
        (["n", "n", "p"], 10),
        (["n", "pageup", "left"], 0),
        (["n", "home"], 0),
    ],
)
def test_pages(keys: list[str], row: int) -> None:
    assert pressed(*keys, page_rows=10).first_row == row


def test_the_tape_is_turned_to_what_it_is_not() -> None:
    assert pressed("t", has_tape=True).shows_tape is False
    assert pressed("t", has_tape=False).shows_tape is True


def test_windows_follow_one_another() -> None:
    windows = (60.0, 300.0, 900.0)
    controls = pressed(windows_seconds=windows, window_seconds=300.0)
    seen = []
    for _ in range(3):
        controls.press("w")
        seen.append(controls.window_seconds)
    assert seen == [900.0, 60.0, 300.0]


def test_a_filter_is_typed() -> None:
    controls = pressed("/", *"btc", first_row=30)
    assert (controls.filter, controls.is_typing, controls.first_row) == ("BTC", True, 0)
    assert controls.shows("BTCUSDT")
    assert not controls.shows("ETHUSDT")


def test_letters_that_are_keys_are_typed_too() -> None:
    controls = pressed("/", *"qst n/pw?h", "up")
    assert (controls.filter, controls.sort, controls.is_paused) == (
        "QSTNPWH",
        None,
        False,
    )


def test_enter_keeps_the_filter_and_escape_clears_it() -> None:
    kept = pressed("/", "b", "enter", "s")
    assert (kept.filter, kept.is_typing, kept.sort) == ("B", False, SORTABLE[0])
    for cleared in (pressed("/", "b", "escape"), pressed("/", "b", "enter", "escape")):
        assert (cleared.filter, cleared.is_typing) == ("", False)


def test_backspace_takes_a_letter_back_and_then_the_filter() -> None:
    assert pressed("/", "b", "t", "backspace").filter == "B"
    assert pressed("/", "b", "backspace").is_typing
    assert not pressed("/", "b", "backspace", "backspace").is_typing


def test_a_filter_does_not_grow_for_ever() -> None:
    assert len(pressed("/", *"x" * 500).filter) == 20


@pytest.mark.parametrize("key", ["?", "h", "q", "escape", "enter", " "])
def test_help_is_shown_until_a_key_closes_it(key: str) -> None:
    controls = pressed("?")
    assert controls.shows_help
    assert not controls.press(key)
    assert not controls.shows_help
    assert not controls.is_paused


@pytest.mark.parametrize("key", ["s", "S", "t", "w", "m", "/", "x"])
def test_other_keys_do_nothing_while_the_help_is_open(key: str) -> None:
    assert pressed("?", key, sort="last") == pressed("?", sort="last")


ROWS = {"rows": ("A", "B", "C", "D"), "page_rows": 2}


@pytest.mark.parametrize(
    ("keys", "cursor", "first_row"),
    [
        (["down"], "A", 0),
        (["down", "down"], "B", 0),
        (["down"] * 3, "C", 1),
        (["down"] * 9, "D", 2),
        ([*["down"] * 4, "up", "up", "up"], "A", 0),
        (["n", "down"], "C", 2),
        (["down", "n"], None, 2),
        ([*["down"] * 4, "home"], "A", 0),
        (["down", "escape"], None, 0),
    ],
)
def test_the_cursor_moves_and_the_rows_follow(
    keys: list[str], cursor: str | None, first_row: int
) -> None:
    controls = pressed(*keys, **ROWS)
    assert (controls.cursor, controls.first_row) == (cursor, first_row)


def test_enter_opens_a_symbol_and_escape_closes_it() -> None:
    assert pressed("enter").opened is None
    assert pressed("enter", **ROWS).opened == "A"
    opened = pressed("down", "down", "enter", **ROWS)
    assert opened.opened == "B"
    for key, symbol in (("down", "C"), ("n", "D"), ("n", "D"), ("up", "C")):
        opened.press(key)
        assert opened.opened == symbol
    opened.press("s")
    assert opened.sort is None
    opened.press("escape")
    assert opened == replace(pressed(**ROWS), cursor="C")


def test_the_floor_of_the_tape_goes_round() -> None:
    controls = pressed()
    seen = []
    for _ in FLOORS_USD:
        controls.press("m")
        seen.append(controls.floor)
    assert seen == [*range(1, len(FLOORS_USD)), 0]


def test_a_click_chooses_a_row_and_another_one_opens_it() -> None:
    controls = pressed(**ROWS, first_line=3, first_row=1)
    controls.press("click", 4)
    assert (controls.cursor, controls.opened) == ("C", None)
    controls.press("click", 3)
    assert (controls.cursor, controls.opened) == ("B", None)
    controls.press("click", 3)
    assert controls.opened == "B"
    controls.press("right-click", 9)
    assert controls == pressed(**ROWS, first_line=3, first_row=1, cursor="B")


@pytest.mark.parametrize("line", [0, 2, 5, 6, 999])
def test_a_click_beside_the_rows_does_nothing(line: int) -> None:
    controls = pressed(**ROWS, first_line=3)
    controls.press("click", line)
    assert controls == pressed(**ROWS, first_line=3)


def test_the_wheel_scrolls_rows_and_the_help() -> None:
    assert pressed("wheel-down", "wheel-down", **ROWS).first_row == 6
    assert pressed("wheel-down", "wheel-up", "wheel-up", **ROWS).first_row == 0
    assert pressed("?", "wheel-down", **ROWS).help_row == 3
    assert pressed("wheel-down", opened="A", **ROWS).first_row == 0


def test_the_mouse_does_not_type() -> None:
    assert pressed("/", "b", "click", "wheel-up").filter == "B"


def test_the_mouse_is_given_back_and_taken_again() -> None:
    assert not pressed("M").takes_mouse
    assert pressed("M", "M").takes_mouse
