"""
DeepSpeed's conversion to the universal format, finished so that another ZeRO stage reads it.

`python stages.py STAGE --input_folder … --output_folder …`, the folders as for
`deepspeed.checkpoint.ds_to_universal`; a process of its own, which imports nothing of the trainer.
Stage 3 writes a parameter's state as a bare tensor
and keeps one step counter for all; stages 1 and 2 read a dictionary, and a counter beside each
parameter. Each looks for its model states under a file name of its own.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

_STATES = ("fp32", "exp_avg", "exp_avg_sq")
_LOWER, _STAGE_3 = "mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_model_states.pt"


def main() -> None:
    """Convert, then lay out."""
    from deepspeed.checkpoint import ds_to_universal

    stage = int(sys.argv.pop(1))
    made = Path(sys.argv[sys.argv.index("--output_folder") + 1])
    ds_to_universal.main(ds_to_universal.parse_arguments())
    restage(made, stage)


def restage(made: Path, stage: int) -> None:
    """Lay a universal checkpoint out as `stage` reads it; does nothing where it already is."""
    source = 3 if (made / _STAGE_3).exists() else 1
    if (source == 3) == (stage == 3):
        return
    if stage == 3:
        shutil.copyfile(made / _LOWER, made / _STAGE_3)
        _gather_counter(made / "zero")
    else:
        shutil.copyfile(made / _STAGE_3, made / _LOWER)
        _spread_counter(made / "zero")


def _gather_counter(zero: Path) -> None:
    """Put the step counter and the groups where stage 3 looks for them."""
    optimizer = _load(zero / "optimizer_state.pt")
    step = next((_load(file) for file in sorted(zero.glob("*/step.pt"))), None)
    if step is None:
        step = optimizer["param_groups"][0].get("step", 0)
    optimizer["optimizer_state_dict"] = {
        "state": {0: {"step": step}},
        "param_groups": optimizer["param_groups"],
    }
    _save(zero / "optimizer_state.pt", optimizer)


def _spread_counter(zero: Path) -> None:
    """Give each parameter its own step counter, and its states the shape of stages 1 and 2."""
    import deepspeed

    optimizer = _load(zero / "optimizer_state.pt")
    _save(zero / "optimizer_state.pt", {**optimizer, "ds_version": deepspeed.__version__})
    step = optimizer["optimizer_state_dict"]["state"][0]["step"]
    for folder in sorted(path for path in zero.iterdir() if path.is_dir()):
        for name in _STATES:
            file = folder / f"{name}.pt"
            found = _load(file)
            if not isinstance(found, dict):
                _save(file, {"param": found, "cat_dim": 0})
        _save(folder / "step.pt", step)


def _load(path: Path) -> Any:
    import torch

    return torch.load(path, map_location="cpu", weights_only=False)


def _save(path: Path, value: Any) -> None:
    import torch

    temporary = path.with_suffix(".new")
    torch.save(value, temporary)
    temporary.replace(path)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose names would hide other packages
    main()
