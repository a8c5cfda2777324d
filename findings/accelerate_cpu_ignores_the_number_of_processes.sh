#!/usr/bin/env bash
# accelerate 1.15.0 with torch 2.13.0: `accelerate launch --cpu --num_processes 2 script.py` starts
# one process, without a word, and leaves with 0: a run meant for two processes trains on half of
# its data. The same script under `torchrun --nproc_per_node 2` runs twice.
# Seen: "accelerate: 1 process(es), code 0; torchrun: 2 process(es), code 0".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$work/venv/bin/pip" install --quiet --disable-pip-version-check accelerate==1.15.0
cat > "$work/script.py" <<'PY'
import os
import pathlib

pathlib.Path(os.environ["OUT"], str(os.getpid())).touch()
PY
started() { # OUT COMMAND...: how many processes ran the script, and the launcher's code
    mkdir "$work/$1"
    local code=0
    OUT="$work/$1" CUDA_VISIBLE_DEVICES='' HF_HOME="$work/hf" "${@:2}" >"$work/$1.log" 2>&1 || code=$?
    echo "$1: $(find "$work/$1" -type f | wc -l) process(es), code $code"
}
one=$(started accelerate "$work/venv/bin/accelerate" launch --cpu --num_processes 2 "$work/script.py")
two=$(started torchrun "$work/venv/bin/torchrun" --nproc_per_node 2 "$work/script.py")
echo "$one; $two"
[[ $one == "accelerate: 1 process(es), code 0" && $two == "torchrun: 2 process(es), code 0" ]]
