#!/usr/bin/env python3
"""Adapters that loratool extracts: PEFT loads them and computes what the tuned
model does, within the certificate; merge, extract, merge gives the tuned model
back; the error is that of Eckart and Young; the same bytes come out on every
instruction set and for every number of threads.

usage: check_extract.py --loratool BIN [--only PART,...]"""
import argparse, hashlib, json, os, subprocess, tempfile, warnings
warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")
import torch
import transformers as T
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

torch.set_num_threads(2)
V = 67
RANK = 4


def llama():
    return T.LlamaForCausalLM(T.LlamaConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=V, tie_word_embeddings=False))


def llama_tied():
    return T.LlamaForCausalLM(T.LlamaConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=V, tie_word_embeddings=True))


def gpt2():
    return T.GPT2LMHeadModel(T.GPT2Config(n_embd=48, n_layer=2, n_head=4, vocab_size=V, n_positions=32, bos_token_id=0, eos_token_id=0))


def bert():
    return T.BertForSequenceClassification(T.BertConfig(hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=V, max_position_embeddings=32))


def mixtral():
    return T.MixtralForCausalLM(T.MixtralConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, num_local_experts=4, vocab_size=V))


def resnet():
    return T.ResNetForImageClassification(T.ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[1, 1], num_labels=3))


# model: the modules that the change is made of
FAMILIES = {
    llama: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens", "lm_head"],
    llama_tied: ["q_proj", "down_proj", "embed_tokens"],
    gpt2: ["c_attn", "c_proj", "c_fc", "wpe"],
    bert: ["query", "key", "dense", "position_embeddings"],
    mixtral: ["q_proj", "v_proj"],
    resnet: ["convolution"],
}


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, ok, what=""):
        self.passed, self.failed = self.passed + bool(ok), self.failed + (not ok)
        print(("ok   " if ok else "FAIL ") + name + (" " + what if what else ""), flush=True)


def run(*args, **env):
    p = subprocess.run([str(a) for a in args], capture_output=True, text=True, env={**os.environ, **env})
    if p.returncode:
        raise RuntimeError(f"{' '.join(map(str, args))}: exit {p.returncode}: {p.stderr.strip()}")
    return p.stdout


def inputs(model):
    torch.manual_seed(5)
    if "ResNet" in type(getattr(model, "get_base_model", lambda: model)()).__name__:
        return {"pixel_values": torch.randn(2, 3, 32, 32)}
    return {"input_ids": torch.randint(0, V, (2, 12))}


def logits(model):
    model = model.float().eval()
    with torch.no_grad():
        return model(**inputs(model)).logits


def randomize(model, targets):
    """Give the model a LoRA of rank RANK on targets that moves its logits."""
    torch.manual_seed(3)
    p = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets))
    for name, w in p.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(w, std=0.15)
    return p


def family(c, binary, make, targets, work):
    name = make.__name__
    torch.manual_seed(1)
    base, tuned, out = (os.path.join(work, name, d) for d in ("base", "tuned", "out"))
    make().save_pretrained(base)
    cls = type(make())
    merged = randomize(cls.from_pretrained(base), targets).merge_and_unload()
    if name == "llama_tied":
        merged.lm_head.weight = merged.model.embed_tokens.weight
    merged.save_pretrained(tuned)
    want = logits(cls.from_pretrained(tuned))
    plain = logits(cls.from_pretrained(base))
    report = json.loads(run(binary, "extract", base, tuned, "-o", out, "--rank", RANK, "--json"))
    c.check(f"{name}: carried", report["carried"] > 1 - 1e-9, f"error {report['error']:.2e}, {len(report['modules'])} modules")
    loaded = PeftModel.from_pretrained(cls.from_pretrained(base), out)
    keys = [k for k in loaded.state_dict() if "lora_" in k]
    pairs = len(report["modules"]) + bool(report.get("tied_head"))
    c.check(f"{name}: PEFT has every module", len(keys) == 2 * pairs, f"{len(keys)} tensors for {pairs} modules")
    moved, off = (want - plain).abs().max().item(), (logits(loaded) - want).abs().max().item()
    # float32 through a few layers: far below what the change did.
    c.check(f"{name}: PEFT's logits", off < 1e-4 * max(1, moved) and moved > 1e-2, f"off by {off:.1e}, the change moves them by {moved:.1e}")
    back = os.path.join(work, name, "back")
    run(binary, "merge", base, out, "-o", back)
    off = (logits(cls.from_pretrained(back)) - want).abs().max().item()
    c.check(f"{name}: merged again", off < 1e-4 * max(1, moved), f"off by {off:.1e}")


