"""Client calls for jobs: submit, read, change."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from berth.protocol.explain import Explanation
from berth.protocol.jobs import Job, JobCounts, JobPage, JobPatch
from berth.protocol.specs import JobSpec
from berth.protocol.submits import DryRun, ExecutionStarted, ParsedText, SubmittedJobs
from berth.sdk.calls import Calls, as_json
from berth.sdk.parse import parse

Spec = JobSpec | Mapping[str, Any]
_PAGE = 500


class JobCalls(Calls):
    """Submit, read and change jobs."""

    @overload
    def submit(self, spec: Spec, *, idempotency_key: str | None = None) -> Job: ...

    @overload
    def submit(
        self, spec: Sequence[Spec], *, idempotency_key: str | None = None
    ) -> SubmittedJobs: ...

    def submit(
        self, spec: Spec | Sequence[Spec], *, idempotency_key: str | None = None
    ) -> Job | SubmittedJobs:
        """
        Submit one job, or a list of jobs of which all or none are taken.

        When it returns, the jobs are on the server's disk. The request carries an idempotency
        key (generated unless given), so that it is sent again after a broken connection and each
        job is still made once. A list answers with the ids in its order. A `workdir` is not
        filled in here: without one the server takes the user's home. Raises `InvalidRequest`,
        whose `problem.fields` names the field.
        """
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(18)}
        single = isinstance(spec, JobSpec | Mapping)
        if single:
            content = as_json(spec)
        else:
            # Thousands of whole jobs would cost more to send back than to submit.
            headers["Prefer"] = "return=minimal"
            content = b"[" + b",".join(as_json(one) for one in spec) + b"]"
        answer = self._channel.request(
            "POST", "/api/v1/jobs", content=content, headers=headers, repeatable=True
        )
        return parse(Job if single else SubmittedJobs, answer.content)

    def parse_text(self, text: str) -> ParsedText:
        """Return the launches of a pasted text, with what each asks for; nothing is submitted."""
        return self._post(ParsedText, "/api/v1/jobs/parse", {"text": text})

    def dry_run(self, spec: Spec) -> DryRun:
        """Return what would happen to a spec if it were submitted now; writes nothing."""
        return self._post(DryRun, "/api/v1/jobs/dry-run", spec)

    def execute(
        self,
        job_id: int,
        command: Sequence[str],
        *,
        terminal: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> ExecutionStarted:
        """
        Have a command started beside a running job, and return where it is reached.

        Its socket speaks `berth.sessions.frames`. Raises `Forbidden`, `Conflict`.
        """
        body = {"command": list(command), "terminal": terminal, "env": dict(env or {})}
        path = f"/api/v1/jobs/{job_id}/exec"
        return self._post(ExecutionStarted, path, body, repeatable=False)

    def job(self, job_id: int) -> Job:
        """Return one job with its attempts. Raises `NotFound`."""
        return self._get(Job, f"/api/v1/jobs/{job_id}")

    def jobs(
        self,
        *,
        state: str | Iterable[str] | None = None,
        user: str | None = None,
        label: str | Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Job]:
        """
        Yield jobs, newest first, fetched page by page as needed.

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
            page = self._get(JobPage, "/api/v1/jobs", [*fixed, ("limit", size), ("cursor", cursor)])
            yield from page.jobs
            cursor = page.next_cursor
            if cursor is None:
                return
            if left is not None:
                left -= len(page.jobs)

    def counts(self, *, user: str | None = None) -> JobCounts:
        """Return the number of jobs in each state."""
        return self._get(JobCounts, "/api/v1/jobs/counts", {"user": user})

    def cancel(self, job_id: int) -> Job:
        """Cancel a job; a running one gets SIGTERM, then SIGKILL after its grace."""
        return self._post(Job, f"/api/v1/jobs/{job_id}/cancel")

    def hold(self, job_id: int) -> Job:
        """Keep a pending job from starting until `release`."""
        return self._post(Job, f"/api/v1/jobs/{job_id}/hold")

    def release(self, job_id: int) -> Job:
        """Return a held job to the queue."""
        return self._post(Job, f"/api/v1/jobs/{job_id}/release")

    def retry(self, job_id: int) -> Job:
        """Queue an ended job again under its own id. Not repeated when the connection breaks."""
        return self._post(Job, f"/api/v1/jobs/{job_id}/retry", repeatable=False)

    def patch(self, job_id: int, patch: JobPatch | Mapping[str, Any]) -> Job:
        """Change name, priority or time limit of a job that has not started."""
        answer = self._channel.request(
            "PATCH", f"/api/v1/jobs/{job_id}", content=as_json(patch), repeatable=True
        )
        return parse(Job, answer.content)

    def explain(self, job_id: int, *, against: int | None = None) -> Explanation:
        """
        Return why a job is where it is, and when it should start.

        A queued job is compared with the job `against`, or with the one just ahead of it.
        """
        return self._get(Explanation, f"/api/v1/jobs/{job_id}/explain", {"against": against})
