"""
Interface between a running job and Berth, for use inside training scripts.

    from berth import jobside

    jobside.on_warning(lambda: trainer.save_soon())
    jobside.progress(step, total)
    jobside.log_metrics(step, loss=loss, lr=lr)
    jobside.checkpoint_saved(step)

One file, standard library only, Python 3.8 or newer: it works in every environment, also
copied beside a script. Outside Berth every call does nothing, so scripts need no conditions.
Nothing here raises because of a full disk or a missing folder: reporting must not end a run.
"""

# Python 3.8 runs this: no newer syntax or library.
from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Callable  # noqa: UP035 - its new home cannot be subscripted in 3.8

__all__ = [
    "attempt",
    "checkpoint_saved",
    "gpu_uuids",
    "is_berth",
    "link",
    "log_metrics",
    "on_warning",
    "progress",
    "report_failure",
    "requeue",
    "run_dir",
]

_PROGRESS_EVERY_S = 0.5
# What this process last reported, for `progress`.
_progress: dict[str, Any] = {}
_links: dict[str, str] = {}


def run_dir() -> Path | None:
    """The attempt's run directory; None outside Berth."""
    named = os.environ.get("BERTH_RUN_DIR")
    if not named:
        return None
    path = Path(named)
    return path if path.is_dir() else None


def is_berth() -> bool:
    """True if this process belongs to a job of Berth's."""
    return run_dir() is not None


def attempt() -> str | None:
    """The attempt this process belongs to, like `42.1`; None outside Berth."""
    return os.environ.get("BERTH_ATTEMPT") or None


def gpu_uuids() -> list[str]:
    """UUIDs of the job's GPUs, in the order of the box; empty outside Berth or without GPUs."""
    return [uuid for uuid in os.environ.get("BERTH_GPU_UUIDS", "").split(",") if uuid]


def log_metrics(step: float, **numbers: Any) -> bool:
    """
    Add one point to the job's curves. Returns whether it was written.

    Only rank 0 writes, the others do nothing. Takes anything that is a number or has an
    `item()` that is one (tensors, arrays of one element); what is neither is left out. A
    number that is not finite is kept as a gap in the curve. The line is added by one write
    to the end of `metrics.jsonl`, so a reader never sees two lines mixed.
    """
    folder = run_dir()
    if folder is None or _rank() != 0:
        return False
    point: dict[str, float | None] = {"step": _number(step), "time": round(time.time(), 3)}
    for name, value in numbers.items():
        known, number = _try_number(value)
        if known:
            point[name] = number
    line = json.dumps(point, allow_nan=False) + "\n"
    return _append(folder / "metrics.jsonl", line.encode())


def progress(step: float, total: float, phase: str | None = None) -> bool:
    """
    Report how far the whole run is: the queue shows what is left, and plans with it.

    One line in any loop, as often as you like (at most two a second are written). Count what
    you will: optimizer steps, or epochs, also broken ones, `progress(epoch + i / len(loader),
    epochs)`. A resumed run goes on from the step it resumed at. What is no part of that count
    has a `phase`, `progress(i, len(test_loader), "evaluation")`: the run stays where it was, and
    is seen to be at work. Only rank 0 writes, the others do nothing. Returns whether it was
    written.
    """
    folder = run_dir()
    if folder is None or _rank() != 0:
        return False
    done, whole, now = _number(step), _number(total), time.time()
    if done is None or whole is None or whole <= 0:
        return False
    name = None if phase is None else str(phase)[:100]
    last = done >= whole and name is None
    recent = now - _progress.get("written", 0.0)
    if 0 <= recent < _PROGRESS_EVERY_S and not (last and _progress.get("step") != done):
        return False
    if name is None:
        _progress.setdefault("first", {"first_step": done, "first_time": round(now, 3)})
        _progress["run"] = {"step": done, "total": whole, "time": round(now, 3)}
        _progress["step"] = done
    beside = {"name": name, "step": done, "total": whole, "time": round(now, 3)}
    facts = dict(_progress.get("run", {}), **_progress.get("first", {}))
    facts["phase"] = None if name is None else beside
    _progress["written"] = now
    return _replace(folder, "progress.json", facts)


def link(name: str, url: str) -> bool:
    """
    Show a page about this run beside the job, under a name.

    Links to W&B, MLflow, TensorBoard and others that stand in the log are found without it. Only
    http and https, without credentials, and at most 20 are shown. Only rank 0 writes, the others
    do nothing. Returns whether it was written.
    """
    folder = run_dir()
    if folder is None or _rank() != 0:
        return False
    _links[str(name)[:100]] = str(url)[:1000]
    return _replace(folder, "links.json", dict(list(_links.items())[-20:]))


