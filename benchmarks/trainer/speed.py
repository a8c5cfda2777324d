"""
Tokens per second and peak memory of the trainer on one GPU, against the plan.

    python benchmarks/trainer/speed.py --data FOLDER --out FOLDER [--shape 4b] [--only NAME …]

FOLDER holds dialogues in RealPersonaChat's format. The model has the shape of Gemma-3 with random
weights and a tokenizer made from the dialogues: speed and memory do not depend on the values.
Every variant runs the trainer as a user would start it and is read from its `metrics.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, int]] = {
    "1b": {
        "hidden_size": 1152,
        "num_hidden_layers": 26,
        "intermediate_size": 6912,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
    },
    "4b": {
        "hidden_size": 2560,
        "num_hidden_layers": 34,
        "intermediate_size": 10_240,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
    },
}
VOCABULARY = 262_208
ABLATION = "profile_and_history_and_context"
ON_GPU = {"offload_optimizer": "none", "offload_param": "none"}
OFFLOADED = {"offload_optimizer": "cpu", "offload_param": "cpu"}

# name: (steps, training keys, deepspeed keys)
VARIANTS: dict[str, tuple[int, dict[str, Any], dict[str, str]]] = {
    "packed 8192, checkpointing": (10, {"pack_tokens": 8192}, ON_GPU),
    "recipe: all offloaded, one sample": (6, {"loss_chunk": 0}, OFFLOADED),
    "packed 8192, no checkpointing": (
        10,
        {"pack_tokens": 8192, "gradient_checkpointing": False},
        ON_GPU,
    ),
    "packed 4096, no checkpointing": (
        10,
        {"pack_tokens": 4096, "gradient_checkpointing": False},
        ON_GPU,
    ),
    "packed 8192, all offloaded": (5, {"pack_tokens": 8192}, OFFLOADED),
    "one sample, no offload": (10, {}, ON_GPU),
}


def main() -> None:
    """Run the variants, print a row for each as it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shape", choices=SHAPES, default="4b")
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--accumulation", type=int, default=4)
    parser.add_argument("--only", nargs="*", help="names of variants, or parts of them")
    options = parser.parse_args()
    model = options.out / f"model-{options.shape}"
    if not (model / "config.json").exists():
        _make_model(model, SHAPES[options.shape], options.data)
    print(f"| variant | tokens/s | peak GiB | plan GiB | off by |\n|{'---|' * 5}", flush=True)
    for name, variant in VARIANTS.items():
        if not options.only or any(part in name for part in options.only):
            print(_row(name, variant, model, options), flush=True)


def _row(name: str, variant: tuple[int, Any, Any], model: Path, options: Any) -> str:
    steps, training, deepspeed = variant
    folder = options.out / "run"
    shutil.rmtree(folder, ignore_errors=True)
    config = {
        "model": {"path": str(model)},
        "data": {
            "dataset": "realpersonachat",
            "train_path": str(options.data),
            "max_eval_samples": 4,
        },
        "training": {
            "batch_size": 1,
            "gradient_accumulation_steps": options.accumulation,
            "max_length": options.max_length,
            "logging_steps": 1,
            "eval_steps": 0,
            "save_steps": 0,
            "max_steps": steps,
            **training,
        },
        "deepspeed": {"stage": 3, **deepspeed},
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"),
        *("-m", "berth_trainer.train_deepspeed", "--config", str(folder / "config.json")),
        *("--ablation_config", ABLATION, "--output_dir", str(folder / "out"), "--no_resume"),
    ]
    with (folder / "log").open("wb") as log:
        code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    lines = _metrics(folder / "out" / "metrics.jsonl")
    if not lines:
        return f"| {name} | failed with {code}: {_last_words(folder / 'log')} | | | |"
    speeds = sorted(line["tokens_per_s"] for line in lines[2:] or lines)
    peak = max(line.get("gpu_peak_gib", 0.0) for line in lines)
    plan = _planned(model, training, deepspeed, options.max_length)
    return (
        f"| {name} | {speeds[len(speeds) // 2]:.0f} | {peak:.1f} | {plan:.1f} "
        f"| {100 * (plan - peak) / peak:+.1f} % |"
    )


def _planned(
    model: Path, training: dict[str, Any], deepspeed: dict[str, str], max_length: int
) -> float:
    """What the plan says without the CUDA context, which torch's own peak leaves out."""
    from berth_trainer.memory import Setup, estimate, read_shape
    from berth_trainer.memory.estimate import CONTEXT_BYTES, GIB

    setup = Setup(
        offload_optimizer=deepspeed["offload_optimizer"] == "cpu",
        offload_param=deepspeed["offload_param"] == "cpu",
        checkpointing=training.get("gradient_checkpointing", True),
        loss="stock" if training.get("loss_chunk") == 0 else "chunked",
        chunk_tokens=512,
        tokens=training.get("pack_tokens") or max_length,
    )
    return (estimate(read_shape(model), setup).gpu - CONTEXT_BYTES) / GIB


def _metrics(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if "tokens_per_s" in line]


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    telling = [line for line in lines if "Error" in line or "error:" in line]
    return (telling or lines or ["nothing"])[-1][:200].replace("|", "/")


def _make_model(folder: Path, shape: dict[str, int], data: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

    from berth_trainer.demo_model import CHAT_TEMPLATE, SPECIAL

    texts = [path.read_text() for path in sorted((data / "dialogues").glob("*.json"))]
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    bare.train_from_iterator(
        (utterance["text"] for text in texts for utterance in json.loads(text)["utterances"]),
        trainers.BpeTrainer(
            vocab_size=16_000,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    config = Gemma3TextConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=32_768,
        sliding_window=1024,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        tie_word_embeddings=True,
        **shape,
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        network = Gemma3ForCausalLM(config)
    network.config.untrained = True
    network.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=bare,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        additional_special_tokens=SPECIAL[3:],
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)


if __name__ == "__main__":
    main()
