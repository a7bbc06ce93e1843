#!/usr/bin/env python3
"""Times training beside PEFT + torch, same machine, same run: the shape of
SmolLM2-135M with random weights, LoRA r=16 on all linear layers, batch 4 x 256,
float32 and bfloat16. Prints one markdown section.

usage: measure_train.py --loratool BIN [--steps N] [--rounds N] [--dir DIR] [--only f32|bf16] [--ours]"""
import argparse, json, os, resource, subprocess, sys, tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
BATCH, LENGTH, RANK = 4, 256, 16
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make(path, dtype):
    import torch
    import transformers as T
    if os.path.exists(os.path.join(path, "config.json")):
        return
    torch.manual_seed(0)
    T.LlamaForCausalLM(T.LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=49152, max_position_embeddings=8192, rms_norm_eps=1e-5, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0})).to(dtype).save_pretrained(path)


def peft(path, dtype, steps, threads):
    """Runs in a process of its own, so that its memory is its own."""
    import time
    import torch
    import transformers as T
    from peft import LoraConfig, get_peft_model
    torch.set_num_threads(threads)
    model = T.AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype))
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=TARGETS))
    if dtype == "bfloat16":
        model = model.to(torch.bfloat16)
    model.train()
    opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    ids = torch.randint(49152, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1))
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        opt.step()
        opt.zero_grad()
        times.append(time.perf_counter() - start)
    print(json.dumps({"seconds": min(times), "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "loss": loss.item()}))


def ours(args, path, tmp, steps):
    import random
    r = random.Random(1)
    data = os.path.join(tmp, "data.jsonl")
    with open(data, "w") as f:
        for _ in range(BATCH):
            f.write(json.dumps({"input_ids": [r.randrange(49152) for _ in range(LENGTH)]}) + "\n")
    out = os.path.join(tmp, "out")
    start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    p = subprocess.Popen([args.loratool, "train", "--base", path, "--data", data, "-o", out, "--rank", str(RANK), "--alpha", str(2 * RANK),
                          "--targets", "all-linear", "--batch", str(BATCH), "--steps", str(steps + 1), "--stop-at", str(steps), "--lr", "1e-4",
                          "--threads", "2", "--force"], stderr=subprocess.PIPE, text=True)
    _, status, usage = os.wait4(p.pid, 0)
    if status:
        sys.exit(p.stderr.read())
    times = [json.loads(line)["step_ms"] / 1000 for line in open(out + ".metrics.jsonl")]
    return {"seconds": min(times), "rss": usage.ru_maxrss * 1024}


def processor(args, path, dtype, tmp):
    """Seconds of processor time of a step on one thread, which neighbours on
    the machine disturb least: the difference of a long run and a short one."""
    def once(command):
        p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, OMP_NUM_THREADS="1"))
        _, status, usage = os.wait4(p.pid, 0)
        if status:
            sys.exit(f"{command[0]}: status {status}")
        return usage.ru_utime + usage.ru_stime
    data, out = os.path.join(tmp, "data.jsonl"), os.path.join(tmp, "out1")
    mine = lambda n: [args.loratool, "train", "--base", path, "--data", data, "-o", out, "--rank", str(RANK), "--alpha", str(2 * RANK), "--targets",
                      "all-linear", "--batch", str(BATCH), "--steps", "99", "--stop-at", str(n), "--lr", "1e-4", "--threads", "1", "--force"]
    theirs = lambda n: [sys.executable, __file__, "--steps", str(n), "--threads", "1", "--peft", path, dtype]
    short, long = 1, 1 + args.steps
    return [(once(c(long)) - once(c(short))) / args.steps for c in (mine, theirs)]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool")
    p.add_argument("--steps", type=int, default=4)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--dir", "--work")
    p.add_argument("--only", choices=["f32", "bf16"])
    p.add_argument("--threads", type=int, default=2, help=argparse.SUPPRESS)
    p.add_argument("--processor", action="store_true", help="processor time on one thread in place of throughput")
    p.add_argument("--ours", action="store_true", help="leave PEFT out")
    p.add_argument("--peft", nargs=2, help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.peft:
        return peft(*args.peft, args.steps, args.threads)
    import torch
    print(f"## Training, SmolLM2-135M shape, LoRA r={RANK} on all linear, {BATCH} x {LENGTH} tokens, 2 threads\n")
    print("| weights | PEFT + torch tok/s | loratool tok/s | ratio | PEFT memory | loratool memory | ratio |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=args.dir) as tmp:
        for name, dtype in (("f32", "float32"), ("bf16", "bfloat16")):
            if args.only and args.only != name:
                continue
            path = os.path.join(args.dir or tmp, "smollm2-" + name)
            make(path, getattr(torch, dtype))
            n = BATCH * LENGTH
            if args.processor:
                ours(args, path, tmp, 1)  # writes the data
                mine, other = processor(args, path, dtype, tmp)
                print(f"| {name}, of one thread's time | {n / other:.0f} | {n / mine:.0f} | {other / mine:.2f} | | | |", flush=True)
                continue
            mine, other = [], []
            for _ in range(args.rounds):  # in turn, so that neighbours disturb both alike
                mine.append(ours(args, path, tmp, args.steps))
                if not args.ours:
                    text = subprocess.run([sys.executable, __file__, "--steps", str(args.steps), "--peft", path, dtype],
                                          capture_output=True, text=True, check=True).stdout
                    other.append(json.loads(text.splitlines()[-1]))
            mine = min(mine, key=lambda r: r["seconds"])
            if args.ours:
                print(f"| {name} | | {n / mine['seconds']:.0f} | | | {mine['rss'] / 1e9:.2f} GB | |")
                continue
            other = min(other, key=lambda r: r["seconds"])
            print(f"| {name} | {n / other['seconds']:.0f} | {n / mine['seconds']:.0f} | {other['seconds'] / mine['seconds']:.2f} | "
                  f"{other['rss'] / 1e9:.2f} GB | {mine['rss'] / 1e9:.2f} GB | {mine['rss'] / other['rss']:.2f} |")


if __name__ == "__main__":
    sys.exit(main())
