"""Extraction beside mergekit-extract-lora, and of eight layers of the 8B shape.

Prints a section of RESULTS.md. The peer makes a full SVD of every matrix, so
the pair that both work on is four layers of the 1B shape: a LoRA of rank 16
merged in BF16. Errors of both are computed here, in float32 by torch, from the
files that they wrote. The peer runs once, loratool three times, best counts. Processor seconds are
those of all threads: other work on the machine stretches them less.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time

from timing import timed

ROUNDS = 3
RANK = 16


def pair(a, shape):
    """Make base and tuned checkpoint of a shape."""
    folder = os.path.join(os.path.abspath(a.work), shape)
    tuned = os.path.join(folder, "tuned")
    if not os.path.exists(tuned):
        subprocess.run(["go", "run", "./bench/shapes", "-shape", shape, "-o", folder], check=True)
        subprocess.run([a.loratool, "merge", os.path.join(folder, "base"), os.path.join(folder, "adapter-all"), "-o", tuned], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(folder, "base"), tuned


def warm(*folders):
    for folder in folders:
        subprocess.run(f"cat {folder}/*.safetensors >/dev/null", shell=True, check=True)


def best(command, out):
    seconds = processor = float("inf")
    memory = 0
    for _ in range(ROUNDS):
        shutil.rmtree(out, ignore_errors=True)
        s, c, m = timed(command)
        seconds, processor, memory = min(seconds, s), min(processor, c), max(memory, m)
    return seconds, processor, memory


def errors(base, tuned, adapter):
    """The relative error of every module of an adapter, by torch."""
    import torch
    from safetensors import safe_open

    with open(os.path.join(adapter, "adapter_config.json")) as f:
        config = json.load(f)
    scale = config["lora_alpha"] / config["r"]
    files = [safe_open(os.path.join(d, n), "pt") for d in (base, tuned) for n in sorted(os.listdir(d)) if n.endswith(".safetensors")]
    b, t = ({k: f for f in group for k in f.keys()} for group in (files[: len(files) // 2], files[len(files) // 2 :]))
    out = {}
    with safe_open(os.path.join(adapter, "adapter_model.safetensors"), "pt") as f:
        for key in f.keys():
            if not key.endswith(".lora_A.weight"):
                continue
            module = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            x = t[module + ".weight"].get_tensor(module + ".weight").float() - b[module + ".weight"].get_tensor(module + ".weight").float()
            d = scale * f.get_tensor(key.replace("lora_A", "lora_B")).float() @ f.get_tensor(key).float()
            out[module] = ((x - d).norm() / x.norm()).item()
    return out


def beside(a):
    base, tuned = pair(a, "1b-four")
    warm(base, tuned)
    ours, theirs = (os.path.join(os.path.abspath(a.work), d) for d in ("extract-ours", "extract-theirs"))
    seconds, processor, memory = best([a.loratool, "extract", base, tuned, "-o", ours, "--rank", str(RANK)], ours)
    print(f"\nFour layers of the 1B shape, 28 matrices, rank {RANK}, BF16:\n")
    print("| what | seconds | × loratool | processor seconds | × loratool | worst error of a module | peak anonymous MiB |\n|---|---|---|---|---|---|---|")
    mine = errors(base, tuned, ours)
    print(f"| loratool | {seconds:.2f} | 1 | {processor:.2f} | 1 | {max(mine.values()):.5f} | {memory:.0f} |")
    if a.no_peer:
        return
    shutil.rmtree(theirs, ignore_errors=True)
    peer, peer_processor, peer_memory = timed([os.path.join(os.path.dirname(sys.executable), "mergekit-extract-lora"), "--model", tuned, "--base-model", base, "--out-path", theirs, "--max-rank", str(RANK),
                               "--skip-undecomposable", "-e", "embed_tokens|lm_head|norm", "--no-write-model-card", "--no-copy-tokenizer", "--quiet"])
    other = errors(base, tuned, theirs)
    print(f"| mergekit-extract-lora, with its import | {peer:.1f} | {peer / seconds:.0f} | {peer_processor:.1f} | {peer_processor / processor:.0f} | {max(other.values()):.5f} | {peer_memory:.0f} |")
    larger = [m for m in mine if mine[m] > other[m]]
    print(f"\nOf {len(mine)} modules, {len(larger)} have a larger error than mergekit's; the largest quotient is {max(mine[m] / other[m] for m in mine):.5f}.")


def large(a):
    base, tuned = pair(a, "8b-eight")
    out = os.path.join(os.path.abspath(a.work), "extract-ours")
    size = sum(os.path.getsize(os.path.join(base, n)) for n in os.listdir(base))
    print(f"\nEight layers of the 8B shape, two checkpoints of {size / 1e9:.1f} GB, cache warm, best of {ROUNDS}:\n")
    print("| what | seconds | processor seconds | peak anonymous MiB |\n|---|---|---|---|")
    for rank in ("32", "auto"):
        warm(base, tuned)
        seconds, processor, memory = best([a.loratool, "extract", base, tuned, "-o", out, "--rank", rank], out)
        print(f"| `extract --rank {rank}` | {seconds:.1f} | {processor:.1f} | {memory:.0f} |")
    shutil.rmtree(out, ignore_errors=True)


def smollm(a):
    """A real model, and a fine-tune of all its weights made by transformers."""
    base, tuned, out = (os.path.join(os.path.abspath(a.work), d) for d in ("smollm2", "smollm2-tuned", "extract-ours"))
    if not os.path.exists(os.path.join(base, "model.safetensors")):
        from measure_rounding import model

        base = model(os.path.abspath(a.work))
    if not os.path.exists(tuned):
        subprocess.run([sys.executable, "bench/smollm_tune.py", "tune", base, tuned], check=True)
    rows, models = [], []
    for rank in ("4", "16", "64", "auto"):
        adapter, merged = (f"{out}-{rank}{kind}" for kind in ("", "-merged"))
        shutil.rmtree(adapter, ignore_errors=True)
        shutil.rmtree(merged, ignore_errors=True)
        start = time.perf_counter()
        p = subprocess.run([a.loratool, "extract", base, tuned, "-o", adapter, "--rank", rank, "--modules-to-save", "*norm", "--json"], check=True, capture_output=True, text=True)
        seconds, report = time.perf_counter() - start, json.loads(p.stdout)
        subprocess.run([a.loratool, "merge", base, adapter, "-o", merged, "--dtype", "f32"], check=True, capture_output=True)
        rows.append((rank, seconds, report, beyond(tuned, merged, report)))
        models += [adapter, merged]
    p = subprocess.run([sys.executable, "bench/smollm_tune.py", "losses", base, base, tuned, *models], check=True, capture_output=True, text=True)
    loss = p.stdout.strip().split(", ")
    print(f"\nSmolLM2-135M, all weights trained for some steps by transformers (bench/smollm_tune.py): the loss on held-out text falls from {loss[0]} to {loss[1]}. Norms are saved whole.\n")
    print("| rank | seconds | share of the change carried | relative error | loss with the adapter, by PEFT | loss merged again | distance of a merged tensor by its certificate, at most |\n|---|---|---|---|---|---|---|")
    for i, (rank, seconds, r, most) in enumerate(rows):
        print(f"| {rank} | {seconds:.1f} | {r['carried']:.4f} | {r['error']:.4f} | {loss[2 + 2 * i]} | {loss[3 + 2 * i]} | {most:.6f} |")
    for path in models:
        shutil.rmtree(path, ignore_errors=True)


def beyond(tuned, merged, report):
    """The largest ‖merged − tuned‖ of a module by what its certificate says."""
    from safetensors.torch import load_file

    t, m = (load_file(os.path.join(d, "model.safetensors")) for d in (tuned, merged))
    return max((m[q["tensor"]].double() - t[q["tensor"]].double()).norm().item() / (q["error"] * q["delta_norm"]) for q in report["modules"] if q["error"] > 0)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--no-peer", action="store_true")
    p.add_argument("--parts", nargs="*", default=["beside", "large", "smollm"])
    a = p.parse_args()
    print("## Extract")
    for part in a.parts:
        {"beside": beside, "large": large, "smollm": smollm}[part](a)


if __name__ == "__main__":
    main()
