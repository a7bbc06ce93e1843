#!/usr/bin/env python3
"""Makes testdata/peft-0.21.2: for every kind of LoRA that PEFT writes a small
base, an adapter that PEFT saved, and what the merge of the two must give:
PEFT's own merge carried out in float64, then rounded once. The script fails if
float64 cannot tell the rounding of some element, so the bytes are the
correctly rounded exact result.

usage: make_goldens.py OUT_DIR [CASE...]
needs the packages of interop/requirements.txt"""
import json, math, os, shutil, sys, warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
import numpy as np
import peft, torch, transformers as T
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from oracle import round_once, sure

torch.set_num_threads(1)
T.logging.set_verbosity_error()
T.logging.disable_progress_bar()
OUT = sys.argv[1]
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
cases = {}


def case(f):
    cases[f.__name__.replace("_", "-")] = f
    return f


# ---- models

class Net(nn.Module):
    """Modules by name, without a forward pass: merging needs none."""

    def __init__(self, **modules):
        super().__init__()
        for name, m in modules.items():
            self.add_module(name, m)


class Experts(nn.Module):
    """A stack of expert weights, as in the mixtures of transformers 5."""

    def __init__(self, transposed=None, **shapes):
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape) * 0.3))
        if transposed is not None:
            self.is_transposed = transposed


def mlp(bias=True):
    return Net(inner=nn.Linear(5, 7, bias=bias), outer=nn.Linear(7, 4, bias=bias))


def llama(tie=False, layers=1, vocab=19):
    return T.LlamaForCausalLM(T.LlamaConfig(hidden_size=8, intermediate_size=6, num_hidden_layers=layers, num_attention_heads=2, num_key_value_heads=1,
                                            vocab_size=vocab, tie_word_embeddings=tie))


def gpt2():
    return T.GPT2LMHeadModel(T.GPT2Config(n_embd=6, n_layer=1, n_head=2, n_inner=5, vocab_size=13, n_positions=4, bos_token_id=0, eos_token_id=0))


def bart():
    return T.BartForConditionalGeneration(T.BartConfig(d_model=4, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1, decoder_attention_heads=1, encoder_ffn_dim=3,
                                                       decoder_ffn_dim=3, vocab_size=11, max_position_embeddings=4))


def mamba():
    return T.MambaForCausalLM(T.MambaConfig(hidden_size=4, num_hidden_layers=1, state_size=2, vocab_size=11, tie_word_embeddings=True, pad_token_id=0, bos_token_id=0, eos_token_id=0))


def bert(cls=T.BertForSequenceClassification):
    return cls(T.BertConfig(hidden_size=6, intermediate_size=5, num_hidden_layers=1, num_attention_heads=2, vocab_size=11,
                                                        max_position_embeddings=4, num_labels=3))


# ---- making a case

def save_base(model, folder):
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(folder)
        if os.path.exists(f"{folder}/generation_config.json"):
            os.remove(f"{folder}/generation_config.json")
    else:
        os.makedirs(folder)
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, f"{folder}/model.safetensors", {"format": "pt"})


def train(pm, g):
    """Gives everything that PEFT trains a value that a training might."""
    for name, p in pm.named_parameters():
        if "lora_magnitude" in name:
            p.data.mul_(1 + 0.2 * torch.rand(p.shape, generator=g).to(p.dtype))
        elif p.requires_grad:
            p.data.add_((torch.randn(p.shape, generator=g) * 0.2).to(p.dtype))


def plain_inits(model, g):
    """Norms and biases that initialise to 0 or 1 get other values as well."""
    for p in model.parameters():
        p.data.add_((torch.randn(p.shape, generator=g) * 0.05).to(p.dtype))


