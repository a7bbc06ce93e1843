"""Our product beside OpenBLAS, one core each, in GFLOP/s.

Prints a section of RESULTS.md. The ratio of the first row is to be 0.95 or
more; the share of the processor's measured FMA peak is in the last column.
"""

import argparse
import os
import re
import subprocess

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import gemm_openblas as peer


ROWS = [  # our benchmark, m, n, k
    ("Gemm", 1024, 1024, 1024),
    ("PackedMul", 1024, 1024, 16),
    ("PackedMul", 4096, 4096, 16),
    ("PackedMul", 1024, 1024, 64),
    ("PackedMul", 4096, 4096, 64),
]


def ours():
    """Return {benchmark: GFLOP/s} of the best implementation, float32."""
    command = ["go", "test", "./internal/linalg", "-run", "^$", "-bench", "(Gemm|Peak|PackedMul)/float32", "-cpu", "1"]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    best = {}
    for name, rate in re.findall(r"^Benchmark(\S+).*?([\d.]+) GFLOP/s", run.stdout, re.M):
        parts = name.split("/")
        key = "/".join(parts[:1] + parts[3:])  # without the dtype and the instruction set
        best[key] = max(best.get(key, 0), float(rate))
    return best


def theirs(m, n, k):
    rng = peer.np.random.default_rng(1)
    a, b = (rng.standard_normal(s).astype("float32") for s in ((m, k), (k, n)))
    return 2 * m * n * k / peer.best(a, b, peer.np.empty((m, n), "float32")) / 1e9


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool")
    p.add_argument("--work")
    p.parse_args()
    rates = ours()
    print("## Matrix product, float32, one core\n")
    print(f"Beside numpy {peer.np.__version__} with its OpenBLAS, in GFLOP/s; peak is what independent FMAs reach, {rates['Peak']:.0f}.\n")
    print("| m × n × k | ours | OpenBLAS | ratio | of peak |\n|---|---|---|---|---|")
    for name, m, n, k in ROWS:
        got = rates[name if name == "Gemm" else f"{name}/{m}x{n}x{k}"]
        other = theirs(m, n, k)
        print(f"| {m} × {n} × {k} | {got:.0f} | {other:.0f} | {got / other:.2f} | {got / rates['Peak']:.0%} |")


main()
