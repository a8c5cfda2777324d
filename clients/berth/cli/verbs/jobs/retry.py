"""Verb `berth retry`: queue ended jobs again."""

from __future__ import annotations

from berth.cli.bulk_actions import act
from berth.cli.ids import JobIds
from berth.cli.session import AsJson


def retry(jobs: JobIds, *, as_json: AsJson = False) -> None:
    """Queue ended jobs again, each under its own id, as a new attempt."""
    act(jobs, "retry", as_json=as_json)
