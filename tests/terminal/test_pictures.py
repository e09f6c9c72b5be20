from __future__ import annotations

import json
import re
from pathlib import Path

import pyte
import pytest

from .pictures import CAST, CAST_SECONDS, FOLDER, PICTURES, Picture, cast, structure

ROOT = Path(__file__).parents[2]
CAST_WORDS = {"▸BTCUSDT", "── price, ", "by change ▼", "from 1,000 USD"}
LEDGER = {"gaps", "repaired", "missing", "duplicates", "reconnects"}
PAGES = [ROOT / "README.md", *ROOT.glob("k2cli/manual/*.md")]


def test_the_readme_and_the_manual_show_them_all() -> None:
    pattern = re.compile(r"!\[.+?\]\((?:\.\./\.\./)?\.github/pictures/(\w+)\.svg\)")
    shown = [
        name for page in PAGES for name in pattern.findall(page.read_text("utf-8"))
    ]
    assert sorted(shown) == sorted(picture.name for picture in PICTURES)
    assert {file.stem for file in FOLDER.iterdir()} == set(shown)


@pytest.mark.slow
@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
async def test_it_shows_what_k2_shows_today(picture: Picture, tmp_path: Path) -> None:
    kept = (FOLDER / f"{picture.name}.svg").read_text(encoding="utf-8")

    today = await picture.draw(tmp_path, seconds=0.5)

    (words, size), (words_today, size_today) = structure(kept), structure(today)
    if picture.name == "stream":
        # The zeros of its ledger are there where other figures leave them room.
        words, words_today = words - LEDGER, words_today - LEDGER
    assert (words, size) == (words_today, size_today), (
        "make them anew: python -m tests.terminal.pictures"
    )


def test_the_recording_shows_table_symbol_and_floor() -> None:
    header, *events = map(
        json.loads, (FOLDER / CAST).read_text(encoding="utf-8").splitlines()
    )
    assert header["version"] == 2
    assert events[-1][0] == pytest.approx(CAST_SECONDS, rel=0.1)
    screen = pyte.Screen(header["width"], header["height"])
    terminal = pyte.Stream(screen)
    seen = set()
    for _, _, sent in events:
        terminal.feed(sent)
        text = "\n".join(screen.display)
        seen |= {words for words in CAST_WORDS if words in text}
    assert seen == CAST_WORDS


@pytest.mark.slow
async def test_the_recording_can_be_made_anew(tmp_path: Path) -> None:
    recorded = await cast(tmp_path, seconds=0.5, lasting_seconds=4.0)
    assert all(words in recorded for words in ("latest trades", "── price, "))


def test_a_heading_less_or_a_line_more_shows() -> None:
    svg = (FOLDER / "record.svg").read_text(encoding="utf-8")
    words, size = structure(svg)
    assert {"symbol", "trades", "missing", "complete", "●", "00:00:00"} <= words
    assert structure(svg.replace("duplicates", "")) != (words, size)
    assert structure(svg.replace('viewBox="0 0 ', 'viewBox="0 0 1')) != (words, size)
    other = re.sub(r"(?<![#\d])[1-9](?=[^<>]*</text>)", "7", svg)
    assert other != svg
    assert structure(other) == (words, size)
