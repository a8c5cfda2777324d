"""Trainer of transformers whose checkpoints hardly stop the training."""

import math
import os
import shutil
import time
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from transformers import Trainer

from berth_trainer.checkpoint import checkpoints, disk_room
from berth_trainer.checkpoint.engine import install, state_bytes
from berth_trainer.checkpoint.saver import Saver
from berth_trainer.memory.sizes import available_memory, host_memory
from berth_trainer.model import hosted_adam, zero3_layers
from berth_trainer.training.ranks import log0, ranks_from, warn, world_size

_SLACK = 64 << 20  # model states without weights: buffers, counters
_SHARE = 0.8  # of the free host memory that copies may take
_SAVE, _SKIP, _THERE = 0, 1, 2
Background = Literal["auto", "on", "off"]


class SavingTrainer(Trainer):
    """
    Saves a checkpoint through `saver`, if the disk has room for it and for the final model.

    `by_layers`: stage 3 goes by whole layers (see `zero3_layers`). `keep`: how many checkpoints stand at a time, beside the best one. A checkpoint holds no copy of
    the weights in bf16: the optimizer's states have them in fp32.
    """

    def __init__(
        self,
        *,
        keep: int = 1,
        save_in_background: Background = "auto",
        by_layers: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.saver = Saver(ranks_from(os.environ))
        self.disk: disk_room.DiskPlan | None = None
        self.saving: Path | None = None
        """The checkpoint that this step saves; None where there was no room for it."""
        self.stood_still_s = 0.0
        self._keep, self._background, self._by_layers = keep, save_in_background, by_layers
        self._complete_here: Path | None = None  # resumed from, so there is nothing to save anew
        self._known: Any = None

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """DeepSpeed's engine is there by now, and no checkpoint has been loaded yet."""
        wrapped = getattr(self.accelerator, "deepspeed_engine_wrapped", None)
        if wrapped is not None and wrapped.engine is not self._known:
            self._known = wrapped.engine
            self._engine_is_there(wrapped.engine, num_training_steps)
        return super().create_scheduler(num_training_steps, optimizer)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:  # noqa: FBT001, FBT002  # transformers' call
        """Save the model; in a checkpoint only its configuration, or the adapter."""
        if not _internal_call or hasattr(self.model, "peft_config"):
            super().save_model(output_dir, _internal_call)
        elif self.args.should_save:
            folder = Path(output_dir or self.args.output_dir or "")
            folder.mkdir(parents=True, exist_ok=True)
            model: Any = self.model
            model.config.save_pretrained(str(folder))

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        """Save a weight that two layers share once: DeepSpeed hands over a copy for each."""
        model: Any = self.model
        tied: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
        if state_dict:
            twice = [name for name, source in tied.items() if source in state_dict]
            state_dict = {key: value for key, value in state_dict.items() if key not in twice}
        super()._save(output_dir, state_dict)

    @property
    def last_saving_s(self) -> float | None:
        """Return how long the last checkpoint took until it was complete; None before the first."""
        return self.saver.last_s

    def _engine_is_there(self, engine: Any, steps: int) -> None:
        if engine.zero_optimization_stage() == 3:
            hosted_adam.install(engine.optimizer, torch.device(engine.device))
        if self._by_layers:
            zero3_layers.install(engine)
        install(engine, self.saver)
        self._plan_saving(engine, steps)

    def _plan_saving(self, engine: Any, steps: int) -> None:
        """Compare what the checkpoints take with the disk, and with the host's memory."""
        own, size = state_bytes(engine, eight_bit="8bit" in str(self.args.optim))
        model: Any = self.model
        every = 0 if self.args.save_strategy == "no" else int(self.args.save_steps)
        self.disk = disk_room.DiskPlan(
            checkpoint=size * world_size(),
            final=sum(map(_saved_bytes, model.parameters())),
            standing=self._keep + int(bool(self.args.load_best_model_at_end)),
            saves=disk_room.saves_of(every, steps),
        )
        if self.args.should_save:
            short = disk_room.warning(self.disk, Path(self.args.output_dir or ""))
            if short:
                warn(short)
        if not every or every >= steps:
            return  # none is written while the training goes on
        self._reserve(size, next((one.device for one in own if one.is_cuda), None))

    def _reserve(self, size: int, gpu: "torch.device | None") -> None:
        """Take host memory for the copies where there is enough of it; a line says which."""
        size, here = size + _SLACK, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        free = min(available_memory(), host_memory() - psutil.Process().memory_info().rss * here)
        each = f"{self.disk.checkpoint / 1e9:,.1f} GB each" if self.disk else ""
        if self._background == "off":
            log0(f"checkpoints: {each}, written while the training waits (training.save_in_background off).")  # fmt: skip
        elif self._background == "on" or size * here <= free * _SHARE:
            self.saver.reserve(size, gpu)
            log0(f"checkpoints: {each}, copied to the host's memory and written while the training goes on.")  # fmt: skip
        else:
            log0(
                f"checkpoints: {each}, written while the training waits: to copy them first takes "
                f"{size * here / 1e9:,.1f} GB of host memory, and {free / 1e9:,.1f} are free."
            )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        began = time.perf_counter()
        folder = Path(self.args.output_dir or "") / f"{checkpoints.PREFIX}{self.state.global_step}"
        self.saver.begin(folder)
        verdict = self._agreed(self._verdict(folder))
        self.saving = None if verdict == _SKIP else folder
        if verdict == _SAVE:
            super()._save_checkpoint(model, trial)
        else:
            self.saver.abandon()
        self.stood_still_s = time.perf_counter() - began
        if verdict == _SAVE:
            log0(f"checkpoint: {folder.name}: the training stood still for {self.stood_still_s:.1f} s.")  # fmt: skip

    def _verdict(self, folder: Path) -> int:
        """Return, on rank 0, whether to save: the disk may lack room. Clears what is in the way."""
        if not self.args.should_save:
            return _SAVE
        found = checkpoints.inspect(folder)
        if found.flaw is None and self._complete_here == folder:
            return _THERE
        if folder.exists():  # cut short, or of a run that went on from an earlier step
            (folder / checkpoints.RECORD).unlink(missing_ok=True)
            shutil.rmtree(folder)
        best = self.state.best_model_checkpoint
        lacking = self.disk and disk_room.make_room(
            self.disk, folder.parent, best=Path(best) if best else None
        )
        if lacking:
            warn(f"{folder.name} is not written: {lacking}. The training goes on.")
        return _SKIP if lacking else _SAVE

    def _agreed(self, verdict: int) -> int:
        """Return rank 0's verdict on every rank."""
        from torch import distributed

        if world_size() == 1:
            return verdict
        agreed = torch.tensor([verdict], device=self.args.device)
        distributed.broadcast(agreed, src=0)
        return int(agreed.item())


def _saved_bytes(parameter: Any) -> int:
    """Return the bytes of a weight in the final model, which is saved in no fewer bits than 16."""
    whole = getattr(getattr(parameter, "quant_state", None), "shape", None)
    if whole is not None:
        return 2 * math.prod(whole)
    return int(getattr(parameter, "ds_numel", parameter.numel())) * parameter.element_size()