class Case:
    def __init__(self, name):
        self.name, self.dir, self.exact = name, f"{OUT}/{name}", False
        self.g = torch.Generator().manual_seed(sum(map(ord, name)))
        torch.manual_seed(sum(map(ord, name)))
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)

    def adapter(self, make, dtype=torch.float32, factors=None, resize=None, base=None, **config):
        """Saves a base and an adapter that PEFT makes for it."""
        model = make().to(dtype)
        plain_inits(model, self.g)
        self.make, self.base, self.exact = make, f"{self.dir}/base", factors is not None
        save_base(model, self.base)
        model.name_or_path = self.base
        if resize:
            model.resize_token_embeddings(resize)
        kw = dict(r=2, lora_alpha=3)
        kw.update(config)
        pm = get_peft_model(model, LoraConfig(**kw))
        train(pm, self.g)
        if factors:
            for n, p in pm.named_parameters():
                if "lora_" in n:
                    p.data = p.data.to(factors)
        self.peft_model = pm
        pm.peft_config["default"].base_model_name_or_path = self.base if resize else None
        pm.save_pretrained(f"{self.dir}/adapter")
        os.remove(f"{self.dir}/adapter/README.md")
        self.edit_config(base_model_name_or_path=None)

    def edit_config(self, **fields):
        """Changes fields of the saved config; ... removes one."""
        path = f"{self.dir}/adapter/{CONFIG}"
        c = json.load(open(path))
        for k, v in fields.items():
            if v is ...:
                c.pop(k, None)
            else:
                c[k] = v
        for k in list(c):  # sets have no order: keep the files the same
            if isinstance(c[k], list) and all(isinstance(x, str) for x in c[k]):
                c[k].sort()
        json.dump(c, open(path, "w"), indent=1)

    def rename(self, f):
        """Renames the tensors of the saved adapter."""
        path = f"{self.dir}/adapter/{WEIGHTS}"
        save_file({f(k): v for k, v in load_file(path).items()}, path, {"format": "pt"})

    def load(self, vocab=None):
        """The base in float64."""
        m = self.make()
        state = load_file(f"{self.base}/model.safetensors")
        if isinstance(m, T.PreTrainedModel):
            m = type(m).from_pretrained(self.base, dtype=torch.float64)
            if vocab:
                m.resize_token_embeddings(vocab)
            return m
        m.load_state_dict(state)
        return m.double()

    def merged(self, **kw):
        """PEFT's merge in float64 of the adapter as saved."""
        pm = PeftModel.from_pretrained(self.load(**kw), f"{self.dir}/adapter", autocast_adapter_dtype=False)
        for n, p in pm.named_parameters():
            assert p.dtype == torch.float64, (n, p.dtype)
        return pm.merge_and_unload().state_dict()

    def expect(self, exact, dtypes=None, **info):
        """Writes the expected tensors: exact values in float64 by the names of
        the output, in the dtypes of the base."""
        base, out = load_file(f"{self.base}/model.safetensors"), {}
        for name, x in exact.items():
            like = base.get(name, base.get("model.embed_tokens.weight", next(iter(base.values()))))
            y, distance = round_once(x, like.dtype)
            moved = x.numpy() != (base[name].double().numpy() if name in base and base[name].shape == x.shape else y.double().numpy())
            # float64 is exact, ties included, for factors of 16 bits and for biases
            unsure = ~np.full(x.shape, self.exact or x.ndim == 1) & moved & (y.double().numpy() != x.numpy()) & ~sure(x, distance, 1.0 if like.dtype != torch.float32 else 1e-1)
            assert not unsure.any(), f"{self.name}: {name}: float64 cannot tell the rounding"
            out[name] = y.contiguous()
        assert set(base) <= set(out), f"{self.name}: {set(base) - set(out)} missing"
        changed = sum(n not in base or not torch.equal(base[n], t) for n, t in out.items())
        assert changed, f"{self.name}: nothing changes"
        save_file(out, f"{self.dir}/expected.safetensors", {"format": "pt"})
        self.write(expect="merge", changed_tensors=changed, **info)

    def expect_peft(self, rename=None, drop=(), **info):
        exact = self.merged()
        if rename:
            exact = {rename(k): v for k, v in exact.items()}
        base = load_file(f"{self.base}/model.safetensors")
        exact = {k: v for k, v in exact.items() if k in base and k not in drop}
        self.expect(exact, **info)

    def refuse(self, how, why):
        """Expects loratool to refuse: "unsupported" or the ID of a rule."""
        self.write(expect=how, why=why)

    def write(self, **info):
        json.dump(info, open(f"{self.dir}/case.json", "w"), indent=1)


