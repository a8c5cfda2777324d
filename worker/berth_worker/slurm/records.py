"""Records of a run directory that a node has written, and notes of the executor's beside them."""

from __future__ import annotations

import contextlib
import json

from pydantic import TypeAdapter

from berth.protocol.internal import LeasedGpu
from berth_worker.attempts.reconcile import StopTerms
from berth_worker.attempts.rundir import RunDir
from berth_worker.slurm import gpu_use, submission
from berth_worker.slurm.found import Found
from berth_worker.slurm.gpu_use import GpuUse
from berth_worker.slurm.placed import GANG_END, PLACED, beat_file

_PLACED = TypeAdapter(tuple[LeasedGpu, ...])


def read(
    folder: RunDir, known: Found | None = None, *, ending: bool = True, nodes: int = 1
) -> Found:
    """
    Read the run directory. Pids in it are another machine's and say nothing here.

    What `known` holds is final and is not read again: the list may be long and its disk far.
    `ending`: the attempt may have left its exit record. `nodes`: how many it is on.
    """
    before = known or Found()
    if before.claimed or before.refused:
        claimed, refused, number = before.claimed, before.refused, before.slurm_job
    else:
        claim = folder.claimed()
        claimed = claim is not None and not claim.refused
        refused = claim is not None and claim.refused
        number = claim.slurm_job if claim is not None else None
    beats = _beats(folder, nodes) if claimed and before.record is None else ()
    ending = ending or (claimed and beats == before.beats)
    record = before.record or (folder.exit_record() if ending else None)
    started = before.started_at
    if started is None and claimed:
        shim = folder.shim_record()
        started = shim.started_at if shim is not None else record.started_at if record else None
    facts = before.facts
    if facts is None and number is not None:
        facts = folder.facts(f"launch-{number}.json")
    end = _end(folder) if ending and claimed else {}
    lost, rank = end.get("lost"), end.get("failed")
    return Found(
        claimed=claimed,
        refused=refused,
        slurm_job=number,
        started_at=started,
        record=record,
        facts=facts,
        placed=before.placed or (_placed(folder) if claimed else ()),
        submitted_at=before.submitted_at or folder.written_at(submission.SUBMITTED),
        lost_node=lost if isinstance(lost, str) else None,
        orphaned=end.get("orphaned") is True,
        decisive_rank=rank if isinstance(rank, int) and 0 <= rank < 4096 else 0,
        beats=beats,
        use=before.use if beats == before.beats else _use(beats),
    )


def _placed(folder: RunDir) -> tuple[LeasedGpu, ...]:
    try:
        return _PLACED.validate_json(folder.own_file(PLACED) or b"[]")
    except (ValueError, RecursionError):
        return ()


def _beats(folder: RunDir, nodes: int) -> tuple[bytes, ...]:
    return tuple(folder.own_file(beat_file(rank)) or b"" for rank in range(nodes))


def _use(beats: tuple[bytes, ...]) -> dict[str, GpuUse]:
    return {name: use for beat in beats for name, use in gpu_use.read(beat).items()}


def _end(folder: RunDir) -> dict[str, object]:
    """Return what the nodes noted about the end of a run."""
    try:
        end: object = json.loads(folder.own_file(GANG_END) or b"{}")
    except (ValueError, RecursionError):
        return {}
    return end if isinstance(end, dict) else {}  # pyright: ignore[reportUnknownVariableType] - JSON


def note_silence(folder: RunDir, node: str | None) -> None:
    """Record that a run is ended because it gives no sign of life, as far as the disk allows."""
    with contextlib.suppress(OSError):
        folder.write(GANG_END, json.dumps({"lost": node, "orphaned": True}).encode(), mode=0o644)


def block(folder: RunDir) -> None:
    """Claim an attempt so that it never starts, unless it has. Raises OSError."""
    folder.make()
    folder.block()


def refuse(folder: RunDir, sentence: str) -> None:
    """Record that an attempt could not be submitted, as far as the disk allows."""
    with contextlib.suppress(OSError):
        folder.make()
        if folder.block():
            folder.append_to_log(sentence)


def write_stop_terms(folder: RunDir, terms: StopTerms) -> None:
    """Write stop.json; without it the shim uses the grace that the job was submitted with."""
    with contextlib.suppress(OSError):
        folder.write("stop.json", terms.as_json(), mode=0o644)
