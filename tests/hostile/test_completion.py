"""Shells evaluate what completion offers: a press of the tabulator key runs nothing."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import PATIENCE_SECONDS, Victim

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it needs terminals")

API = "127.0.0.1:1/ws-api/v3"
# Ready when the prompt comes, which the echo of this is not yet. k2 itself is nothing
# then, so that Enter is harmless.
START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
PREPARE = """
[ -z "$ZSH_VERSION" ] || {{ autoload -Uz compinit; compinit -u; }}
eval "$(_K2_COMPLETE=source_{shell} k2)"
k2() {{ :; }}
PS1=RE""ADY
""".strip()


class Shell:
    """An interactive shell on a pseudo-terminal."""

    def __init__(self, command: list[str], victim: Victim) -> None:
        self._master, its = os.openpty()
        path = f"{Path(sys.executable).parent}:{victim.environment['PATH']}"
        self._process = subprocess.Popen(
            command,
            stdin=its,
            stdout=its,
            stderr=its,
            cwd=victim.folder,
            env=victim.environment
            | {"PATH": path, "TERM": "dumb", "K2_BINANCE_API_URL": f"ws://{API}"},
            start_new_session=True,
        )
        os.close(its)
        self.said = ""

    def type(self, keys: str, until: str) -> None:
        """Type, and wait for what comes then."""
        self.said = ""
        os.write(self._master, keys.encode())
        deadline = time.monotonic() + PATIENCE_SECONDS
        while until not in self.said:
            ready, *_ = select.select([self._master], [], [], 1.0)
            if ready:
                self.said += os.read(self._master, 2**16).decode("utf-8", "replace")
            assert time.monotonic() < deadline, self.said

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        os.close(self._master)


def keep(victim: Victim, *bases: str) -> None:
    """Keep a catalog with such base assets, as a hostile server would have it kept."""
    entry = {"symbol": "A", "quote_asset": "U", "status": "TRADING"}
    entry |= {"tick_size": "0", "step_size": "0"}
    kept = {
        "exchange": API,
        "fetched_at_seconds": time.time(),
        "symbols": [{**entry, "base_asset": base} for base in bases],
    }
    victim.cache.mkdir(parents=True)
    (victim.cache / "catalog-127.0.0.1-1.json").write_text(json.dumps(kept))


@pytest.mark.parametrize("word", ["--base BT", "BT"])
@pytest.mark.parametrize("shell", list(START))
def test_the_tabulator_key_runs_nothing(victim: Victim, shell: str, word: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    keep(
        *(victim, "BTC", "BTC`touch pwned`", "BTC$(touch pwned)", "BTC;touch pwned;"),
        *("BTC\ntouch pwned\n", "BTC|touch pwned"),
    )
    running = Shell(START[shell], victim)
    try:
        running.type(PREPARE.format(shell=shell) + "\n", "READY")
        # What is offered is one word: the shell writes all of it.
        running.type(f"k2 stream {word}\t", "BTC")
        assert "touch" not in running.said
        running.type("\n", "READY")
    finally:
        running.close()
    assert not (victim.folder / "pwned").exists()