# ---- plain layers, dtypes, scalings

@case
def linear(c):
    c.adapter(mlp, target_modules=["inner", "outer"])
    c.expect_peft()


@case
def linear_bf16(c):
    c.adapter(mlp, torch.bfloat16, target_modules=["inner", "outer"])
    c.expect_peft()


@case
def linear_f16_factors_bf16(c):
    c.adapter(mlp, torch.float16, torch.bfloat16, target_modules=["inner"])
    c.expect_peft()


@case
def linear_regex(c):
    c.adapter(lambda: llama(layers=2), target_modules=r".*layers\.1\.(self_attn\.(q|v)_proj|mlp\.up_proj)")
    c.expect_peft()


@case
def linear_negative_alpha(c):
    c.adapter(mlp, r=3, lora_alpha=-5, target_modules=["inner"])
    c.expect_peft()


@case
def rslora(c):
    c.adapter(mlp, r=3, lora_alpha=5, use_rslora=True, target_modules=["inner", "outer"])
    c.expect_peft()


@case
def embedding(c):
    c.adapter(lambda: Net(tokens=nn.Embedding(9, 5), places=nn.Embedding(4, 5)), target_modules=["tokens"])
    c.expect_peft()


@case
def conv1d(c):
    c.adapter(lambda: Net(conv=nn.Conv1d(3, 4, 3), point=nn.Conv1d(4, 2, 1)), target_modules=["conv", "point"])
    c.expect_peft()


@case
def conv2d(c):
    c.adapter(lambda: Net(conv=nn.Conv2d(3, 4, (3, 2)), point=nn.Conv2d(4, 2, 1)), target_modules=["conv", "point"])
    c.expect_peft()


@case
def conv3d(c):
    c.adapter(lambda: Net(conv=nn.Conv3d(2, 3, (2, 3, 2))), target_modules=["conv"])
    c.expect_peft()


@case
def conv2d_grouped(c):
    c.adapter(lambda: Net(conv=nn.Conv2d(4, 6, 3, groups=2)), target_modules=["conv"])
    c.refuse("unsupported", "every factor A mixes all input channels, which a grouped convolution cannot")


@case
def conv1D_gpt2(c):
    c.adapter(gpt2, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)
    c.expect_peft()


@case
def conv1D_gpt2_flag_wrong(c):
    c.adapter(gpt2, target_modules=["c_attn", "c_proj"], fan_in_fan_out=False)
    c.edit_config(fan_in_fan_out=False)
    c.expect_peft()


@case
def conv1D_without_config(c):
    c.adapter(lambda: Net(wide=Conv1D(7, 5), square=Conv1D(5, 5)), target_modules=["wide", "square"], fan_in_fan_out=True)
    c.expect_peft()


@case
def fan_in_fan_out_on_linear(c):
    c.adapter(lambda: llama(), target_modules=["q_proj", "up_proj"], fan_in_fan_out=True)
    c.edit_config(fan_in_fan_out=True)
    c.expect_peft()


@case
def multihead_attention(c):
    """PEFT applies the delta of out_proj twice, forward and merged (peft#3774)."""
    c.adapter(lambda: Net(attn=nn.MultiheadAttention(6, 2)), target_modules=["attn"])
    c.expect_peft()


# ---- biases, replacements, rows

@case
def lora_bias(c):
    c.adapter(mlp, lora_bias=True, target_modules=["inner", "outer"])
    c.expect_peft()


@case
def lora_bias_rslora_bf16(c):
    c.adapter(mlp, torch.bfloat16, lora_bias=True, use_rslora=True, target_modules=["inner"])
    c.expect_peft()


@case
def bias_all(c):
    c.adapter(mlp, bias="all", target_modules=["inner"])
    c.expect_peft()


@case
def bias_lora_only(c):
    c.adapter(mlp, bias="lora_only", target_modules=["inner"])
    c.expect_peft()


