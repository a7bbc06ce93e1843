#!/usr/bin/env python3
"""Trains beside PEFT: the same base, samples, order, initial values and
hyperparameters give losses within 1e-3 of each other over 100 steps in float32;
then each side loads the other's adapter and must compute its logits within 1e-4
of the largest. Tiny random models of every family, and stories260K.

usage: check_train.py --loratool BIN [--only NAME]"""
import argparse, json, os, subprocess, sys, tempfile, warnings
warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # tiny models: threads that spin wait for each other on a busy machine
import numpy as np
import torch
import transformers as T
from peft import LoraConfig, PeftModel, get_peft_model

torch.set_num_threads(2)
HERE = os.path.dirname(os.path.abspath(__file__))
V = 97
FLAT = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
COMMON = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
              vocab_size=V, max_position_embeddings=128)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}


def llama():
    return T.LlamaForCausalLM(T.LlamaConfig(**COMMON, rope_parameters=LLAMA3, tie_word_embeddings=True))


def biased():
    return T.LlamaForCausalLM(T.LlamaConfig(**COMMON, attention_bias=True, mlp_bias=True))


def mistral():
    return T.MistralForCausalLM(T.MistralConfig(**COMMON, sliding_window=6))


def qwen2():
    return T.Qwen2ForCausalLM(T.Qwen2Config(**COMMON, tie_word_embeddings=True))


def qwen3():
    return T.Qwen3ForCausalLM(T.Qwen3Config(**COMMON, head_dim=16))


def gpt2():
    return T.GPT2LMHeadModel(T.GPT2Config(n_embd=48, n_layer=3, n_head=4, n_positions=128, vocab_size=V, bos_token_id=0, eos_token_id=0))


def stories():
    return T.AutoModelForCausalLM.from_pretrained(os.path.join(HERE, "../testdata/stories260k/base"), dtype=torch.float32)


def cases():
    """name, model, options of PEFT, options of loratool"""
    both = lambda targets, **k: dict(r=4, lora_alpha=8, target_modules=targets, **k)
    gpt = ["c_attn", "c_proj", "c_fc"]
    yield "llama", llama, both(FLAT), []
    yield "llama-biased", biased, both(FLAT), []
    yield "mistral", mistral, both(FLAT), []
    yield "qwen2", qwen2, both(FLAT), []
    yield "qwen3", qwen3, both(FLAT), []
    yield "gpt2", gpt2, both(gpt, fan_in_fan_out=True), []
    yield "rslora", llama, both(FLAT, use_rslora=True), ["--rslora"]
    yield "dora", qwen2, both(FLAT, use_dora=True), ["--dora"]
    yield "q,v", llama, both(["q_proj", "v_proj"]), []
    yield "stories260K", stories, both(FLAT), []


def make(model, path):
    """Spreads the weights of a random model, so that attention has something
    to look at, and saves it."""
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 2 or name.endswith("bias"):
                p.add_(torch.randn(p.shape, generator=g) * 0.15)
    model.tie_weights()
    model.save_pretrained(path)


def samples(vocab, n=40):
    g = torch.Generator().manual_seed(11)
    out = []
    for i in range(n):
        length = 8 + int(torch.randint(24, (1,), generator=g))
        ids = [(7 * i + j * j) % 13 + 3 if j % 3 else int(torch.randint(vocab, (1,), generator=g)) for j in range(length)]
        out.append({"input_ids": ids, "labels": [-100 if j < 4 else t for j, t in enumerate(ids)]})
    return out


def train_peft(model, data, steps, batch, lr):
    """The loop of a textbook: AdamW, linear schedule, clipping, mean over the
    learned tokens of the batch; sequences one by one, so without padding."""
    params = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(params, lr=lr, weight_decay=0.01)
    losses = []
    for step in range(steps):
        for g in opt.param_groups:
            g["lr"] = lr * (steps - step) / steps
        at = [(step * batch + i) % len(data) for i in range(batch)]
        total = sum(sum(l != -100 for l in data[i]["labels"][1:]) for i in at)
        loss_sum = 0.0
        opt.zero_grad()
        for i in at:
            ids = torch.tensor([data[i]["input_ids"]])
            logits = model(input_ids=ids).logits[0, :-1]
            labels = torch.tensor(data[i]["labels"][1:])
            loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum") / total
            loss.backward()
            loss_sum += loss.item()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        losses.append(loss_sum)
    return losses


