"""
A process of its own: peaks of live tensor bytes of real DeepSpeed engines, as JSON.

On a CPU nothing tells a peak, but every tensor is seen as it is made and as it goes. One rank,
bf16 weights, fp32 states, a Gemma-3 of a few megabytes, two steps of two micro-batches each.
"""

import gc
import json
import os
import sys
import weakref
from pathlib import Path

os.environ.update(
    DS_ACCELERATOR="cpu", LOCAL_SIZE="1", CUDA_VISIBLE_DEVICES="", RANK="0", LOCAL_RANK="0",
    WORLD_SIZE="1", MASTER_ADDR="127.0.0.1",
)  # fmt: skip

import deepspeed
import deepspeed.ops
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from berth_trainer.config.environment import _free_port
from berth_trainer.memory import read_shape
from berth_trainer.model import activation_checkpointing, chunked_loss, fused_layers

TOKENS = 1024


class Live(TorchDispatchMode):
    """Bytes of all storages that are alive, and the most they were."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self.seen = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage):
        key = storage._cdata
        if key in self.seen:
            return
        self.seen[key] = storage.nbytes()
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key):
        self.live -= self.seen.pop(key, 0)


def peak_of(config, *, stage, fused, chunk, layers):
    """The peak of forward and backward pass of the last micro-batch of the second step."""
    from transformers import AutoModelForCausalLM
    from transformers.integrations import HfDeepSpeedConfig
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    zero = {"stage": stage, "contiguous_gradients": stage == 3, "reduce_bucket_size": 65_536}
    ds = {
        "bf16": {"enabled": True},
        "zero_optimization": {**zero, "overlap_comm": False},
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 2,
        "train_batch_size": 2,
        "steps_per_print": 10**9,
    }
    live, peak = Live(), 0
    with live:
        kept_alive = HfDeepSpeedConfig(ds) if stage == 3 else None
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        if fused:
            fused_layers.install(model, compiled=False)
        if chunk:
            chunked_loss.install(model, chunk)
        if layers is not None:
            activation_checkpointing.enable(model, layers)
        optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4)
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=ds)
        ids = torch.randint(0, config.vocab_size, (1, TOKENS))
        for _ in range(4):
            live.peak = live.live
            loss = engine(input_ids=ids, labels=ids, use_cache=False).loss
            engine.backward(loss)
            del loss
            peak = live.peak
            gc.collect()
            engine.step()
    engine.destroy()
    if kept_alive is not None:
        unset_hf_deepspeed_config()
    return peak


if __name__ == "__main__":
    os.environ["MASTER_PORT"] = str(_free_port())
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("gloo", auto_mpi_discovery=False, verbose=False)
    from transformers import Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=8192, hidden_size=256, intermediate_size=1024, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=2, head_dim=64, sliding_window=4096,
    )  # fmt: skip
    cases = json.loads(sys.argv[2])
    found = {
        "shape": config.to_dict(),
        "tokens": TOKENS,
        "peaks": [peak_of(config, **c) for c in cases],
    }
    read_shape(found["shape"])
    Path(sys.argv[1]).write_text(json.dumps(found))