@case
def bias_all_modules_to_save(c):
    c.adapter(bert, bias="all", target_modules=["query"], modules_to_save=["classifier"])
    c.expect_peft()


@case
def modules_to_save(c):
    c.adapter(lambda: Net(body=nn.Linear(4, 4), norm=nn.LayerNorm(4), head=nn.Linear(4, 3), head2=nn.Linear(4, 2)), target_modules=["body"], modules_to_save=["head", "norm"])
    c.expect_peft()


@case
def modules_to_save_of_several_layers(c):
    c.adapter(lambda: Net(body=nn.Linear(4, 4), head=nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))), target_modules=["body"], modules_to_save=["head"])
    c.expect_peft()


@case
def classifier_by_task_type(c):
    c.adapter(bert, target_modules=["query", "value"], task_type="SEQ_CLS")
    c.edit_config(modules_to_save=None)
    c.expect_peft()


@case
def trainable_tokens_list(c):
    c.adapter(llama, target_modules=["q_proj"], trainable_token_indices=[7, 0, 18])
    c.expect_peft()


@case
def trainable_tokens_dict(c):
    c.adapter(lambda: Net(body=nn.Linear(4, 4), first=nn.Embedding(6, 4), second=nn.Embedding(5, 4)), target_modules=["body"],
              trainable_token_indices={"first": [5, 1], "second": [0]})
    c.expect_peft()


@case
def trainable_tokens_tied(c):
    c.adapter(lambda: llama(tie=True), target_modules=["q_proj"], trainable_token_indices=[3, 4])
    c.expect_peft(tied=True)


# ---- DoRA

@case
def dora_linear(c):
    c.adapter(mlp, use_dora=True, target_modules=["inner", "outer"])
    c.expect_peft()


@case
def dora_linear_bf16(c):
    c.adapter(mlp, torch.bfloat16, use_dora=True, use_rslora=True, target_modules=["inner"])
    c.expect_peft()


