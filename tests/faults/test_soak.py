"""The soak's short form: each named point once, and the ledger of promises checked from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak"


@pytest.mark.timeout(280)
def test_a_process_may_die_at_every_named_point():
    """
    Between commit, fork, exec, exit and record: no job is lost, none runs twice, none is told
    otherwise than it ended, no GPU has two, and nothing is left behind.
    """
    done = subprocess.run(
        [sys.executable, str(SOAK), "--points", "--followers", "10", "--seed", "7"],
        capture_output=True,
        text=True,
        timeout=270,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    told = json.loads(done.stdout[done.stdout.index("{") :])
    assert told["promises broken"] == []
    assert set(told["kills by place"].values()) == {1}
    assert told["looks from outside"] >= len(told["kills by place"])
