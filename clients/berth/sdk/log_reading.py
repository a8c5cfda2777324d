"""Reading of a log up to its present end, over whatever fetches its pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

PIECE_BYTES = 1 << 20
_MOST_TAIL_BYTES = 1 << 24


class LogPiece(NamedTuple):
    """Piece of an attempt's log, byte for byte as the job wrote it."""

    attempt: str
    """`42.1`."""
    offset: int
    """Offset of the piece in the log, bytes."""
    data: bytes

    @property
    def end(self) -> int:
        """The offset after the piece, from which to continue."""
        return self.offset + len(self.data)


class LogReading:
    """Log calls that need pieces of the log and nothing else."""

    def _log_piece(self, job_id: int, offset: int, size: int, attempt: int | None) -> LogPiece:
        raise NotImplementedError

    def read_log(
        self, job_id: int, *, attempt: int | None = None, lines: int | None = None
    ) -> Iterator[LogPiece]:
        """
        Yield the log up to its present end, piece by piece; with `lines` only its last lines.

        Yields at least one piece, perhaps an empty one, so that `follow_log` can continue from the
        last one's `end`.
        """
        piece = (
            self._log_piece(job_id, 0, PIECE_BYTES, attempt)
            if lines is None
            else self._last_lines(job_id, lines, attempt)
        )
        yield piece
        while piece.data:
            piece = self._log_piece(job_id, piece.end, PIECE_BYTES, attempt)
            if piece.data:
                yield piece

    def _last_lines(self, job_id: int, lines: int, attempt: int | None) -> LogPiece:
        size = max(1, min(lines * 200, PIECE_BYTES))
        while True:
            piece = self._log_piece(job_id, -size, size, attempt)
            start = len(piece.data)
            # A line end at the very end closes the last line, it does not open another.
            edge = start - 1 if piece.data.endswith(b"\n") else start
            for _ in range(lines):
                edge = piece.data.rfind(b"\n", 0, max(edge, 0))
                start = edge + 1
                if edge < 0:
                    break
            if edge >= 0 or lines == 0 or piece.offset == 0 or size >= _MOST_TAIL_BYTES:
                return LogPiece(piece.attempt, piece.offset + start, piece.data[start:])
            size *= 4
