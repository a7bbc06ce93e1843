"""Print the GFLOP/s of numpy's matrix product on one core.

The peer figure for `go test -bench Gemm ./internal/linalg`. Needs numpy:
    OPENBLAS_NUM_THREADS=1 python bench/gemm_openblas.py
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time

import numpy as np

SHAPES = [  # m, n, k
    (1024, 1024, 1024),
    (1024, 1024, 16),
    (1024, 1024, 64),
    (4096, 4096, 16),
    (4096, 4096, 64),
    (64, 4096, 16),
    (64, 4096, 64),
]


def best(a, b, out, budget=1.0):
    """Return the shortest time in seconds of a product within the budget."""
    shortest, spent = float("inf"), 0.0
    while spent < budget:
        start = time.perf_counter()
        np.matmul(a, b, out=out)
        t = time.perf_counter() - start
        shortest, spent = min(shortest, t), spent + t
    return shortest


def main():
    rng = np.random.default_rng(1)
    print("numpy", np.__version__, "threads", os.environ["OPENBLAS_NUM_THREADS"])
    for dtype in (np.float32, np.float64):
        for m, n, k in SHAPES:
            a = rng.standard_normal((m, k)).astype(dtype)
            b = rng.standard_normal((k, n)).astype(dtype)
            out = np.empty((m, n), dtype)
            t = best(a, b, out)
            print(f"{dtype.__name__} {m}x{n}x{k}: {2 * m * n * k / t / 1e9:.1f} GFLOP/s")


if __name__ == "__main__":
    main()
