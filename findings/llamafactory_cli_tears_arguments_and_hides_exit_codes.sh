#!/usr/bin/env bash
# llamafactory 0.9.5: `llamafactory-cli train x.yaml run_name="a test"` that trains on several ranks
# hands its arguments to torchrun joined by blanks and split again: run_name becomes "a", and "test"
# an argument of its own. And whatever torchrun's exit code is, its own is 1: a queue that repeats a
# run by its code (75 for "again") never sees it.
# A `torchrun` that writes down its arguments and leaves with 75 stands in the PATH.
# Seen: "torchrun got [x.yaml] [run_name=a] [test]; it left with 75, llamafactory-cli with 1".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip=("$work/venv/bin/pip" install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0
"${pip[@]}" transformers==5.23.0 accelerate==1.15.0 peft==0.21.2 omegaconf==2.3.1
"${pip[@]}" --no-deps llamafactory==0.9.5
mkdir "$work/bin"
cat > "$work/bin/torchrun" <<'SH'
#!/usr/bin/env bash
while [[ $1 != */launcher.py ]]; do shift; done
printf '[%s] ' "${@:2}" > "$OUT"
exit 75
SH
chmod +x "$work/bin/torchrun"
code=0
OUT="$work/seen" FORCE_TORCHRUN=1 NPROC_PER_NODE=2 PATH="$work/bin:$work/venv/bin:$PATH" \
    llamafactory-cli train x.yaml run_name="a test" >"$work/log" 2>&1 || code=$?
seen=$(sed 's/ $//' "$work/seen")
echo "torchrun got $seen; it left with 75, llamafactory-cli with $code"
[[ $seen == "[x.yaml] [run_name=a] [test]" && $code == 1 ]]
