"""What the tests of captures share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def fsync_that_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    # No test takes the power away; an open descriptor is still needed.
    monkeypatch.setattr(os, "fsync", os.fstat)
