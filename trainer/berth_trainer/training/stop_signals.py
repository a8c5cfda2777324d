"""Stop signals, agreed on by all ranks, so that all save the same checkpoint."""

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.checkpoint.run_state import MARKER

NOTHING, SAVE, STOP = 0, 1, 2
_NUMBERS = 1 << 8  # more than there are signals


def exit_on_interrupt() -> None:
    """Let Ctrl-C end the program as TERM does, without a traceback, until `install`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(slots=True)
class StopSignals:
    """
    Signal handlers. TERM and INT: save and stop after this step. USR1: save and go on.

    A launcher signals its ranks one after the other, or one rank alone: `agree` takes the
    strongest wish of all ranks, so that none waits in a collective for one that has left.
    """

    wish: int = NOTHING
    received: str = ""
    received_at: float = 0.0  # by the monotonic clock; a rank that had none keeps 0
    stopped: bool = False
    _earlier: dict[int, Any] = field(default_factory=dict[int, Any])

    def install(self) -> None:
        """Install the handlers; before that signals end the process, as nothing is lost yet."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            self._earlier[number] = signal.signal(number, self._on_signal)

    def restore(self) -> None:
        """Restore the earlier handlers."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier.clear()

    def agree(self, device: Any) -> int:
        """
        Return the strongest wish among the ranks and reset it. A collective.

        Where it is another rank's, `received` names that rank's signal.
        """
        import torch
        from torch import distributed

        number = signal.Signals[self.received].value if self.wish and self.received else 0
        agreed = torch.tensor([self.wish * _NUMBERS + number], device=device)
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            distributed.all_reduce(agreed, op=distributed.ReduceOp.MAX)
        wish, number = divmod(int(agreed.item()), _NUMBERS)
        if number:
            self.received = signal.Signals(number).name
        self.wish = NOTHING
        self.stopped = self.stopped or wish == STOP
        return wish

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        wish = SAVE if number == signal.SIGUSR1 else STOP
        if wish >= self.wish:
            self.wish, self.received = wish, signal.Signals(number).name
            self.received_at = time.monotonic()


def mark_stopped(folders: list[Path], *, step: int, checkpoint: Path | None, by: str) -> None:
    """Write `stopped.json`: launchers turn the exit code of a stopped run into 1."""
    word = {"step": step, "checkpoint": str(checkpoint) if checkpoint else None, "signal": by}
    for folder in folders:
        write_json(folder / MARKER, word)
