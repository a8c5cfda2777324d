"""`berth release`: let held jobs start."""

from __future__ import annotations

from berth.cli.bulk_actions import act
from berth.cli.ids import JobIds
from berth.cli.session import AsJson


def release(jobs: JobIds, *, as_json: AsJson = False) -> None:
    """Let held jobs start when their turn comes."""
    act(jobs, "release", as_json=as_json)
