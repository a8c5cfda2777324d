#!/bin/sh
# Epilogue for Berth: DCGM's quick diagnosis of the GPUs that a job has left (about 30 s).
# berth.toml:  [worker]  epilogue = "/etc/berth/epilogue-dcgm.sh"  hook_timeout = 120
# A failure keeps new jobs off those GPUs, with its last line as the reason.
set -eu
command -v dcgmi >/dev/null || { echo "dcgmi is not installed; install datacenter-gpu-manager"; exit 1; }
report=$(mktemp)
trap 'rm -f "$report"' EXIT
if ! dcgmi diag -r 1 -i "$BERTH_GPU_INDICES" >"$report" 2>&1; then
  cat "$report"
  # The last line is what people see: the first test that failed.
  failed=$(grep -m 1 -i -E 'fail|error' "$report" || echo "dcgmi diag -r 1 failed")
  echo "$failed" | tr -s ' |' ' '
  exit 1
fi
