#!/usr/bin/env bash
# Fails if the compiler fuses a product and a sum in a package whose bits must
# not depend on the processor. It does so for arm64 always, for amd64 with
# GOAMD64=v3; explicit conversions forbid it, math.FMA asks for it.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(./merge/... ./diff/... ./format/... ./internal/... ./train ./train/corpus ./train/internal/backend ./train/internal/backend/cpu ./train/internal/chat ./train/internal/data ./train/internal/model ./train/internal/tokenizer)

# fused prints file:line of the fused operations of generated code.
fused() {
  $GO build -gcflags=-S "${packages[@]}" 2>&1 |
    sed -nE 's/.*\(([^)]*\.go:[0-9]+)\).*\t(VFN?M(ADD|SUB)[0-9]+S[SD]|FN?M(ADD|SUB)[SD])\t.*/\1/p' | sort -u
}

: "${GO:=go}"
found=0 asked=0
while IFS=: read -r file line; do
  if sed -n "${line}p" "$file" | grep -q 'math\.FMA('; then
    asked=$((asked + 1))
  else
    printf '%s:%s: fused:%s\n' "${file#"$PWD"/}" "$line" "$(sed -n "${line}p" "$file")"
    found=$((found + 1))
  fi
done < <(GOARCH=arm64 fused; GOARCH=amd64 GOAMD64=v3 fused)
if [ "$asked" -eq 0 ]; then
  echo 'no math.FMA was found either: the listing is not read right' >&2
  exit 1
fi
exit "$((found > 0))"
