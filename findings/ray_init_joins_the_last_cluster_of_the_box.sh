#!/usr/bin/env bash
# ray 2.60.0: a script's plain ray.init() does not start a Ray of its own where somebody on the box
# has run `ray start --head`: it joins that cluster, and gets that cluster's GPUs, although its own
# CUDA_VISIBLE_DEVICES is empty. The address comes from a file in the temporary folder that the
# whole box shares. RAY_ADDRESS=local makes it start its own.
# Seen: GPUs 2.0 with the plain call, 0.0 with RAY_ADDRESS=local.
set -euo pipefail
work=$(mktemp -d)
trap '"$work/venv/bin/ray" stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0
cat > "$work/script.py" <<'EOF'
import ray

ray.init(log_to_driver=False, logging_level="ERROR")
print("GPUs", ray.cluster_resources().get("GPU", 0.0))
EOF
unset RAY_ADDRESS CUDA_VISIBLE_DEVICES
"$work/venv/bin/ray" start --head --num-gpus=2 --num-cpus=1 --include-dashboard=false >/dev/null 2>&1
joined=$(CUDA_VISIBLE_DEVICES= "$work/venv/bin/python" "$work/script.py" 2>/dev/null | tail -n 1)
alone=$(CUDA_VISIBLE_DEVICES= RAY_ADDRESS=local "$work/venv/bin/python" "$work/script.py" 2>/dev/null | tail -n 1)
echo "plain ray.init(): $joined; with RAY_ADDRESS=local: $alone"
[[ $joined == "GPUs 2.0" && $alone == "GPUs 0.0" ]]
