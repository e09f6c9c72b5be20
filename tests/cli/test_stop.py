from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from k2cli.cli.stop import Stop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals to oneself")


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Give the signals back to pytest."""
    kept = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("ending", [False, True])
async def test_only_a_second_signal_ends_it_at_once(
    monkeypatch: pytest.MonkeyPatch, *, ending: bool
) -> None:
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    restored = asyncio.Event()
    stop = Stop()
    stop.before_exit(restored.set)
    with stop.on_signals():
        if ending:
            stop.request()  # a limit was reached, say
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.requested.wait()
        await asyncio.sleep(0)  # so that the signal, too, has been seen
        await asyncio.sleep(0)
        assert exits == []
        os.kill(os.getpid(), signal.SIGINT)
        await restored.wait()
    assert exits == [130]
