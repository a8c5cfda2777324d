"""Rows of the benchmark, most informative first."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

ON_GPU = {"offload_optimizer": "none", "offload_param": "none"}
OFFLOADED = {"stage": 3, "offload_optimizer": "cpu", "offload_param": "cpu"}


@dataclass(frozen=True)
class Row:
    """One run: sections of a config file, the model's shape and how many steps."""

    part: str
    name: str
    shape: str
    training: dict[str, Any]
    deepspeed: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] = field(default_factory=dict)
    steps: int = 2
    warm_up: int = 0
    """Steps at the beginning that count for memory but not for speed."""
    layers: int | None = None
    """The shape cut to so many."""
    expect: str = "fits"
    """`fits`: an out-of-memory is a failure of the plan. `rejected`: the plan says no."""
    trainer: str = "berth"
    room: float | None = None
    """GiB that it is given where rows share the GPU; absent: it needs the GPU alone."""
    ranks: int = 1
    """Processes that train together, each on a GPU of its own."""


def speed(shape: str) -> list[Row]:
    """Ours by the auto plan, then what each lever is worth, the users' recipe, the bar."""

    def ours(name: str, deepspeed: dict[str, Any] | None = None, **training: Any) -> Row:
        keys = {
            "plan": "auto",
            "pack_tokens": 8192,
            "gradient_accumulation_steps": 4,
            **training,
        }
        return Row("speed", name, shape, keys, deepspeed or {}, steps=4, warm_up=1)

    return [
        ours("auto plan, rows of 8,192, not compiled", compile="off"),
        ours("auto plan, rows of 8,192"),
        ours("auto plan, rows of 16,384", pack_tokens=16_384),
        Row(
            "speed", "users' recipe: ZeRO-3, all offloaded, one sample", shape,
            {"gradient_accumulation_steps": 4, "loss_chunk": 0, "fused_layers": "off"},
            {**OFFLOADED, "gather": "modules"}, steps=2, warm_up=1,
        ),
        Row(
            "speed", "TRL SFTTrainer, packing, DeepSpeed ZeRO-3", shape,
            {"pack_tokens": 8192, "gradient_accumulation_steps": 4},
            {"stage": 3, **ON_GPU}, steps=3, warm_up=1, trainer="trl",
        ),
        Row(
            "speed", "TRL SFTTrainer, packing, DeepSpeed ZeRO-1", shape,
            {"pack_tokens": 8192, "gradient_accumulation_steps": 4},
            {"stage": 1, **ON_GPU}, steps=3, warm_up=1, trainer="trl",
        ),
        ours("the same, stock layers", fused_layers="off"),
        ours("the same, block mask in place of bounds", fused_layers="off", attention="block"),
        Row(
            "speed", "ZeRO-3, no offload, rows of 8,192, checkpointing", shape,
            {"pack_tokens": 8192, "gradient_accumulation_steps": 4, "fused_layers": "off"},
            {"stage": 3, **ON_GPU}, steps=3, warm_up=1,
        ),
        Row(
            "speed", "ZeRO-3, no offload, one sample", shape,
            {"gradient_accumulation_steps": 4, "loss_chunk": 0, "fused_layers": "off"},
            {"stage": 3, **ON_GPU}, steps=3, warm_up=1,
        ),
    ]  # fmt: skip


