"""``k2 manual``: its pages in a pipe, and what it says of those that it has not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import k2cli

from .conftest import K2
from .test_completion import in_bash, needs_bash

FOLDER = Path(k2cli.__file__).parent / "manual"
TOPICS = sorted(page.stem for page in FOLDER.iterdir())


async def test_without_a_topic_all_are_listed_with_a_line_each(k2: K2) -> None:
    ended = await k2("manual")

    lines = ended.out.decode().splitlines()
    assert ended.status == 0
    assert sorted(line.split()[0] for line in lines) == TOPICS
    assert all(len(line.split()) > 2 for line in lines)
    assert all(len(line) < 80 for line in lines)


@pytest.mark.parametrize("topic", TOPICS)
async def test_a_page_comes_out_of_a_pipe_as_it_was_written(k2: K2, topic: str) -> None:
    ended = await k2("manual", topic)

    assert ended.status == 0
    assert ended.out == (FOLDER / f"{topic}.md").read_bytes()
    assert ended.err == ""


async def test_a_page_is_utf_8_wherever_it_goes(k2: K2) -> None:
    ended = await k2("manual", "Watching.md", PYTHONIOENCODING="ascii")

    assert ended.out == (FOLDER / "watching.md").read_bytes()


@pytest.mark.parametrize(
    ("topic", "says"),
    [
        ("recrding", "Did you mean recording? 'k2 manual' lists the topics"),
        ("xyzzy", "no page 'xyzzy'. 'k2 manual' lists the topics"),
        ("../errors", "no page '../errors'"),
        ("\x1b[2J", r"no page '\\x1b[2J'"),
    ],
)
async def test_an_unknown_topic_is_one_line_and_status_2(
    k2: K2, topic: str, says: str
) -> None:
    ended = await k2("manual", topic)

    assert ended.status == 2
    assert ended.out == b""
    (line,) = ended.err.splitlines()
    assert says in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
async def test_a_page_that_cannot_be_written_is_one_line_and_status_5(k2: K2) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    process = await k2.start("manual", "faq", stdout=full)
    os.close(full)
    ended = await k2.end(process)

    assert ended.status == 5
    (line,) = ended.err.splitlines()
    assert "stdout cannot be written" in line


@needs_bash
async def test_the_shell_offers_the_topics(k2: K2) -> None:
    assert await in_bash(k2, "k2", "manual", "re") == ["recording", "repair"]
    assert await in_bash(k2, "k2", "manual", "") == TOPICS
