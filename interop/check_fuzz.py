#!/usr/bin/env python3
"""Differential fuzz: random tiny models x random LoraConfigs, merged by loratool
and by PEFT in float64 with one rounding at the end, compared bit for bit.

usage: check_fuzz.py --loratool BIN [--cases N] [--seed S] [--only CASE]"""
import argparse, json, os, random, shutil, subprocess, sys, tempfile, warnings
warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")
import torch
import transformers as T
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch import nn

from oracle import compare, read_config, round_once, same_bits, tensors_of

torch.set_num_threads(2)
V = 67
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}


# ---- models

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


class Experts(nn.Module):
    def __init__(self, n, hidden, inner, is_transposed):
        super().__init__()
        self.is_transposed = is_transposed
        up, down = (n, 2 * inner, hidden), (n, hidden, inner)
        if is_transposed:
            up, down = (n, hidden, 2 * inner), (n, inner, hidden)
        self.gate_up_proj, self.down_proj = nn.Parameter(torch.randn(up) * 0.1), nn.Parameter(torch.randn(down) * 0.1)


class Pieces(nn.Module):
    """The layers that the models above do not have."""

    def __init__(self, transposed):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv1d(6, 9, 3), nn.Conv2d(5, 7, (3, 2)), nn.Conv3d(2, 5, (2, 3, 2))
        self.attn, self.table, self.fc = nn.MultiheadAttention(12, 3), nn.Embedding(13, 6), nn.Linear(11, 1)
        self.experts, self.norm = Experts(3, 10, 7, transposed), nn.LayerNorm(5)


def pieces(tie):
    return Pieces(tie)