def lossy(c, binary, work):
    """A 16-bit tuned model: every module as near as its certificate says, by torch."""
    base, tuned, out = (os.path.join(work, "lossy", d) for d in ("base", "tuned", "out"))
    torch.manual_seed(2)
    llama().bfloat16().save_pretrained(base)
    m = T.LlamaForCausalLM.from_pretrained(base).float()
    with torch.no_grad():
        for n, w in m.named_parameters():
            if w.ndim == 2:
                w += 0.02 * w.std() * torch.randn_like(w)  # no low rank
            elif w.ndim == 1:
                w += 0.01
    m.bfloat16().save_pretrained(tuned)
    report = json.loads(run(binary, "extract", base, tuned, "-o", out, "--rank", "8", "--modules-to-save", "*norm", "--dtype", "bf16", "--json"))
    b, t = (load_file(os.path.join(d, "model.safetensors")) for d in (base, tuned))
    f = load_file(os.path.join(out, "adapter_model.safetensors"))
    worst, best = 0, 0
    for q in report["modules"]:
        x = t[q["tensor"]].double() - b[q["tensor"]].double()
        p = "base_model.model." + q["module"]
        if q["kind"] == "embedding":
            d = (f[p + ".lora_embedding_B"].double() @ f[p + ".lora_embedding_A"].double()).T
        else:
            d = f[p + ".lora_B.weight"].double() @ f[p + ".lora_A.weight"].double()
        error = ((x - d).norm() / x.norm()).item()
        s = torch.linalg.svdvals(x)
        worst = max(worst, abs(error - q["error"]) / error)
        best = max(best, error / (s[8:].norm() / s.norm()).item())
    c.check("bf16: certificates are true", worst < 1e-5, f"off by {worst:.1e}")
    c.check("bf16: within 0.5 % of Eckart and Young", best < 1.005, f"{best:.5f} of the optimum, factors rounded to bf16")
    c.check("bf16: norms are saved whole", len(report["saved"]) == 5 and not report.get("left_out"))
    loaded = PeftModel.from_pretrained(T.LlamaForCausalLM.from_pretrained(base), out)
    same = torch.equal(loaded.state_dict()["base_model.model.model.norm.modules_to_save.default.weight"], t["model.norm.weight"])
    c.check("bf16: PEFT has the saved norms", same)


SPECTRA = {
    "power law": lambda i: i ** -0.5,
    "exponential": lambda i: torch.exp(-i / 40),
    "spiked": lambda i: torch.where(i <= 16, 1.0, 0.05),
    "flat": lambda i: torch.ones_like(i),
    "clustered": lambda i: 2.0 ** -torch.floor((i - 1) / 10),
}


def optimum(c, binary, work):
    """The error at each rank beside that of Eckart and Young, by LAPACK in float64."""
    base, tuned, best = {}, {}, {}
    torch.manual_seed(4)
    for m, n in ((1024, 1024), (8192, 512), (512, 8192)):
        k = min(m, n)
        u, v = (torch.linalg.qr(torch.randn(d, k, dtype=torch.float64))[0] for d in (m, n))
        w = 0.02 * torch.randn(m, n)
        for kind, value in SPECTRA.items():
            name = f"{kind} {m}x{n}.weight"
            base[name], tuned[name] = w.clone(), (w.double() + (u * value(torch.arange(1, k + 1, dtype=torch.float64))) @ v.T).float()
            best[name] = torch.linalg.svdvals(tuned[name].double() - w.double())
    os.makedirs(os.path.join(work, "optimum"))
    pair = [os.path.join(work, "optimum", f + ".safetensors") for f in ("base", "tuned")]
    save_file(base, pair[0]), save_file(tuned, pair[1])
    worst = {}
    for rank in (4, 8, 16, 32, 64, 128):
        out = os.path.join(work, "optimum", str(rank))
        report = json.loads(run(binary, "extract", *pair, "-o", out, "--rank", rank, "--json"))
        f = load_file(os.path.join(out, "adapter_model.safetensors"))
        for q in report["modules"]:
            x, s = tuned[q["tensor"]].double() - base[q["tensor"]].double(), best[q["tensor"]]
            p = "base_model.model." + q["module"]
            error = (x - f[p + ".lora_B.weight"].double() @ f[p + ".lora_A.weight"].double()).norm()
            # What factors in float32 cannot carry: 4e-7 of the norm.
            quotient = (error / torch.hypot(s[rank:].norm(), 4e-7 * s.norm())).item()
            key = q["tensor"].split()[-1].removesuffix(".weight")
            worst[key] = max(worst.get(key, (0, "")), (quotient, f"{q['module'].rsplit(' ', 1)[0]} at rank {rank}"))
            worst["certificate"] = max(worst.get("certificate", (0, "")), (abs((error / x.norm()).item() - q["error"]) / max(q["error"], 1e-6), q["module"]))
    off, where = worst.pop("certificate")
    c.check("optimum: certificates are true", off < 1e-3, f"off by {off:.1e}, {where}")
    for shape, (quotient, where) in worst.items():
        c.check(f"optimum: {shape}", quotient <= 1.005, f"at most {quotient:.5f} of it, {where}")


