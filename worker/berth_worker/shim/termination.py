"""Termination of a job's processes: SIGUSR1, time for a checkpoint, SIGTERM, SIGKILL."""

from __future__ import annotations

import os
import signal

from berth_worker.shim import process_tree, signal_targets

_SETTLE_S = 0.2  # time for helpers to notice that the job has ended
_SWEEP_S = 5.0  # between TERM and KILL for those that have not


def warn() -> bool:
    """Send the warning to every descendant that wants it; return whether any does."""
    chosen = signal_targets.warn_targets(process_tree.descendants())
    for process in chosen:
        process_tree.kill(process.pid, signal.SIGUSR1)
    return bool(chosen)


class Termination:
    """The termination of one attempt's processes, from the first warning to the last KILL."""

    def __init__(self, job_folder: int) -> None:
        """`job_folder` is the folder that the job may write to, open."""
        self._job_folder = job_folder
        self._press_from = 0.0
        self._kill_at: float | None = None
        self._saved_before: float | None = None  # time of the checkpoint before the warning
        self._saving = False  # warned, and TERM waits for a new checkpoint
        self._sent: set[tuple[int, int]] = set()
        self._killed: set[tuple[int, int]] = set()

    @property
    def begun(self) -> bool:
        """True if it has begun: it can be hurried, not taken back."""
        return self._kill_at is not None

    @property
    def killed(self) -> int:
        """Number of processes that did not exit by themselves."""
        return len(self._killed)

    def begin(self, now: float, grace_s: float, save_s: float = 0.0) -> None:
        """TERM at once, or `save_s` after a warning at most; KILL after the grace."""
        if save_s > 0.0:
            self._saved_before = self._saved()
            # A job that does not handle the warning saves nothing after it.
            self._saving = warn()
        self._press_from = now + (save_s if self._saving else 0.0)
        self._kill_at = self._press_from + grace_s

    def sweep(self, now: float) -> None:
        """End what a finished job left: a moment to exit by itself, TERM, KILL after 5 s."""
        self._press_from = now + _SETTLE_S
        self._kill_at = self._press_from + _SWEEP_S

    def hurry(self, now: float, grace_s: float, save_s: float) -> None:
        """Take in a further request to stop: the earlier deadline counts."""
        assert self._kill_at is not None
        if save_s == 0.0:
            self._press_from = min(self._press_from, now)
        self._kill_at = min(self._kill_at, now + grace_s + save_s)

    def moments(self, now: float) -> list[float]:
        """Return the moments (monotonic seconds) at which `go_on` is due."""
        if self._kill_at is None:
            return []
        # Ranks are children of their launcher: their ends come to it, not to us.
        pressed_s = now - max(self._press_from, min(self._kill_at, now))
        waits = self._saving and now < self._press_from
        ahead = [at for at in (self._press_from, self._kill_at) if at > now]
        return [*ahead, now + (0.25 if waits or pressed_s >= 1 else 0.03)]

    def go_on(self, now: float, *, by_itself: bool) -> None:
        """
        Take one step: see whether a warned job has saved, then send TERM or KILL where due.

        If the job ended `by_itself`, processes that needed TERM count as killed too.
        """
        assert self._kill_at is not None
        if now < self._press_from and self._saving and self._saved() != self._saved_before:
            # TERM waits no longer; its grace begins now.
            self._kill_at -= self._press_from - now
            self._press_from = now
        if now >= self._press_from:
            self._saving = False
            self._press(now, self._kill_at, by_itself=by_itself)

    def _saved(self) -> float | None:
        """Time at which the job last reported a complete checkpoint."""
        try:
            return os.stat("saved.json", dir_fd=self._job_folder, follow_symlinks=False).st_mtime
        except OSError:
            return None

    def _press(self, now: float, kill_at: float, *, by_itself: bool) -> None:
        """Send TERM to processes that have not had it, or KILL after the grace."""
        family = process_tree.descendants()
        if now >= kill_at:
            for process in family:
                self._killed.add((process.pid, process.started_ticks))
                process_tree.kill(process.pid, signal.SIGKILL)
            return
        nearly_over = now >= kill_at - min(10.0, (kill_at - self._press_from) / 4)
        for process in family if nearly_over else signal_targets.term_targets(family):
            key = (process.pid, process.started_ticks)
            if key not in self._sent:
                self._sent.add(key)
                process_tree.kill(process.pid, signal.SIGTERM)
                if by_itself:
                    self._killed.add(key)
