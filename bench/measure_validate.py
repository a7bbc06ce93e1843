"""Validation of headers and of values.

Prints a section of RESULTS.md: 1,000 adapter folders and a sharded base of
16 GB (sparse files: no data is read), headers only; and --deep over one file
beside `cat FILE >/dev/null`, both from the page cache, best of several.
"""

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import time

ROUNDS = 5
ADAPTERS = 1000
SHARDS, LAYERS, HIDDEN = 4, 32, 4096
DEEP_BYTES = 2 << 30


def best(command, rounds=ROUNDS):
    """The best time of several runs, and the last line of the output."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        with open(os.devnull, "wb") as null:
            r = subprocess.run(command, stdout=subprocess.PIPE if command[0] != "cat" else null)
        times.append(time.perf_counter() - start)
        if r.returncode:
            sys.exit(f"{' '.join(command)}: exit {r.returncode}: {r.stdout}")
    return min(times), (r.stdout or b"").decode().strip().splitlines()[-1:]


def header(entries):
    """A header for tensors of BF16: name, shape; and the size of their data."""
    at, table = 0, {"__metadata__": {"format": "pt"}}
    for name, shape in entries:
        n = 2 * shape[0] * shape[1]
        table[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, at


def sparse(path, entries):
    head, size = header(entries)
    with open(path, "wb") as f:
        f.write(head)
        f.truncate(len(head) + size)


LINEAR = {"self_attn.q_proj": (1, 1), "self_attn.k_proj": (1, 4), "self_attn.v_proj": (1, 4), "self_attn.o_proj": (1, 1),
          "mlp.gate_proj": (3.5, 1), "mlp.up_proj": (3.5, 1), "mlp.down_proj": (1, 3.5)}


def base(folder):
    """Shards of an 8B model, sparse."""
    os.makedirs(folder)
    weights, total = {}, 0
    for s in range(SHARDS):
        name = f"model-{s + 1:05d}-of-{SHARDS:05d}.safetensors"
        entries = []
        for layer in range(s * LAYERS // SHARDS, (s + 1) * LAYERS // SHARDS):
            for module, (a, b) in LINEAR.items():
                out = int(HIDDEN * a) if module != "self_attn.k_proj" and module != "self_attn.v_proj" else HIDDEN // 4
                entries.append((f"model.layers.{layer}.{module}.weight", [out, int(HIDDEN * max(b, 1)) if module == "mlp.down_proj" else HIDDEN]))
        if s == 0:
            entries.append(("model.embed_tokens.weight", [128256, HIDDEN]))
        if s == SHARDS - 1:
            entries.append(("lm_head.weight", [128256, HIDDEN]))
        sparse(os.path.join(folder, name), entries)
        weights |= {n: name for n, _ in entries}
        total += sum(2 * a * b for _, (a, b) in entries)
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": weights}, f)
    return sum(os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder))


def adapters(folder):
    """Folders of a rank 16 adapter for all linear layers of an 8B model, sparse."""
    config = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "base_model_name_or_path": "example/base", "target_modules": [m.split(".")[1] for m in LINEAR]}
    entries = []
    for layer in range(LAYERS):
        for module in LINEAR:
            n = f"base_model.model.model.layers.{layer}.{module}"
            entries += [(n + ".lora_A.weight", [16, HIDDEN]), (n + ".lora_B.weight", [HIDDEN, 16])]
    for i in range(ADAPTERS):
        one = os.path.join(folder, f"{i:04d}")
        os.makedirs(one)
        with open(os.path.join(one, "adapter_config.json"), "w") as f:
            json.dump(config, f, indent=2)
        sparse(os.path.join(one, "adapter_model.safetensors"), entries)
    return len(entries)


def deep_file(path):
    """A file of values that are finite and not zero."""
    head, size = header([("w", [DEEP_BYTES // 2 // 4096, 4096])])
    with open(path, "wb") as f:
        f.write(head)
        block = bytes(range(1, 61)) * (1 << 16)
        left = size
        while left:
            left -= f.write(block[:min(left, len(block))])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    p.add_argument("--work", required=True)
    a = p.parse_args()
    work = os.path.join(a.work, "validate")
    shutil.rmtree(work, ignore_errors=True)
    tensors = adapters(os.path.join(work, "adapters"))
    size = base(os.path.join(work, "base"))
    deep = os.path.join(work, "deep.safetensors")
    deep_file(deep)
    many, said = best([a.loratool, "validate", os.path.join(work, "adapters")])
    if said != [f"checked {ADAPTERS} adapters: 0 errors, 0 warnings"]:
        sys.exit(f"adapters: {said}")
    one, said = best([a.loratool, "validate", os.path.join(work, "base")])
    if said != ["checked 1 checkpoint: 0 errors, 0 warnings"]:
        sys.exit(f"base: {said}")
    cat, _ = best(["cat", deep])
    read, said = best([a.loratool, "validate", "--deep", deep])
    if said != ["checked 1 file: 0 errors, 0 warnings"]:
        sys.exit(f"deep: {said}")
    print("## Validate\n")
    print(f"Best of {ROUNDS}; files from the page cache.\n")
    print("| what | seconds | |\n|---|---|---|")
    print(f"| {ADAPTERS:,} adapter folders of {tensors} tensors, headers | {many:.2f} | {1000 * many / ADAPTERS:.2f} ms each |")
    print(f"| base of {size / 1e9:.1f} GB in {SHARDS} shards, headers | {one:.3f} | |")
    print(f"| `cat FILE >/dev/null`, {DEEP_BYTES / 1e9:.2f} GB | {cat:.2f} | {DEEP_BYTES / cat / 1e9:.1f} GB/s |")
    print(f"| `validate --deep FILE` | {read:.2f} | {DEEP_BYTES / read / 1e9:.1f} GB/s, {cat / read:.2f} × the speed of cat |")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
