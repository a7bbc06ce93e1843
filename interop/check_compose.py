#!/usr/bin/env python3
"""compose, rerank and plain beside PEFT's add_weighted_adapter, convert_to_lora
and path_initial_model_for_weight_conversion, and mergekit's task arithmetic, all
run for real. Where PEFT is wrong, the check shows that it is, and by how much.

usage: check_compose.py --loratool BIN"""
import argparse, hashlib, json, os, struct, subprocess, sys, tempfile, warnings
warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")
import numpy as np
import torch
import transformers as T
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer, LoraModel
from peft.tuners.lora.config import CordaConfig, LoraGAConfig
from peft.tuners.lora.conversion import convert_to_lora
from peft.tuners.lora.corda import preprocess_corda
from peft.tuners.lora.loraga import preprocess_loraga
from safetensors.torch import load_file

torch.set_num_threads(2)
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
passed = failed = 0


def check(name, ok, detail=""):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    print(f"{'ok  ' if ok else 'FAIL'} {name}{': ' + detail if detail else ''}", flush=True)


def model(seed=0, **config):
    torch.manual_seed(seed)
    m = T.LlamaForCausalLM(T.LlamaConfig(hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=67, **config))
    return m.eval()


class Runner:
    def __init__(self, binary, work):
        self.binary, self.work, self.n = binary, work, 0

    def path(self, name):
        self.n += 1
        return os.path.join(self.work, f"{self.n}-{name}")

    def run(self, command, *args):
        out = self.path(command)
        done = subprocess.run([self.binary, command, *args, "-o", out, "--json"], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{command} {' '.join(args)}: {done.stderr}")
        return out, json.loads(done.stdout)

    def adapter(self, seed, **config):
        """Saves an adapter with random A and B; returns its folder."""
        torch.manual_seed(seed)
        p = get_peft_model(model(), LoraConfig(**{"target_modules": ALL, **config}))
        fill(p, seed)
        out = self.path("adapter")
        p.save_pretrained(out)
        return out


def fill(p, seed):
    g = torch.Generator().manual_seed(seed)
    for name, x in p.named_parameters():
        if "lora_" in name and "magnitude" not in name:
            x.data = torch.randn(x.shape, generator=g) * 0.2


def layers(p):
    return {n: m for n, m in p.named_modules() if isinstance(m, LoraLayer)}


def deltas(p, name="default"):
    """ΔW of every module in float64, from the factors and the scaling."""
    out = {}
    for n, m in layers(p).items():
        if name in m.lora_A:
            out[n] = m.scaling[name] * (m.lora_B[name].weight.double() @ m.lora_A[name].weight.double())
    return {n: d.detach() for n, d in out.items()}


def load(*folders):
    p = PeftModel.from_pretrained(model(), folders[0], adapter_name="a0")
    for i, f in enumerate(folders[1:], 1):
        p.load_adapter(f, adapter_name=f"a{i}")
    return p


def ours(folder):
    return deltas(PeftModel.from_pretrained(model(), folder))


def distance(x, y):
    """‖x − y‖/‖y‖ over all modules; modules that one lacks count as zero."""
    off = norm = 0.0
    for n in set(x) | set(y):
        a, b = x.get(n, torch.zeros(1)), y.get(n, torch.zeros(1))
        off, norm = off + float(((a - b) ** 2).sum()), norm + float((b ** 2).sum())
    return (off / norm) ** 0.5


def weighted(parts):
    total = {}
    for w, d in parts:
        for n, x in d.items():
            total[n] = total.get(n, 0) + w * x
    return total


def truncated(d, rank):
    out = {}
    for n, x in d.items():
        u, s, v = torch.linalg.svd(x, full_matrices=False)
        out[n] = (u[:, :rank] * s[:rank]) @ v[:rank]
    return out


# ---- exact rules

def exact(r):
    mixed = [r.adapter(1, r=4, lora_alpha=8), r.adapter(2, r=6, lora_alpha=3, rank_pattern={"q_proj": 3}, alpha_pattern={"v_proj": 9.5}), r.adapter(3, r=2, lora_alpha=5, target_modules=["q_proj", "down_proj"])]
    weights = [0.7, -1.3, 1.1]
    args = [f"{f}={w}" for f, w in zip(mixed, weights)]
    want = weighted([(w, ours(f)) for w, f in zip(weights, mixed)])
    p = load(*mixed)
    names = ["a0", "a1", "a2"]
    for method in ["sum", "cat", "linear"]:
        out, report = r.run("compose", *args, "--method", method)
        d = distance(ours(out), want)
        check(f"{method} is the exact sum", d < 3e-7, f"off by {d:.1e}")
    p.add_weighted_adapter(names, weights, "cat", combination_type="cat")
    d = distance(ours(r.run("compose", *args, "--method", "cat")[0]), deltas(p, "cat"))
    check("cat as PEFT", d < 3e-7, f"off by {d:.1e}")
    for rank in [2, 5]:
        p.add_weighted_adapter(names, weights, f"svd{rank}", combination_type="svd", svd_rank=rank)
        out, report = r.run("compose", *args, "--method", "svd", "--rank", str(rank))
        d, best = distance(ours(out), deltas(p, f"svd{rank}")), distance(truncated(want, rank), want)
        check(f"svd at rank {rank} as PEFT", d < 1e-5, f"off by {d:.1e}; error {report['error']:.4f}, optimum {best:.4f}")
        check(f"svd at rank {rank} has the error it reports", abs(report["error"] - distance(ours(out), want)) < 1e-6 and report["error"] < best * 1.0001)
    both, _ = r.run("compose", mixed[0], mixed[1])
    back, report = r.run("compose", both, f"{mixed[1]}=-1")
    d = distance(ours(back), ours(mixed[0]))
    ranks = {m["rank"] for m in report["modules"] if m["rank"]}
    check("(a+b)-b is a, at its rank", d < 3e-6 and ranks == {4}, f"off by {d:.1e}, ranks {ranks}")
    same, _ = r.run("compose", mixed[1])
    check("one adapter comes out as it was", open(f"{same}/adapter_model.safetensors", "rb").read() == open(f"{mixed[1]}/adapter_model.safetensors", "rb").read())
    logits(r, mixed, weights, args, want)


def logits(r, folders, weights, args, want):
    """The composed adapter in PEFT gives the logits of the merged weights."""
    out, _ = r.run("compose", *args)
    dense = model()
    with torch.no_grad():
        for n, m in dense.named_modules():
            for full, d in want.items():
                if full.endswith("." + n) and n:
                    m.weight += d.float()
        ids = torch.arange(24).reshape(2, 12)
        d = (PeftModel.from_pretrained(model(), out)(ids).logits - dense(ids).logits).abs().max()
    check("logits in PEFT are those of the merged weights", d < 1e-4, f"{d:.1e}")


# ---- rules on elements

def philox(key0, key1, n):
    """Philox4x32-10 for the elements 0…n-1 (Salmon et al. 2011)."""
    i = np.arange((n + 3) // 4, dtype=np.uint64)
    x0, x1, x2, x3 = i & 0xFFFFFFFF, i >> np.uint64(32), np.zeros_like(i), np.zeros_like(i)
    k0, k1 = key0, key1
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        p, q = x0 * np.uint64(0xD2511F53), x2 * np.uint64(0xCD9E8D57)
        x0, x1, x2, x3 = (q >> shift) ^ x1 ^ np.uint64(k0), q & low, (p >> shift) ^ x3 ^ np.uint64(k1), p & low
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([x0, x1, x2, x3], 1).reshape(-1)[:n]


def mask(seed, adapter, name, shape, density):
    """The mask that loratool draws for one tensor."""
    h = hashlib.sha256(b"loratool dare 1\0" + struct.pack("<Q", seed + (adapter << 32)) + name.encode()).digest()
    n = int(np.prod(shape))
    keep = philox(*struct.unpack("<II", h[:8]), n) < density * 2.0 ** 32
    return torch.from_numpy(keep.reshape(shape).astype(np.float32))


class Masks:
    """Gives PEFT's torch.bernoulli the masks of loratool: for each module those
    of A of every adapter and then those of B, or those of whole deltas."""

    def __init__(self, seed, density, whole):
        self.seed, self.density, self.whole = seed, density, whole

    def __enter__(self):
        self.bernoulli, self.factors, self.deltas = torch.bernoulli, LoraModel._generalized_task_arithmetic_weighted_adapter, LoraModel._svd_generalized_task_arithmetic_weighted_adapter
        outer = self

        def factors(self, combination, adapters, weights, target, *rest):
            outer.start(self, target, adapters, [".lora_A", ".lora_B"])
            return outer.factors(self, combination, adapters, weights, target, *rest)

        def deltas(self, combination, adapters, weights, rank, target, *rest, **more):
            outer.start(self, target, adapters, [""])
            return outer.deltas(self, combination, adapters, weights, rank, target, *rest, **more)

        LoraModel._generalized_task_arithmetic_weighted_adapter, LoraModel._svd_generalized_task_arithmetic_weighted_adapter = factors, deltas
        torch.bernoulli = lambda x: mask(self.seed, *self.queue.pop(0), x.shape, self.density)
        return self

    def start(self, p, target, adapters, suffixes):
        name = next(n for n, m in p.model.named_modules() if m is target)
        have = [int(a[1:]) for a in adapters if a in target.lora_A]
        self.queue = [(i, name + s) for s in suffixes for i in have]

    def __exit__(self, *_):
        torch.bernoulli, LoraModel._generalized_task_arithmetic_weighted_adapter, LoraModel._svd_generalized_task_arithmetic_weighted_adapter = self.bernoulli, self.factors, self.deltas


def elements(r):
    folders = [r.adapter(4, r=4, lora_alpha=8), r.adapter(5, r=4, lora_alpha=2), r.adapter(6, r=4, lora_alpha=4, target_modules=["q_proj", "up_proj"])]
    weights, names, density = [0.7, -1.2, 1.5], ["a0", "a1", "a2"], 0.55
    args = [f"{f}={w}" for f, w in zip(folders, weights)]
    want = weighted([(w, ours(f)) for w, f in zip(weights, folders)])
    p = load(*folders)
    for method in ["linear", "ties", "magnitude_prune", "dare_linear", "dare_ties", "ties_svd", "magnitude_prune_svd", "dare_linear_svd", "dare_ties_svd"]:
        extra = [] if method == "linear" else ["--density", str(density)]
        extra += ["--seed", "7"] if "dare" in method else []
        rank = ["--rank", "16"] if "svd" in method else []
        out, report = r.run("compose", *args, "--method", method, "--dialect", "peft", *extra, *rank)
        with Masks(7, density, "svd" in method):
            p.add_weighted_adapter(names, weights, method, combination_type=method, density=density, svd_rank=16 if rank else None)
        d = distance(ours(out), deltas(p, method))
        check(f"{method} of dialect peft as PEFT", d < 2e-5, f"off by {d:.1e}")
    d = distance(deltas(p, "linear"), want)
    out, _ = r.run("compose", *args, "--method", "linear")
    e = distance(ours(out), want)
    check("PEFT's linear is not the sum: cross terms", d > 0.3 and e < 1e-6, f"PEFT is off by {d:.2f}, loratool by {e:.1e}")


def mergekit(r):
    from mergekit.merge_methods.base import TensorEntry, TensorGroup
    from mergekit.merge_methods import registry
    folders = [r.adapter(7, r=4, lora_alpha=8), r.adapter(8, r=2, lora_alpha=2)]
    weights, density, seed = [0.7, 1.2], 0.6, 3
    args = [f"{f}={w}" for f, w in zip(folders, weights)]
    parts = [ours(f) for f in folders]
    for method, normalize in [("ties", True), ("dare_linear", False), ("dare_ties", False), ("task_arithmetic", False)]:
        want = {}
        original = torch.bernoulli
        for n in parts[0]:
            queue = [0, 1]
            torch.bernoulli = lambda x: mask(seed, queue.pop(0), n.removeprefix("base_model.model."), x.shape, density)
            group = TensorGroup((TensorEntry("base", torch.zeros_like(parts[0][n]).float(), True), *(TensorEntry(i, d[n].float()) for i, d in enumerate(parts))))
            try:
                want[n] = registry.get(method).merge_group(group, weight={i: w for i, w in enumerate(weights)}, density={0: density, 1: density}, normalize=normalize, rescale="dare" in method, int8_mask=False, **{"lambda": 1.0}).double()
            finally:
                torch.bernoulli = original
        extra = ["--density", str(density), "--dialect", "mergekit", "--rank", "32"] if method != "task_arithmetic" else []
        extra += ["--seed", str(seed)] if "dare" in method else []
        out, _ = r.run("compose", *args, "--method", "sum" if method == "task_arithmetic" else method, *extra)
        d = distance(ours(out), want)
        check(f"{method} of dialect mergekit as mergekit", d < 2e-5, f"off by {d:.1e}")


# ---- where PEFT is wrong

def wrong(r):
    rs = [r.adapter(11, r=4, lora_alpha=8, use_rslora=True), r.adapter(12, r=9, lora_alpha=3, use_rslora=True)]
    want = weighted([(1, ours(rs[0])), (1, ours(rs[1]))])
    p = load(*rs)
    for method in ["cat", "svd"]:
        p.add_weighted_adapter(["a0", "a1"], [1.0, 1.0], method, combination_type=method, svd_rank=13)
        d = distance(deltas(p, method), want)
        e = distance(ours(r.run("compose", *rs, "--method", method, *(["--rank", "13"] if method == "svd" else []))[0]), want)
        check(f"rsLoRA by {method}: PEFT scales by √r once more", d > 1 and e < 1e-6, f"PEFT is off by {d:.2f}, loratool by {e:.1e}")
    bias = [r.adapter(13, r=4, lora_alpha=8, lora_bias=True, target_modules=["q_proj"]), r.adapter(14, r=4, lora_alpha=4, lora_bias=True, target_modules=["q_proj"])]
    p = load(*bias)
    p.add_weighted_adapter(["a0", "a1"], [1.0, 1.0], "cat", combination_type="cat")
    out = PeftModel.from_pretrained(model(), r.run("compose", *bias, "--method", "cat")[0])
    off, right = 0.0, 0.0
    for n, m in layers(p).items():
        want = m.scaling["a0"] * m.lora_B["a0"].bias + m.scaling["a1"] * m.lora_B["a1"].bias
        got = layers(out)[n]
        off = max(off, float((m.scaling["cat"] * m.lora_B["cat"].bias - want).abs().max() / want.abs().max()))
        right = max(right, float((got.scaling["default"] * got.lora_B["default"].bias - want).abs().max() / want.abs().max()))
    check("lora_bias: PEFT loses it", off > 0.1 and right < 1e-6, f"PEFT is off by {off:.2f}, loratool by {right:.1e}")
    dora = [r.adapter(15, r=4, lora_alpha=8, use_dora=True), r.adapter(16, r=4, lora_alpha=8, use_dora=True)]
    p = load(*dora)
    p.add_weighted_adapter(["a0", "a1"], [1.0, 1.0], "sum", combination_type="cat")
    done = subprocess.run([r.binary, "compose", *dora, "-o", r.path("dora")], capture_output=True, text=True)
    check("DoRA: PEFT composes it, loratool refuses with the way out", done.returncode == 4 and "hint:" in done.stderr)


# ---- what PEFT's config has once for all modules

def accepted(r):
    """The results load in PEFT, and merge by loratool to what PEFT computes."""
    biased = lambda: model(attention_bias=True)
    base, ids = r.path("base"), torch.arange(20)[None]
    biased().save_pretrained(base)
    q, mlp = dict(r=4, target_modules=["q_proj"]), dict(r=2, target_modules=["gate_proj", "down_proj"])
    for name, x, y in [
        ("lora_bias beside none", dict(q, lora_bias=True), mlp),
        ("none beside lora_bias", mlp, dict(q, lora_bias=True)),
        ("init_lora_weights beside lora_bias", dict(mlp, init_lora_weights="gaussian"), dict(q, lora_bias=True)),
        ("dropout beside target_parameters", dict(q, lora_dropout=0.1), dict(r=2, target_modules=[], target_parameters=["mlp.up_proj.weight"])),
        ("rsLoRA of two ranks", dict(q, use_rslora=True), dict(mlp, use_rslora=True)),
    ]:
        out, _ = r.run("compose", r.adapter(41, **x), r.adapter(42, **y))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            p = PeftModel.from_pretrained(biased(), out)
        lost = [str(w.message)[:80] for w in said if "missing" in str(w.message).lower()]
        merged, _ = r.run("merge", base, out)
        with torch.no_grad():
            want = p.eval()(ids).logits
            d = (T.AutoModelForCausalLM.from_pretrained(merged).eval()(ids).logits - want).abs().max() / want.abs().max()
        check(f"{name}: loads in PEFT and merges", d < 1e-5 and not lost, f"logits off by {d:.1e} {lost}")


# ---- rerank and plain

def rerank(r):
    folder = r.adapter(21, r=8, lora_alpha=16)
    want = ours(folder)
    for rank in [1, 3]:
        out, report = r.run("rerank", folder, "--rank", str(rank))
        d = distance(ours(out), truncated(want, rank))
        check(f"rerank to {rank} is the truncated SVD", d < 1e-6, f"off by {d:.1e}")
    for share in [0.5, 0.8, 0.95]:
        config, state = convert_to_lora(PeftModel.from_pretrained(model(), folder), rank=share)
        theirs = {n.removesuffix(".lora_A.weight"): len(x) for n, x in state.items() if n.endswith(".lora_A.weight")}
        out, report = r.run("rerank", folder, "--rank", f"energy={share}")
        mine = {f"base_model.model.{m['name']}": m["rank"] for m in report["modules"]}
        check(f"energy={share} has the ranks of PEFT's convert_to_lora", mine == theirs, f"ranks {sorted(set(mine.values()))}")
    for config in [{"use_dora": True}, {"use_rslora": True}, {"lora_bias": True}, {"rank_pattern": {"q_proj": 5}, "alpha_pattern": {"layers.1.mlp.up_proj": 3}}, {"modules_to_save": ["norm"]}, {"trainable_token_indices": {"embed_tokens": [1, 5]}}]:
        folder = r.adapter(22, r=6, lora_alpha=12, **config)
        before, after = (PeftModel.from_pretrained(model(), f) for f in (folder, r.run("rerank", folder, "--rank", "4")[0]))
        d = distance(deltas(after), truncated(deltas(before), 4))
        rest = {n: x for n, x in before.state_dict().items() if "lora_A" not in n and "lora_B" not in n}
        kept = all(torch.equal(x, after.state_dict()[n]) for n, x in rest.items())
        bias = all(torch.allclose(m.scaling["default"] * m.lora_B["default"].bias, layers(after)[n].scaling["default"] * layers(after)[n].lora_B["default"].bias, rtol=1e-6) for n, m in layers(before).items() if m.lora_bias["default"])
        check(f"rerank with {next(iter(config))}", d < 1e-6 and kept and bias, f"off by {d:.1e}")


def train(p, seed):
    g = torch.Generator().manual_seed(seed)
    for name, x in p.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            x.data = x.data + torch.randn(x.shape, generator=g) * 0.02


def plain(r):
    for init, config in [("pissa", {}), ("olora", {}), ("pissa_niter_4", {}), ("corda", {}), ("lora_ga", {}), ("pissa", {"use_rslora": True}), ("pissa", {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 7}})]:
        base = model()
        reference = {n: x.clone() for n, x in base.state_dict().items()}
        more = {"corda_config": CordaConfig(corda_method="kpm")} if init == "corda" else {"lora_ga_config": LoraGAConfig()} if init == "lora_ga" else {}
        c = LoraConfig(r=4, lora_alpha=6, target_modules=ALL, init_lora_weights=init, **config, **more)
        ids = torch.arange(60).reshape(3, 20)
        if init == "corda":
            preprocess_corda(base, c, run_model=lambda: [base(x[None]) for x in ids])
        if init == "lora_ga":
            preprocess_loraga(base, c, lambda: base(ids, labels=ids).loss.backward())
        p = get_peft_model(base, c).eval()
        start, trained = r.path("init"), r.path("trained")
        p.peft_config["default"].init_lora_weights = True
        p.save_pretrained(start)
        p.peft_config["default"].init_lora_weights = init
        train(p, 5)
        p.save_pretrained(trained)
        name = f"{init} {' '.join(config)}".strip()
        out, report = r.run("plain", trained, "--init", start)
        ranks = {m["rank"] for m in report["modules"]}
        with torch.no_grad():
            want = p(ids).logits
            d = (PeftModel.from_pretrained(model(), out)(ids).logits - want).abs().max() / want.abs().max()
        check(f"plain {name} --init gives the trained model on the plain base", d < 1e-5 and max(ranks) <= 8, f"logits off by {d:.1e}, ranks {ranks}")
        if not config:
            p.peft_config["default"].init_lora_weights = True
            converted = r.path("converted")
            p.save_pretrained(converted, path_initial_model_for_weight_conversion=start)
            e = distance(ours(out), ours(converted))
            check(f"plain {name} as PEFT's conversion", e < 1e-5, f"off by {e:.1e}")
        if init in ("pissa", "olora"):
            folder = r.path("base")
            m = model()
            m.save_pretrained(folder)
            based, _ = r.run("plain", trained, "--base", folder)
            e = distance(ours(based), ours(out))
            check(f"plain {name} --base as with --init", e < 1e-4, f"off by {e:.1e}")


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--loratool", required=True)
    a = a.parse_args()
    with tempfile.TemporaryDirectory() as work:
        r = Runner(os.path.abspath(a.loratool), work)
        for part in [exact, elements, mergekit, wrong, accepted, rerank, plain]:
            try:
                part(r)
            except Exception as e:
                check(part.__name__, False, f"{type(e).__name__}: {e}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
