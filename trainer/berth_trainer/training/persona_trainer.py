"""Trainer of transformers with exact evaluation and a token rate."""

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch

from berth_trainer.memory.estimate import SUB_GROUP
from berth_trainer.model.gpu_flops import bf16_peak, share_of_peak
from berth_trainer.training.evaluation import Evaluation, evaluate
from berth_trainer.training.resumable_trainer import ResumableTrainer
from berth_trainer.training.sampler import RankIndependentSampler

Items = Sequence[dict[str, list[int]]]


def divide(groups: list[dict[str, Any]], most: int = SUB_GROUP) -> list[dict[str, Any]]:
    """
    Return the parameter groups in pieces of at most `most` scalars.

    Below stage 3 DeepSpeed flattens a group into one tensor and makes its fp32 gradient whole for
    the update: in pieces that takes gigabytes less, and no tensor outgrows 32-bit indices.
    """
    divided: list[dict[str, Any]] = []
    for group in groups:
        piece: list[Any] = []
        held = 0
        for parameter in group["params"]:
            size = int(getattr(parameter, "ds_numel", parameter.numel()))
            if piece and held + size > most:
                divided.append({**group, "params": piece})
                piece, held = [], 0
            piece.append(parameter)
            held += size
        if piece:
            divided.append({**group, "params": piece})
    return divided


class PersonaTrainer(ResumableTrainer):
    """
    Trains on encoded samples.

    Evaluation counts each sample once whatever the number of ranks, and weights by tokens.
    `tokens_per_s` counts real tokens of all ranks, and leaves out evaluating and saving;
    `gpu_peak_gib` is the most that rank 0 has reserved on its GPU so far.
    """

    def __init__(
        self,
        *,
        collate: Callable[[Items], dict[str, Any]],
        pad_id: int,
        pack: Callable[[Any], dict[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        """`collate` makes batches of samples; `pack`, where given, those that are trained on."""
        super().__init__(data_collator=pack or collate, **options)
        self._collate = collate
        self._pad_id = pad_id
        self.plan_gib: float | None = None  # planned peak of torch's allocator, logged beside it
        self._seen: Any = None
        self._since = time.perf_counter()
        self._elsewhere = 0.0
        self._began, self._first_step = 0.0, 0  # when this run took its first step, and after which

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        samples = self.train_dataset if train_dataset is None else train_dataset
        per_step = (
            self.args.train_batch_size
            * self.args.gradient_accumulation_steps
            * self.args.world_size
        )
        return RankIndependentSampler(
            len(cast("Items", samples)), per_step=per_step, seed=self.args.seed
        )

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        if not self._began:
            self._began, self._first_step = time.perf_counter(), self.state.global_step
        # Summed where the batch lies: reading the number here would make the GPU wait.
        mask = inputs.get("attention_mask")
        if mask is None or mask.dim() != 2:  # a packed row's mask tells nothing
            mask = inputs["input_ids"] != self._pad_id
        count = mask.sum()
        self._seen = count if self._seen is None else self._seen + count
        return super().training_step(model, inputs, num_items_in_batch)

    def create_optimizer(self, model: Any = None) -> Any:
        """Create the optimizer with groups of at most a billion parameters (see `divide`)."""
        optimizer = super().create_optimizer(model)
        # Without empty groups, as DeepSpeed has them (an adapter has none that go undecayed).
        optimizer.param_groups = divide(optimizer.param_groups)
        self.weight_decays = [group["weight_decay"] for group in optimizer.param_groups]
        return optimizer

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._seen is not None:
            logs["tokens_per_s"] = self._token_rate()
            logs["time_left_s"] = self._time_left()
            if torch.cuda.is_available():
                logs["gpu_peak_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
                logs["gpu_allocated_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
                self._add_mfu(logs)
            if self.plan_gib is not None:
                logs["gpu_plan_gib"] = round(self.plan_gib, 2)
        super().log(logs, start_time)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        del ignore_keys
        items = cast("Items", eval_dataset if eval_dataset is not None else self.eval_dataset)
        metrics = self._measure(items, metric_key_prefix)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def test(self, items: Items) -> dict[str, float]:
        """Evaluate on samples that early stopping did not use."""
        return self._measure(items, "test")

    def loss_of(self, items: Items) -> float:
        """Return the trained model's loss on a few samples, without a log line. A collective."""
        return self._evaluation(items).loss

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self._elsewhere += self.stood_still_s

    def _measure(self, items: Items, prefix: str) -> dict[str, float]:
        began = time.perf_counter()
        found = self._evaluation(items)
        took = time.perf_counter() - began
        metrics = {
            f"{prefix}_loss": found.loss,
            f"{prefix}_perplexity": found.perplexity,
            f"{prefix}_tokens": float(found.tokens),
            f"{prefix}_samples": float(found.samples),
            f"{prefix}_runtime": round(took, 3),
        }
        self.log(metrics)
        self._elsewhere += took
        return metrics

    def _evaluation(self, items: Items) -> Evaluation:
        return evaluate(
            self.model_wrapped,
            items,
            collate=self._collate,
            batch_size=self.args.per_device_eval_batch_size,
            device=self.args.device,
        )

    def _add_mfu(self, logs: dict[str, float]) -> None:
        """Add `mfu`, on GPUs whose peak is known."""
        peak = bf16_peak(torch.cuda.get_device_name())
        if peak is None:
            return
        model = cast("torch.nn.Module", self.model)
        sizes = [(int(getattr(p, "ds_numel", p.numel())), p.requires_grad)
                 for p in model.parameters()]  # fmt: skip
        share = share_of_peak(
            logs["tokens_per_s"],
            parameters=sum(size for size, _ in sizes),
            trained=sum(size for size, trained in sizes if trained),
            peak=peak,
            gpus=self.args.world_size,
        )
        logs["mfu"] = round(share, 4)

    def _time_left(self) -> float:
        """Return seconds to the last step at the pace of this run, evaluations included."""
        done = self.state.global_step - self._first_step
        pace = (time.perf_counter() - self._began) / max(1, done)
        return round(pace * (self.state.max_steps - self.state.global_step), 1)

    def _token_rate(self) -> float:
        from torch import distributed

        seen = self._seen.double()
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            distributed.all_reduce(seen)
        now = time.perf_counter()
        took = max(1e-9, now - self._since - self._elsewhere)
        self._seen, self._since, self._elsewhere = None, now, 0.0
        return round(float(seen) / took, 1)
