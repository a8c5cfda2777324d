"""The part of the client that deals with jobs."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

from pydantic import BaseModel, TypeAdapter

from berth.protocol.explain import Explanation
from berth.protocol.jobs import Job, JobCounts, JobPage, JobPatch, JobSpec
from berth.sdk.channel import Channel
from berth.sdk.parse import parse

M = TypeVar("M", bound=BaseModel)
Spec = JobSpec | Mapping[str, Any]
_JOBS: TypeAdapter[list[Job]] = TypeAdapter(list[Job])
_PAGE = 200


class JobCalls:
    """Submit, look at and change jobs. Mixed into `Client`."""

    _channel: Channel

    @overload
    def submit(self, spec: Spec, *, idempotency_key: str | None = None) -> Job: ...

    @overload
    def submit(self, spec: Sequence[Spec], *, idempotency_key: str | None = None) -> list[Job]: ...

    def submit(
        self, spec: Spec | Sequence[Spec], *, idempotency_key: str | None = None
    ) -> Job | list[Job]:
        """
        Submit one job, or a list of jobs of which all or none are taken.

        When it returns the jobs are on the server's disk. The request carries an idempotency
        key (made up unless given), so that it is sent again after a broken connection and
        still makes each job once. A `workdir` is not filled in: without one the server takes
        the user's home. Raises `InvalidRequest` with the field that is wrong.
        """
        response = self._channel.request(
            "POST",
            "/api/v1/jobs",
            content=_spec_json(spec),
            headers={"Idempotency-Key": idempotency_key or secrets.token_urlsafe(18)},
            repeatable=True,
        )
        if isinstance(spec, JobSpec | Mapping):
            return parse(Job, response.content)
        return _JOBS.validate_json(response.content, extra="ignore")

    def job(self, job_id: int) -> Job:
        """One job with its attempts. Raises `NotFound`."""
        return parse(
            Job, self._channel.request("GET", f"/api/v1/jobs/{job_id}", repeatable=True).content
        )

    def jobs(
        self,
        *,
        state: str | Iterable[str] | None = None,
        user: str | None = None,
        label: str | Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Job]:
        """
        Jobs, newest first, fetched page by page as they are asked for.

        `state` is one state or several, `label` is `"key=value"` or a mapping of which every
        pair must hold, `limit` the most jobs to give.
        """
        fixed: list[tuple[str, Any]] = [("user", user)]
        fixed += [("state", one) for one in ([state] if isinstance(state, str) else state or ())]
        if isinstance(label, Mapping):
            fixed += [("label", f"{key}={value}") for key, value in label.items()]
        else:
            fixed.append(("label", label))
        left = limit
        cursor: str | None = None
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            page = parse(
                JobPage,
                self._channel.request(
                    "GET",
                    "/api/v1/jobs",
                    params=[*fixed, ("limit", size), ("cursor", cursor)],
                    repeatable=True,
                ).content,
            )
            yield from page.jobs
            cursor = page.next_cursor
            if cursor is None:
                return
            if left is not None:
                left -= len(page.jobs)

    def counts(self) -> JobCounts:
        """How many jobs are in each state."""
        return parse(
            JobCounts, self._channel.request("GET", "/api/v1/jobs/counts", repeatable=True).content
        )

    def cancel(self, job_id: int) -> Job:
        """End a job: a pending one at once, a running one by TERM, its grace, then KILL."""
        return self._act(job_id, "cancel")

    def hold(self, job_id: int) -> Job:
        """Keep a pending job from starting until `release`."""
        return self._act(job_id, "hold")

    def release(self, job_id: int) -> Job:
        """Let a held job start when its turn comes."""
        return self._act(job_id, "release")

    def retry(self, job_id: int) -> Job:
        """Queue an ended job again under its own id. Not repeated when the connection breaks."""
        return self._act(job_id, "retry", repeatable=False)

    def patch(self, job_id: int, patch: JobPatch | Mapping[str, Any]) -> Job:
        """Change name, priority or time limit of a job that has not started."""
        return parse(
            Job,
            self._channel.request(
                "PATCH", f"/api/v1/jobs/{job_id}", content=_json(patch), repeatable=True
            ).content,
        )

    def explain(self, job_id: int) -> Explanation:
        """Why a job is where it is, and when it should start."""
        return parse(
            Explanation,
            self._channel.request("GET", f"/api/v1/jobs/{job_id}/explain", repeatable=True).content,
        )

    def _act(self, job_id: int, verb: str, *, repeatable: bool = True) -> Job:
        path = f"/api/v1/jobs/{job_id}/{verb}"
        return parse(Job, self._channel.request("POST", path, repeatable=repeatable).content)


def _json(value: BaseModel | Mapping[str, Any]) -> bytes:
    if isinstance(value, BaseModel):
        # Only what was set: the server's defaults are the ones that count.
        return value.model_dump_json(exclude_unset=True).encode()
    return json.dumps(value, ensure_ascii=False).encode()


def _spec_json(spec: Spec | Sequence[Spec]) -> bytes:
    if isinstance(spec, JobSpec | Mapping):
        return _json(spec)
    return b"[" + b",".join(_json(one) for one in spec) + b"]"
