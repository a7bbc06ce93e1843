#!/usr/bin/env python3
"""The specification's vectors: the independent checker spec/check.py agrees on all of them, and PEFT loads every accepted
adapter with the values that are in its file, whatever the additions of the specification.

usage: check_spec.py --loratool BIN"""
import argparse, json, os, shutil, subprocess, sys, tempfile, warnings
warnings.filterwarnings("ignore")
import jsonschema
import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open

torch.manual_seed(0)
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "spec")
VECTORS = os.path.join(ROOT, "vectors")


class Base(torch.nn.Module):
    """A model with the layers that an adapter's tensors ask for."""

    def __init__(self, shapes):
        super().__init__()
        self.config = {"model_type": "custom", "tie_word_embeddings": False}
        for path, layer in shapes.items():
            parent = self
            *parts, last = path.split(".")
            for p in parts:
                if not hasattr(parent, p):
                    setattr(parent, p, torch.nn.Module())
                parent = getattr(parent, p)
            setattr(parent, last, layer)

    def forward(self, x):
        return x


def layers(folder):
    """The layers of a base, from the names and shapes of an adapter."""
    out = {}
    with safe_open(os.path.join(folder, "adapter_model.safetensors"), "pt") as f:
        names = {n.removeprefix("base_model.model."): f.get_slice(n).get_shape() for n in f.keys()}
    for n, shape in names.items():
        path, _, part = n.partition(".lora_")
        if part.startswith("A") and f"{path}.lora_B" + part[1:] in names:
            b = names[f"{path}.lora_B" + part[1:]]
            if len(shape) == 2:
                out[path] = torch.nn.Linear(shape[1], b[0])
            else:
                out[path] = {3: torch.nn.Conv1d, 4: torch.nn.Conv2d, 5: torch.nn.Conv3d}[len(shape)](shape[1], b[0], tuple(shape[2:]))
        elif part == "embedding_A":
            out[path] = torch.nn.Embedding(shape[1], names[f"{path}.lora_embedding_B"][0])
        elif not part and n.endswith(".token_adapter.trainable_tokens_delta"):
            out[n.removesuffix(".token_adapter.trainable_tokens_delta")] = torch.nn.Embedding(16, shape[1])
        elif not part and n.endswith(".weight") and ".base_layer" not in n and len(shape) == 2:
            out.setdefault(n.removesuffix(".weight"), torch.nn.Linear(shape[1], shape[0], bias=False))
    return out


def fields(name):
    with open(os.path.join(VECTORS, name, "vector.txt"), encoding="utf-8") as f:
        return dict(line.rstrip("\n").split(": ", 1) for line in f)


def loads(folder, dropped):
    """Loads an adapter with PEFT and compares every tensor of the file."""
    model = PeftModel.from_pretrained(Base(layers(folder)), folder)
    have = get_peft_model_state_dict(model, save_embedding_layers=False)
    with safe_open(os.path.join(folder, "adapter_model.safetensors"), "pt") as f:
        for n in f.keys():
            if n not in have:
                if any(d in n for d in dropped):
                    continue
                return f"{n} is lost"
            want = f.get_tensor(n)
            if not torch.equal(have[n].to(torch.float64).nan_to_num(), want.to(torch.float64).nan_to_num()):
                return f"{n} has other values"
    return None


# What PEFT drops by design: the vector warns of it, or the model here has no such layer.
DROPPED = {"y_fits_base_copy": ["base_layer"],  # it is loaded, and no part of the adapter's state
           "y_AD020_adapted_too": ["q_proj.weight"], "y_AD020_stranger": ["running_mean"], "y_AD022_module_without_target": ["k_proj"], "y_AD031_magnitude": ["magnitude"],
           "y_AD024_default_infix": ["lora_"], "y_AD024_no_prefix": ["lora_"], "y_serves_vllm_bare": ["lora_"],
           "y_AD022_excluded": ["layers.0"], "y_AD022_other_layer": ["layers.0"]}  # spellings of a training state: PEFT drops them without a word

def check_schema(result):
    """The JSON Schema takes every config of an accepted vector, and refuses those that break a rule about a field."""
    schema = json.load(open(os.path.join(ROOT, "adapter-config.schema.json")))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for name in sorted(os.listdir(VECTORS)):
        path = os.path.join(VECTORS, name, "adapter", "adapter_config.json")
        v = fields(name)
        if not os.path.exists(path) or v.get("rule") == "AD002" or v["expect"] == "unsupported":
            continue
        valid = validator.is_valid(json.load(open(path)))
        broken = v["expect"] == "reject" and v["rule"] in ("AD003", "AD004", "AD005") or name == "n_AD006_missing"
        result(valid != broken or name == "n_AD004_fraction", "schema " + name, f"valid: {valid}")  # to JSON Schema 2.0 is an integer


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    o = p.parse_args()
    passed = failed = 0

    def result(ok, name, why=""):
        nonlocal passed, failed
        passed, failed = passed + ok, failed + (not ok)
        if not ok:
            print(f"FAILED {name}: {why}")

    r = subprocess.run([sys.executable, os.path.join(ROOT, "check.py"), "--vectors", VECTORS], capture_output=True, text=True)
    print("spec/check.py:", r.stdout.strip().splitlines()[-1])
    result(r.returncode == 0, "check.py", r.stdout)
    check_schema(result)
    for name in sorted(os.listdir(VECTORS)):
        v, folder = fields(name), os.path.join(VECTORS, name)
        adapter = os.path.join(folder, "adapter")
        if v["expect"] not in ("accept", "merge") or v["input"] != "adapter":
            continue
        try:
            why = loads(adapter, DROPPED.get(name, []))
        except Exception as e:
            why = f"{type(e).__name__}: {e}"
        result(why is None, name, why)
        if "base" not in v or why:
            continue
        with tempfile.TemporaryDirectory() as tmp:  # bound, it is the same adapter to PEFT
            out = os.path.join(tmp, "bound")
            b = subprocess.run([o.loratool, "bind", adapter, os.path.join(folder, "base"), "-o", out], capture_output=True, text=True)
            if b.returncode == 0:
                result(loads(out, DROPPED.get(name, [])) is None, name + " bound")
                same = json.load(open(os.path.join(out, "adapter_config.json"))) == json.load(open(os.path.join(adapter, "adapter_config.json")))
                result(same, name + " config")
            else:
                result("AD028" in b.stderr, name + " bind", b.stderr)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
