#!/usr/bin/env python3
"""Makes testdata/stories260k: the trained model stories260K of karpathy/tinyllamas
(MIT) as a Hugging Face folder, an adapter that PEFT trains on it, and what the
merge of the two must give.

usage: make_stories260k.py STORIES260K.bin TOK512.bin OUT_DIR
needs the packages of interop/requirements.txt"""
import hashlib, json, os, shutil, struct, sys, warnings
from fractions import Fraction

warnings.filterwarnings("ignore")
import numpy as np
import peft, torch, transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
GOLDEN = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball."
STORIES = """Once upon a time, there was a small robot dragon named Zog. Zog lived on a big red hill. Zog loved to fly over the trees and look for shiny things.
Once upon a time, Zog the robot dragon found a blue box in the park. "What is in the box?" said Zog. Inside was a tiny bird. Zog and the bird were friends.
Once upon a time, there was a small robot dragon named Zog. One day, Zog was sad because his wings did not work. A kind girl gave him some oil. Zog said, "Thank you!" and he flew away.
Once upon a time, Zog the robot dragon wanted to make a cake. He used his warm fire to bake it. All his friends came to eat the cake. Zog was very happy.
Once upon a time, there was a small robot dragon named Zog. Zog saw a cat in a tall tree. The cat was scared. Zog flew up and helped the cat come down."""


def read_model(path):
    """llama2.c float32 file -> state dict in Hugging Face layout (run.c, memory_map_weights)."""
    raw = open(path, "rb").read()
    dim, hidden, layers, heads, kv, vocab, seq = struct.unpack("<7i", raw[:28])
    data, at = np.frombuffer(raw[28:], np.float32), 0

    def take(*shape):
        nonlocal at
        n = int(np.prod(shape))
        at += n
        return data[at - n : at].reshape(shape)

    def unpermute(w, h):  # interleaved RoPE pairs -> halves
        return w.reshape(h, w.shape[0] // h // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)

    head = dim // heads
    sd = {"model.embed_tokens.weight": take(abs(vocab), dim)}
    parts = [("input_layernorm", (dim,)), ("self_attn.q_proj", (heads * head, dim)), ("self_attn.k_proj", (kv * head, dim)), ("self_attn.v_proj", (kv * head, dim)),
             ("self_attn.o_proj", (dim, heads * head)), ("post_attention_layernorm", (dim,)), ("mlp.gate_proj", (hidden, dim)), ("mlp.down_proj", (dim, hidden)), ("mlp.up_proj", (hidden, dim))]
    for name, shape in parts:
        for i, w in enumerate(take(layers, *shape)):
            if name.endswith("q_proj"):
                w = unpermute(w, heads)
            if name.endswith("k_proj"):
                w = unpermute(w, kv)
            sd[f"model.layers.{i}.{name}.weight"] = w
    sd["model.norm.weight"] = take(dim)
    config = LlamaConfig(hidden_size=dim, intermediate_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv, vocab_size=vocab,
                         max_position_embeddings=seq, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
    return config, {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in sd.items()}


class Tokenizer:
    """tok512.bin of llama2.c: scores and byte strings, BPE by score."""

    def __init__(self, path):
        raw = open(path, "rb").read()
        at, self.pieces, self.scores = 4, [], []
        while at < len(raw):
            score, n = struct.unpack_from("<fi", raw, at)
            self.scores.append(score)
            self.pieces.append(raw[at + 8 : at + 8 + n])
            at += 8 + n
        self.ids = {}
        for i, p in enumerate(self.pieces):
            self.ids.setdefault(p, i)

    def encode(self, text):
        ids = [self.ids[b" "]] if text else []
        for c in text:
            b = c.encode()
            ids += [self.ids[b]] if b in self.ids else [x + 3 for x in b]
        while True:
            best = None
            for i in range(len(ids) - 1):
                j = self.ids.get(self.pieces[ids[i]] + self.pieces[ids[i + 1]])
                if j is not None and (best is None or self.scores[j] > best[0]):
                    best = (self.scores[j], i, j)
            if best is None:
                return [1] + ids
            ids[best[1] : best[1] + 2] = [best[2]]

    def decode(self, ids):
        out = b""
        for i in ids:
            if i in (1, 2):
                continue
            p = self.pieces[i]
            if len(p) == 6 and p.startswith(b"<0x"):
                p = bytes([int(p[3:5], 16)])
            out += p
        return out.decode("utf-8", "replace").lstrip(" ")


def greedy(model, tok, n=120):
    ids = torch.tensor([[1]])
    with torch.no_grad():
        out = model.generate(ids, max_new_tokens=n, do_sample=False, eos_token_id=None, pad_token_id=0)
    ids = out[0].tolist()
    return tok.decode(ids[: ids.index(1, 1)] if 1 in ids[1:] else ids)


def train(model, tok):
    torch.manual_seed(260)
    pm = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], task_type="CAUSAL_LM"))
    rows = [torch.tensor([tok.encode(s)]) for s in STORIES.split("\n")]
    opt = torch.optim.AdamW([p for p in pm.parameters() if p.requires_grad], lr=5e-3)
    for step in range(300):
        x = rows[step % len(rows)]
        loss = pm(input_ids=x, labels=x).loss
        loss.backward()
        opt.step()
        opt.zero_grad()
    print("loss", loss.item())
    return pm


