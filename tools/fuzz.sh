#!/usr/bin/env bash
# Runs every fuzz target of the module for a number of executions.
# Usage: tools/fuzz.sh COUNT
set -euo pipefail
cd "$(dirname "$0")/.."
count=${1:?usage: tools/fuzz.sh COUNT}
: "${GO:=go}"

# `go test -list` prints the targets of a package and then "ok PACKAGE".
targets=$($GO test -list '^Fuzz' ./... | awk '
  /^Fuzz/ { names[n++] = $1; next }
  /^ok/   { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }')
if [ -z "$targets" ]; then
  echo 'no fuzz target found' >&2
  exit 1
fi
while read -r package name; do
  $GO test -run '^$' -fuzz "^$name\$" -fuzztime "${count}x" -fuzzminimizetime 10x "$package"
done <<<"$targets"
