#!/usr/bin/env bash
# Builds the command in two folders and compares the bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${GO:=go}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/elsewhere"
# A build reads files; git also lists removed ones, links to folders and
# repositories inside.
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
  if [ -f "$file" ]; then printf '%s\0' "$file"; fi
done | xargs -0 -r cp --parents -t "$work/elsewhere"
build() {
  (cd "$1" && CGO_ENABLED=0 $GO build -trimpath -buildvcs=false -ldflags=-buildid= -o "$2" ./cmd/loratool)
}
build . "$work/one"
build "$work/elsewhere" "$work/two"
cmp "$work/one" "$work/two"
