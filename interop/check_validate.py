#!/usr/bin/env python3
"""loratool validate, bind and normalize against PEFT: adapters of many configurations as save_pretrained writes them have no
error and fit their base; normalized, they compute the same logits; bound, they load as before. Reports hold to their schemas.

usage: check_validate.py --loratool BIN"""
import argparse, copy, json, os, subprocess, sys, tempfile, warnings
warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")
import jsonschema, torch, xmlschema
import transformers as T
from peft import LoraConfig, PeftModel, get_peft_model

torch.set_num_threads(2)
HERE = os.path.dirname(os.path.abspath(__file__))
REAL = os.path.join(HERE, "..", "..", "shared", "real-adapters")


def llama(tie=False):
    return T.LlamaForCausalLM(T.LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=40, tie_word_embeddings=tie))


def gpt2():
    return T.GPT2LMHeadModel(T.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=40, n_positions=32, bos_token_id=0, eos_token_id=0))


def bert():
    return T.BertForSequenceClassification(T.BertConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=40, max_position_embeddings=32))


def t5():
    return T.T5ForConditionalGeneration(T.T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=40))


def resnet():
    return T.ResNetForImageClassification(T.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], num_labels=3))


def mixtral():
    return T.MixtralForCausalLM(T.MixtralConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, vocab_size=40, num_local_experts=2))


QV = ["q_proj", "v_proj"]
# name, model, LoraConfig, exit status of validate (4: valid, but this program does not apply it)
CASES = [
    ("plain", llama, dict(r=4, target_modules=QV)),
    ("all-linear", llama, dict(r=4, target_modules="all-linear", lora_alpha=32)),
    ("regex", llama, dict(r=4, target_modules=r".*layers\.1\..*(q|k)_proj")),
    ("look-around", llama, dict(r=4, target_modules=r"^(?!.*layers\.0).*q_proj$")),
    ("one layer", llama, dict(r=4, target_modules=QV, layers_to_transform=[1], layers_pattern="layers")),
    ("exclude", llama, dict(r=4, target_modules=["q_proj", "k_proj"], exclude_modules=["model.layers.0.self_attn.k_proj"])),
    ("rank pattern", llama, dict(r=4, target_modules=QV, rank_pattern={"v_proj": 2})),
    ("alpha pattern", llama, dict(r=4, target_modules=QV, alpha_pattern={"layers.0.self_attn.q_proj": 3})),
    ("both patterns", llama, dict(r=4, target_modules=QV + ["down_proj"], rank_pattern={"^model.layers.1.*": 6, "q_proj": 2}, alpha_pattern={"down_proj": 7})),
    ("rslora", llama, dict(r=4, target_modules=QV, use_rslora=True)),
    ("rslora pattern", llama, dict(r=4, target_modules=QV, use_rslora=True, rank_pattern={"v_proj": 2})),
    ("dora", llama, dict(r=4, target_modules=QV, use_dora=True)),
    ("dora rslora", llama, dict(r=4, target_modules=QV, use_dora=True, use_rslora=True)),
    ("lora bias", bert, dict(r=4, target_modules=["query"], lora_bias=True)),
    ("bias all", bert, dict(r=4, target_modules=["query"], bias="all")),
    ("bias lora_only", bert, dict(r=4, target_modules=["query", "value"], bias="lora_only")),
    ("classifier", bert, dict(r=4, target_modules=["query"], task_type="SEQ_CLS")),
    ("classifier saved", bert, dict(r=4, target_modules=["query", "dense"], modules_to_save=["classifier"])),
    ("norm saved", llama, dict(r=4, target_modules=QV, modules_to_save=["norm"])),
    ("head saved", llama, dict(r=4, target_modules=QV, modules_to_save=["lm_head", "embed_tokens"])),
    ("embedding", llama, dict(r=4, target_modules=["embed_tokens", "q_proj"])),
    ("head", llama, dict(r=4, target_modules=["lm_head"])),
    ("tied embedding", lambda: llama(True), dict(r=4, target_modules=["embed_tokens"])),
    ("tokens", llama, dict(r=4, target_modules=QV, trainable_token_indices=[1, 5])),
    ("tokens by name", llama, dict(r=4, target_modules=QV, trainable_token_indices={"embed_tokens": [7, 2, 3]})),
    ("gpt2", gpt2, dict(r=4, target_modules=["c_attn"])),
    ("gpt2 all", gpt2, dict(r=4, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)),
    ("gpt2 embedding", gpt2, dict(r=4, target_modules=["wpe"])),
    ("t5", t5, dict(r=4, target_modules=["q", "v"], task_type="SEQ_2_SEQ_LM")),
    ("convolution", resnet, dict(r=2, target_modules=["convolution"])),
    ("convolution dora", resnet, dict(r=2, target_modules=["convolution"], use_dora=True)),
    ("gaussian", llama, dict(r=4, target_modules=QV, init_lora_weights="gaussian")),
    ("orthogonal", llama, dict(r=4, target_modules=QV, init_lora_weights="orthogonal")),
    ("pissa", llama, dict(r=4, target_modules=QV, init_lora_weights="pissa"), 4),
    ("olora", llama, dict(r=4, target_modules=QV, init_lora_weights="olora"), 4),
    ("rank 1", llama, dict(r=1, target_modules=["o_proj"], lora_alpha=1)),
    ("experts", mixtral, dict(r=2, target_modules=["q_proj"], target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])),
    ("one parameter", mixtral, dict(r=2, target_modules=["q_proj"], target_parameters=["mlp.experts.down_proj"])),
    ("dropout", llama, dict(r=4, target_modules=QV, lora_dropout=0.1, task_type="CAUSAL_LM")),
]


