"""The systemd units that are shipped: systemd reads them, and jobs are left out of their reach."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_servers_unit_is_rated_as_hardened():
    """At most 5 of 10 by systemd's own count; 9.6 is a unit that sets nothing."""
    words = ["systemd-analyze", "security", "--offline=true", str(UNITS / "berth-server.service")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    rated = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    if rated is None:
        pytest.skip(f"this systemd cannot rate a file: {done.stderr.strip()}")
    assert float(rated[1]) <= 5.0
    assert "Unknown" not in done.stderr


def test_the_workers_unit_takes_nothing_from_jobs():
    """They start below it: no privilege, device or namespace may be missing, and none ends with it."""
    text = (UNITS / "berth-worker.service").read_text()
    assert "\nKillMode=process\n" in text
    for taken in ("NoNewPrivileges", "PrivateDevices", "ProtectHome", "RestrictNamespaces",
                  "SystemCallFilter", "CapabilityBoundingSet", "ProtectSystem"):  # fmt: skip
        assert f"\n{taken}" not in text
