"""
Client of the common calls, on the standard library alone.

Whatever is not plain (a broken connection, a refusal, TLS, any other call) is handed to the whole
client, so that patience, errors and their words are the same.
"""

from __future__ import annotations

import binascii
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from berth.cli.quick.http import Answer, Connection, HttpError, address_of, query
from berth.cli.quick.records import Record, record
from berth.sdk.address import resolve
from berth.sdk.errors import InvalidRequest, ServerTrouble, by_status
from berth.sdk.log_reading import LogPiece, LogReading

if TYPE_CHECKING:
    from berth.protocol.problems import Problem

_PAGE = 500
Params = list[tuple[str, Any]]


class QuickClient(LogReading):
    """The calls of `Client` that common verbs make; answers are `Record`s."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._address = resolve()
        self._connection: Connection | None = None
        self._whole: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._whole is not None:
            self._whole.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._client(), name)

    def submit(self, spec: Any) -> Record:
        """Submit one job, or a list of jobs of which all or none are taken."""
        headers = {"Idempotency-Key": binascii.hexlify(os.urandom(18)).decode()}
        if not isinstance(spec, Mapping):
            headers["Prefer"] = "return=minimal"
        body = json.dumps(spec, ensure_ascii=False, default=str).encode()
        answer = self._ask("POST", "/api/v1/jobs", content=body, headers=headers)
        return record(
            "Job" if isinstance(spec, Mapping) else "SubmittedJobs", json.loads(answer.content)
        )

    def job(self, job_id: int) -> Record:
        """Return one job with its attempts."""
        return self._get("Job", f"/api/v1/jobs/{job_id}")

    def jobs(
        self,
        *,
        state: Iterable[str] | None = None,
        user: str | None = None,
        label: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Record]:
        """Yield jobs, newest first."""
        fixed: Params = [("user", user), *(("state", one) for one in state or ())]
        fixed += [("label", f"{key}={value}") for key, value in (label or {}).items()]
        left, cursor = limit, None
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            page = self._get(
                "JobPage", "/api/v1/jobs", [*fixed, ("limit", size), ("cursor", cursor)]
            )
            yield from page.jobs
            cursor = page.next_cursor
            if cursor is None:
                return
            if left is not None:
                left -= len(page.jobs)

    def cancel(self, job_id: int) -> Record:
        """Cancel a job."""
        return self._act(job_id, "cancel")

    def hold(self, job_id: int) -> Record:
        """Keep a pending job from starting until `release`."""
        return self._act(job_id, "hold")

    def release(self, job_id: int) -> Record:
        """Return a held job to the queue."""
        return self._act(job_id, "release")

    def retry(self, job_id: int) -> Record:
        """Queue an ended job again. Not repeated when the connection breaks."""
        return self._act(job_id, "retry", repeatable=False)

    def explain(self, job_id: int, *, against: int | None = None) -> Record:
        """Return why a job is where it is, and when it should start."""
        return self._get("Explanation", f"/api/v1/jobs/{job_id}/explain", [("against", against)])

    def gpus(self) -> Record:
        """Return the box and its GPUs with their holders."""
        return self._get("Box", "/api/v1/gpus")

    def me(self) -> Record:
        """Return the caller as the server identifies them."""
        return self._get("Me", "/api/v1/me")

    def _get(self, shape: str, path: str, params: Params | None = None) -> Record:
        return record(shape, json.loads(self._ask("GET", path, params=params).content))

    def _act(self, job_id: int, verb: str, *, repeatable: bool = True) -> Record:
        answer = self._ask("POST", f"/api/v1/jobs/{job_id}/{verb}", repeatable=repeatable)
        return record("Job", json.loads(answer.content))

    def _log_piece(self, job_id: int, offset: int, size: int, attempt: int | None) -> LogPiece:
        params: Params = [("offset", offset), ("limit", size), ("attempt", attempt)]
        answer = self._ask(
            "GET", f"/api/v1/jobs/{job_id}/log", params=params, headers={"Accept": "*/*"}
        )
        first = int(answer.headers.get("berth-log-offset", max(offset, 0)))
        return LogPiece(answer.headers.get("berth-attempt", ""), first, answer.content)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> Answer:
        """Send one request and return its successful answer."""
        given = [(key, value) for key, value in params or [] if value is not None]
        sent = {"User-Agent": "berth-client", "Accept": "application/json", **(headers or {})}
        if self._address.token:
            sent["Authorization"] = f"Bearer {self._address.token}"
        if content is not None:
            sent["Content-Type"] = "application/json"
        target = f"{path}?{query(given)}" if given else path
        answer = self._plainly(method, target, sent, content, repeatable=repeatable)
        if answer is None:
            # Nothing was answered: the whole client knows how long to try.
            whole = self._client()._channel.request(  # noqa: SLF001 - the same client, continued
                method, path, params=given, content=content, headers=headers, repeatable=repeatable
            )
            return Answer(whole.status_code, dict(whole.headers.items()), whole.content)
        if not 200 <= answer.status < 300:
            raise self._refused(method, path, answer)
        return answer

    def _plainly(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        content: bytes | None,
        *,
        repeatable: bool,
    ) -> Answer | None:
        """Ask over the plain connection; None where it broke and the request may be repeated."""
        connection = self._connected()
        if connection is None:
            return None
        try:
            return connection.ask(method, target, headers, content)
        except TimeoutError:
            raise self._broken("ReadTimeout") from None
        except (OSError, HttpError):
            if not repeatable:
                raise self._broken("ReadError") from None
            connection.close()
            self._connection = None
            return None

    def _connected(self) -> Connection | None:
        if self._connection is None:
            place = address_of(self._address)
            try:
                self._connection = None if place is None else Connection(place)
            except OSError:
                return None
        return self._connection

    def _refused(self, method: str, path: str, answer: Answer) -> Exception:
        kind = by_status(answer.status)
        try:
            problem = record("Problem", json.loads(answer.content))
            if kind is not InvalidRequest:
                return kind(problem.detail or problem.title, cast("Problem", problem))
        except (ValueError, ServerTrouble):
            pass
        import httpx2

        from berth.sdk.channel import problem_error

        request = httpx2.Request(method, f"{self._address.base_url}{path}")
        return problem_error(
            httpx2.Response(answer.status, content=answer.content, request=request)
        )

    def _broken(self, kind: str) -> Exception:
        import httpx2

        return self._client()._channel._unreachable(getattr(httpx2, kind)(""))  # noqa: SLF001 - the same client, continued

    def _client(self) -> Any:
        if self._whole is None:
            from berth.sdk.client import Client

            self._whole = Client(patience=self._patience)
        return self._whole