def checkpoint_saved(step: float | None = None) -> bool:
    """
    Report that a checkpoint is complete on disk. Returns whether it was noted.

    Only rank 0 writes, the others do nothing: call it once all ranks have saved. When jobs
    must be preempted, those that lose the least work since their last checkpoint are chosen, and
    a job that was warned is stopped as soon as it reports a new one.
    """
    folder = run_dir()
    if folder is None or _rank() != 0:
        return False
    return _replace(folder, "saved.json", {"step": _number(step), "time": round(time.time(), 3)})


def on_warning(callback: Callable[[], object]) -> bool:
    """
    Call `callback` when Berth warns that the job will be stopped soon.

    Berth sends SIGUSR1 `warn_before` ahead of a time limit or a preemption, to every process
    that handles it: every rank gets it, at slightly different moments. Set a flag in the
    callback and agree between ranks at the end of a step before saving. It runs in the main
    thread; an exception in it is printed and goes no further. An earlier handler of the
    signal is still called. Returns whether the handler is in place: not outside Berth and
    not off the main thread.
    """
    if not is_berth() or threading.current_thread() is not threading.main_thread():
        return False
    earlier = signal.getsignal(signal.SIGUSR1)

    def handle(number: int, frame: Any) -> None:
        try:
            callback()
        except Exception:  # noqa: BLE001 - a failing save must not end the run before its time
            traceback.print_exc()
        if callable(earlier):
            earlier(number, frame)

    signal.signal(signal.SIGUSR1, handle)
    return True


def report_failure(kind: str, sentence: str) -> bool:
    """
    Report why this job is about to fail, for the job's page. Returns whether it was noted.

    `kind` is one of Berth's outcomes (`oom_gpu`, `oom_host`, `disk_full`, …) or a word of your
    own; `sentence` should name the fix. The first report of an attempt stands: later
    reports of other ranks are mostly consequences.
    """
    folder = run_dir()
    if folder is None:
        return False
    text = json.dumps({"kind": str(kind), "sentence": str(sentence)})
    made = folder / f".failure.{os.getpid()}.{threading.get_ident()}"
    try:
        try:
            made.write_text(text + "\n", encoding="utf-8")
            # A link fails where the name is taken, a rename would replace the first report.
            os.link(str(made), str(folder / "failure.json"))
        finally:
            if made.exists():
                made.unlink()
    except FileExistsError:
        return False
    except OSError as error:
        _complain("failure.json", error)
        return False
    return True


def requeue(sentence: str = "It asked to be queued again.") -> bool:
    """
    Ask that this job is queued again when it ends. Returns whether it was noted.

    For a job that has saved what it needs to go on and leaves before its end, with any exit code:
    its next attempt starts when its turn comes, as after a preemption, and takes no retry. A
    cancel goes before it, and so does an earlier `report_failure`.
    """
    return report_failure("requeue", sentence)


def _rank() -> int:
    try:
        return int(os.environ.get("RANK") or "0")
    except ValueError:
        return 0


def _try_number(value: Any) -> tuple[bool, float | None]:
    item = getattr(value, "item", None)
    try:
        number = item() if callable(item) else value
    except Exception:  # noqa: BLE001 - whatever a tensor of several elements raises
        return False, None
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return isinstance(number, bool), float(number) if isinstance(number, bool) else None
    return True, number if math.isfinite(number) else None


def _number(value: Any) -> float | None:
    return _try_number(value)[1]


def _replace(folder: Path, name: str, facts: dict[str, Any]) -> bool:
    """Put a file in the place of the last one, so that a reader sees either, whole."""
    made = folder / f".{name}.{os.getpid()}"
    try:
        made.write_text(json.dumps(facts) + "\n", encoding="utf-8")
        made.replace(folder / name)
    except OSError as error:
        _complain(name, error)
        return False
    return True


def _append(path: Path, line: bytes) -> bool:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        descriptor = os.open(str(path), flags, 0o644)
        try:
            written = os.write(descriptor, line)
            if written < len(line):
                # The disk is full: end the torn line, so that the next one stands alone.
                os.write(descriptor, b"\n")
        finally:
            os.close(descriptor)
    except OSError as error:
        _complain(path.name, error)
        return False
    return written == len(line)


def _complain(name: str, error: OSError) -> None:
    print(f"berth: {name} cannot be written: {error.strerror}", file=sys.stderr, flush=True)
