#!/usr/bin/env python3
"""Differential fuzz: random tiny models x random LoraConfigs, merged by loratool
and by PEFT in float64 with one rounding at the end, compared bit for bit.

usage: check_fuzz.py --loratool BIN [--cases N] [--seed S]"""
import argparse, fractions, json, os, random, shutil, subprocess, sys, tempfile, warnings
warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")
import numpy as np
import torch
import transformers as T
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

torch.set_num_threads(2)
V = 67


def llama(tie):
    return T.LlamaForCausalLM(T.LlamaConfig(hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=V, tie_word_embeddings=tie))


def qwen2(tie):
    return T.Qwen2ForCausalLM(T.Qwen2Config(hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=V, tie_word_embeddings=tie))


def gpt2(tie):
    return T.GPT2LMHeadModel(T.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=V, n_positions=32, bos_token_id=0, eos_token_id=0))


def opt(tie):
    return T.OPTForCausalLM(T.OPTConfig(hidden_size=32, ffn_dim=44, num_hidden_layers=2, num_attention_heads=4, vocab_size=V, max_position_embeddings=32, word_embed_proj_dim=32))


def bert(tie):
    return T.BertForSequenceClassification(T.BertConfig(hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4, vocab_size=V, max_position_embeddings=32))


def t5(tie):
    return T.T5ForConditionalGeneration(T.T5Config(d_model=32, d_kv=8, d_ff=44, num_layers=2, num_heads=4, vocab_size=V))


def resnet(tie):
    return T.ResNetForImageClassification(T.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], num_labels=3))


