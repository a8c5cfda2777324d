#!/usr/bin/env bash
# Everything that needs a box with several GPUs, in one call of at most nine minutes.
#
#     bash benchmarks/trainer/cards.sh [--out FOLDER] [--only PART ...] [--rehearse N]
#
# Parts, the most telling first, each with its own limit and printed as it goes:
#   queue   tests/gpu; two jobs of half the GPUs each; a job that loses a rank
#   large   27b shape: stage 3, FSDP2 and the auto plan, rows of 4,096 and 8,192
#   scaling 4b shape: auto plan and stage 3 from one GPU to all, FSDP2, stages 1 and 2
#   save    a checkpoint killed while it is written, resumed on half the GPUs
# `--rehearse N` runs all of it with tiny shapes on N CPU ranks and simulated GPUs, five times as long.
set -u
cd "$(dirname "$0")/../.." || exit 2

out=cards-results only="queue large scaling save" rehearse=""
while [ $# -gt 0 ]; do
    case $1 in
        --out) out=$2; shift 2 ;;
        --rehearse) rehearse=$2; shift 2 ;;
        --only) shift; only=""; while [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; do only="$only $1"; shift; done ;;
        *) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
done
python=${PYTHON:-.venv/bin/python}
# A run killed in mid-collective may leave NVLink multicast in a state that only a reset ends.
export NCCL_NVLS_ENABLE=0 TORCH_SYMM_MEM_DISABLE_MULTICAST=1 NVSHMEM_DISABLE_NVLS=1
export PATH="$(dirname "$(command -v "$python")"):$PATH" PYTHONUNBUFFERED=1
mkdir -p "$out"

if [ -n "$rehearse" ]; then
    gpus=$rehearse smoke=--smoke shape="--shape tiny" slower=5
    export BERTH_TEST_GPUS="sim:$gpus" DS_ACCELERATOR=cpu OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES=
else
    gpus=$(nvidia-smi -L | wc -l) smoke="" shape="" slower=1
fi
[ "$gpus" -ge 2 ] || { echo "This machine has $gpus GPU; these measurements need 2 or more."; exit 2; }

began=$SECONDS
say() { echo "== $1 ($(($2 * slower)) s at most; $((SECONDS - began)) s so far)"; }
wanted() { case " $only " in *" $1 "*) true ;; *) false ;; esac; }
# TERM first, so that launchers end their ranks.
limited() { local seconds=$(($1 * slower)); shift; timeout --kill-after=15 "$seconds" "$@"; local code=$?; [ $code -eq 0 ] || echo "== ended with $code"; }

"$python" - <<'PY'
from importlib.metadata import version
print("versions:", *(f"{name} {version(name)}" for name in ("torch", "transformers", "deepspeed")))
PY
[ -n "$rehearse" ] || nvidia-smi --query-gpu=index,name,memory.total,driver_version --format=csv,noheader

if wanted queue; then
    say "two jobs of half the GPUs each, and a job that loses a rank" 60
    limited 60 "$python" benchmarks/trainer/queue_of_several.py --gpus "$gpus" ${rehearse:+--rehearse}
    say "tests/gpu" 130
    limited 130 "$python" -m pytest -q -x tests/gpu -p no:cacheprovider
fi
if wanted large || wanted scaling; then
    samples="$out/samples.npz"
    if [ ! -e "$samples" ]; then
        "$python" -m berth_trainer.demo_workspace "$out/workspace" > "$out/workspace.log" 2>&1
        corpus=${BERTH_TEST_CORPUS:-$out/workspace/data/realpersonachat}
        "$python" benchmarks/trainer/measure.py prepare --data "$corpus" --samples "$samples" || exit 1
    fi
fi
if wanted large; then
    say "27b shape" 130
    limited 130 "$python" benchmarks/trainer/measure.py run --samples "$samples" --only large \
        --ranks "$gpus" --budget-s $((115 * slower)) --row-s $((60 * slower)) --out "$out/large" $smoke
fi
if wanted scaling; then
    say "4b shape" 95
    limited 95 "$python" benchmarks/trainer/measure.py run --samples "$samples" --only scaling \
        --ranks "$gpus" --budget-s $((80 * slower)) --row-s $((40 * slower)) --out "$out/scaling" $smoke
fi
if wanted save; then
    say "save, kill, resume on half" 110
    limited 110 "$python" benchmarks/trainer/save_of_several.py --gpus "$gpus" --out "$out/save" \
        $shape ${rehearse:+--rehearse}
fi
echo "== done after $((SECONDS - began)) s; results in $out"
