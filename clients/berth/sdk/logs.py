"""Client calls for the output of jobs: logs and metrics."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Literal

from berth.protocol.jobs import Job
from berth.protocol.logs import LogChunk, LogEnd, LogLines
from berth.protocol.metrics import Metrics
from berth.sdk.errors import Unreachable
from berth.sdk.log_reading import PIECE_BYTES, LogPiece, LogReading
from berth.sdk.parse import parse
from berth.sdk.patience import Patience
from berth.sdk.waiting import WaitingCalls

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class LogCalls(LogReading, WaitingCalls):
    """Read and follow logs; metrics."""

    def log(
        self, job_id: int, *, offset: int = 0, limit: int | None = None, attempt: int | None = None
    ) -> bytes:
        """
        Return bytes of a log, exactly as written, from `offset`: at most `limit`, else to its present end.

        A negative offset counts from the end. `attempt` is the attempt's number, default the
        last one. Raises `NotFound` while the job has no attempt.
        """
        pieces: list[bytes] = []
        left = limit
        while left is None or left > 0:
            size = PIECE_BYTES if left is None else min(left, PIECE_BYTES)
            piece = self._log_piece(job_id, offset, size, attempt)
            pieces.append(piece.data)
            if not piece.data:
                break
            offset = piece.end
            if left is not None:
                left -= len(piece.data)
        return b"".join(pieces)

    def log_lines(
        self, job_id: int, *, first: int = 0, count: int = 100, attempt: int | None = None
    ) -> LogLines:
        """Return `count` lines from line `first`, counted from 0; a negative one counts from the end."""
        params = {"from": first, "count": count, "attempt": attempt}
        return self._get(LogLines, f"/api/v1/jobs/{job_id}/log/lines", params)

    def follow_log(
        self,
        job_id: int,
        *,
        offset: int = 0,
        attempt: int | None = None,
        until: Literal["job", "attempt"] = "job",
        meanwhile: Callable[[Job], None] | None = None,
    ) -> Iterator[LogPiece]:
        """
        Yield the log as the job writes it, byte for byte, until the job has ended.

        Waits for a job that has not started. Begins at `offset` of attempt number `attempt`,
        default the last one, and continues with those that follow a failed one; with
        `until="attempt"` it ends with the first. Continues at the right byte when the connection
        breaks or the server restarts; raises `Unreachable` when the server stays away longer
        than the client's patience.

        While there is no attempt to read, `meanwhile` is called with the job as it is whenever
        something happened to it, and once more when an attempt is there.
        """
        job = self.job(job_id)
        if meanwhile is not None and attempt is None and not job.attempts:
            attempt = self._next_attempt(job_id, 0, meanwhile)
            if attempt is None:
                return
        while True:
            end = yield from self._follow_attempt(job_id, offset, attempt)
            if until == "attempt" or end.attempt is None or end.job_state.is_final:
                return
            attempt = self._next_attempt(job_id, int(end.attempt.partition(".")[2]), meanwhile)
            if attempt is None:
                return
            offset = 0

    def metrics(
        self, job_id: int, *, attempt: int | None = None, max_points: int | None = None
    ) -> Metrics:
        """Return the metrics of a run, thinned to `max_points`."""
        params = {"attempt": attempt, "max_points": max_points}
        return self._get(Metrics, f"/api/v1/jobs/{job_id}/metrics", params)

    def _follow_attempt(
        self, job_id: int, offset: int, number: int | None
    ) -> Generator[LogPiece, None, LogEnd]:
        patience = Patience(self._channel.patience_s)
        while True:
            try:
                with self._channel.stream(
                    f"/api/v1/jobs/{job_id}/log/stream",
                    params={"offset": offset, "attempt": number},
                ) as stream:
                    patience.opened()
                    for message in stream:
                        if message.event == "end":
                            return parse(LogEnd, message.data.encode())
                        if message.event != "log":
                            continue
                        chunk = parse(LogChunk, message.data.encode())
                        # After a break the same attempt is continued, not a newer one.
                        number = int(chunk.attempt.partition(".")[2])
                        data = self._exact(job_id, chunk, offset, int(message.id), number)
                        if data:
                            yield LogPiece(chunk.attempt, offset, data)
                            offset += len(data)
                patience.spend(Unreachable("The server ended the stream of the log."))
            except Unreachable as error:
                patience.spend(error)

    def _log_piece(self, job_id: int, offset: int, size: int, attempt: int | None) -> LogPiece:
        answer = self._channel.request(
            "GET",
            f"/api/v1/jobs/{job_id}/log",
            params={"offset": offset, "limit": size, "attempt": attempt},
            headers={"Accept": "*/*"},
            repeatable=True,
        )
        first = int(answer.headers.get("Berth-Log-Offset", max(offset, 0)))
        return LogPiece(answer.headers.get("Berth-Attempt", ""), first, answer.content)

    def _exact(self, job_id: int, chunk: LogChunk, offset: int, end: int, number: int) -> bytes:
        # The stream carries text. Invalid UTF-8 appears as U+FFFD, so those bytes are fetched
        # from the log itself.
        data = chunk.text.encode()
        if chunk.offset == offset and len(data) == end - offset and _REPLACEMENT not in chunk.text:
            return data
        return self.log(job_id, offset=offset, limit=max(0, end - offset), attempt=number)

    def _next_attempt(
        self, job_id: int, after: int, meanwhile: Callable[[Job], None] | None
    ) -> int | None:
        """Wait for the attempt after number `after`; None when the job ends without one."""
        for changed in self._changes(None):
            if changed not in {None, job_id}:
                continue
            job = self.job(job_id)
            if meanwhile is not None and not job.state.is_final:
                meanwhile(job)
            newer = [attempt.number for attempt in job.attempts if attempt.number > after]
            if newer:
                return min(newer)
            if job.state.is_final:
                return None
        return None