def run(*args):
    return subprocess.run(args, capture_output=True, text=True)


def trained(model, kw):
    """A PEFT model whose B and other trained values are not zero."""
    peft = get_peft_model(model, LoraConfig(**kw))
    with torch.no_grad():
        for n, p in peft.named_parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p) * 0.05)
    return peft.eval()


def logits(model):
    inner = model.get_base_model()
    with torch.no_grad():
        if isinstance(inner, T.ResNetForImageClassification):
            return model(torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)).logits
        ids = torch.arange(1, 9)[None]
        extra = dict(decoder_input_ids=ids) if isinstance(inner, T.T5ForConditionalGeneration) else {}
        return model(ids, **extra).logits


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    o = p.parse_args()
    counts = [0, 0]

    def result(ok, name, why=""):
        counts[not ok] += 1
        if not ok:
            print(f"FAILED {name}: {why}")

    sarif = jsonschema.Draft7Validator(json.load(open(os.path.join(HERE, "schemas", "sarif-2.1.0-rtm.5.json"))))
    junit = xmlschema.XMLSchema(os.path.join(HERE, "schemas", "junit-10.xsd"))
    with tempfile.TemporaryDirectory() as tmp:
        for i, (name, build, kw, *status) in enumerate(CASES):
            torch.manual_seed(i)
            base = os.path.join(tmp, f"base{i}")
            model = build().eval()
            model.save_pretrained(base)
            peft = trained(model, copy.deepcopy(kw))
            folder = os.path.join(tmp, f"a{i}")
            peft.save_pretrained(folder)
            want = status[0] if status else 0
            r = run(o.loratool, "validate", folder, "--deep", "--json")
            result(r.returncode == want, name, r.stdout + r.stderr)
            if want == 0:
                r = run(o.loratool, "validate", folder, "--base", base)
                result(r.returncode == 0, name + " with base", r.stdout + r.stderr)
                check_bound(o, name, folder, base, build, peft, tmp, result, i)
                check_normalized(o, name, folder, base, build, peft, tmp, result, i)
        check_reports(o, tmp, sarif, junit, result)
    check_real(o, result)
    print(f"{counts[0]} passed, {counts[1]} failed")
    sys.exit(counts[1] > 0)


def load(base, build, folder):
    model = build()
    return PeftModel.from_pretrained(type(model).from_pretrained(base), folder).eval()


def check_bound(o, name, folder, base, build, peft, tmp, result, i):
    """A bound adapter is the same to PEFT, and its base is known again."""
    out = os.path.join(tmp, f"b{i}")
    r = run(o.loratool, "bind", folder, base, "-o", out)
    if r.returncode == 3 and "AD028" in r.stderr:
        result("tied" in name, name + " bind", r.stderr)  # a head that the base stores as its embedding
        return
    result(r.returncode == 0, name + " bind", r.stderr)
    if r.returncode:
        return
    r = run(o.loratool, "validate", out, "--deep", "--base", base)
    result(r.returncode == 0, name + " bound", r.stdout)
    result(torch.equal(logits(load(base, build, out)), logits(load(base, build, folder))), name + " bound logits")


def check_normalized(o, name, folder, base, build, peft, tmp, result, i):
    """What a server's limits allow computes the same logits in PEFT."""
    for profile in ("sglang", "llamacpp"):
        out = os.path.join(tmp, f"n{i}{profile}")
        r = run(o.loratool, "normalize", folder, "--profile", profile, "-o", out)
        if r.returncode == 4:
            continue
        result(r.returncode == 0, f"{name} for {profile}", r.stderr)
        if r.returncode == 0:
            have, want = logits(load(base, build, out)), logits(load(base, build, folder))
            result((have - want).abs().max() <= 1e-5 * want.abs().max(), f"{name} for {profile} logits", (have - want).abs().max())
            r = run(o.loratool, "validate", out, "--profile", profile)
            result(r.returncode == 0, f"{name} suits {profile}", r.stdout)


def check_reports(o, tmp, sarif, junit, result):
    """Reports of good and bad inputs hold to their schemas."""
    vectors = os.path.join(HERE, "..", "spec", "vectors")
    for name, paths in (("of good", [os.path.join(tmp, "a0")]), ("of bad", [vectors]), ("of nothing", [os.path.join(tmp, "absent")])):
        r = run(o.loratool, "validate", *paths, "--format", "sarif")
        errors = list(sarif.iter_errors(json.loads(r.stdout)))
        result(not errors, "SARIF " + name, errors[:1])
        r = run(o.loratool, "validate", *paths, "--format", "junit")
        xml = os.path.join(tmp, "report.xml")
        with open(xml, "w") as f:
            f.write(r.stdout)
        errors = list(junit.iter_errors(xml))
        result(not errors, "JUnit " + name, errors[:1])
        r = run(o.loratool, "validate", *paths, "--format", "gitlab")
        issues = json.loads(r.stdout)
        result(all({"description", "check_name", "fingerprint", "severity", "location"} <= set(i) for i in issues), "GitLab " + name)


def check_real(o, result):
    """Adapters that people published, where they are at hand."""
    if not os.path.isdir(REAL):
        print("real adapters: NOT RUN, the folder is not here")
        return
    for name in sorted(os.listdir(REAL)):
        path = os.path.join(REAL, name)
        if os.path.isdir(path):
            r = run(o.loratool, "validate", path, "--deep")
            want = 3 if name == "git-lfs-pointer" else 0
            result(r.returncode == want and (want == 0 or "ST024" in r.stdout), name, r.stdout)


if __name__ == "__main__":
    main()
