from __future__ import annotations

import os

import pytest

from k2cli.cli.stop import Stop


def test_only_a_second_signal_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setattr(os, "_exit", done.append)
    stop = Stop(lambda: done.append("asked"))
    stop.before_exit(lambda: done.append("restored"))
    stop._signalled()
    assert done == ["asked"]
    stop._signalled()
    assert done == ["asked", "restored", 130]
