"""Merge beside `cp -r` of the same base, and PEFT on the smaller one.

Prints a section of RESULTS.md. Each round copies, merges an adapter of all
linear layers and one of q and v, with a sync between; the best of three rounds
counts. A merge is on the disk when it ends; cp's data are in memory only, so
the time of `cp -r && sync` is given too.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time

from timing import size, sync, timed

ROUNDS = 3


def data(work, shape):
    folder = os.path.join(work, shape)
    if not os.path.exists(os.path.join(folder, "complete")):
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["go", "run", "./bench/shapes", "-shape", shape, "-o", folder], check=True)
        open(os.path.join(folder, "complete"), "w").close()
    return folder


def measure(a, shape):
    folder = data(a.work, shape)
    base, out = os.path.join(folder, "base"), os.path.join(a.work, "out")
    commands = {
        "`cp -r`": ["cp", "-r", base, out],
        "merge, all linear layers": [a.loratool, "merge", base, os.path.join(folder, "adapter-all"), "-o", out],
        "merge, q and v": [a.loratool, "merge", base, os.path.join(folder, "adapter-qv"), "-o", out],
    }
    subprocess.run(f"cat {base}/* >/dev/null", shell=True, check=True)  # the page cache has it
    best, synced, memory = {}, float("inf"), {}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            shutil.rmtree(out, ignore_errors=True)
            sync()
            start = time.perf_counter()
            seconds, _, peak = timed(command)
            best[name] = min(best.get(name, float("inf")), seconds)
            memory[name] = max(memory.get(name, 0), peak)
            sync()
            if name == "`cp -r`":
                synced = min(synced, time.perf_counter() - start)
    shutil.rmtree(out, ignore_errors=True)
    copy = best["`cp -r`"]
    print(f"\n{shape.upper()} shape, {size(base) / 1e9:.2f} GB, BF16, r = 16, best of {ROUNDS}:\n")
    print("| what | seconds | × `cp -r` | × `cp -r && sync` | peak anonymous MiB |\n|---|---|---|---|---|")
    print(f"| `cp -r` | {copy:.2f} | 1 | {copy / synced:.2f} | |")
    print(f"| `cp -r && sync` | {synced:.2f} | {synced / copy:.2f} | 1 | |")
    for name in list(commands)[1:]:
        print(f"| {name} | {best[name]:.2f} | {best[name] / copy:.2f} | {best[name] / synced:.2f} | {memory[name]:.0f} |")
    return copy


def peft(a, copy):
    folder = data(a.work, "1b")
    out = os.path.join(a.work, "out")
    start = time.perf_counter()
    subprocess.run([sys.executable, "bench/peft_merge.py", os.path.join(folder, "base"), os.path.join(folder, "adapter-all"), out], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    shutil.rmtree(out, ignore_errors=True)
    print(f"| PEFT, all linear layers, with its import | {seconds:.1f} | {seconds / copy:.1f} | | |")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--shapes", nargs="*", default=["8b", "1b"])
    a = p.parse_args()
    print("## Merge")
    for shape in a.shapes:
        copy = measure(a, shape)
    if a.shapes[-1] == "1b":
        peft(a, copy)


if __name__ == "__main__":
    main()