# model: linear targets, embedding targets, modules to save, layers pattern, embedding and head
FAMILIES = {
    llama: (["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], ["embed_tokens", "lm_head"], ["norm", "lm_head", "embed_tokens"], "layers"),
    qwen2: (["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], ["embed_tokens", "lm_head"], ["norm", "lm_head"], "layers"),
    gpt2: (["c_attn", "c_proj", "c_fc"], ["wpe", "wte"], ["ln_f"], "h"),
    opt: (["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"], ["embed_positions", "embed_tokens"], ["final_layer_norm"], "layers"),
    bert: (["query", "key", "value", "dense"], ["position_embeddings", "word_embeddings"], ["classifier"], "layer"),
    t5: (["q", "k", "v", "o", "wi", "wo"], [], ["final_layer_norm"], "block"),
    resnet: (["convolution"], [], ["classifier"], None),
    pieces: (["conv1", "conv2", "conv3", "attn", "fc"], ["table"], ["norm"], None),
}
SIDES = {"embed_tokens", "lm_head", "wte"}  # of a tied pair


# ---- adapters

def random_config(rng, family):
    linear, embeds, saves, pattern = FAMILIES[family]
    kw = dict(r=rng.choice([1, 2, 3, 4, 8, 40]), lora_alpha=rng.choice([1, 4, 6, 16, 7, 0.3, -2]))
    kw["target_modules"] = rng.sample(linear, rng.randint(1, len(linear)))
    if rng.random() < 0.1:
        kw["target_modules"] = r".*\.(%s)" % "|".join(kw["target_modules"]) if family is not pieces else "|".join(kw["target_modules"])
    listed = isinstance(kw["target_modules"], list)
    kw["use_rslora"] = rng.random() < 0.25
    kw["use_dora"] = rng.random() < 0.2 and "attn" not in kw["target_modules"]
    if embeds and listed and rng.random() < 0.3:
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
        kw["modules_to_save"] = [rng.choice(saves)]
        if listed and kw["modules_to_save"][0] in kw["target_modules"]:
            kw["target_modules"] = [t for t in kw["target_modules"] if t not in kw["modules_to_save"]]
    if pattern and listed and rng.random() < 0.2:
        kw["layers_to_transform"] = [rng.randint(0, 1)]
        kw["layers_pattern"] = pattern
    if family in (llama, qwen2) and listed and not SIDES & {*kw["target_modules"], *kw.get("modules_to_save", [])} and rng.random() < 0.15:
        kw["trainable_token_indices"] = rng.sample(range(V), 4)
    if family in (llama, qwen2) and listed and "embed_tokens" in kw["target_modules"] and rng.random() < 0.3 and not kw["use_dora"]:
        kw["ensure_weight_tying"] = True
    if family is gpt2:
        kw["fan_in_fan_out"] = rng.random() < 0.5
    if family is pieces and not kw["use_dora"] and rng.random() < 0.6:
        kw["target_parameters"] = rng.sample(["experts.gate_up_proj", "experts.down_proj"], rng.randint(1, 2))
        if rng.random() < 0.3:
            kw.setdefault("rank_pattern", {})["experts.down_proj"] = 2
    return kw


def randomize(model, g):
    for name, p in model.named_parameters():
        if "lora_magnitude" in name:
            p.data.mul_(1 + 0.1 * torch.rand(p.shape, generator=g).to(p.dtype))
        elif "lora_" in name or "trainable_tokens_delta" in name or "modules_to_save" in name:
            p.data.copy_(torch.randn(p.shape, generator=g) * 0.1)
        elif p.requires_grad:
            p.data.add_((torch.randn(p.shape, generator=g) * 0.1).to(p.dtype))


def save(model, path, shard):
    if isinstance(model, T.PreTrainedModel):
        model.save_pretrained(path, max_shard_size=shard)
        return
    os.makedirs(path)
    save_file(model.state_dict(), f"{path}/model.safetensors", {"format": "pt"})


def write_adapter(rng, g, family, base, path, kw):
    """Lets PEFT make an adapter of random values for the base."""
    model = load(family, base, torch.float32)
    pm = get_peft_model(model, LoraConfig(**kw))
    randomize(pm, g)
    if rng.random() < 0.3:
        dt = torch.bfloat16 if rng.random() < 0.5 else torch.float16
        for n, p in pm.named_parameters():
            if "lora_" in n:
                p.data = p.data.to(dt)
    pm.save_pretrained(path)


# ---- the oracle

def load(family, base, dtype=torch.float64):
    m = family(os.path.exists(f"{base}/transposed"))
    if isinstance(m, T.PreTrainedModel):
        return type(m).from_pretrained(base, dtype=dtype)
    m.load_state_dict(tensors_of(base))
    return m.to(dtype)


def untied(model):
    """The same model with a head of its own: in a tied one PEFT merges a delta
    of one side into both, which its forward pass does not do."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    config = type(model.config).from_dict(model.config.to_dict())
    config.tie_word_embeddings = False
    m = type(model)(config).double()
    m.load_state_dict(state)
    return m


def peft_float64(family, base, adapters):
    """PEFT's merge in float64 of adapters, given as pairs of path and weight."""
    m = load(family, base)
    sides = set()
    for path, _ in adapters:
        c = json.load(open(f"{path}/adapter_config.json"))
        for field in ("target_modules", "modules_to_save"):
            sides |= {s for s in SIDES if s in (c[field] or [])}
    tied = bool(sides) and m.config.tie_word_embeddings
    if tied:
        m = untied(m)
    pm = PeftModel.from_pretrained(m, adapters[0][0], adapter_name="a0", autocast_adapter_dtype=False)
    for i, (path, _) in enumerate(adapters[1:], 1):
        pm.load_adapter(path, adapter_name=f"a{i}", autocast_adapter_dtype=False)
    for module in pm.modules():
        if isinstance(getattr(module, "scaling", None), dict):
            for i, (_, weight) in enumerate(adapters):
                if f"a{i}" in module.scaling:
                    module.scaling[f"a{i}"] *= weight
    names = [f"a{i}" for i in range(len(adapters))]
    merged = pm.merge_and_unload(adapter_names=names if len(names) > 1 else None).state_dict()
    if c.get("ensure_weight_tying") and tied:  # only a tied model gets the head's adapter; its forward pass adds it once
        merged["lm_head.weight"] = merged["model.embed_tokens.weight"]
    return merged


def check(out, base, expected, options):
    """Compares every tensor of the output with what PEFT gave."""
    got, bases, bad = tensors_of(out), tensors_of(base), []
    for name in bases.keys() - got.keys():
        bad.append(f"{name}: lost")
    for name, t in got.items():
        want = bases[name].dtype if name in bases else None
        if options.dtype and (want is None or want.is_floating_point):
            want = DTYPES[options.dtype.upper()]
        if want is not None and t.dtype != want:
            bad.append(f"{name}: {t.dtype}, expected {want}")
        if name not in expected:
            if name in bases and same_bits(t, bases[name]):
                continue
            bad.append(f"{name}: not in PEFT's model")
        elif wrong := compare(t, expected[name].to(torch.float64) if expected[name].is_floating_point() else expected[name]):
            bad.append(f"{name}: {wrong}")
    config = read_config(out) if os.path.exists(f"{out}/config.json") else {}
    for head in ("lm_head.weight",):
        if head not in expected or head in got and head in bases:
            continue
        embedding = next(n for n in expected if n.split(".")[-2] in ("embed_tokens", "wte", "shared"))
        differ = not torch.allclose(expected[head], expected[embedding], rtol=1e-12, atol=1e-14)
        if differ != (head in got) or differ == config.get("tie_word_embeddings", True):
            bad.append(f"head and embedding {'differ' if differ else 'are equal'}, but {head} is {'' if head in got else 'not '}stored, tie_word_embeddings {config.get('tie_word_embeddings')}")
    return bad


# ---- one case

class Options:
    def __init__(self, rng, family):
        self.dtype = rng.choice(["f32", "bf16", "f16"]) if rng.random() < 0.15 else None
        self.shard = rng.choice(["8KB", "30KB", "1GB"]) if rng.random() < 0.15 else None

    def flags(self):
        return (["--dtype", self.dtype] if self.dtype else []) + (["--max-shard-size", self.shard] if self.shard else [])


def one(case, rng, args, work):
    family = rng.choice(list(FAMILIES))
    dt = rng.choice(list(DTYPES) if rng.random() < 0.3 else ["F32", "BF16", "F16"])
    tie = rng.random() < 0.4
    configs = [random_config(rng, family)]
    weights = [1.0]
    if rng.random() < 0.2:  # several adapters, which must be plain deltas
        for kw in configs + [random_config(rng, family)]:
            for field in ("modules_to_save", "bias", "lora_bias", "trainable_token_indices", "use_dora", "target_parameters", "ensure_weight_tying", "rank_pattern"):
                kw.pop(field, None)
            if kw is not configs[0]:
                configs.append(kw)
        weights = [rng.choice([1, 0.5, -0.75, 2.25, 0, 1e-3]) for _ in configs]
    options = Options(rng, family)
    seed = rng.randrange(1 << 30)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    what = f"case {case}: {family.__name__} {dt} tie={tie} {' '.join(options.flags())} {weights} {configs}"
    base, out = f"{work}/base", f"{work}/out"
    for d in os.listdir(work):
        shutil.rmtree(f"{work}/{d}")
    save(family(tie).to(DTYPES[dt]), base, rng.choice(["20KB", "1GB"]))
    if family is pieces and tie:
        open(f"{base}/transposed", "w").close()
    adapters = []
    for i, kw in enumerate(configs):
        try:
            write_adapter(rng, g, family, base, f"{work}/adapter{i}", kw)
        except (ValueError, TypeError, NotImplementedError) as e:
            return None, f"{what}: PEFT: {e}"
        adapters.append((f"{work}/adapter{i}", weights[i]))
    run = subprocess.run([args.loratool, "merge", base, *(p if w == 1 else f"{p}={w!r}" for p, w in adapters), "-o", out, *options.flags()], capture_output=True, text=True)
    try:
        expected = peft_float64(family, base, adapters)
    except RuntimeError as e:  # patterns are saved sorted: their order can be another one
        return run.returncode == 3, f"{what}\n  PEFT cannot load it ({str(e)[:80]}), loratool exits {run.returncode}"
    if run.returncode != 0:
        return False, f"{what}\n  exit {run.returncode}: {run.stderr.strip()}"
    bad = check(out, base, expected, options)
    return not bad, what + "".join(f"\n  {b}" for b in bad)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    p.add_argument("--cases", type=int, default=300)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only", type=int)
    p.add_argument("--verbose", action="store_true")
    args = p.parse_args()
    T.logging.set_verbosity_error()
    T.logging.disable_progress_bar()
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
            if ok is False or args.verbose:
                print({True: "ok", False: "FAIL", None: "skip"}[ok], what, flush=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
