from __future__ import annotations

import pytest

from tests.engine.fakes import FakeVenue


@pytest.fixture
async def venue() -> FakeVenue:
    return FakeVenue()


@pytest.fixture(autouse=True)
def _short_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test leaves a gap open, its end does not wait for it."""
    monkeypatch.setattr("k2cli.engine.session.HURRIED_BACKFILL_SECONDS", 0.01)
    monkeypatch.setattr("k2cli.completeness.backfill.SETTLE_SECONDS", 0.01)
