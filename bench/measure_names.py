"""A merge through the map of names beside `cp -r`: a Mixtral whose experts are
lists on disk, an adapter that has them as two stacks in each layer.

Prints a section of RESULTS.md. Rounds of copy and merge alternate, with a sync
between; the best of each counts. No tensor of a stack is ever built: memory
shows it.
"""

import argparse
import os
import shutil
import subprocess
import time

from measure_merge import data
from timing import size, sync, timed

ROUNDS = 4


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    p.add_argument("--work", required=True)
    a = p.parse_args()
    folder = data(a.work, "mixtral")
    base, out = os.path.join(folder, "base"), os.path.join(a.work, "out")
    adapter = os.path.join(folder, "adapter-fused")
    commands = {"`cp -r`": ["cp", "-r", base, out], "merge, attention and all experts": [a.loratool, "merge", base, adapter, "-o", out]}
    subprocess.run(f"cat {base}/* {adapter}/* >/dev/null", shell=True, check=True)  # the page cache has it
    best, synced, memory = {}, float("inf"), 0
    for _ in range(ROUNDS):
        for name, command in commands.items():
            shutil.rmtree(out, ignore_errors=True)
            sync()
            start = time.perf_counter()
            seconds, _, peak = timed(command)
            best[name] = min(best.get(name, float("inf")), seconds)
            memory = max(memory, peak if name != "`cp -r`" else 0)
            sync()
            if name == "`cp -r`":
                synced = min(synced, time.perf_counter() - start)
    shutil.rmtree(out, ignore_errors=True)
    copy, merge = best.values()
    start = time.perf_counter()
    subprocess.run([a.loratool, "merge", base, adapter, "--dry-run", "-o", out], check=True, stdout=subprocess.DEVNULL)
    plan = time.perf_counter() - start
    print("## Names\n")
    print(f"Two layers of Mixtral-8x7B, {size(base) / 1e9:.2f} GB, BF16, r = 16, experts as lists on disk and as stacks in the adapter, best of {ROUNDS}:\n")
    print("| what | seconds | × `cp -r` | × `cp -r && sync` | peak anonymous MiB |\n|---|---|---|---|---|")
    print(f"| `cp -r` | {copy:.2f} | 1 | {copy / synced:.2f} | |")
    print(f"| `cp -r && sync` | {synced:.2f} | {synced / copy:.2f} | 1 | |")
    print(f"| merge, attention and all experts | {merge:.2f} | {merge / copy:.2f} | {merge / synced:.2f} | {memory:.0f} |")
    print(f"| plan of it (`--dry-run`) | {plan:.2f} | {plan / copy:.2f} | | |")


if __name__ == "__main__":
    main()