def our_logits(tool, ids, *paths):
    out = subprocess.run([tool, *paths], input=json.dumps(ids).encode(), capture_output=True, check=True).stdout
    return np.frombuffer(out, dtype="<f4").reshape(len(ids), -1)


def apart(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


def check(name, build, peft_options, our_options, args, tool, tmp):
    torch.manual_seed(1)
    base = os.path.join(tmp, "base")
    make(build(), base) if name != "stories260K" else build().save_pretrained(base)
    fresh = lambda: T.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").eval()
    model = get_peft_model(fresh(), LoraConfig(**peft_options)).eval()
    start, theirs, ours = (os.path.join(tmp, n) for n in ("start", "theirs", "ours"))
    model.save_pretrained(start)
    data = samples(model.config.vocab_size)
    jsonl = os.path.join(tmp, "data.jsonl")
    with open(jsonl, "w") as f:
        f.writelines(json.dumps(d) + "\n" for d in data)
    steps, batch, lr = 100, 4, 3e-3
    want = train_peft(model, data, steps, batch, lr)
    model.save_pretrained(theirs)
    with torch.no_grad():
        probe = data[0]["input_ids"]
        their_own = model(input_ids=torch.tensor([probe])).logits[0].numpy()
    targets = ",".join(peft_options["target_modules"])
    run = subprocess.run(
        [args.loratool, "train", "--base", base, "--data", jsonl, "-o", ours, "--init", start, "--rank", "4", "--alpha", "8",
         "--targets", targets, "--steps", str(steps), "--batch", str(batch), "--lr", str(lr), "--weight-decay", "0.01",
         "--no-shuffle", *our_options], capture_output=True, text=True)
    if run.returncode:
        return [f"train: exit {run.returncode}: {run.stderr.strip()}"]
    got = [json.loads(line)["loss"] for line in open(ours + ".metrics.jsonl")]
    faults = []
    worst = max(abs(g - w) / abs(w) for g, w in zip(got, want))
    if len(got) != steps or not worst <= 1e-3:
        faults.append(f"losses differ by {worst:.2e}")
    if not want[-1] < 0.9 * want[0]:
        faults.append(f"the loss did not fall: {want[0]:.3f} to {want[-1]:.3f}")
    here = our_logits(tool, probe, base, ours)
    with torch.no_grad():
        there = PeftModel.from_pretrained(fresh(), ours).eval()(input_ids=torch.tensor([probe])).logits[0].numpy()
    for what, d in (("our adapter in PEFT", apart(there, here)), ("PEFT's adapter in ours", apart(our_logits(tool, probe, base, theirs), their_own))):
        if not d <= 1e-4:
            faults.append(f"{what}: logits differ by {d:.2e}")
    print(f"{'FAIL' if faults else 'ok':4} {name}: loss {want[0]:.3f} to {want[-1]:.3f}, within {worst:.1e}; ours in PEFT {apart(there, here):.1e}, "
          f"PEFT's in ours {apart(our_logits(tool, probe, base, theirs), their_own):.1e}")
    return faults


def halves(name, build, peft_options, args, tmp):
    """A base in bfloat16: with --precision f32 the losses are those of PEFT in
    float32 on the same weights; without, where activations are rounded, they
    are no further from them than those of PEFT in bfloat16 are."""
    torch.manual_seed(1)
    base, start, jsonl = (os.path.join(tmp, n) for n in ("base", "start", "data.jsonl"))
    make(build().to(torch.bfloat16), base)
    fresh = lambda dtype: T.AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="eager").eval()
    data = samples(V)
    with open(jsonl, "w") as f:
        f.writelines(json.dumps(d) + "\n" for d in data)
    steps, batch, lr = 40, 4, 3e-3
    get_peft_model(fresh(torch.float32), LoraConfig(**peft_options)).save_pretrained(start)
    losses = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = PeftModel.from_pretrained(fresh(dtype), start, is_trainable=True).to(dtype).eval()
        losses[dtype] = train_peft(model, data, steps, batch, lr)
    for precision in ("f32", "bf16"):
        out = os.path.join(tmp, precision)
        run = subprocess.run(
            [args.loratool, "train", "--base", base, "--data", jsonl, "-o", out, "--init", start, "--rank", "4", "--alpha", "8",
             "--targets", ",".join(peft_options["target_modules"]), "--steps", str(steps), "--batch", str(batch), "--lr", str(lr),
             "--weight-decay", "0.01", "--no-shuffle", "--precision", precision], capture_output=True, text=True)
        if run.returncode:
            return [f"train --precision {precision}: exit {run.returncode}: {run.stderr.strip()}"]
        losses[precision] = [json.loads(line)["loss"] for line in open(out + ".metrics.jsonl")]
    want = np.array(losses[torch.float32])
    off = {k: np.abs(np.array(v) - want) / want for k, v in losses.items()}
    print(f"ok   {name}: loss {want[0]:.3f} to {want[-1]:.3f}; off float32 by {off['f32'].max():.1e} exact, {off['bf16'].mean():.1e} rounded "
          f"(largest {off['bf16'].max():.1e}), {off[torch.bfloat16].mean():.1e} PEFT in bfloat16 (largest {off[torch.bfloat16].max():.1e})")
    faults = []
    if not off["f32"].max() <= 1e-3:
        faults.append(f"losses differ by {off['f32'].max():.2e} with --precision f32")
    if not off["bf16"].mean() <= off[torch.bfloat16].mean():
        faults.append("rounded activations are further from float32 than PEFT in bfloat16")
    return faults


