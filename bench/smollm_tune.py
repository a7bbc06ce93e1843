#!/usr/bin/env python3
"""A fine-tune of a real model, for bench/measure_extract.py.

usage: smollm_tune.py tune BASE TUNED [--steps N]
       smollm_tune.py losses BASE MODEL-OR-ADAPTER...

tune trains all weights of BASE with transformers and AdamW in float32, on the
text of this repository but for every eighth block of tokens, and saves the
result in BASE's dtype. losses prints the mean loss on the blocks held out of
each model, and of BASE with each adapter loaded by PEFT."""
import argparse, glob, os, sys, warnings
warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")
import torch
import transformers as T

torch.set_num_threads(2)
BLOCK = 192  # tokens
HELD_OUT = 8
RATE = 5e-5


def blocks(base):
    """The repository's documents as blocks of tokens: to train on, held out."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    text = "\n\n".join(open(f, encoding="utf-8").read() for pattern in ("README.md", "docs/*.md", "spec/*.md", "diff/*.go") for f in sorted(glob.glob(os.path.join(root, pattern))))
    ids = T.PreTrainedTokenizerFast(tokenizer_file=os.path.join(base, "tokenizer.json")).encode(text)
    ids = torch.tensor(ids[: len(ids) // BLOCK * BLOCK]).view(-1, BLOCK)
    held = torch.arange(len(ids)) % HELD_OUT == HELD_OUT - 1
    return ids[~held], ids[held][:12]


def load(path):
    return T.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def tune(base, tuned, steps):
    train, _ = blocks(base)
    torch.manual_seed(0)
    m = load(base).train()
    o = torch.optim.AdamW(m.parameters(), lr=RATE, weight_decay=0.01)
    order = torch.randperm(len(train))
    for i in range(steps):
        batch = train[order[[2 * i % len(order), (2 * i + 1) % len(order)]]]
        loss = m(input_ids=batch, labels=batch).loss
        loss.backward()
        o.step()
        o.zero_grad()
        print(f"step {i + 1} of {steps}: loss {loss.item():.3f}", file=sys.stderr, flush=True)
    m.to(getattr(torch, str(T.AutoConfig.from_pretrained(base).dtype).removeprefix("torch."))).save_pretrained(tuned)


def loss(m, held):
    with torch.no_grad():
        return sum(m(input_ids=b[None], labels=b[None]).loss.item() for b in held) / len(held)


def losses(base, *others):
    from peft import PeftModel

    _, held = blocks(base)
    models = (PeftModel.from_pretrained(load(base), p) if os.path.exists(os.path.join(p, "adapter_config.json")) else load(p) for p in others)
    return [loss(m.eval(), held) for m in models]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("what", choices=["tune", "losses"])
    p.add_argument("paths", nargs="+")
    p.add_argument("--steps", type=int, default=20)
    a = p.parse_args()
    if a.what == "tune":
        tune(*a.paths, a.steps)
    else:
        print(", ".join(f"{x:.4f}" for x in losses(*a.paths)))


main()
