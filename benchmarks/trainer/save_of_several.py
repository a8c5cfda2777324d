"""
A checkpoint on several GPUs: how long it stops the training, and a kill while it is written.

    python benchmarks/trainer/save_of_several.py --gpus N --out FOLDER [--shape 27b] [--layers L]
        [--rehearse]

A run on all GPUs saves every second step. As soon as its second checkpoint is being written, one
rank is killed with -9. Then half the GPUs resume from the last complete checkpoint, while the
other half take all steps without a break; the largest difference of their losses is printed. The
shape is cut so that a checkpoint stays below 40 GB. Outside the queue, by the trainer itself.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from shapes import SHAPES, config_of

MOST_BYTES = 40e9
STEPS = 6
Run = subprocess.Popen[bytes]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shape", choices=SHAPES, default="27b")
    parser.add_argument(
        "--layers", type=int, help="default: as many as the checkpoint's size allows"
    )
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    out: Path = options.out.absolute()
    layers = options.layers or _layers(options.shape)
    config = _config(out, options.shape, layers)
    print(f"{options.shape} shape, {layers} of its layers", flush=True)

    everything, half = list(range(options.gpus)), options.gpus // 2
    first = _start(out, "broken", config, everything, options, steps=1000)
    stopped = _kill_in_the_second_save(first, out / "broken", options.gpus)
    if stopped is None:
        print((out / "broken.log").read_text("utf-8", "replace")[-3000:])
        return 1
    print(f"rank {options.gpus - 1} killed in the middle of a save; all ranks gone after {stopped:.1f} s", flush=True)  # fmt: skip
    for line in (out / "broken.log").read_text("utf-8", "replace").splitlines():
        if "checkpoint" in line:
            print(f"    {line.rpartition(chr(13))[2].strip()}", flush=True)

    resumed = _start(out, "broken", config, everything[:half], options, steps=STEPS, resume=True)
    whole = _start(out, "whole", config, everything[half:], options, steps=STEPS)
    codes = [resumed.wait(), whole.wait()]
    if any(codes):
        print(f"exit codes {codes}; see {out}")
        return 1
    found, expected = _losses(out / "broken"), _losses(out / "whole")
    off = max(abs(found[step] - expected[step]) for step in expected)
    print(f"resumed on half of them: {len(found)} of {STEPS} losses, largest difference {off:.1e}", flush=True)  # fmt: skip
    return 0 if found.keys() == expected.keys() else 1


def _layers(shape: str) -> int:
    """Return how many layers a checkpoint of 12 bytes a parameter may have."""
    from berth_trainer.memory import read_shape

    sizes = (
        depth
        for depth in range(SHAPES[shape]["num_hidden_layers"], 1, -1)
        if 12 * read_shape(config_of(shape, depth).to_dict()).parameters <= MOST_BYTES
    )
    return next(sizes, 1)


def _config(out: Path, shape: str, layers: int) -> Path:
    """Write a model of random weights with the demo's tokenizer, and the run's config file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from berth_trainer import demo_workspace

    demo, model = out / "workspace", out / "model"
    if not model.exists():
        demo_workspace.make(demo)
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(1)
        with torch.device(device):
            made = AutoModelForCausalLM.from_config(config_of(shape, layers), dtype=torch.bfloat16)
        made.config.untrained = True
        made.save_pretrained(model)
        AutoTokenizer.from_pretrained(demo / "model").save_pretrained(model)
    path = out / "config.json"
    path.write_text(json.dumps({
        "model": {"path": str(model)},
        "data": {"train_path": str(demo / "data" / "realpersonachat"), "max_eval_samples": 2},
        "training": {"max_length": 256, "batch_size": 1, "global_batch": 16, "eval_steps": 0,
                     "save_steps": 2, "logging_steps": 1, "learning_rate": 1e-5, "compile": "off",
                     "lr_scheduler": "constant"},
        "deepspeed": {"stage": 3, "offload_optimizer": "none", "offload_param": "none"},
    }))  # fmt: skip
    return path


def _start(
    out: Path, name: str, config: Path, gpus: list[int], options: argparse.Namespace, *,
    steps: int, resume: bool = False,
) -> Run:  # fmt: skip
    import berth_trainer

    script = Path(berth_trainer.__file__).with_name("train_deepspeed.py")
    simulated = {"BERTH_DEVICES": "simulated"} if options.rehearse else {}
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={len(gpus)}",
             script, "--config", config, "--output_dir", out / name, "--max_steps", steps]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BERTH_")}
    shown = {} if options.rehearse else {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}
    with (out / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [str(word) for word in (*words, *(["--resume"] if resume else []))],
            env={**environment, **simulated, **shown},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _kill_in_the_second_save(run: Run, folder: Path, ranks: int) -> float | None:
    """Kill the last rank while checkpoint-4 is being written; return when all ranks were gone."""
    first, second = folder / "checkpoint-2", folder / "checkpoint-4"
    while not ((first / "berth_complete.json").exists() and any(second.rglob("*optim_states*"))):
        if run.poll() is not None:
            return None
        time.sleep(0.002)
    trained = [
        one for one in psutil.Process(run.pid).children(recursive=True) if "RANK" in one.environ()
    ]
    victim = next(one for one in trained if one.environ()["RANK"] == str(ranks - 1))
    victim.send_signal(signal.SIGKILL)
    began = time.perf_counter()
    psutil.wait_procs(trained, timeout=60)
    took = time.perf_counter() - began
    run.wait()
    return took


def _losses(folder: Path) -> dict[int, float]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text("utf-8").splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


if __name__ == "__main__":
    sys.exit(main())
