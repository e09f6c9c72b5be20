from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from k2cli.display.terminal import LiveTable, save_svg, svg
from k2cli.display.text import Frame
from k2cli.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

from .conftest import Terminal

# The fixture's class lives in conftest, which is not to be imported.
MakeTerminal = Callable[[int, int], Any]

TAKEN = "\x1b[?1049h\x1b[H\x1b[?25l"
GIVEN_BACK = "\x1b[?25h\x1b[?1049l"


def frame(*lines: str) -> Frame:
    return Frame(tuple(Text(line) for line in lines))


def full(width: int, height: int) -> Frame:
    return frame(*["x" * width] * height)


def places(picture: str) -> dict[str, float]:
    """Return the texts of a picture and how far from the top each stands."""
    elements = ET.fromstring(picture).iter()  # noqa: S314 - our own picture
    return {
        (e.text or "").strip(): float(e.get("y") or 0)
        for e in elements
        if e.tag.endswith("text")
    }


def test_the_terminal_is_taken_and_given_back(make_terminal: MakeTerminal) -> None:
    terminal = make_terminal(20, 2)
    with LiveTable(terminal.console) as live:
        live.refresh(lambda *_: frame("a", "b"))
        assert terminal.getvalue().startswith(TAKEN)
        assert GIVEN_BACK not in terminal.getvalue()
    assert terminal.getvalue().endswith(GIVEN_BACK)


def test_the_terminal_is_given_back_after_a_crash(make_terminal: MakeTerminal) -> None:
    terminal = make_terminal(20, 2)

    def broken(width: int, height: int) -> Frame:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), LiveTable(terminal.console) as live:
        live.refresh(broken)
    assert terminal.getvalue().endswith(GIVEN_BACK)


def test_starting_and_stopping_twice_does_no_harm(make_terminal: MakeTerminal) -> None:
    terminal = make_terminal(20, 2)
    live = LiveTable(terminal.console)
    live.stop()
    assert terminal.getvalue() == ""
    live.start()
    live.start()
    live.stop()
    live.stop()
    assert terminal.getvalue() == TAKEN + GIVEN_BACK


def test_the_mouse_is_told_only_while_it_is_wanted(
    make_terminal: MakeTerminal,
) -> None:
    on, off = "\x1b[?1000h\x1b[?1006h", "\x1b[?1006l\x1b[?1000l"
    terminal = make_terminal(20, 2)
    live = LiveTable(terminal.console, takes_mouse=True)
    live.start()
    live.take_mouse(False)
    live.take_mouse(True)
    live.stop()
    assert terminal.getvalue() == TAKEN + on + off + on + off + GIVEN_BACK