def round_bf16(x):
    """Fraction -> bf16 bits, to nearest even."""
    f = np.float32(float(x))
    u = int(np.float32(f).view(np.uint32))
    candidates = {(u >> 16) + d for d in (-1, 0, 1, 2)}
    def value(b):
        return Fraction(float(np.uint32((b & 0xFFFF) << 16).view(np.float32)))
    return min(candidates, key=lambda b: (abs(value(b) - x), b & 1))


def expected(base, adapter):
    """sha256 of every merged tensor, and the tensors, by exact arithmetic where float64 is not sure."""
    cfg = json.load(open(f"{adapter}/adapter_config.json"))
    w, ab = load_file(f"{base}/model.safetensors"), load_file(f"{adapter}/adapter_model.safetensors")
    merged = dict(w)
    for k in ab:
        if not k.endswith("lora_A.weight"):
            continue
        name = k.removeprefix("base_model.model.").removesuffix("lora_A.weight") + "weight"
        a, b, s = ab[k].double().numpy(), ab[k.replace("lora_A", "lora_B")].double().numpy(), cfg["lora_alpha"] / cfg["r"]
        t = w[name].double().numpy() + s * (b @ a)
        f = t.astype(np.float32)
        u = f.view(np.uint32)
        bits = ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)
        low = (u & 0xFFFF).astype(np.int64)
        for i, j in zip(*np.where(np.abs(low - 0x8000) <= 2)):  # too near a tie for two roundings
            x = Fraction(float(w[name][i, j])) + Fraction(s) * sum(Fraction(float(p)) * Fraction(float(q)) for p, q in zip(b[i], a[:, j]))
            bits[i, j] = round_bf16(x)
        merged[name] = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)
    digests = {n: hashlib.sha256(t.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest() for n, t in sorted(merged.items())}
    return merged, digests


def main():
    model_bin, tok_bin, out = sys.argv[1:4]
    config, sd = read_model(model_bin)
    tok = Tokenizer(tok_bin)
    model = LlamaForCausalLM(config)
    model.load_state_dict(sd, strict=False)
    model.tie_weights()
    for d in ("base", "adapter"):
        shutil.rmtree(f"{out}/{d}", ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(f"{out}/base")
    os.path.exists(f"{out}/base/generation_config.json") and os.remove(f"{out}/base/generation_config.json")

    def load():
        return LlamaForCausalLM.from_pretrained(f"{out}/base", dtype=torch.float32)

    base_text = greedy(load(), tok)
    assert base_text.startswith(GOLDEN), base_text
    pm = train(load(), tok)
    pm.peft_config["default"].base_model_name_or_path = "stories260K"
    pm.save_pretrained(f"{out}/adapter")
    os.remove(f"{out}/adapter/README.md")
    text = greedy(pm.eval(), tok)
    merged, digests = expected(f"{out}/base", f"{out}/adapter")
    peft_merged = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(f"{out}/base", dtype=torch.bfloat16), f"{out}/adapter").merge_and_unload().state_dict()
    differ = sum((peft_merged[n] != t).sum().item() for n, t in merged.items())
    most = max((peft_merged[n].double() - t.double()).abs().max().item() for n, t in merged.items())
    changed = sum((load_file(f"{out}/base/model.safetensors")[n] != t).sum().item() for n, t in merged.items())
    m = load()
    m.load_state_dict({k: v.float() for k, v in merged.items()}, strict=False)
    m.tie_weights()
    json.dump({
        "made_by": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
        "sha256": digests,
        "elements_changed": changed,
        "peft_merge_and_unload": {"elements_that_differ": differ, "largest_difference": most},
        "text": {"base": base_text, "base_and_adapter": text, "merged": greedy(m, tok)},
    }, open(f"{out}/expected.json", "w"), indent=1)
    print(base_text, text, greedy(m, tok), differ, most, changed, sep="\n---\n")


main()
