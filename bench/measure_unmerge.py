"""Merge with a record and unmerge beside merge; sizes of records; verify-merge
beside deltalint on a merge by PEFT.

Prints a section of RESULTS.md. The rounds interleave what is compared, with a
sync between; the best of three counts. Every unmerged file is compared with the
base's by cmp.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys

from timing import size, sync, timed

ROUNDS = 3
DELTALINT = "0.1.0"
# What preimage indices need, in percent of a 16-bit tensor, for normal weights.
TABLE = {1e-3: 0.026, 1e-2: 0.183, 1e-1: 1.17}


def warm(folder):
    """Have the page cache hold a folder, as after a download or a merge by another tool."""
    for f in os.listdir(folder):
        with open(os.path.join(folder, f), "rb") as src:
            while src.read(1 << 24):
                pass


def data(work, shape):
    folder = os.path.join(work, shape)
    if not os.path.exists(os.path.join(folder, "adapter-all", "adapter_model.safetensors")):
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["go", "run", "./bench/shapes", "-shape", shape, "-o", folder], check=True)
    return folder


def speed(a, shape):
    folder = data(a.work, shape)
    base, adapter = os.path.join(folder, "base"), os.path.join(folder, "adapter-all")
    out, record, restored = (os.path.join(a.work, n) for n in ("out", "out.rec", "restored"))
    merge = [a.loratool, "merge", base, adapter, "-o", out, "--progress", "off"]
    commands = {
        "merge": merge,
        "merge --record": merge + ["--record", record, "--force"],
        "unmerge": [a.loratool, "unmerge", out, adapter, "--record", record, "-o", restored, "--progress", "off"],
    }
    warm(base)
    best, memory = {}, {}
    for _ in range(ROUNDS):
        shutil.rmtree(restored, ignore_errors=True)
        for name, command in commands.items():
            if name != "unmerge":
                shutil.rmtree(out, ignore_errors=True)
            sync()
            if name == "unmerge":
                warm(out)  # merge writes past the page cache; its own input is there too
            seconds, _, peak = timed(command)
            best[name] = min(best.get(name, float("inf")), seconds)
            memory[name] = max(memory.get(name, 0), peak)
    for f in os.listdir(base):
        subprocess.run(["cmp", os.path.join(base, f), os.path.join(restored, f)], check=True)
    print(f"\n{shape.upper()} shape, {size(base) / 1e9:.2f} GB, BF16, r = 16 on all linear layers, inputs in the page cache, best of {ROUNDS}; every restored file is the base's (cmp):\n")
    print("| what | seconds | × merge | peak anonymous MiB |\n|---|---|---|---|")
    for name in commands:
        print(f"| {name} | {best[name]:.2f} | {best[name] / best['merge']:.2f} | {memory[name]:.0f} |")
    for path in (out, restored):
        shutil.rmtree(path, ignore_errors=True)


def sizes(a, shape):
    folder = data(a.work, shape)
    base, adapter = os.path.join(folder, "base"), os.path.join(folder, "adapter-all")
    out, record = os.path.join(a.work, "out"), os.path.join(a.work, "out.rec")
    print(f"\nSize of the whole record, {shape.upper()} shape, BF16, beside the table of the design:\n")
    print("| ‖ΔW‖/‖W‖ | bytes | % of the changed tensors | table | ratio |\n|---|---|---|---|---|")
    for relative, percent in TABLE.items():
        shutil.rmtree(out, ignore_errors=True)
        report = json.loads(subprocess.run([a.loratool, "merge", base, f"{adapter}={relative / 1e-2:g}", "-o", out, "--record", record, "--force", "--json"],
                                           check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
        got = 100 * report["record"]["bytes"] / (2 * report["total"]["elements"])
        print(f"| {report['total']['relative']:.2g} | {report['record']['bytes']:,} | {got:.4f} | {percent} | {got / percent:.2f} |")
        if got > 1.1 * percent:
            sys.exit(f"record of {got} % at {relative}, more than 1.1 × {percent} %")
    shutil.rmtree(out, ignore_errors=True)


def verify(a, shape):
    folder = data(a.work, shape)
    base, adapter = os.path.join(folder, "base"), os.path.join(folder, "adapter-all")
    out, peer = os.path.join(a.work, "out"), os.path.join(a.work, "deltalint")
    if not os.path.exists(peer):
        subprocess.run(["uv", "pip", "install", "-q", "--no-deps", "--target", peer, f"deltalint=={DELTALINT}"], check=True)
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run([sys.executable, "bench/peft_merge.py", base, adapter, out], check=True, stdout=subprocess.DEVNULL)
    env = dict(os.environ, PYTHONPATH=peer, HF_HUB_OFFLINE="1")
    theirs = [sys.executable, "-c", "import sys; from deltalint.cli import main; sys.exit(main())", "check", "--base", base, "--adapter", adapter, "--merged", out]
    ours = [a.loratool, "verify-merge", base, adapter, out, "--progress", "off"]
    best = {}
    for _ in range(ROUNDS):
        for name, command, e in (("verify-merge", ours, None), (f"deltalint {DELTALINT} check", theirs, env)):
            seconds, _, peak = timed(command, e)
            best[name] = min(best.get(name, (float("inf"), 0)), (seconds, peak))
    verdicts = json.loads(subprocess.run(ours + ["--json"], check=True, stdout=subprocess.PIPE).stdout)["verdicts"]
    print(f"\nVerify a merge by PEFT, {shape.upper()} shape, {size(base) / 1e9:.2f} GB; verdicts {verdicts}:\n")
    print("| what | seconds | × verify-merge | peak anonymous MiB |\n|---|---|---|---|")
    for name, (seconds, peak) in best.items():
        print(f"| {name} | {seconds:.2f} | {seconds / best['verify-merge'][0]:.1f} | {peak:.0f} |")
    shutil.rmtree(out, ignore_errors=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--parts", nargs="*", default=["speed", "sizes", "verify"])
    p.add_argument("--shape", default="8b")
    a = p.parse_args()
    print("## Record, unmerge, verify")
    if "speed" in a.parts:
        speed(a, a.shape)
    if "sizes" in a.parts:
        sizes(a, "1b")
    if "verify" in a.parts:
        verify(a, "1b-four")


main()
