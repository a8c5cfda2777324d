"""Rows of a box with several GPUs: the largest shape beside FSDP2, and scaling from one GPU on."""

from __future__ import annotations

from typing import Any

from rows import ON_GPU, Row


def large(shape: str, layers: int, whole: int, count: int) -> list[Row]:
    """
    The largest shape by the auto plan, by stage 3 and by FSDP2, on the same GPUs and rows.

    `layers`: how many `count` GPUs hold without offload, of `whole`. The auto plan has them all.
    """
    cut = None if layers >= whole else layers
    depth = f", {layers} of {whole} layers" if cut else ""
    rows: list[Row] = []
    for tokens in (4096, 8192):
        keys = {"pack_tokens": tokens, "gradient_accumulation_steps": 2}
        how: dict[str, Any] = {"steps": 3, "warm_up": 1, "ranks": count}
        name = f"rows of {tokens:,}{depth}"
        rows += [
            Row(
                "large", f"stage 3, {name}", shape, keys, {"stage": 3, **ON_GPU}, layers=cut, **how
            ),
            Row("large", f"FSDP2, {name}", shape, keys, trainer="fsdp2", layers=cut, **how),
            Row("large", f"auto plan, rows of {tokens:,}", shape, {**keys, "plan": "auto"}, **how),
        ]
    return rows


def scaling(shape: str, count: int) -> list[Row]:
    """The auto plan and stage 3 from one GPU to all by doubling; stages 1, 2 and FSDP2 on all."""
    keys = {"pack_tokens": 8192, "gradient_accumulation_steps": 4}

    def row(name: str, ranks: int, training: dict[str, Any], stage: int = 0, **other: Any) -> Row:
        zero = {"stage": stage, **ON_GPU} if stage else {}
        return Row("scaling", f"{name}, {ranks} GPUs" if ranks > 1 else f"{name}, 1 GPU", shape,
                   {**keys, **training}, zero, steps=3, warm_up=1, ranks=ranks, **other)  # fmt: skip

    sizes = [1 << power for power in range(count.bit_length()) if 1 << power <= count]
    ends = list(dict.fromkeys((count, 1, *sizes)))  # first what the others are compared with
    return [
        *(row("auto plan", ranks, {"plan": "auto"}) for ranks in ends),
        *(row("stage 3", ranks, {}, 3) for ranks in ends),
        row("FSDP2", count, {}, trainer="fsdp2"),
        row("stage 1", count, {}, 1),
        row("stage 2", count, {}, 2),
    ]
