#!/usr/bin/env bash
# deepspeed 0.19.8: a universal checkpoint is bound to the ZeRO stage that it was made from. What
# ds_to_universal makes of a stage 3 checkpoint loads under stage 3, and under stage 2 ends in a bare
# AssertionError (`assert len(self.ckpt_list) > 0`); of a stage 2 checkpoint likewise the other way
# round. The converter itself ends with "Done!" in each case. Stages look for their model states
# under names of their own (mp_rank_00_… below stage 3, zero_pp_rank_0_mp_rank_00_… in it).
# Seen: "3 to 3 loaded, 3 to 2 AssertionError, 2 to 2 loaded, 2 to 3 AssertionError".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 deepspeed==0.19.8
cat > "$work/run.py" <<'EOF'
import os, sys

os.environ.update(DS_ACCELERATOR="cpu", RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=sys.argv[3], OMP_NUM_THREADS="1")
import torch
import deepspeed

what, stage = sys.argv[1], int(sys.argv[2])
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # else it is compiled first
deepspeed.init_distributed("gloo", auto_mpi_discovery=False)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
engine, *_ = deepspeed.initialize(
    model=model,
    optimizer=torch.optim.AdamW(model.parameters(), lr=0.01),
    config={
        "train_micro_batch_size_per_gpu": 4,
        "zero_optimization": {"stage": stage},
        "checkpoint": {"load_universal": what == "load"},
    },
)
if what == "save":
    for _ in range(3):
        engine.backward(engine(torch.ones(4, 8)).mean())
        engine.step()
    engine.save_checkpoint("checkpoint", tag="step3")
else:
    try:
        path, _ = engine.load_checkpoint("checkpoint", tag="universal")
        print("loaded" if path else "nothing")
    except AssertionError as error:
        print("AssertionError" if not str(error) else error)
EOF
cd "$work"
port() { venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
found=""
for source in 3 2; do
    rm -rf checkpoint
    venv/bin/python run.py save $source "$(port)" > log 2>&1
    DS_ACCELERATOR=cpu venv/bin/python -m deepspeed.checkpoint.ds_to_universal --inject_missing_state \
        --input_folder checkpoint/step3 --output_folder checkpoint/universal > log 2>&1
    tail -n 1 log | grep -q "Done!"
    echo universal > checkpoint/latest_universal
    for target in $source $((5 - source)); do
        found+="$source to $target $(venv/bin/python run.py load $target "$(port)" 2>/dev/null | tail -n 1), "
    done
done
found=${found%, }
echo "$found"
[[ $found == "3 to 3 loaded, 3 to 2 AssertionError, 2 to 2 loaded, 2 to 3 AssertionError" ]]