def prove(name, build, options, args, tmp):
    """Runs that end in their own proof: the output read again and its merge
    are the trained model, or the exit status says so."""
    torch.manual_seed(2)
    base, jsonl = os.path.join(tmp, "base"), os.path.join(tmp, "data.jsonl")
    model = build()
    make(model, base)
    with open(jsonl, "w") as f:
        f.writelines(json.dumps(d) + "\n" for d in samples(V))
    run = subprocess.run([args.loratool, "train", "--base", base, "--data", jsonl, "-o", os.path.join(tmp, "out"), "--steps", "20",
                          "--lr", "1e-3", "--batch", "4", "--no-shuffle", "--json", *options], capture_output=True, text=True)
    if run.returncode:
        return [f"exit {run.returncode}: {run.stderr.strip()}"]
    r = json.loads(run.stdout)
    steps = [p["step"] for p in r["proof"]]
    print(f"ok   {name}: loss {r['first_loss']:.3f} to {r['last_loss']:.3f}; " + ", ".join(f"{p['step']}: {p['found']}" for p in r["proof"]))
    wanted = ["reloaded"] if "pre" in name or "adapterh" in name else ["reloaded", "merged"]
    losses = [json.loads(line)["loss"] for line in open(os.path.join(tmp, "out.metrics.jsonl"))]
    learned = losses[10] < losses[0]  # of the same four samples
    return [] if steps[-len(wanted):] == wanted and learned else [f"proof {steps}, losses {losses}"]


def proofs():
    for family in (gpt2, qwen2):
        for method in ("bitfit", "ft", "preembed", "prelayer", "adapterh"):
            yield f"{family.__name__} {method}", family, ["--method", method]
    for family in (gpt2, mistral):
        yield f"{family.__name__} pissa", family, ["--init", "pissa", "--targets", "all-linear"]
        yield f"{family.__name__} dora", family, ["--dora", "--targets", "all-linear"]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    p.add_argument("--only")
    args = p.parse_args()
    passed, failed = 0, 0
    with tempfile.TemporaryDirectory() as tools:
        tool = os.path.join(tools, "logits")
        subprocess.run(["go", "build", "-o", tool, "./interop/logits"], cwd=os.path.join(HERE, ".."), check=True)
        for name, build, peft_options, our_options in cases():
            if args.only and args.only != name:
                continue
            with tempfile.TemporaryDirectory() as tmp:
                faults = check(name, build, peft_options, our_options, args, tool, tmp)
            for f in faults:
                print(f"FAIL {name}: {f}")
            passed, failed = passed + (not faults), failed + bool(faults)
        for name, build in (("llama bf16", llama),):
            if args.only and args.only != name:
                continue
            with tempfile.TemporaryDirectory() as tmp:
                faults = halves(name, build, dict(r=4, lora_alpha=8, target_modules=FLAT), args, tmp)
            for f in faults:
                print(f"FAIL {name}: {f}")
            passed, failed = passed + (not faults), failed + bool(faults)
        for name, build, options in proofs():
            if args.only and args.only != name:
                continue
            with tempfile.TemporaryDirectory() as tmp:
                faults = prove(name, build, options, args, tmp)
            for f in faults:
                print(f"FAIL {name}: {f}")
            passed, failed = passed + (not faults), failed + bool(faults)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
