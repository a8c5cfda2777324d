#!/usr/bin/env bash
# colossalai 0.5.0 (alone, with torch 2.13.0): `colossalai run train.py`, without --nproc_per_node, starts
# nothing, says so in one line, and leaves with 0: a queue, a script with `set -e` and a dependent
# job take it for a finished training. With --nproc_per_node 1 the script runs.
# Seen: "without a number: code 0, 0 run(s); with one: code 0, 1 run(s)".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip=("$work/venv/bin/pip" install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.2 setuptools==82.0.1 wheel==0.46.3
"${pip[@]}" click==8.4.2 fabric==3.2.2 packaging==26.2 psutil==7.2.2
"${pip[@]}" --no-deps --no-build-isolation colossalai==0.5.0
cat > "$work/train.py" <<'PY'
import os
import pathlib

pathlib.Path(os.environ["OUT"], str(os.getpid())).touch()
PY
cd "$work"
started() { # OUT OPTION...: the launcher's code, and how often the script ran
    mkdir "$work/$1"
    local code=0
    OUT="$work/$1" PATH="$work/venv/bin:$PATH" colossalai run "${@:2}" train.py >"$work/$1.log" 2>&1 || code=$?
    echo "code $code, $(find "$work/$1" -type f | wc -l) run(s)"
}
without=$(started without)
with=$(started with --nproc_per_node 1)
echo "without a number: $without; with one: $with"
[[ $without == "code 0, 0 run(s)" && $with == "code 0, 1 run(s)" ]]
