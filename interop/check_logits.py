#!/usr/bin/env python3
"""Merged checkpoints in use: what loratool writes loads with from_pretrained and
gives the logits of PeftModel on the base, in float32.

Both compute the same function with other roundings: x·(W+ΔW) here, x·W +
s·(x·Aᵀ)·Bᵀ there. TOLERANCE bounds the difference relative to the largest
logit; every adapter moves the logits by at least a thousand times as much, so
a module that is lost or merged wrongly cannot pass.

usage: check_logits.py --loratool BIN [--only NAME]"""
import argparse, os, shutil, subprocess, sys, tempfile, warnings
warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")
import torch
import transformers as T
from peft import LoraConfig, PeftModel, get_peft_model

from check_fuzz import V, bert, gpt2, llama, opt, qwen2, randomize, resnet, t5

torch.set_num_threads(2)
TOLERANCE = 1e-5
LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# name: model, tied, fields of LoraConfig, rows of the resized vocabulary
CASES = {
    "llama": (llama, False, dict(target_modules=LLAMA)),
    "llama bf16 factors": (llama, False, dict(target_modules=LLAMA, r=5, lora_alpha=3, use_rslora=True)),
    "llama dora": (llama, False, dict(target_modules=LLAMA, use_dora=True)),
    "llama embedding and head": (llama, False, dict(target_modules=["embed_tokens", "lm_head", "q_proj"])),
    "llama tied, embedding": (llama, True, dict(target_modules=["embed_tokens", "v_proj"])),
    "llama tied, head": (llama, True, dict(target_modules=["lm_head", "v_proj"])),
    "llama tied, both": (llama, True, dict(target_modules=["lm_head", "embed_tokens"])),
    "llama tied, both alike": (llama, True, dict(target_modules=["embed_tokens", "v_proj"], ensure_weight_tying=True)),
    "llama tied, head saved": (llama, True, dict(target_modules=["v_proj"], modules_to_save=["lm_head"])),
    "llama tied, embedding saved": (llama, True, dict(target_modules=["v_proj"], modules_to_save=["embed_tokens"])),
    "llama tied, both saved": (llama, True, dict(target_modules=["v_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True)),
    "llama trained tokens": (llama, False, dict(target_modules=["v_proj"], trainable_token_indices=[3, 9, 60])),
    "llama tied, trained tokens": (llama, True, dict(target_modules=["v_proj"], trainable_token_indices=[3, 9, 60])),
    "llama resized": (llama, False, dict(target_modules=["v_proj"], resize=V + 5)),
    "llama tied, resized": (llama, True, dict(target_modules=["v_proj"], resize=V + 5)),
    "qwen2 bias": (qwen2, False, dict(target_modules=LLAMA, bias="all")),
    "qwen2 patterns": (qwen2, True, dict(target_modules=LLAMA, rank_pattern={"q_proj": 3, r".*\.mlp\..*": 5}, alpha_pattern={"up_proj": 32})),
    "gpt2": (gpt2, True, dict(target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)),
    "gpt2 dora": (gpt2, True, dict(target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True, use_dora=True)),
    "gpt2 tied, embedding": (gpt2, True, dict(target_modules=["wte", "c_attn"])),
    "gpt2 lora_bias": (gpt2, True, dict(target_modules=["c_attn", "c_proj"], lora_bias=True)),
    "opt": (opt, True, dict(target_modules=["q_proj", "v_proj", "fc1"])),
    "opt tied, embedding": (opt, True, dict(target_modules=["q_proj", "embed_tokens"])),
    "bert classifier": (bert, False, dict(target_modules=["query", "value", "dense"], task_type="SEQ_CLS")),
    "bert bias": (bert, False, dict(target_modules=["query", "word_embeddings"], bias="lora_only", modules_to_save=["classifier"])),
    "t5": (t5, True, dict(target_modules=["q", "v", "wi", "wo"])),
    "resnet": (resnet, False, dict(target_modules=["convolution"], modules_to_save=["classifier"])),
    "resnet dora": (resnet, False, dict(target_modules=["convolution"], use_dora=True)),
}


def logits(model, vocabulary):
    model.eval()
    g = torch.Generator().manual_seed(5)
    ids = torch.randint(0, vocabulary, (2, 12), generator=g)
    with torch.no_grad():
        if model.config.model_type == "resnet":
            return model(pixel_values=torch.randn(2, 3, 48, 48, generator=g)).logits
        if model.config.model_type == "t5":
            return model(input_ids=ids, decoder_input_ids=ids[:, :5]).logits
        return model(input_ids=ids).logits


def check(name, loratool, work):
    """Returns what is wrong, or what was found."""
    family, tied, config = CASES[name]
    config = {"r": 4, "lora_alpha": 8, **config}
    vocabulary = config.pop("resize", None)
    torch.manual_seed(len(name))
    g = torch.Generator().manual_seed(len(name))
    base, adapter, out = f"{work}/base", f"{work}/adapter", f"{work}/out"
    for d in (base, adapter, out):
        shutil.rmtree(d, ignore_errors=True)
    model = family(tied)
    if family is not t5:  # as trained models are: no logit near 0 for all inputs; T5's attention is large as it is
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(2.5)
    model.save_pretrained(base)
    cls = type(model)
    model = cls.from_pretrained(base)
    model.name_or_path = base
    before = logits(model, V)
    if vocabulary:
        model.resize_token_embeddings(vocabulary)
    pm = get_peft_model(model, LoraConfig(**config))
    randomize(pm, g)
    if "bf16 factors" in name:
        for n, p in pm.named_parameters():
            if "lora_" in n:
                p.data = p.data.bfloat16()
    pm.save_pretrained(adapter)
    run = subprocess.run([loratool, "merge", base, adapter, "-o", out], capture_output=True, text=True)
    if run.returncode != 0:
        return False, f"exit {run.returncode}: {run.stderr.strip()}"
    merged, info = cls.from_pretrained(out, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            return False, f"from_pretrained: {kind} {info[kind]}"
    reference = cls.from_pretrained(base)
    if vocabulary:
        reference.resize_token_embeddings(vocabulary)
    want = logits(PeftModel.from_pretrained(reference, adapter), V)
    got = logits(merged, V)
    if got.shape != want.shape:
        return False, f"logits of shape {list(got.shape)}, expected {list(want.shape)}"
    scale = want.abs().max().item()
    error = (got - want).abs().max().item() / scale
    moved = (want[..., :before.shape[-1]] - before).abs().max().item() / scale
    return error <= TOLERANCE and moved >= 1000 * TOLERANCE, f"differs by {error:.1e} of the largest logit; the adapter moves it by {moved:.2f}"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    p.add_argument("--only")
    args = p.parse_args()
    T.logging.set_verbosity_error()
    T.logging.disable_progress_bar()
    failed = 0
    names = [n for n in CASES if args.only in (None, n)]
    with tempfile.TemporaryDirectory() as work:
        for name in names:
            ok, what = check(name, args.loratool, work)
            failed += not ok
            print("ok  " if ok else "FAIL", f"{name}: {what}", flush=True)
    print(f"{len(names) - failed} passed, {failed} failed (tolerance {TOLERANCE:g})")
    sys.exit(1 if failed or not names else 0)


if __name__ == "__main__":
    main()
