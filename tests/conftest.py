"""What all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from .forks import Forks

# Machines may be busy: no example is judged by its time.
settings.register_profile("k2", deadline=None)
# For tests/hostile/test_fuzz.py: --hypothesis-profile long
settings.register_profile("long", deadline=None, max_examples=5_000)
settings.load_profile("k2")


def pytest_configure() -> None:
    """Make the processes that tests start independent of where pytest was started."""
    # Under "nohup … &" SIGINT is ignored, and whatever is started inherits that. A
    # handler is not inherited; this one does as little as ignoring it.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)
    # Hundreds of processes would compile all of k2 anew, for a quarter of their time.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True)
def _own_log() -> None:
    """What another test has configured filters nothing here."""
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """What starts ``k2`` quickly."""
    with Forks() as forks:
        yield forks
