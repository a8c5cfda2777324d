#!/usr/bin/env bash
# deepspeed 0.19.8: its launcher gives ranks LOCAL_SIZE for the number of ranks on their own node, and
# not LOCAL_WORLD_SIZE, which torchrun of the same environment gives for the same thing. A script
# that reads LOCAL_WORLD_SIZE and takes WORLD_SIZE where it is absent is right under deepspeed on
# one node, and counts the ranks of all nodes as this node's on two.
# Seen, for the second of two nodes with one rank each: "deepspeed: LOCAL_SIZE=1 WORLD_SIZE=2" and
# "torchrun: LOCAL_WORLD_SIZE=1 WORLD_SIZE=2".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 deepspeed==0.19.8
cd "$work"
cat > rank.py <<'PY'
import os
import sys

names = ("LOCAL_SIZE", "LOCAL_WORLD_SIZE", "WORLD_SIZE")
print(f"{sys.argv[1]}:", *(f"{name}={os.environ[name]}" for name in names if name in os.environ))
PY
world=$(printf '{"n1": [0], "n2": [0]}' | base64 -w0)
{
    DS_ACCELERATOR=cpu venv/bin/python -m deepspeed.launcher.launch --world_info="$world" --node_rank=1 \
        --master_addr=127.0.0.1 --master_port=29511 --no_local_rank rank.py deepspeed
    # The first node only keeps the rendezvous, so that the second can start.
    venv/bin/python -m torch.distributed.run --nnodes=2 --node-rank=0 --nproc-per-node=1 \
        --rdzv-backend=static --master-addr=127.0.0.1 --master-port=29512 rank.py first > first 2>&1 &
    venv/bin/python -m torch.distributed.run --nnodes=2 --node-rank=1 --nproc-per-node=1 \
        --rdzv-backend=static --master-addr=127.0.0.1 --master-port=29512 rank.py torchrun
    wait
} 2> log | grep -E '^(deepspeed|torchrun): ' > seen || { tail -n 20 log; exit 1; }
cat seen
test "$(cat seen)" = "deepspeed: LOCAL_SIZE=1 WORLD_SIZE=2
torchrun: LOCAL_WORLD_SIZE=1 WORLD_SIZE=2"