@case
def dora_conv1D(c):
    c.adapter(gpt2, use_dora=True, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    c.expect_peft()


@case
def dora_embedding(c):
    c.adapter(lambda: Net(tokens=nn.Embedding(9, 5)), use_dora=True, target_modules=["tokens"])
    c.expect_peft()


@case
def dora_conv1d(c):
    c.adapter(lambda: Net(conv=nn.Conv1d(3, 4, 3)), use_dora=True, target_modules=["conv"])
    c.expect_peft()


@case
def dora_conv2d(c):
    c.adapter(lambda: Net(conv=nn.Conv2d(3, 4, 3)), use_dora=True, target_modules=["conv"])
    c.expect_peft()


@case
def dora_conv3d(c):
    c.adapter(lambda: Net(conv=nn.Conv3d(2, 3, 2)), use_dora=True, target_modules=["conv"])
    c.expect_peft()


@case
def dora_magnitude_of_a_training_state(c):
    c.adapter(mlp, use_dora=True, target_modules=["inner"])
    c.expect_peft()
    c.rename(lambda k: k.replace("lora_magnitude_vector", "lora_magnitude_vector.default.weight"))


# ---- parameters

@case
def parameters_2d(c):
    c.adapter(lambda: Net(block=Experts(kernel=(5, 7))), target_modules=[], target_parameters=["block.kernel"])
    c.expect_peft()


@case
def experts(c):
    c.adapter(lambda: Net(experts=Experts(gate_up_proj=(3, 8, 4), down_proj=(3, 4, 6))), target_modules=[], target_parameters=["experts.down_proj"])
    c.expect_peft()


@case
def experts_bf16(c):
    c.adapter(lambda: Net(experts=Experts(gate_up_proj=(3, 8, 4))), torch.bfloat16, target_modules=[], target_parameters=["gate_up_proj"], use_rslora=True)
    c.expect_peft()


@case
def experts_nested(c):
    c.adapter(lambda: Net(experts=Experts(gate_up_proj=(3, 8, 4), down_proj=(3, 4, 6))), target_modules=[],
              target_parameters=["experts.down_proj", "experts.gate_up_proj"])
    c.expect_peft()


@case
def experts_nested_of_one_shape(c):
    c.adapter(lambda: Net(experts=Experts(gate_up_proj=(2, 6, 4), down_proj=(2, 6, 4))), target_modules=[],
              target_parameters=["experts.down_proj", "experts.gate_up_proj"])
    c.expect_peft()


@case
def experts_nested_ranks(c):
    c.adapter(lambda: Net(experts=Experts(gate_up_proj=(3, 8, 4), down_proj=(3, 4, 6))), target_modules=[],
              target_parameters=["experts.down_proj", "experts.gate_up_proj"], rank_pattern={"experts.gate_up_proj": 4}, alpha_pattern={"experts.gate_up_proj": 7})
    c.expect_peft()


@case
def experts_beside_linear(c):
    c.adapter(lambda: Net(gate=nn.Linear(4, 2), experts=Experts(down_proj=(3, 4, 6))), target_modules=["gate"], target_parameters=["experts.down_proj"])
    c.expect_peft()


@case
def experts_transposed(c):
    c.adapter(lambda: Net(experts=Experts(transposed=True, gate_up_proj=(2, 4, 8), down_proj=(2, 6, 4))), target_modules=[],
              target_parameters=["experts.gate_up_proj", "experts.down_proj"])
    c.expect_peft()


def with_model_type(c, name):
    json.dump({"model_type": name}, open(f"{c.base}/config.json", "w"))


@case
def experts_square(c):
    c.adapter(lambda: Net(experts=Experts(down_proj=(2, 5, 5))), target_modules=[], target_parameters=["experts.down_proj"])
    with_model_type(c, "qwen3_moe")
    c.expect_peft()


@case
def experts_square_transposed(c):
    c.adapter(lambda: Net(experts=Experts(transposed=True, down_proj=(2, 5, 5))), target_modules=[], target_parameters=["experts.down_proj"])
    with_model_type(c, "gpt_oss")
    c.expect_peft()


@case
def experts_one(c):
    c.adapter(lambda: Net(experts=Experts(down_proj=(1, 4, 6))), target_modules=[], target_parameters=["experts.down_proj"])
    c.expect_peft()


# ---- patterns and layers

def inners():
    return Net(inner=nn.Linear(5, 7), deep=Net(inner=nn.Linear(5, 7), other_inner=nn.Linear(5, 7)), outer=nn.Linear(7, 4))


@case
def rank_pattern(c):
    c.adapter(inners, target_modules=["inner", "other_inner", "outer"], rank_pattern={"^inner": 3, "inner": 4}, alpha_pattern={"outer": 1})
    c.expect_peft()


@case
def rank_pattern_order(c):
    """The first key that matches wins, so ranks and alphas depend on the order."""
    c.adapter(inners, target_modules=["inner", "other_inner", "outer"], rank_pattern={r".*\.inner": 5, "inner|outer": 1, "deep.inner": 4}, alpha_pattern={"inner": 9, "deep.inner": 2})
    c.edit_config(rank_pattern={r".*\.inner": 5, "inner|outer": 1, "deep.inner": 4}, alpha_pattern={"inner": 9, "deep.inner": 2})
    c.expect_peft()


@case
def alpha_pattern_float(c):
    c.adapter(inners, target_modules=["inner", "outer"], alpha_pattern={"outer": 0.5, "inner": -2})
    c.expect_peft()


@case
def layers_to_transform(c):
    c.adapter(lambda: llama(layers=3), target_modules=["q_proj", "down_proj"], layers_to_transform=[0, 2], layers_pattern="layers")
    c.expect_peft()


@case
def layer_replication(c):
    c.adapter(lambda: llama(layers=2), target_modules=["q_proj"], layer_replication=[[0, 2], [1, 2]])
    c.refuse("unsupported", "the adapter is for a deeper model than the base")


# ---- embeddings of language models

@case
def save_embedding_layers(c):
    """A targeted lm_head makes PEFT write the base's own weights beside the factors."""
    c.adapter(llama, target_modules=["q_proj", "lm_head"])
    assert any("base_layer" in k for k in load_file(f"{c.dir}/adapter/{WEIGHTS}"))
    c.expect_peft()


@case
def save_embedding_layers_resized(c):
    c.adapter(llama, resize=22, target_modules=["q_proj"])
    assert any(k.endswith("embed_tokens.weight") for k in load_file(f"{c.dir}/adapter/{WEIGHTS}"))
    c.expect(c.merged(vocab=22), config={"vocab_size": 22})


def untied(c):
    """What the adapter computes on a tied base: each side with its own delta,
    which PEFT merges right only where they do not share their storage."""
    tied = c.load()
    state = {k: v.clone() for k, v in tied.state_dict().items()}
    config = type(tied.config).from_dict(tied.config.to_dict())
    config.tie_word_embeddings = False
    m = type(tied)(config).double()
    m.load_state_dict(state)
    pm = PeftModel.from_pretrained(m, f"{c.dir}/adapter", autocast_adapter_dtype=False)
    return pm.merge_and_unload().state_dict()


def store_head(c):
    """A base that stores the head although it is tied, as old versions did."""
    path = f"{c.base}/model.safetensors"
    base = load_file(path)
    save_file({**base, "lm_head.weight": base["model.embed_tokens.weight"].clone()}, path, {"format": "pt"})


@case
def tied_embedding_only(c):
    c.adapter(lambda: llama(tie=True), target_modules=["embed_tokens"])
    c.expect(untied(c), config={"tie_word_embeddings": False})


@case
def tied_head_only(c):
    c.adapter(lambda: llama(tie=True), target_modules=["lm_head", "q_proj"])
    c.expect(untied(c), config={"tie_word_embeddings": False})


@case
def tied_both(c):
    c.adapter(lambda: llama(tie=True), target_modules=["lm_head", "embed_tokens"])
    c.expect(untied(c), config={"tie_word_embeddings": False})


@case
def tied_head_saved(c):
    c.adapter(lambda: llama(tie=True), target_modules=["q_proj"], modules_to_save=["lm_head"])
    c.expect(untied(c), config={"tie_word_embeddings": False})


@case
def tied_embedding_saved(c):
    c.adapter(lambda: llama(tie=True), target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    c.expect(untied(c), config={"tie_word_embeddings": False})


@case
def ensure_weight_tying(c):
    """PEFT saves the head's factors too, those of the embedding transposed. Its
    forward pass adds the delta once to either side; merging in place it adds
    both to the one tensor."""
    c.adapter(lambda: llama(tie=True), target_modules=["embed_tokens", "q_proj"], ensure_weight_tying=True)
    f = load_file(f"{c.dir}/adapter/{WEIGHTS}")
    assert torch.equal(f["base_model.model.lm_head.lora_A.weight"], f["base_model.model.model.embed_tokens.lora_embedding_B"].T)
    exact = untied(c)
    del exact["lm_head.weight"]
    c.expect(exact, config={"tie_word_embeddings": True})


@case
def ensure_weight_tying_saved(c):
    c.adapter(lambda: llama(tie=True), target_modules=["q_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    exact = {k: v for k, v in c.merged().items() if k != "lm_head.weight"}
    c.expect(exact, config={"tie_word_embeddings": True})


@case
def ensure_weight_tying_stored(c):
    c.adapter(lambda: llama(tie=True), target_modules=["embed_tokens", "q_proj"], ensure_weight_tying=True)
    store_head(c)
    exact = untied(c)
    exact["lm_head.weight"] = exact["model.embed_tokens.weight"]
    c.expect(exact, config={"tie_word_embeddings": True})


@case
def trainable_tokens_tied_stored(c):
    c.adapter(lambda: llama(tie=True), target_modules=["q_proj"], trainable_token_indices=[3, 4])
    store_head(c)
    c.expect_peft(tied=True)


@case
def tied_encoder_decoder_head(c):
    """Without the tie, encoder and decoder need embeddings of their own."""
    c.adapter(bart, target_modules=["lm_head", "q_proj"])
    c.expect(untied(c), config={"tie_word_embeddings": False})


@case
def tied_encoder_decoder_embedding(c):
    c.adapter(bart, target_modules=["encoder.embed_tokens", "decoder.embed_tokens"])
    c.expect(untied(c), config={"tie_word_embeddings": False})


@case
def tied_bias_of_head(c):
    """The bias of BERT's decoder is tied as well."""
    c.adapter(lambda: bert(T.BertForMaskedLM), target_modules=["cls.predictions.decoder"])
    c.expect(untied(c), config={"tie_word_embeddings": False})


@case
def tied_bias_all(c):
    """The adapter holds both names of the one bias, with equal values."""
    c.adapter(lambda: bert(T.BertForMaskedLM), target_modules=["query"], bias="all")
    tied = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
    c.expect({k: v for k, v in c.merged().items() if k not in tied}, config={"tie_word_embeddings": True})


@case
def tied_bias_all_untied(c):
    """The bias changes alike under both names, the embedding alone."""
    c.adapter(lambda: bert(T.BertForMaskedLM), target_modules=["word_embeddings"], bias="all")
    c.expect(untied(c), config={"tie_word_embeddings": False})


@case
def tied_bias_resized(c):
    """PEFT saves the bias of BERT's decoder by one of its two names."""
    c.adapter(lambda: bert(T.BertForMaskedLM), resize=14, target_modules=["query"])
    tied = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
    c.expect({k: v for k, v in c.merged(vocab=14).items() if k not in tied}, config={"vocab_size": 14, "tie_word_embeddings": True})


@case
def tied_encoder_decoder_resized(c):
    c.adapter(bart, resize=14, target_modules=["q_proj"])
    c.refuse("unsupported", "no adapter holds the new rows of final_logits_bias")


@case
def tied_embedding_of_another_name_resized(c):
    c.adapter(mamba, resize=14, target_modules=["x_proj"])
    c.expect({k: v for k, v in c.merged(vocab=14).items() if k != "lm_head.weight"}, config={"vocab_size": 14, "tie_word_embeddings": True})


@case
def tied_embedding_of_another_name(c):
    """Mamba's embedding is called backbone.embeddings."""
    c.adapter(mamba, target_modules=["embeddings", "x_proj"])
    c.expect(untied(c), config={"tie_word_embeddings": False})


# ---- names of training states and of old versions

@case
def training_state(c):
    c.adapter(lambda: llama(tie=False), target_modules=["q_proj", "embed_tokens"], modules_to_save=["norm"])
    exact = c.merged()
    state = {k: v for k, v in c.peft_model.state_dict().items() if "lora_" in k or "modules_to_save" in k}
    path = f"{c.dir}/adapter/{WEIGHTS}"
    save_file({k: v.contiguous() for k, v in state.items()}, path, {"format": "pt"})
    assert any(".default." in k for k in state)
    c.expect({k: v for k, v in exact.items()})


@case
def training_state_compiled(c):
    c.adapter(lambda: llama(), target_modules=["q_proj"])
    c.expect_peft()
    c.rename(lambda k: k.replace("base_model.model.", "_orig_mod.base_model.model.").replace("lora_A.", "lora_A.default.").replace("lora_B.", "lora_B.default."))


@case
def training_state_fsdp(c):
    c.adapter(lambda: llama(), target_modules=["q_proj"])
    c.expect_peft()
    c.rename(lambda k: k.replace("layers.0.", "layers.0._fsdp_wrapped_module.").replace("base_model.model.", "base_model.model._fsdp_wrapped_module."))


@case
def names_without_prefix(c):
    c.adapter(mlp, target_modules=["inner", "outer"])
    c.expect_peft()
    c.rename(lambda k: k.removeprefix("base_model.model."))


@case
def odd_names(c):
    c.adapter(lambda: Net(weight=nn.Linear(5, 4), bias=nn.Linear(4, 4), lora=nn.Linear(4, 3), default=nn.Linear(3, 3), model=Net(weight=nn.Linear(4, 2)),
                          **{"0": nn.Linear(3, 4)}),
              target_modules=["weight", "bias", "lora", "default", "0"])
    c.expect_peft()


@case
def adapter_of_another_name(c):
    model = mlp()
    c.make, c.base = mlp, f"{c.dir}/base"
    save_base(model, c.base)
    pm = get_peft_model(model, LoraConfig(r=2, lora_alpha=3, target_modules=["inner"]), adapter_name="inner")
    train(pm, c.g)
    pm.save_pretrained(f"{c.dir}/saved")
    shutil.move(f"{c.dir}/saved/inner", f"{c.dir}/adapter")
    shutil.rmtree(f"{c.dir}/saved")
    c.edit_config(base_model_name_or_path=None)
    c.expect_peft()


@case
def legacy_bias_names(c):
    """PEFT 0.6 and before wrote the bias of a target under the module's own name."""
    c.adapter(mlp, bias="lora_only", target_modules=["inner"])
    c.expect_peft()
    c.rename(lambda k: k.replace(".base_layer.bias", ".bias"))
    c.edit_config(peft_version=...)


@case
def legacy_config(c):
    """The few fields that PEFT 0.2 wrote."""
    c.adapter(mlp, target_modules=["inner", "outer"])
    path = f"{c.dir}/adapter/{CONFIG}"
    json.dump({"base_model_name_or_path": "x", "bias": "none", "enable_lora": None, "fan_in_fan_out": False, "inference_mode": True, "lora_alpha": 3, "lora_dropout": 0.0,
               "merge_weights": False, "modules_to_save": None, "peft_type": "LORA", "r": 2, "target_modules": ["inner", "outer"], "task_type": None}, open(path, "w"), indent=1)
    kept = open(path).read()
    c.edit_config(enable_lora=..., merge_weights=...)
    exact = c.merged()
    open(path, "w").write(kept)
    c.expect(exact)


@case
def legacy_fused_layers(c):
    """MergedLinear of PEFT before 0.3, as loralib has it."""
    c.adapter(lambda: Net(qkv=nn.Linear(4, 9)), target_modules=["qkv"])
    save_file({"base_model.model.qkv.lora_A.weight": torch.randn(4, 4, generator=c.g), "base_model.model.qkv.lora_B.weight": torch.randn(6, 2, 1, generator=c.g)},
              f"{c.dir}/adapter/{WEIGHTS}", {"format": "pt"})
    c.edit_config(enable_lora=[True, False, True], peft_version=...)
    c.refuse("unsupported", "fused layers of PEFT before 0.3")


@case
def legacy_pickle(c):
    c.adapter(lambda: Net(inner=nn.Linear(3, 2)), target_modules=["inner"])
    torch.save(load_file(f"{c.dir}/adapter/{WEIGHTS}"), f"{c.dir}/adapter/adapter_model.bin")
    os.remove(f"{c.dir}/adapter/{WEIGHTS}")
    c.refuse("AD009", "weights in a pickle")


@case
def initialised_by_pissa(c):
    c.adapter(mlp, target_modules=["inner"], init_lora_weights="pissa")
    c.refuse("unsupported", "the factors are relative to a base that PEFT changed")


@case
def other_type(c):
    model = mlp()
    c.base = f"{c.dir}/base"
    save_base(model, c.base)
    pm = get_peft_model(model, peft.IA3Config(target_modules=["inner"], feedforward_modules=[]))
    pm.save_pretrained(f"{c.dir}/adapter")
    os.remove(f"{c.dir}/adapter/README.md")
    c.edit_config(base_model_name_or_path=None)
    c.refuse("unsupported", "IA3 is not LoRA")


def main():
    assert peft.__version__ == "0.21.2", peft.__version__
    for name, f in cases.items():
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        c = Case(name)
        f(c)
        size = sum(os.path.getsize(f"{d}/{x}") for d, _, fs in os.walk(c.dir) for x in fs)
        info = json.load(open(f"{c.dir}/case.json"))
        assert size <= 20 << 10, f"{name}: {size} bytes"
        print(f"{name:40} {size:6} bytes  {info['expect']}", flush=True)


if __name__ == "__main__":
    main()
