from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import pytest

from k2cli.cli.stop import Stop


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was done; the end of the process is only noted."""
    done: list[object] = []
    monkeypatch.setattr(os, "_exit", done.append)
    return done


async def test_only_a_second_signal_ends_it_at_once(done: list[object]) -> None:
    asked = asyncio.Event()
    stop = Stop(asked.set)
    stop.before_exit(lambda: done.append("restored"))
    before = signal.getsignal(signal.SIGTERM)
    try:
        with stop.on_signals():
            signal.raise_signal(signal.SIGTERM)
            await asked.wait()
            assert done == []
            signal.raise_signal(signal.SIGTERM)
        assert done == ["restored", 130]
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_a_loop_that_hangs_does_not_keep_it(
    done: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(os, "_exit", lambda _: ended.set())
    stop = Stop(lambda: done.append("asked"))
    before = signal.getsignal(signal.SIGTERM)
    try:
        with stop.on_signals():
            signal.raise_signal(signal.SIGTERM)
            begun = time.monotonic()
            assert ended.wait(10)  # as a system call that does not return
            assert time.monotonic() - begun >= 0.5
    finally:
        signal.signal(signal.SIGTERM, before)