def sharded(shape: str, large: str, layers: int) -> list[Row]:
    """Stage 3 beside torch's FSDP2, the optimizer on the host, and what a checkpoint costs."""
    rows: list[Row] = []

    def pair(shape: str, tokens: int, layers: int | None = None) -> None:
        keys = {"pack_tokens": tokens, "gradient_accumulation_steps": 4}
        how = {"steps": 4, "warm_up": 1, "layers": layers}
        zero = {"stage": 3, **ON_GPU}
        words = f"rows of {tokens:,}, every layer recomputed"
        rows.append(Row("sharded", f"stage 3, {words}", shape, keys, zero, **how))
        rows.append(Row("sharded", f"FSDP2, {words}", shape, keys, trainer="fsdp2", **how))

    pair(shape, 4096)
    pair(shape, 8192)
    keys = {"pack_tokens": 8192, "gradient_accumulation_steps": 4}
    host = {"stage": 3, "offload_optimizer": "cpu", "offload_param": "none"}
    rows.append(
        Row("sharded", "stage 3, optimizer on the host", shape, keys, host, steps=3, warm_up=1)
    )
    save = {**keys, "save_steps": 2, "save_total_limit": 1}
    rows.append(
        Row(
            "sharded",
            "stage 3, one checkpoint",
            shape,
            save,
            {"stage": 3, **ON_GPU},
            steps=3,
            warm_up=1,
        )
    )
    pair(large, 4096, layers)
    return rows


def plan(small: str, large: str) -> list[Row]:
    """Combinations of shape, length, recomputing, stage, offload, states and LoRA."""
    rows: list[Row] = []

    def add(shape: str, tokens: int, stage: int = 1, **other: Any) -> None:
        deepspeed = {"stage": stage, **ON_GPU, **other.pop("deepspeed", {})}
        quantize = other.pop("quantize", "none")
        lora = {"r": 16, "quantize": quantize} if other.pop("lora", False) else {}
        keys = {
            "pack_tokens": tokens,
            "gradient_accumulation_steps": 2,
            "compile": "off",
            "gradient_checkpointing": True,
            **other,
        }
        words = [f"{tokens:,} tokens", f"stage {deepspeed['stage']}"]
        words += ["QLoRA" if quantize == "4bit" else "LoRA"] if lora else []
        words += [f"{key} {value}" for key, value in other.items()]
        words += ["all offloaded"] if deepspeed["offload_param"] == "cpu" else (
            ["optimizer offloaded"] if deepspeed["offload_optimizer"] == "cpu" else [])  # fmt: skip
        hosted = deepspeed["offload_optimizer"] == "cpu"
        room = 9 if hosted else 33 if shape == small else 26 if lora else None
        rows.append(
            Row(
                "plan",
                ", ".join(words),
                shape,
                keys,
                deepspeed,
                lora,
                steps=3,
                warm_up=1,
                room=room,
            )
        )

    bare = {"gradient_checkpointing": False}
    for tokens in (8192, 4096, 1024):
        add(small, tokens)
        add(small, tokens, **bare)
    add(small, 8192, checkpoint_layers=13)
    add(small, 4096, stage=3)
    add(small, 4096, stage=3, fused_layers="off", loss_chunk=0)
    add(small, 4096, fused_layers="off", **bare)
    add(small, 8192, lora=True)
    add(small, 4096, lora=True, **bare)
    add(large, 8192, lora=True)
    add(large, 4096, lora=True, **bare)
    add(small, 8192, stage=2)
    add(small, 8192, stage=3, **bare)
    add(small, 4096, optimizer_states="bf16")
    add(small, 4096, optimizer_states="8bit")
    add(large, 8192, lora=True, quantize="4bit")
    add(small, 8192, loss_chunk=0)
    add(small, 4096, deepspeed={"offload_optimizer": "cpu"})
    add(small, 4096, stage=2, deepspeed={"offload_optimizer": "cpu"})
    add(small, 4096, stage=3, deepspeed={"offload_optimizer": "cpu"})
    add(small, 8192, stage=3, deepspeed={"offload_optimizer": "cpu", "offload_param": "cpu"})
    add(small, 1024, stage=3, deepspeed={"offload_optimizer": "cpu", "offload_param": "cpu"})
    add(large, 4096)
    add(large, 8192)
    add(large, 1024)
    add(large, 1024, **bare)
    add(large, 4096, stage=3)
    add(large, 8192, checkpoint_layers=26)
    return rows


