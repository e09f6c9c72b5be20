"""How often something is drawn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from k2cli.cli.redrawn import MOST_REDRAWS_PER_SECOND, Redrawn


class Drawn(Redrawn):
    """Notes when it is drawn, and what was slept, in order."""

    def __init__(self, error: Exception | None = None) -> None:
        self.happened: list[float | str] = []
        self.error = error
        self.is_drawn = asyncio.Event()

    def draw(self) -> None:
        self.happened.append("drawn")
        self.is_drawn.set()
        if self.error is not None:
            raise self.error


class FakeRun:
    """Notes what ends it."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.error: Exception | None = None

    def stop(self) -> None:
        self.ended.set()

    def fail(self, error: Exception) -> None:
        self.error = error
        self.ended.set()


def started(drawn: Drawn, every_seconds: float) -> FakeRun:
    run: Any = FakeRun()
    drawn.start_drawing(run, every_seconds)
    assert isinstance(run, FakeRun)
    return run


async def test_it_is_drawn_at_most_ten_times_a_second_whatever_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = Drawn()
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        drawn.happened.append(seconds)
        drawn.draw_soon()
        await real_sleep(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    started(drawn, 3600)
    while len(drawn.happened) < 50:
        drawn.draw_soon()
        await real_sleep(0)
    drawn.stop_drawing()

    # Between two drawings it always rests.
    assert drawn.happened[:50] == ["drawn", 1 / MOST_REDRAWS_PER_SECOND] * 25
    assert MOST_REDRAWS_PER_SECOND <= 10


async def test_a_key_is_not_waited_for_until_the_next_drawing_is_due() -> None:
    drawn = Drawn()
    started(drawn, 3600)
    await drawn.is_drawn.wait()
    drawn.is_drawn.clear()
    drawn.draw_soon()
    await drawn.is_drawn.wait()
    drawn.stop_drawing()


@pytest.mark.parametrize(
    ("error", "is_failure"), [(OSError(5, "gone"), False), (ValueError("bug"), True)]
)
async def test_what_goes_wrong_while_drawing_ends_the_run(
    error: Exception, is_failure: bool
) -> None:
    run = started(Drawn(error), 3600)
    await run.ended.wait()
    assert (run.error is error) is is_failure
