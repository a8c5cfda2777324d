"""Verb `berth release`: return held jobs to the queue."""

from __future__ import annotations

from berth.cli.bulk_actions import act
from berth.cli.ids import JobIds
from berth.cli.session import AsJson


def release(jobs: JobIds, *, as_json: AsJson = False) -> None:
    """Return held jobs to the queue."""
    act(jobs, "release", as_json=as_json)