def rejected(shape: str) -> list[Row]:
    """Return rows that the plan says will not fit, to run all the same."""
    keys = {
        "gradient_accumulation_steps": 2,
        "compile": "off",
        "gradient_checkpointing": False,
    }
    return [
        Row("rejected", f"{tokens:,} tokens, nothing recomputed, {loss} loss", shape,
            {**keys, "pack_tokens": tokens, "loss_chunk": 0 if loss == "stock" else 512},
            {"stage": 1, **ON_GPU}, expect="rejected")
        for tokens, loss in ((16_384, "chunked"), (8192, "stock"), (16_384, "stock"))
    ]  # fmt: skip


def cut(shape: str, layers: int, **other: Any) -> list[Row]:
    """The largest shape cut to what a GPU holds, and to half of that: figures of one layer."""
    row = Row(
        "27b",
        "",
        shape,
        {"pack_tokens": 4096, "gradient_accumulation_steps": 2, "compile": "off"},
        {"stage": 1, **ON_GPU},
        steps=3,
        warm_up=1,
    )
    return [
        replace(row, **{"name": f"cut to {depth} of its layers", "layers": depth, **other})
        for depth in (layers, max(1, layers // 2))
    ]


def ranks(small: str, large: str, cut_shape: str, layers: int, count: int) -> list[Row]:
    """Return rows that need several GPUs: partitioned states, gathers, buckets, and their cost."""

    def row(shape: str, stage: int, tokens: int, how: str = "", **other: Any) -> Row:
        checkpointing = other.pop("checkpointing", True)
        words = [
            f"stage {stage}",
            f"{tokens:,} tokens",
            "checkpointing" if checkpointing else "none",
        ]
        keys = {
            "pack_tokens": tokens,
            "gradient_accumulation_steps": 2,
            "gradient_checkpointing": checkpointing,
            **other.pop("training", {}),
        }
        made = Row("ranks", ", ".join([*words, *([how] if how else [])]), shape, keys,
                   {"stage": stage, **ON_GPU}, steps=3, warm_up=1, ranks=count)  # fmt: skip
        return replace(made, **other)

    def room(shape: str, stage: int, tokens: int, **other: Any) -> Row:
        """One that shares the GPUs with others; compiling would cost more than it tells."""
        other = {"room": 26, "training": {"compile": "off"}, **other}
        return row(shape, stage, tokens, **other)

    by_plan = {"plan": "auto", "pack_tokens": 8192, "gradient_accumulation_steps": 4}
    offloaded = {"stage": 3, "offload_optimizer": "cpu", "offload_param": "none"}
    adapter = {"lora": {"r": 16}, "room": 12, "how": "LoRA"}
    deepest, half = cut(cut_shape, layers, part="ranks", ranks=count,
                        deepspeed={"stage": 3, **ON_GPU})  # fmt: skip
    return [
        Row("ranks", "auto plan, rows of 8,192", large, by_plan, steps=4, warm_up=1, ranks=count),
        row(large, 3, 8192),
        row(large, 3, 8192, how="module by module",
            deepspeed={"stage": 3, **ON_GPU, "gather": "modules"}),
        row(large, 2, 8192),
        row(large, 1, 8192),
        deepest,
        *(
            room(small, stage, tokens, checkpointing=checkpointing)
            for tokens in (8192, 4096)
            for stage in (1, 2, 3)
            for checkpointing in (True, False)
        ),
        room(small, 3, 4096, deepspeed=offloaded, room=12, how="optimizer offloaded"),
        room(small, 3, 4096, deepspeed=OFFLOADED, room=12, how="all offloaded"),
        room(small, 2, 8192, **adapter),
        room(small, 3, 8192, **adapter),
        half,
        Row(
            "ranks", "TRL SFTTrainer, packing, DeepSpeed ZeRO-3", large,
            {"pack_tokens": 8192, "gradient_accumulation_steps": 4},
            {"stage": 3, **ON_GPU}, steps=3, warm_up=1, trainer="trl", ranks=count,
        ),
    ]  # fmt: skip