# model: linear targets, embedding targets, modules to save, layers pattern
FAMILIES = {
    llama: (["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], ["embed_tokens", "lm_head"], ["norm"], "layers"),
    qwen2: (["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], ["embed_tokens", "lm_head"], ["norm"], "layers"),
    gpt2: (["c_attn", "c_proj", "c_fc"], ["wpe", "wte"], ["ln_f"], "h"),
    opt: (["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"], ["embed_positions"], ["final_layer_norm"], "layers"),
    bert: (["query", "key", "value", "dense"], ["position_embeddings", "word_embeddings"], ["classifier"], "layer"),
    t5: (["q", "k", "v", "o", "wi", "wo"], [], ["final_layer_norm"], "block"),
    resnet: (["convolution"], [], ["classifier"], None),
}
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def round_once(x, dtype):
    """float64 tensor -> dtype, to nearest even, without rounding twice."""
    x = x.detach().cpu().numpy().astype(np.float64)
    if dtype == torch.float32:
        return torch.from_numpy(x.astype(np.float32))
    f = x.astype(np.float32)
    back = f.astype(np.float64)
    u = f.view(np.uint32).copy()
    inexact = (back != x) & ((u & 1) == 0) & np.isfinite(x)  # round to odd
    above = np.abs(back) > np.abs(x)
    u[inexact & above] -= 1
    u[inexact & ~above] += 1
    return torch.from_numpy(u.view(np.float32)).to(dtype)


def random_config(rng, family):
    linear, embeds, saves, pattern = FAMILIES[family]
    kw = dict(r=rng.choice([1, 2, 3, 4, 8]), lora_alpha=rng.choice([1, 4, 6, 16, 7]))
    kw["target_modules"] = rng.sample(linear, rng.randint(1, len(linear)))
    if rng.random() < 0.1:
        kw["target_modules"] = r".*\.(%s)" % "|".join(kw["target_modules"])
    kw["use_rslora"] = rng.random() < 0.25
    kw["use_dora"] = rng.random() < 0.2
    if embeds and isinstance(kw["target_modules"], list) and rng.random() < 0.3:
        kw["target_modules"].append(rng.choice(embeds))
    if rng.random() < 0.3:
        kw["rank_pattern"] = {rng.choice(linear): rng.choice([1, 5, 6])}
        if rng.random() < 0.5:
            kw["rank_pattern"][r".*\.1\..*"] = 3
    if rng.random() < 0.3:
        kw["alpha_pattern"] = {rng.choice(linear): rng.choice([3, 32])}
    if rng.random() < 0.25:
        kw["bias"] = rng.choice(["all", "lora_only"])
    if not kw["use_dora"] and family in (gpt2, opt, bert) and rng.random() < 0.2 and not set(embeds) & set(kw["target_modules"]):
        kw["lora_bias"] = True
    if rng.random() < 0.2:
        kw["modules_to_save"] = saves
    if pattern and isinstance(kw["target_modules"], list) and rng.random() < 0.2:
        kw["layers_to_transform"] = [rng.randint(0, 1)]
        kw["layers_pattern"] = pattern
    if family in (llama, qwen2) and isinstance(kw["target_modules"], list) and not {"embed_tokens", "lm_head"} & set(kw["target_modules"]) and rng.random() < 0.15:
        kw["trainable_token_indices"] = sorted(rng.sample(range(V), 4))
    if family is gpt2:
        kw["fan_in_fan_out"] = rng.random() < 0.5
    return kw


def randomize(model, g):
    for name, p in model.named_parameters():
        if "lora_magnitude" in name:
            p.data.mul_(1 + 0.1 * torch.rand(p.shape, generator=g).to(p.dtype))
        elif "lora_" in name or "trainable_tokens_delta" in name or "modules_to_save" in name:
            p.data.copy_(torch.randn(p.shape, generator=g) * 0.1)
        elif p.requires_grad:
            p.data.add_((torch.randn(p.shape, generator=g) * 0.1).to(p.dtype))


def one(case, rng, args, work):
    family = rng.choice(list(FAMILIES))
    dt = rng.choice(list(DTYPES))
    tie = rng.random() < 0.4
    kw = random_config(rng, family)
    seed = rng.randrange(1 << 30)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    what = f"case {case}: {family.__name__} {dt} tie={tie} {kw}"
    base, ad, out = f"{work}/base", f"{work}/adapter", f"{work}/out"
    for d in (base, ad, out):
        shutil.rmtree(d, ignore_errors=True)
    model = family(tie).to(DTYPES[dt])
    model.save_pretrained(base, max_shard_size=rng.choice(["20KB", "1GB"]))
    try:
        pm = get_peft_model(model, LoraConfig(**kw))
    except (ValueError, TypeError, NotImplementedError) as e:
        return None, f"{what}: PEFT: {e}"
    randomize(pm, g)
    if rng.random() < 0.3:
        for n, p in pm.named_parameters():
            if "lora_" in n:
                p.data = p.data.to(torch.bfloat16 if rng.random() < 0.5 else torch.float16)
    pm.save_pretrained(ad)
    run = subprocess.run([args.loratool, "merge", base, ad, "-o", out], capture_output=True, text=True)
    try:
        expected = peft_float64(family, base, ad)
    except RuntimeError as e:  # patterns are saved sorted: their order can be another one
        return run.returncode == 3, f"{what}\n  PEFT cannot load it ({str(e)[:80]}), loratool exits {run.returncode}"
    if run.returncode != 0:
        return False, f"{what}\n  exit {run.returncode}: {run.stderr.strip()}"
    got, names = {}, {}
    for f in sorted(os.listdir(out)):
        if f.endswith(".safetensors"):
            got.update(load_file(f"{out}/{f}"))
    bases = {}
    for f in sorted(os.listdir(base)):
        if f.endswith(".safetensors"):
            bases.update(load_file(f"{base}/{f}"))
    config = json.load(open(f"{out}/config.json"))
    untied = len(got) > len(bases) or config.get("tie_word_embeddings") is False and json.load(open(f"{base}/config.json")).get("tie_word_embeddings", True)
    bad = []
    for name, t in got.items():
        if untied and name not in bases:
            continue  # the other side of an untied pair: checked by its own logits test
        if untied and name.split(".")[-2] in ("embed_tokens", "wte") and not {"embed_tokens", "wte"} & set(kw["target_modules"]):
            want = bases[name]
        else:
            if name not in expected:
                bad.append(f"{name}: not in PEFT's model")
                continue
            e = expected[name]
            want = round_once(e, t.dtype) if t.dtype.is_floating_point else e
        if not torch.equal(t.reshape(-1).view(torch.uint8), want.contiguous().reshape(-1).view(torch.uint8)):
            n = (t != want).sum().item()
            if n and near_tie(t, want, expected[name]):
                continue
            if n:
                bad.append(f"{name}: {n} of {t.numel()} differ, at most {(t.double() - want.double()).abs().max().item():.3g}")
    return not bad, what + "".join(f"\n  {b}" for b in bad)


def near_tie(ours, want, exact):
    """Whether every difference is one step and within float64's error of a tie."""
    at = ours != want
    a, b, e = ours[at].double(), want[at].double(), exact[at].double()
    mid = (a + b) / 2
    return bool(((e - mid).abs() <= 1e-13 * e.abs().clamp_min(1e-3)).all())


def peft_float64(family, base, ad):
    cls = type(family(False))
    m = cls.from_pretrained(base, dtype=torch.float64)
    pm = PeftModel.from_pretrained(m, ad, autocast_adapter_dtype=False)
    return {k: v for k, v in pm.merge_and_unload().state_dict().items()}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    p.add_argument("--cases", type=int, default=300)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only", type=int)
    args = p.parse_args()
    T.logging.set_verbosity_error()
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory() as work:
        for case in range(args.cases):
            if args.only is not None and case != args.only:
                continue
            ok, what = one(case, random.Random(args.seed * 1_000_003 + case), args, work)
            if ok is None:
                skipped += 1
            elif ok:
                passed += 1
            else:
                failed += 1
                print("FAIL", what, flush=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
