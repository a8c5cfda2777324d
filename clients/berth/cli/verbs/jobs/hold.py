"""Verb `berth hold`: keep jobs from starting."""

from __future__ import annotations

from berth.cli.bulk_actions import act
from berth.cli.ids import JobIds
from berth.cli.session import AsJson


def hold(jobs: JobIds, *, as_json: AsJson = False) -> None:
    """Keep pending jobs from starting until they are released."""
    act(jobs, "hold", as_json=as_json)