def same_bytes(c, binary, work):
    base, tuned = (os.path.join(work, "lossy", d) for d in ("base", "tuned"))
    sums = set()
    for i, env in enumerate([{}, {"GOMAXPROCS": "1"}, {"GOMAXPROCS": "2"}, {"GOMAXPROCS": "7"}, {"GODEBUG": "cpu.avx512f=off"},
                             {"GODEBUG": "cpu.avx512f=off,cpu.avx2=off"}, {"GODEBUG": "cpu.avx512f=off,cpu.avx2=off,cpu.fma=off", "GOMAXPROCS": "7"}]):
        out = os.path.join(work, f"same{i}")
        run(binary, "extract", base, tuned, "-o", out, "--rank", "8", **env)
        with open(os.path.join(out, "adapter_model.safetensors"), "rb") as f:
            sums.add(hashlib.sha256(f.read()).hexdigest())
    c.check("the same bytes on 7 settings", len(sums) == 1)


def auto(c, binary, work):
    """A LoRA of rank 16 merged in 16 bits: --rank auto finds 16 in every module."""
    for dtype, relative in ((torch.bfloat16, 3e-3), (torch.bfloat16, 1e-2), (torch.float16, 1e-3)):
        name = f"auto {dtype} {relative:g}"
        base, tuned = (os.path.join(work, name.replace(" ", "-"), d) for d in ("base", "tuned"))
        torch.manual_seed(7)
        config = T.LlamaConfig(hidden_size=512, intermediate_size=768, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=4, vocab_size=V)
        T.LlamaForCausalLM(config).to(dtype).save_pretrained(base)
        m = T.LlamaForCausalLM.from_pretrained(base).float()
        with torch.no_grad():
            for n, w in m.named_parameters():
                if "proj" in n and "k_proj" not in n:
                    d = torch.randn(w.shape[0], 16) @ torch.randn(16, w.shape[1])
                    w += relative * w.norm() / d.norm() * d
        m.to(dtype).save_pretrained(tuned)
        report = json.loads(run(binary, "diff", base, tuned, "--json"))
        ranks = [q["rank"] for q in report["changed"]]
        c.check(name, ranks == [16] * 6 and not any(q.get("full_rank") for q in report["changed"]), f"ranks {ranks}, {report['unchanged']} unchanged")
        out, again = (os.path.join(work, name.replace(" ", "-"), d) for d in ("out", "stochastic"))
        run(binary, "extract", base, tuned, "-o", out)
        run(binary, "merge", base, out, "-o", again, "--rounding", "stochastic", "--seed", "1")
        report = json.loads(run(binary, "diff", base, again, "--json"))
        ranks = [q["rank"] for q in report["changed"]]
        c.check(name + " stochastic", ranks == [16] * 6 and not any(q.get("full_rank") for q in report["changed"]), f"ranks {ranks}")
        with torch.no_grad():
            m = T.LlamaForCausalLM.from_pretrained(base).float()
            for n, w in m.named_parameters():
                if "proj" in n:
                    d = torch.randn_like(w)
                    w += relative * w.norm() / d.norm() * d
        dense = os.path.join(work, name.replace(" ", "-"), "dense")
        m.to(dtype).save_pretrained(dense)
        report = json.loads(run(binary, "diff", base, dense, "--json"))
        full = [q["tensor"] for q in report["changed"] if q.get("full_rank")]
        c.check(name + " dense", len(full) == 7, f"{len(full)} of 7 of full rank")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    p.add_argument("--only", help="families, lossy, auto or optimum, separated by commas")
    a = p.parse_args()
    binary = os.path.abspath(a.loratool)
    c = Checks()
    with tempfile.TemporaryDirectory() as work:
        parts = {m.__name__: lambda m=m, t=t: family(c, binary, m, t, work) for m, t in FAMILIES.items()}
        parts["lossy"] = lambda: (lossy(c, binary, work), same_bytes(c, binary, work))
        parts["auto"] = lambda: auto(c, binary, work)
        parts["optimum"] = lambda: optimum(c, binary, work)
        for name, part in parts.items():
            if a.only and name not in a.only.split(","):
                continue
            try:
                part()
            except Exception as e:  # one part must not hide the others
                c.check(name, False, repr(e))
    print(f"{c.passed} passed, {c.failed} failed")
    raise SystemExit(1 if c.failed else 0)


main()
