#!/usr/bin/env bash
# The lane `make interop`: PEFT, transformers and safetensors, run for real
# against the command. Installs its pinned packages into .venv on first use.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE
export OMP_NUM_THREADS=2 HF_HUB_OFFLINE=1 TQDM_DISABLE=1 TRANSFORMERS_VERBOSITY=error PYTHONWARNINGS=ignore

interop/install.sh

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
CGO_ENABLED=0 go build -o "$bin/loratool" ./cmd/loratool

# Each check prints what it did, ends with "N passed, N failed", and exits
# with 1 when anything failed.
failed=()
for check in interop/check_*.py; do
  printf -- '--- %s\n' "$check"
  .venv/bin/python "$check" --loratool "$bin/loratool" || failed+=("$check")
done
if ((${#failed[@]})); then
  printf 'make interop: failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
echo 'make interop: every check passed'
