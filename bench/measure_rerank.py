"""Re-ranking and composing in factored space beside the way by dense matrices.

Prints a section of RESULTS.md. The peers are run as people run them, in the same
process run: for rerank torch.linalg.svd of each dense delta, as kohya's resize
and PEFT's convert_to_lora do; for compose PEFT's add_weighted_adapter(svd) on a
model of the same layers. Times of loratool are of the whole command, with
reading and writing; times of the peers are of the arithmetic alone.
"""

import argparse
import json
import os
import shutil
import subprocess
import time

import torch
from safetensors.torch import load_file, save_file
from timing import timed

torch.set_num_threads(2)
ROUNDS = 5
SHAPES = {
    "1B": (2048, 8192, 512, 1),
    "8B": (4096, 14336, 1024, 32),
}


def linears(hidden, inner, kv):
    return {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden), "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner)}


def adapter(folder, shape, seed, rank=16):
    """Writes an adapter of all linear layers, with a decaying spectrum."""
    if os.path.exists(os.path.join(folder, "adapter_config.json")):
        return folder
    os.makedirs(folder, exist_ok=True)
    hidden, inner, kv, layers = SHAPES[shape]
    g = torch.Generator().manual_seed(seed)
    tensors = {}
    for i in range(layers):
        for name, (out, inp) in linears(hidden, inner, kv).items():
            key = f"base_model.model.model.layers.{i}.{name}"
            tensors[key + ".lora_A.weight"] = torch.randn(rank, inp, generator=g) * 0.02
            tensors[key + ".lora_B.weight"] = torch.randn(out, rank, generator=g) * 0.01 * torch.tensor([0.8 ** j for j in range(rank)])
    save_file(tensors, os.path.join(folder, "adapter_model.safetensors"), {"format": "pt"})
    with open(os.path.join(folder, "adapter_config.json"), "w") as f:
        json.dump({"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": [n.split(".")[1] for n in linears(1, 1, 1)]}, f)
    return folder


def best(command):
    """The least seconds and processor seconds of some runs, and the most memory."""
    runs = []
    for _ in range(ROUNDS):
        shutil.rmtree(command[command.index("-o") + 1], ignore_errors=True)
        runs.append(timed(command))
    return min(r.seconds for r in runs), min(r.processor for r in runs), max(r.peak for r in runs)


def dense_rerank(folder, energy):
    """The ranks by torch's SVD of each dense delta, and the seconds."""
    tensors = load_file(os.path.join(folder, "adapter_model.safetensors"))
    ranks, start = {}, time.perf_counter()
    for key in sorted(k for k in tensors if "lora_A" in k):
        delta = 2.0 * (tensors[key.replace("lora_A", "lora_B")] @ tensors[key])
        u, s, v = torch.linalg.svd(delta, full_matrices=False)
        total = torch.cumsum(s ** 2, 0)
        rank = int((total < energy * total[-1]).sum()) + 1
        u[:, :rank] * s[:rank], v[:rank]
        ranks[key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")] = rank
    return ranks, time.perf_counter() - start


def rerank(a):
    folder = adapter(os.path.join(a.work, "rerank-1b"), "1B", 1)
    out = os.path.join(a.work, "reranked")
    command = [a.loratool, "rerank", folder, "-o", out, "--rank", "energy=0.9"]
    ranks, dense = dense_rerank(folder, 0.9)
    seconds, busy, _ = best(command)
    report = json.loads(subprocess.run([*command, "--json", "--force"], check=True, capture_output=True, text=True).stdout)
    same = {m["name"]: m["rank"] for m in report["modules"]} == ranks
    print("\nRe-rank by energy=0.9, one layer of the 1B shape (7 modules, r = 16):\n")
    print("| what | seconds | times loratool | processor seconds |\n|---|---|---|---|")
    print(f"| loratool rerank, whole command, best of {ROUNDS} | {seconds:.3f} | 1 | {busy:.3f} |")
    print(f"| torch.linalg.svd of the dense deltas | {dense:.1f} | {dense / seconds:.0f} | |")
    print(f"\nThe ranks ({min(ranks.values())} to {max(ranks.values())}) are {'the same' if same else 'NOT THE SAME'} for all modules.")
    shutil.rmtree(out, ignore_errors=True)


def peft_compose(folders):
    """PEFT's svd on a model of the same linear layers; the seconds."""
    from peft import PeftModel
    from torch import nn
    hidden, inner, kv, layers = SHAPES["1B"]

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.self_attn, self.mlp = nn.Module(), nn.Module()
            for name, (out, inp) in linears(hidden, inner, kv).items():
                setattr(getattr(self, name.split(".")[0]), name.split(".")[1], nn.Linear(inp, out, bias=False))

    model = nn.Module()
    model.model = nn.Module()
    model.model.layers = nn.ModuleList([Layer() for _ in range(layers)])
    model.config = {"model_type": "custom"}
    p = PeftModel.from_pretrained(model, folders[0], adapter_name="a")
    p.load_adapter(folders[1], adapter_name="b")
    start = time.perf_counter()
    p.add_weighted_adapter(["a", "b"], [0.7, 0.3], "c", combination_type="svd", svd_rank=16, svd_full_matrices=False)
    return time.perf_counter() - start


def compose(a):
    out = os.path.join(a.work, "composed")
    print("\nCompose two adapters (r = 16) by svd to rank 16:\n")
    print("| what | seconds | times loratool | processor seconds | peak anonymous MiB |\n|---|---|---|---|---|")
    pairs = {s: [adapter(os.path.join(a.work, f"compose-{s.lower()}-{i}"), s, 10 + i) for i in (1, 2)] for s in ("1B", "8B")}
    for shape, (x, y) in pairs.items():
        command = [a.loratool, "compose", x + "=0.7", y + "=0.3", "-o", out, "--method", "svd", "--rank", "16"]
        seconds, busy, memory = best(command)
        print(f"| loratool, {7 * SHAPES[shape][3]} modules of the {shape} shape, whole command, best of {ROUNDS} | {seconds:.2f} | 1 | {busy:.2f} | {memory:.0f} |")
        if shape == "1B":
            peft = peft_compose([x, y])
            print(f"| PEFT add_weighted_adapter on the same, its arithmetic alone, thin SVD (its default of full matrices takes minutes) | {peft:.1f} | {peft / seconds:.0f} | | |")
    shutil.rmtree(out, ignore_errors=True)
    for x, y in pairs.values():
        shutil.rmtree(x), shutil.rmtree(y)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    p.add_argument("--work", required=True)
    a = p.parse_args()
    print("## Re-rank and compose")
    rerank(a)
    compose(a)


main()
