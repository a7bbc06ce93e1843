#!/usr/bin/env bash
# Installs the pinned Python packages of the lanes into .venv on first use.
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=.venv/installed
if ! cmp -s interop/requirements.txt "$stamp"; then
  command -v python3 >/dev/null || { echo 'make interop needs python3: install it with the system packages' >&2; exit 1; }
  command -v uv >/dev/null || python3 -m pip install -q uv
  rm -rf .venv
  python3 -m uv venv -q .venv
  python3 -m uv pip install -q --python .venv/bin/python -r interop/requirements.txt --override interop/overrides.txt
  cp interop/requirements.txt "$stamp"
fi