def test_an_interrupt_while_starting_gives_the_terminal_back(
    make_terminal: MakeTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = make_terminal(20, 2)
    real_show_cursor = terminal.console.show_cursor

    def interrupted(show: bool) -> bool:
        if not show:
            raise KeyboardInterrupt
        return bool(real_show_cursor(show))

    monkeypatch.setattr(terminal.console, "show_cursor", interrupted)
    with pytest.raises(KeyboardInterrupt):
        LiveTable(terminal.console).start()
    assert terminal.getvalue().endswith(GIVEN_BACK)


def test_stopping_when_the_terminal_is_gone_is_silent(
    make_terminal: MakeTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = make_terminal(20, 2)
    live = LiveTable(terminal.console)
    live.start()

    def gone(text: str) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(terminal, "write", gone)
    live.stop()


def test_only_what_changed_is_sent(make_terminal: MakeTerminal) -> None:
    terminal = make_terminal(20, 3)
    with LiveTable(terminal.console) as live:
        assert live.refresh(lambda *_: frame("one", "two", "three"))
        before = len(terminal.getvalue())
        assert not live.refresh(lambda *_: frame("one", "two", "three"))
        assert len(terminal.getvalue()) == before
        assert live.refresh(lambda *_: frame("one", "2", "three"))
        sent = terminal.getvalue()[before:]
        assert "2" in sent
        assert "one" not in sent
        assert "three" not in sent
        assert terminal.text == "one\n2\nthree"


def test_a_change_of_colour_alone_is_a_change(make_terminal: MakeTerminal) -> None:
    terminal = make_terminal(20, 1)
    with LiveTable(terminal.console) as live:
        live.refresh(lambda *_: Frame((Text("one", "green"),)))
        assert live.refresh(lambda *_: Frame((Text("one", "red"),)))


def test_full_lines_keep_their_last_character(make_terminal: MakeTerminal) -> None:
    terminal = make_terminal(10, 3)
    with LiveTable(terminal.console) as live:
        live.refresh(full)
        assert terminal.screen.display == ["x" * 10] * 3
    # Behind the last column an erase takes the last character with it; not in pyte.
    assert "x\x1b[0K" not in terminal.getvalue()


def test_a_line_that_is_too_wide_is_cut(make_terminal: MakeTerminal) -> None:
    terminal = make_terminal(5, 2)
    with LiveTable(terminal.console) as live:
        live.refresh(lambda *_: frame("too wide by far", "ok"))
        assert terminal.text == "too w\nok"


def test_a_resized_terminal_is_drawn_anew(make_terminal: MakeTerminal) -> None:
    terminal = make_terminal(20, 4)
    with LiveTable(terminal.console) as live:
        live.refresh(lambda *_: frame("one", "two", "", ""))
        for width in (12, 40):
            terminal.resize(width, 4)
            # What a terminal makes of its lines while it is resized is its own affair.
            terminal.write("\x1b[1;1Hdebris\x1b[4;1Hdebris")
            assert live.refresh(lambda *_: frame("one", "two", "", ""))
            assert terminal.text == "one\ntwo\n\n"


def test_a_frame_follows_the_size(make_terminal: MakeTerminal) -> None:
    terminal = make_terminal(20, 4)
    with LiveTable(terminal.console) as live:
        for width, height in ((20, 4), (12, 3), (30, 6)):
            terminal.resize(width, height)
            live.refresh(full)
            assert terminal.screen.display == ["x" * width] * height


def test_lines_that_are_gone_do_not_stay(make_terminal: MakeTerminal) -> None:
    terminal = make_terminal(20, 2)
    with LiveTable(terminal.console) as live:
        live.refresh(lambda *_: frame("one", "two"))
        live.refresh(lambda *_: frame("one"))
        assert terminal.text == "one\n"


def test_no_terminal_gets_no_escape_sequences(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("w") as file:
        console = Console(file=file, force_terminal=False, _environ={})
        assert not LiveTable.usable(console)
        with LiveTable(console) as live:
            assert not live.refresh(full)
    assert path.read_bytes() == b""


def test_a_dumb_terminal_is_not_usable(make_terminal: MakeTerminal) -> None:
    terminal = make_terminal(20, 2)
    console = Console(file=terminal, force_terminal=True, _environ={"TERM": "dumb"})
    assert not LiveTable.usable(console)
    with LiveTable(console) as live:
        live.refresh(full)
    assert terminal.getvalue() == ""


def test_a_picture_is_deterministic_and_whole(tmp_path: Path) -> None:
    drawn = frame("one", "two", "three")
    for name in ("a.svg", "b.svg"):
        save_svg(tmp_path / name, drawn, "k2 <stream>", width=30, height=3)
    picture = (tmp_path / "a.svg").read_bytes()
    assert picture == (tmp_path / "b.svg").read_bytes()
    words = [w.replace("\xa0", " ") for w in places(picture.decode())]
    shown = [w for w in words if w in {"one", "two", "three"}]
    assert shown == ["one", "two", "three"]
    assert "k2 <stream>" in words


def test_a_picture_has_no_empty_lines_in_between() -> None:
    where = places(svg(frame("one", "two"), "t", width=10, height=2))
    assert where["two"] - where["one"] == pytest.approx(24.4)


def test_a_picture_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        save_svg(tmp_path, frame("one"), "t", width=10, height=1)


def test_what_changed_on_a_long_line_is_sent_and_nothing_else(
    make_terminal: MakeTerminal,
) -> None:
    terminal = make_terminal(80, 1)
    with LiveTable(terminal.console) as live:
        live.refresh(lambda *_: frame("a" * 30 + "1" + "b" * 30 + "2" + "c" * 18))
        before = len(terminal.getvalue())
        live.refresh(lambda *_: frame("a" * 30 + "3" + "b" * 30 + "4" + "c" * 18))
        sent = terminal.getvalue()[before:]
    assert sent.removesuffix(GIVEN_BACK) == "\x1b[1;31H3\x1b[1;62H4"


def test_a_terminal_that_does_not_speak_unicode_is_not_usable() -> None:
    console = Console(
        file=io.TextIOWrapper(io.BytesIO(), "latin-1"), force_terminal=True
    )
    assert not LiveTable.usable(console)


# The emulator breaks a full line before a mark that joins its last character.
@settings(max_examples=60)
@given(
    st.lists(
        st.lists(
            st.text(st.sampled_from("ab 币é\u0301▲━"), max_size=18),
            min_size=3,
            max_size=3,
        ),
        min_size=2,
        max_size=5,
    )
)
def test_whatever_is_drawn_after_whatever_the_screen_is_right(
    frames: list[list[str]],
) -> None:
    at_once, one_by_one = Terminal(40, 3), Terminal(40, 3)
    with LiveTable(one_by_one.console) as live:
        for lines in frames:
            live.refresh(lambda *_, lines=lines: frame(*lines))
        with LiveTable(at_once.console) as anew:
            anew.refresh(lambda *_: frame(*frames[-1]))
            assert one_by_one.text == at_once.text
