from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from .conftest import Terminal

MakeTerminal = Callable[[int, int], Terminal]


@pytest.mark.skipif(not shutil.which("less"), reason="there is no less")
async def test_a_page_is_rendered_and_paged(terminal: MakeTerminal) -> None:
    screen = terminal(80, 24)
    screen.run("manual", "promise")

    await screen.until(lambda: screen.text.endswith("\n:"))
    assert "The promise" in screen.screen.display[0]
    assert "## " not in screen.text
    # Another page is named as one gets there.
    assert "k2 manual files" in " ".join(screen.text.split())
    assert ".md" not in screen.text
    screen.press("q")

    assert await screen.ended() == 0
    assert screen.is_as_it_was


@pytest.mark.parametrize("width", [60, 140])
async def test_without_a_pager_all_of_it_is_printed(
    terminal: MakeTerminal, width: int
) -> None:
    screen = terminal(width, 24)
    screen.run("manual", "faq", "--no-pager", PAGER="false")

    assert await screen.ended() == 0
    assert "The table looks wrong" in screen.text
    assert all(len(line) <= 100 for line in screen.text.splitlines())
    assert "**" not in screen.text


async def test_pictures_are_left_out(terminal: MakeTerminal) -> None:
    screen = terminal(80, 100)
    screen.run("manual", "recording", "--no-pager")

    assert await screen.ended() == 0
    assert b".svg" not in screen.sent
    assert b"Resume" in screen.sent
