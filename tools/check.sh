#!/usr/bin/env bash
# The lane `make check`: format, vet, static analysis, generated files, race,
# kernels, cross builds and a short fuzz. Stops at the first thing that fails.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${GO:=go}" "${STATICCHECK:=honnef.co/go/tools/cmd/staticcheck@v0.8.2}" "${FUZZ_COUNT:=5000}"

step() {
  printf -- '--- %s (%d s)\n' "$1" "$SECONDS"
}

# empty fails with its input if there is any.
empty() {
  local out
  out=$(cat)
  if [ -n "$out" ]; then
    printf '%s:\n%s\n' "$1" "$out" >&2
    return 1
  fi
}

# digests lists the files of the tree by content.
digests() {
  git ls-files -z --cached --others --exclude-standard | xargs -0 -r sha256sum 2>/dev/null || true
}

for tool in git gcc sha256sum; do
  command -v "$tool" >/dev/null || { echo "make check needs $tool: install it with the system's packages" >&2; exit 1; }
done

step 'gofmt'
find . -name '*.go' -not -path './.*/*' -not -path '*/testdata/*' -print0 | xargs -0 -r gofmt -l | empty 'not formatted'

step 'go vet, with every tag and for other systems'
$GO vet ./...
$GO vet -tags noasm ./...
$GO vet -tags fault,digests ./test/...
GOARCH=arm64 $GO vet ./...
GOOS=darwin GOARCH=arm64 $GO vet ./...
GOOS=windows $GO vet ./...

step 'go fix'
$GO fix -diff ./... | empty 'go fix has something to say'

step 'staticcheck'
$GO run "$STATICCHECK" ./...
$GO run "$STATICCHECK" -tags noasm ./...
$GO run "$STATICCHECK" -tags fault,digests ./test/...

step 'go mod tidy'
$GO mod tidy -diff | empty 'go.mod or go.sum is not tidy'
$GO mod verify

step 'go generate'
before=$(digests)
$GO generate ./...
diff <(printf '%s\n' "$before") <(digests) | empty 'go generate changes files'

step 'race detector'
$GO test -race ./...

step 'without assembly'
$GO test -tags noasm ./...

step 'no fused products where bits matter'
GO="$GO" tools/fused.sh

step 'GOAMD64=v3'
if [ "$($GO env GOARCH)" = amd64 ]; then
  GOAMD64=v3 $GO test ./...
fi

step 'the same bytes from every build, kernel and number of threads'
$GO test -tags digests -count=1 -v ./test/digests | grep -v '^=== '

step "fuzz, $FUZZ_COUNT executions of each target"
tools/fuzz.sh "$FUZZ_COUNT"

step 'reproducible build'
tools/reproducible.sh
printf 'make check: all passed in %d s\n' "$SECONDS"
