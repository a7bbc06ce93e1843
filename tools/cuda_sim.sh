#!/usr/bin/env bash
# The CUDA backend without a GPU: builds the simulator of the driver and of
# cuBLAS and runs a command with the environment that the tag cuda needs; without
# one, checks that kernels.ptx is what kernels.cu compiles to and runs the tests.
#
# usage: cuda_sim.sh [COMMAND...]
set -euo pipefail
cd "$(dirname "$0")/.."
tools=(g++ gcc)
(($#)) || tools+=(clang++-19) # the lane compiles the kernels again
for tool in "${tools[@]}"; do
  command -v "$tool" >/dev/null || { echo "cuda_sim.sh: $tool is missing: apt-get install g++ clang-19" >&2; exit 1; }
done

backend=train/internal/backend/cuda
out=$PWD/.cache/cuda
mkdir -p "$out"
tools/cuda_header.sh "$out"
gcc -fPIC -w -c "$out/stubs.c" -o "$out/stubs.o"
g++ -O2 -std=c++17 -Wall -ffp-contract=off -fvisibility=hidden -fPIC -shared -Wl,-soname,libcuda.so.1 \
  -o "$out/libcuda.so.1" "$backend/sim/sim.cpp" "$backend/sim/twins.cpp" "$out/stubs.o"
ln -sf libcuda.so.1 "$out/libcuda.so"
g++ -O3 -std=c++17 -Wall -fPIC -shared -Wl,-soname,libcublas.so.12 -o "$out/libcublas.so.12" "$backend/sim/cublas.cpp"

# Go's cache does not see headers behind -I: the hash makes it look again.
export CGO_ENABLED=1
export CGO_CFLAGS="-w -I$out -DCUDA_HEADER_$(sha256sum "$out/cuda.h" | cut -c1-12)"
export CGO_LDFLAGS="-L$out"
export LD_LIBRARY_PATH="$out${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
if (($#)); then
  exec "$@"
fi

(cd "$backend" && clang++-19 -x cuda --cuda-device-only --cuda-gpu-arch=sm_75 --cuda-feature=+ptx63 -nocudainc -nocudalib \
  -ffp-contract=off -O3 -S kernels.cu -o "$out/kernels.ptx")
cmp "$out/kernels.ptx" "$backend/kernels.ptx" || { echo 'kernels.ptx is not what kernels.cu compiles to: go generate -tags cuda' "./$backend" >&2; exit 1; }

go vet -tags cuda "./$backend" ./train ./cmd/loratool
for order in 0 1 7; do
  echo "--- every operation, order of threads $order"
  LORATOOL_SIM_ORDER=$order go test -tags cuda -count=1 "./$backend"
done
echo '--- whole trainings'
go test -tags cuda -count=1 -run CUDA ./train
echo '--- the command'
go build -tags cuda -o "$out/loratool-cuda" ./cmd/loratool
CGO_ENABLED=0 go build -o "$out/loratool" ./cmd/loratool
"$out/loratool-cuda" selftest --quick
printf '%s\n' '{"prompt": "Zog said,", "completion": " \"Hi!\""}' '{"text": "Once upon a time, there was a dragon."}' >"$out/data.jsonl"
rm -rf "$out/adapter"*
"$out/loratool" train --device cuda --base testdata/stories260k/base --data "$out/data.jsonl" -o "$out/adapter" --steps 2 --lr 1e-3
"$out/loratool" generate testdata/stories260k/base "$out/adapter" -n 10
echo 'make cuda-sim: passed'
