#!/usr/bin/env bash
# The lane `make bench`: every bench/measure_* prints one section of
# bench/RESULTS.md. Name sections to run only those: bench/run.sh merge gemm.
# Needs Go, python3 and about 25 GB of disk; installs the peers on first use.
set -euo pipefail
cd "$(dirname "$0")/.."
interop/install.sh
work=bench/work
mkdir -p "$work"
CGO_ENABLED=0 go build -o "$work/loratool" ./cmd/loratool
sections=("$@")
if ((${#sections[@]} == 0)); then
  for script in bench/measure_*; do
    name=${script#bench/measure_}
    sections+=("${name%.*}")
  done
fi
mkdir -p bench/results
for name in "${sections[@]}"; do
  script=$(ls bench/measure_"$name".*)
  printf -- '--- %s\n' "$script" >&2
  case $script in
    *.py) run=(.venv/bin/python "$script") ;;
    *) run=(bash "$script") ;;
  esac
  "${run[@]}" --loratool "$work/loratool" --work "$work" | tee "$work/section"
  mv "$work/section" "bench/results/$name.md"
done
{
  echo '# Measured'
  echo
  echo 'Written by `make bench`. Each section is one run on one machine; only its ratios mean anything elsewhere.'
  echo
  printf 'Processor: %s, %d cores, %d GiB; ' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$(nproc)" "$(($(sed -n 's/MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo) / 1048576))"
  printf 'Linux %s, %s, file system %s.\n' "$(uname -r | cut -d. -f1-2)" "$(go env GOVERSION)" "$(stat -f -c %T bench)"
  for section in bench/results/*.md; do
    echo
    cat "$section"
  done
} >bench/RESULTS.md
