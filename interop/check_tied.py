#!/usr/bin/env python3
"""Adapters for one or several of the parameters that a model ties, merged by
loratool and loaded by transformers: the logits must be those of PEFT's forward
pass, where each parameter has its own delta. The models are of classes that tie
more than a head to an embedding, or by unusual names; the base is saved with
what is tied stored once, and with all of it.

usage: check_tied.py --loratool BIN [--only FAMILY...] [--verbose]"""
import argparse, os, shutil, subprocess, sys, tempfile, warnings
warnings.filterwarnings("ignore")
for name, value in {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}.items():
    os.environ.setdefault(name, value)
import torch
import transformers as T
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

torch.set_num_threads(2)
V = 40
BERT = dict(vocab_size=V, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20, max_position_embeddings=32)
BART = dict(vocab_size=V, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=20, decoder_ffn_dim=20,
            max_position_embeddings=32, pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2)
FAMILIES = {
    "bart": lambda: T.BartForConditionalGeneration(T.BartConfig(**BART)),
    "marian": lambda: T.MarianMTModel(T.MarianConfig(**BART)),
    "mt5": lambda: T.MT5ForConditionalGeneration(T.MT5Config(d_model=16, d_kv=8, d_ff=20, num_layers=1, num_heads=2, vocab_size=V, decoder_start_token_id=0)),
    "bert": lambda: T.BertForMaskedLM(T.BertConfig(**BERT)),
    "roberta": lambda: T.RobertaForMaskedLM(T.RobertaConfig(**BERT)),
    "mamba": lambda: T.MambaForCausalLM(T.MambaConfig(vocab_size=V, hidden_size=16, num_hidden_layers=1, state_size=4, tie_word_embeddings=True)),
    "qwen2": lambda: T.Qwen2ForCausalLM(T.Qwen2Config(vocab_size=V, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, intermediate_size=20,
                                                      tie_word_embeddings=True)),
    "gpt2": lambda: T.GPT2LMHeadModel(T.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=V, n_positions=32)),
}


def cases(model):
    """Configs by name: what is adapted and what is replaced of the tied."""
    modules = dict(model.named_modules())
    head = next(n for n, m in modules.items() if m is model.get_output_embeddings())
    embeddings = [n for n, m in modules.items() if isinstance(m, torch.nn.Embedding) and m.weight.shape[0] == V]
    linear = [n for n, m in modules.items() if n != head and (isinstance(m, torch.nn.Linear) or type(m).__name__ == "Conv1D")][:2]
    first = embeddings[:1]
    return {
        "head": dict(target_modules=[head] + linear),
        "embedding": dict(target_modules=first),
        "embeddings": dict(target_modules=embeddings),
        "last embedding": dict(target_modules=embeddings[-1:]),
        "both": dict(target_modules=first + [head]),
        "tied by PEFT": dict(target_modules=first + linear, ensure_weight_tying=True),
        "saved head": dict(target_modules=linear, modules_to_save=[head]),
        "saved embedding": dict(target_modules=linear, modules_to_save=first),
        "saved embedding and head": dict(target_modules=[head], modules_to_save=first),
        "saved by PEFT's tie": dict(target_modules=linear, modules_to_save=first, ensure_weight_tying=True),
        "DoRA head": dict(target_modules=[head], use_dora=True),
        "biases": dict(target_modules=linear, bias="all"),
        "biases and embedding": dict(target_modules=first, bias="all"),
        "bias of the head": dict(target_modules=[head], bias="lora_only"),
    }


def inputs(model):
    g = torch.Generator().manual_seed(5)
    x = {"input_ids": torch.randint(4, V, (1, 8), generator=g)}
    if model.config.is_encoder_decoder:
        x["decoder_input_ids"] = torch.randint(4, V, (1, 6), generator=g)
    return x


def store_all(model, base):
    """Stores every name of what is tied, as old versions of transformers did."""
    path, state = f"{base}/model.safetensors", model.state_dict()
    tied = model.get_expanded_tied_weights_keys(all_submodels=True)
    save_file({**load_file(path), **{k: state[k].clone() for k in tied if k in state}}, path, {"format": "pt"})


def one(args, cls, base, config, work):
    """Says what is wrong, "" if nothing is."""
    load = lambda path: cls.from_pretrained(path, dtype=torch.float64, output_loading_info=True)
    adapter, out = f"{work}/adapter", f"{work}/out"
    for d in (adapter, out):
        shutil.rmtree(d, ignore_errors=True)
    pm = get_peft_model(load(base)[0], LoraConfig(r=3, lora_alpha=5, **config), autocast_adapter_dtype=False)
    g = torch.Generator().manual_seed(3)
    for p in pm.parameters():
        if p.requires_grad:
            p.data.add_(torch.randn(p.shape, generator=g).to(p.dtype) * 0.2)
    pm.save_pretrained(adapter)
    pm = PeftModel.from_pretrained(load(base)[0], adapter, autocast_adapter_dtype=False).eval()
    run = subprocess.run([args.loratool, "merge", base, adapter, "-o", out, "--dtype", "f64"], capture_output=True, text=True)
    if run.returncode != 0:
        return f"exit {run.returncode}: {run.stderr.strip()}"
    merged, info = load(out)
    x = inputs(merged)
    with torch.no_grad():
        off = (merged.eval()(**x).logits - pm(**x).logits).abs().max().item()
    missing = f", missing {sorted(info['missing_keys'])}" if info["missing_keys"] else ""
    return f"logits differ by {off:.3g}{missing}" if off > 1e-9 or missing else ""


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    p.add_argument("--only", nargs="+", choices=FAMILIES)
    p.add_argument("--verbose", action="store_true")
    args = p.parse_args()
    T.logging.set_verbosity_error()
    T.logging.disable_progress_bar()
    passed = failed = 0
    for name in args.only or FAMILIES:
        for stored in (False, True):
            with tempfile.TemporaryDirectory() as work:
                torch.manual_seed(1)
                model = FAMILIES[name]().eval()
                for q in model.parameters():  # biases begin as zeros
                    q.data.add_(torch.randn_like(q) * 0.05)
                model.tie_weights()
                model.save_pretrained(f"{work}/base")
                if stored:
                    store_all(model, f"{work}/base")
                for what, config in cases(model).items():
                    wrong = one(args, type(model), f"{work}/base", config, work)
                    passed, failed = passed + (not wrong), failed + bool(wrong)
                    if wrong or args.verbose:
                        print("FAIL" if wrong else "ok", name, "stored" if stored else "once", what, wrong, flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
