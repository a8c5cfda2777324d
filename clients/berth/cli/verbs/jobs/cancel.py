"""Verb `berth cancel`: cancel jobs."""

from __future__ import annotations

from berth.cli.bulk_actions import act
from berth.cli.ids import JobIds
from berth.cli.session import AsJson


def cancel(jobs: JobIds, *, as_json: AsJson = False) -> None:
    """Cancel jobs; a running one gets SIGTERM, then SIGKILL after its grace."""
    act(jobs, "cancel", as_json=as_json)
