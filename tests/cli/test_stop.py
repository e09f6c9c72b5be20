from __future__ import annotations

import os

import pytest

from k2cli.cli.stop import Stop


@pytest.mark.parametrize("ending", [False, True])
async def test_only_a_second_signal_ends_it_at_once(
    monkeypatch: pytest.MonkeyPatch, *, ending: bool
) -> None:
    done: list[object] = []
    monkeypatch.setattr(os, "_exit", done.append)
    stop = Stop()
    stop.before_exit(lambda: done.append("restored"))
    if ending:
        stop.request()  # a limit was reached, say
    stop._signalled()
    assert stop.requested.is_set()
    assert done == []
    stop._signalled()
    assert done == ["restored", 130]
