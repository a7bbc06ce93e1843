#!/usr/bin/env python3
"""Dumps transformers' map of names on disk to names in memory to the data file
that loratool embeds, and vectors that its tests compare with.

usage: dump_names.py [--out DIR] [--check]

It writes DIR/transformers.json, DIR/testdata/vectors.json and
DIR/testdata/operations.json (DIR is format/adapter/names). With --check it writes nothing and exits with 1 when the
data file differs from what the installed transformers has, naming the families
that are new or changed.

Go's regular expressions have no assertions. Each source pattern is therefore
translated from its syntax tree: the name boundary that transformers appends to
most patterns becomes a character behind the match, and every other assertion an
empty group whose position is checked afterwards. The script runs the
translation beside transformers' own code over names sampled from the patterns
and over the parameters of every model it can build, and fails on a difference.
"""
import argparse
import inspect
import json
import logging
import os
import random
import re
import sys
import types
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
logging.disable(logging.CRITICAL)

import numpy as np
import torch
import transformers
import transformers.core_model_loading as core
from transformers import CONFIG_MAPPING, PreTrainedModel
import peft.utils.transformers_weight_conversion as peft_conversion
from transformers.conversion_mapping import _MODEL_TO_CONVERSION_PATTERN, _build_checkpoint_conversion_mapping, get_checkpoint_conversion_mapping
from transformers.models.auto import modeling_auto as auto
import re._constants as C
import re._parser as parser

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "format", "adapter", "names", "transformers.json")
WORD_END = parser.parse(r"a(?!\w)").data[1]


class Untranslatable(Exception):
    pass


# --- patterns ---------------------------------------------------------------

CATEGORIES = {C.CATEGORY_DIGIT: r"\p{Nd}", C.CATEGORY_NOT_DIGIT: r"\P{Nd}", C.CATEGORY_WORD: r"\p{L}\p{N}_"}


class Translation:
    """One source pattern as Go can run it."""

    def __init__(self, pattern):
        self.tree = parser.parse(pattern)
        self.captures, self.checks, self.groups = [], [], 1  # group 1 is the match
        self.needle = ""
        nodes = list(self.tree)
        self.end = bool(nodes) and repr(nodes[-1]) == repr(WORD_END)
        body = self.sequence(nodes[:-1] if self.end else nodes, top=True)
        self.regex = f"({body})" + (r"(?:[^\p{L}\p{N}_]|\z)" if self.end else "")

    def sequence(self, nodes, top=False):
        out, run = "", ""
        for op, arg in nodes:
            out += self.node(op, arg, top)
            run = run + chr(arg) if op is C.LITERAL else ""
            if top and len(run) > len(self.needle):
                self.needle = run
        return out

    def node(self, op, arg, top):
        if op is C.LITERAL:
            return re.escape(chr(arg)) if chr(arg) in r"\.+*?()|[]{}^$" else chr(arg)
        if op is C.ANY:
            return "."
        if op is C.AT and arg is C.AT_BEGINNING:
            return r"\A"
        if op is C.IN:
            return self.char_class(arg)
        if op is C.MAX_REPEAT:
            low, high, inner = arg
            suffix = {(0, C.MAXREPEAT): "*", (1, C.MAXREPEAT): "+", (0, 1): "?"}.get((low, high))
            if suffix is None:
                raise Untranslatable(f"repeat {low}..{high}")
            return f"(?:{self.sequence(inner)}){suffix}" if len(inner) != 1 else self.sequence(inner) + suffix
        if op is C.BRANCH:
            return "(?:" + "|".join(self.sequence(b) for b in arg[1]) + ")"
        if op is C.SUBPATTERN:
            group, add, remove, inner = arg
            if add or remove:
                raise Untranslatable("flags")
            if group is None:
                return f"(?:{self.sequence(inner, top)})"
            self.groups += 1
            self.captures.append(self.groups)
            return f"({self.sequence(inner)})"
        if op is C.ASSERT_NOT:
            if not top:
                raise Untranslatable("assertion within a group")
            direction, inner = arg
            self.groups += 1
            text = Translation.inner(inner)
            self.checks.append({"group": self.groups, "not_before": f"\\A(?:{text})"} if direction == 1 else {"group": self.groups, "not_after": f"(?:{text})\\z"})
            return "()"
        raise Untranslatable(str(op))

    @staticmethod
    def inner(nodes):
        t = Translation("")
        text = t.sequence(list(nodes))
        if t.checks:
            raise Untranslatable("nested assertion")
        return re.sub(r"(?<!\\)\((?!\?)", "(?:", text)

    @staticmethod
    def char_class(items):
        out = ""
        for op, arg in items:
            if op is C.NEGATE:
                out += "^"
            elif op is C.LITERAL:
                out += re.escape(chr(arg))
            elif op is C.RANGE:
                out += f"{re.escape(chr(arg[0]))}-{re.escape(chr(arg[1]))}"
            elif op is C.CATEGORY and arg in CATEGORIES:
                out += CATEGORIES[arg]
            else:
                raise Untranslatable(str(op))
        return f"[{out}]"

    def data(self):
        d = {"re": self.regex}
        if self.captures:
            d["captures"] = self.captures
        if self.checks:
            d["checks"] = self.checks
        if self.needle:
            d["needle"] = self.needle
        return d

    def search(self, key):
        """What the Go program does, with Python's re: the leftmost match whose checks hold."""
        python = lambda p: re.compile(p.replace(r"\p{L}\p{N}_", r"\w").replace(r"\p{Nd}", r"\d").replace(r"\z", r"\Z"))
        if self.needle not in key:
            return None
        regex, at = python(self.regex), 0
        while at <= len(key):
            m = regex.search(key, at)
            if m is None:
                return None
            if all(holds(python, c, key, m) for c in self.checks):
                return m
            if self.regex.startswith(r"(\A"):
                return None
            at = m.start() + 1
        return None


def holds(python, check, key, m):
    at = m.start(check["group"])
    if "not_before" in check:
        return python(check["not_before"]).search(key[at:]) is None
    return python(check["not_after"]).search(key[:at]) is None


def branches(t):
    """The branches of a transform in the order in which they are tried: (source, pattern)."""
    order = sorted(enumerate(t.source_patterns), key=lambda item: -len(item[1]))
    for i, source in order:
        pattern = source.replace("*.", r".*\.")
        if re.search(r"[a-zA-Z0-9]$", pattern):
            pattern += r"(?!\w)"
        yield i, pattern


def op_data(op):
    d = {"op": type(op).__name__}
    for name, key in (("dim", "dim"), ("dim0", "dim"), ("dim1", "dim1"), ("check_dims", "check"), ("inverse", "inverse"), ("subconfig_key", "config"),
                      ("permute_layer_names", "layers"), ("stack_dim", "stack_dim"), ("concat_dim", "concat_dim"), ("num_shards_attribute", "shards")):
        v = getattr(op, name, None)
        if v not in (None, False):
            d[key] = v
    return d


def transform_data(t):
    d = {"from": t.source_patterns, "to": t.target_patterns}
    kinds = {core.WeightRenaming: "", core.PrefixChange: "", core.GroupWeightRename: "group", core.Inkling2IndexOffsetWeightRename: "offset", core.WeightConverter: "convert"}
    if type(t) not in kinds:
        d["kind"], d["unsupported"] = "unsupported", type(t).__name__
        return d
    if kinds[type(t)]:
        d["kind"] = kinds[type(t)]
    if isinstance(t, core.WeightConverter):
        d["ops"] = [op_data(op) for op in t.operations]
    if isinstance(t, core.Inkling2IndexOffsetWeightRename):
        d["offset"] = t.offset
    try:
        d["match"] = [{"source": i, **Translation(p).data()} for i, p in branches(t)]
    except Untranslatable as e:
        d["kind"], d["unsupported"] = "unsupported", f"pattern {t.source_patterns}: {e}"
    return d


# --- the translation beside the original -----------------------------------


class Emulated:
    """A transform run through its translation."""

    def __init__(self, t):
        self.t = t
        self.branches = [(i, Translation(p)) for i, p in branches(t)]
        self.active = False

    def rename(self, key):
        best = None
        for order, (i, tr) in enumerate(self.branches):
            m = tr.search(key)
            if m is not None and (best is None or m.start(1) < best[0]):
                best = (m.start(1), i, tr, m)
        if best is None:
            return key, None
        _, i, tr, m = best
        replacement = self.t.target_patterns[0]
        if isinstance(self.t, core.GroupWeightRename):
            if i == 0:
                self.active = True
            elif not self.active:
                return key, None
            replacement = self.t.target_patterns[i]
        if r"\1" in replacement:
            value = m.group(tr.captures[0])
            if isinstance(self.t, core.Inkling2IndexOffsetWeightRename):
                value = str(int(value) + self.t.offset)
            replacement = replacement.replace(r"\1", value)
        return key.replace(m.group(1), replacement, 1), self.t.source_patterns[i]


def sample(tree, rng):
    """A string that the pattern matches, assertions aside."""
    out = ""
    for op, arg in tree:
        if op is C.LITERAL:
            out += chr(arg)
        elif op is C.ANY:
            out += rng.choice(".a_7")
        elif op is C.IN:
            out += sample_class(arg, rng)
        elif op is C.MAX_REPEAT:
            low, high, inner = arg
            for _ in range(rng.randint(low, 1 if high == 1 else low + 2)):
                out += sample(inner, rng)
        elif op is C.BRANCH:
            out += sample(rng.choice(arg[1]), rng)
        elif op is C.SUBPATTERN:
            out += sample(arg[3], rng)
    return out


def sample_class(items, rng):
    for op, arg in items:
        if op is C.LITERAL:
            return chr(arg)
        if op is C.RANGE:
            return chr(rng.randint(*arg))
        if op is C.CATEGORY:
            return str(rng.randint(0, 9))
    raise Untranslatable("negated class")


BEFORE = ["", "", "model.", "model.layers.0.", "encoder.layer.3", "language_model.", "x", "layers.1.", "decoder.", "_"]
AFTER = ["", ".weight", "weight", ".bias", "_scale", ".0.weight", "s.1"]


def sampled_names(t, rng, n):
    for _, pattern in branches(t):
        tree = parser.parse(pattern)
        for _ in range(n):
            yield rng.choice(BEFORE) + sample(tree, rng) + rng.choice(AFTER)


def run_all(transforms, key):
    key = core.apply_renamings(key, [t for t in transforms if isinstance(t, core.WeightRenaming)])
    return core.apply_converters(key, [t for t in transforms if isinstance(t, core.WeightConverter)])


def check_translation(mapping, names):
    """Every pattern beside its translation, on sampled and on real names."""
    rng, compared = random.Random(1), 0
    for key, transforms in mapping.items():
        for t in transforms:
            e = Emulated(t)
            for name in list(sampled_names(t, rng, 20)) + names:
                want, got = t.rename_source_key(name), e.rename(name)
                compared += 1
                if want != got:
                    sys.exit(f"{key}: {t}: {name!r} becomes {want} in transformers and {got} in the translation")
    print(f"{compared} names compared, patterns of {len(mapping)} keys", file=sys.stderr)


def vectors(mapping, aliases):
    """For each key, names and what transformers makes of them: [name, renamed, source pattern]."""
    rng, out = random.Random(2), {}
    for key in sorted(set(mapping) - set(aliases)):
        rows = set()
        for t in mapping[key]:
            for name in sampled_names(t, rng, 2):
                rows.add(name)
        fresh = _build_checkpoint_conversion_mapping()[key]
        rows = sorted(rows, key=core.dot_natural_key)
        out[key] = [[name, *run_all(fresh, name)] for name in rows]
    return out


def operations(mapping, aliases):
    """For each chain of operations, numbered tensors and what transformers makes of them."""
    out, seen = {}, set()
    config = types.SimpleNamespace(num_attention_heads=2, num_key_value_heads=1, head_dim=4)
    config.vision_config = config.text_config = config
    config.get_text_config = lambda: config
    for key in sorted(set(mapping) - set(aliases)):
        for t in mapping[key]:
            if not isinstance(t, core.WeightConverter):
                continue
            ops = [op_data(op) for op in t.operations]
            chain = json.dumps([ops, len(t.source_patterns), len(t.target_patterns)])
            if chain in seen or any(op.get("check") for op in ops):  # with check the shapes decide
                continue
            seen.add(chain)
            out[f"{key} {len(seen)}"] = {"key": key, "from": t.source_patterns, "to": t.target_patterns, "ops": ops, **numbered(t, ops, config)}
    return out


def numbered(t, ops, config):
    """Runs a conversion over tensors whose elements are their numbers."""
    listed = any(op["op"] in ("MergeModulelist", "ErnieFuseAndSplitTextVisionExperts") or "shards" in op for op in ops)
    stack = not listed and any(op.get("dim1") == 2 or op.get("dim") == 1 for op in ops if op["op"] in ("Transpose", "Interleave"))
    shape, count, inputs, collected = ([3, 16, 2] if stack else [24 if any(op["op"] == "PermuteForRope" for op in ops) else 16, 3]), 0, [], {}
    for source in t.source_patterns:
        collected[source] = []
        for _ in range(4 if listed else 1):
            n = int(np.prod(shape))
            collected[source].append(torch.arange(count, count + n).reshape(shape))
            count += n
        inputs.append([list(x.shape) for x in collected[source]])
    heads = {"q_proj": 2, "k_proj": 1, "v_proj": 1}
    model = types.SimpleNamespace(get_parameter=lambda name: torch.empty(4 * heads[next(h for h in heads if h in name)], 3))
    for op in t.operations:
        collected = op.convert(collected, source_patterns=t.source_patterns, target_patterns=t.target_patterns, full_layer_name=t.target_patterns[0], model=model, config=config)
    outputs = []
    for target in t.target_patterns:
        x = collected[target]
        x = x[0] if isinstance(x, list) else x
        outputs.append({"shape": list(x.shape), "elements": x.flatten().tolist()})
    return {"inputs": inputs, "outputs": outputs}


# --- models -----------------------------------------------------------------

AUTO = {"base": auto.MODEL_MAPPING_NAMES, "causal": auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "text": auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES, "backbone": auto.MODEL_FOR_BACKBONE_MAPPING_NAMES,
        "seq2seq": auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES}


def first(x):
    return x[0] if isinstance(x, (tuple, list)) else x


def model_classes():
    found = {}
    for name in sorted(dir(auto)):
        if name.startswith("MODEL") and name.endswith("MAPPING_NAMES"):
            for model_type, cls in getattr(auto, name).items():
                for c in cls if isinstance(cls, (tuple, list)) else [cls]:
                    found.setdefault(c, model_type)
    for c in sorted(found):
        cls = getattr(transformers, c, None)
        if inspect.isclass(cls) and issubclass(cls, PreTrainedModel):
            yield c, cls, found[c]


def shrink(config, depth=0):
    """Few layers: the parts of a model do not depend on their number."""
    for name in ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers", "depth"):
        if isinstance(getattr(config, name, None), int) and getattr(config, name) > 2:
            try:
                setattr(config, name, 2)
            except Exception:
                pass
    if isinstance(getattr(config, "layer_types", None), list) and getattr(type(config), "layer_types", None).__class__ is not property:
        config.layer_types = config.layer_types[:2]
    for name in ("first_k_dense_replace", "moe_layer_start_index", "num_dense_layers", "moe_num_dense_layers"):
        if isinstance(getattr(config, name, None), int) and getattr(config, name) > 1:
            setattr(config, name, 1)
    kinds = getattr(config, "mlp_layer_types", None)
    if isinstance(kinds, list) and getattr(type(config), "mlp_layer_types", None).__class__ is not property:
        config.mlp_layer_types = [kinds[0], kinds[-1]]  # dense layers come first
    for name in getattr(config, "sub_configs", None) or {}:
        sub = getattr(config, name, None)
        if getattr(sub, "model_type", None) == "timm_wrapper":  # needs a package; the slot is what counts
            setattr(config, name, transformers.ViTConfig())
        elif hasattr(sub, "to_dict") and depth < 3:
            shrink(sub, depth + 1)


def with_heads(config):
    shrink(config)
    for c in (config, getattr(config, "text_config", None)):
        if c is not None:
            c.head_dim, c.num_key_value_heads = 64, c.num_attention_heads


def with_vision(config):
    shrink(config)
    config.vision_config = transformers.SiglipVisionConfig(num_hidden_layers=2)


def with_backbone(config):
    config.use_timm_backbone, config.use_pretrained_backbone, config.backbone = False, False, None
    config.backbone_config = transformers.ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])


def with_vocabulary(config):
    shrink(config)
    config.vocabulary_map = {"<image>": 4, "<|extra_200|>": 5, "IMGIMGA": 6}


def with_layer_types(config):
    shrink(config)
    for c in (config, getattr(config, "text_config", None)):
        if c is not None:
            c.layer_types = ["full_attention", "conv"][: 1 if hasattr(c, "sliding_window") else 2] * 2


def with_indices(config):
    config.out_indices = [1, 2, 3, 4]


# Numbers that some configs leave open or wrong for some of their classes.
OPEN = {"prediction_length": 4, "vocab_size": 32, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "shared_expert_intermediate_size": 32, "top_k_experts": 2, "moe_intermediate_size": 32, "head_dim": 64, "decoder_hidden_size": 32, "decoder_depth": 1, "decoder_num_heads": 4,
        "is_decoder": True, "deepstack_layer_map": [[0, 0]], "spatial_target_layers": [0], "pad_token_id": 0}


def with_numbers(config):
    """What is not set, set; tuples as the lists that code adds to; layers of one kind."""
    for c in [config] + [getattr(config, n, None) for n in getattr(config, "sub_configs", None) or {}]:
        if not hasattr(c, "to_dict"):
            continue
        for name, value in OPEN.items():
            try:
                if not getattr(c, name, None if name in vars(c) else value):
                    setattr(c, name, value)
            except AttributeError:  # computed, or one for each layer
                pass
        for name, value in list(vars(c).items()):
            if isinstance(value, tuple):
                setattr(c, name, list(value))
    shrink(config)
    for c in (config, getattr(config, "text_config", None), getattr(config, "encoder", None)):
        if hasattr(c, "mlp_layer_types") and not c.mlp_layer_types:
            c.mlp_layer_types = ["dense", "sparse"]
        if hasattr(c, "layer_types") and c.layer_types:
            c.layer_types = ["full_attention"] * len(c.layer_types)
        if hasattr(c, "rope_theta") is False and type(c).__name__ == "DbrxConfig":
            c.attn_config.rope_theta = 10000.0


def with_rope_by_layer(config):
    with_numbers(config)
    for c in (config, getattr(config, "text_config", None)):
        if hasattr(c, "rope_parameters"):
            c.rope_parameters = {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}


def with_image_heads(config):
    shrink(config)
    config.head_config.upsample_out_channels, config.head_config.upsample_kernel_sizes = [32, 32], [4, 4]
    for name in ("conv_out_channels", "scale_conv_out_channels"):
        setattr(config.head_config, name, [32, 32])
    for name in ("conv_kernel_sizes", "scale_conv_kernel_sizes"):
        setattr(config.head_config, name, [1, 1])
    config.head_config.scale_final_layer_sizes = [32 * config.hidden_size, 16, 1]


# Some configs do not build a model as they come; what parts it has does not depend on what is changed.
ATTEMPTS = [shrink, lambda config: None, with_heads, with_vision, with_backbone, with_vocabulary, with_layer_types, with_indices, with_numbers, with_rope_by_layer, with_image_heads]


def build(cls, model_type):
    error = None
    for attempt in ATTEMPTS:
        try:
            config = cls.config_class() if cls.config_class else CONFIG_MAPPING[model_type]()
            attempt(config)
            with torch.device("meta"):
                return cls(config), None
        except Exception as e:
            error = error or f"{type(e).__name__}: {e}".strip().split("\n")[0]
    return None, error


def config_path(root, target):
    """Where in root's sub-configs the config of a part is: (path, whether its class is chosen by it)."""
    for name, kind in (getattr(root, "sub_configs", None) or {}).items():
        sub = getattr(root, name, None)
        if sub is None:
            continue
        if sub is target:
            return [name], kind.__name__ == "AutoConfig"
        found = config_path(sub, target)
        if found:
            return [name] + found[0], found[1]
    return None


def parts(model):
    """The models within a model, in the order of named_modules."""
    out = []
    for path, m in model.named_modules():
        if path == "" or not isinstance(m, PreTrainedModel):
            continue
        part = {"path": path, "class": type(m).__name__, "type": m.config.model_type}
        where = config_path(model.config, m.config)
        if where:
            part["config"] = where[0]
            kinds = [k for k, names in AUTO.items() if first(names.get(m.config.model_type)) == type(m).__name__]
            if where[1] and kinds:
                part["auto"] = kinds[0]
        out.append(part)
    return out


def describe(name, cls, model_type, mapping):
    """What the data file says of a class, and a model of it without values or the reason why there is none."""
    d = {"type": getattr(cls.config_class, "model_type", model_type)}
    if getattr(cls, "base_model_prefix", ""):
        d["prefix"] = cls.base_model_prefix
    model, error = build(cls, model_type)
    if model is not None:
        found = parts(model)
        keys = {name, d["type"]} | {p["class"] for p in found} | {p["type"] for p in found}
        if any("auto" in p for p in found) or keys & set(mapping):
            d["parts"] = found
        d["headed"] = isinstance(getattr(model, d.get("prefix") or " ", None), PreTrainedModel)
        d["tied"] = tied(model)
        d["bare"] = bare(model)
        d["embeddings"] = numberless(path for path, m in model.named_modules() if isinstance(m, torch.nn.Embedding))
    return {k: v for k, v in d.items() if v}, model, error


def survey(mapping):
    """Structure of every model class that can be built, and its parameters' names."""
    classes, names, transposed, orders, failed = {}, set(), set(), {}, {}
    for name, cls, model_type in model_classes():
        classes[name], model, error = describe(name, cls, model_type, mapping)
        if model is None:
            failed[name] = error
        else:
            collect(model, names, transposed, orders)
    return classes, sorted(names), sorted(transposed), orders, failed


ADAPTED = (torch.nn.Linear, torch.nn.Embedding, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d, transformers.pytorch_utils.Conv1D)


def bare(model):
    """Modules with a weight of two dimensions or more that are no layers of
    PEFT: it adapts the weight by target_parameters, or not at all."""
    return numberless(path for path, m in model.named_modules() if not isinstance(m, ADAPTED) and any(n == "weight" and p.dim() > 1 for n, p in m.named_parameters(recurse=False)))


def tied(model):
    """Parameters that share the values of others where the configs tie them, those of the models within included."""
    own, names = model._tied_weights_keys, set(model.state_dict())
    for m in model.modules():
        if isinstance(m, PreTrainedModel):
            m.config.tie_word_embeddings = True
    pairs = dict(own) if isinstance(own, dict) else {}
    try:
        pairs = {k: v for k, v in model.get_expanded_tied_weights_keys(all_submodels=True).items() if k in pairs or numberless([k]) == [k]} | pairs
    except (AttributeError, ValueError, TypeError):
        pass  # what the class says of itself is all there is
    return {k: v for k, v in sorted(pairs.items()) if k in names and v in names}


def numberless(paths):
    """Paths with * for numbers, each once."""
    return sorted({re.sub(r"(?<![^.])\d+(?![^.])", "*", path) for path in paths})


def collect(model, names, transposed, orders):
    names.update(k for k in model.state_dict() if re.search(r"\.[01]\.", k) or not re.search(r"\.\d+\.", k))
    for _, m in model.named_modules():
        stacks = [n for n, p in m.named_parameters(recurse=False) if p.dim() == 3 and n != "weight"]
        if getattr(m, "is_transposed", False) and stacks:
            transposed.add(type(m).__module__.split(".")[-2])
            transposed.add(model.config.get_text_config().model_type)
            transposed.add(model.config.model_type)
        if len(stacks) > 1 and "proj" in stacks[0]:
            orders[" ".join(stacks)] = orders.get(" ".join(stacks), 0) + 1


def retargeted():
    """Model types whose target_modules PEFT rewrites on loading, and the last
    names that it takes for those of experts: by model type."""
    return {t: sorted(peft_conversion._MOE_TARGET_MODULE_MAPPING[base]) for t, base in sorted(peft_conversion._MODEL_TO_CONVERSION_PATTERN.items())
            if base in peft_conversion._MOE_TARGET_MODULE_MAPPING and get_checkpoint_conversion_mapping(t) is not None}


# --- files ------------------------------------------------------------------


def rules(mapping):
    """The rules of every key, and the keys that are another name of one."""
    aliases = {}
    for alias, key in sorted(_MODEL_TO_CONVERSION_PATTERN.items()):
        if len(mapping[alias]) == len(mapping[key]) and all(a is b for a, b in zip(mapping[alias], mapping[key])):
            aliases[alias] = key
    return {"keys": {k: [transform_data(t) for t in mapping[k]] for k in sorted(mapping) if k not in aliases}, "aliases": aliases}


def changed_families(path=DATA):
    """Keys in which the data file differs from the installed transformers."""
    old, new = json.load(open(path)), json.loads(json.dumps(rules(_build_checkpoint_conversion_mapping())))
    new["retargeted"] = retargeted()
    return sorted({k for part in ("keys", "aliases", "retargeted") for k in set(old[part]) | set(new[part]) if old[part].get(k) != new[part].get(k)})


def changed_classes(names, path=DATA):
    """Those of the classes in which the data file differs from the installed transformers."""
    old, mapping = json.load(open(path))["classes"], _build_checkpoint_conversion_mapping()
    found = {n: describe(n, cls, t, mapping)[0] for n, cls, t in model_classes() if n in names}
    return [n for n in names if json.loads(json.dumps(found.get(n))) != old.get(n)]


def dump():
    mapping = _build_checkpoint_conversion_mapping()
    classes, names, transposed, orders, failed = survey(mapping)
    found = rules(mapping)
    aliases = found["aliases"]
    check_translation({k: v for k, v in mapping.items() if k not in aliases}, random.Random(3).sample(names, min(1500, len(names))))
    used = {p["auto"] for c in classes.values() for p in c.get("parts", []) if "auto" in p}
    data = {
        "origin": f"transformers {transformers.__version__}: conversion_mapping.py and the structure of its models",
        "licence": "Apache-2.0",
        "version": transformers.__version__,
        **found,
        "auto": {k: {t: first(c) for t, c in sorted(AUTO[k].items())} for k in sorted(used)},
        "transposed": transposed,
        "retargeted": retargeted(),
        "classes": classes,
        "not_built": failed,
    }
    print(f"{len(mapping)} keys, {len(aliases)} of them aliases; {len(classes)} classes, {len(failed)} not built; transposed {transposed}; orders {orders}", file=sys.stderr)
    return data, vectors(mapping, aliases), operations(mapping, aliases)


def write(path, data):
    """JSON with one line for each entry, or for each of the second level."""
    lines = []
    for k, v in data.items():
        if isinstance(v, dict) and len(v) > 8:
            inner = ",\n".join(f"{json.dumps(a)}:{json.dumps(b, separators=(',', ':'), ensure_ascii=False)}" for a, b in v.items())
            lines.append(f"{json.dumps(k)}:{{\n{inner}\n}}")
        else:
            lines.append(f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'), ensure_ascii=False)}")
    with open(path, "w") as f:
        f.write("{\n" + ",\n".join(lines) + "\n}\n")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--out", default=os.path.dirname(DATA))
    p.add_argument("--check", action="store_true")
    args = p.parse_args()
    path = os.path.join(args.out, "transformers.json")
    if args.check:
        changed = changed_families(path)
        print(f"transformers {transformers.__version__}: {len(changed)} families differ from {path}" + "".join(f"\n  {k}" for k in changed))
        sys.exit(1 if changed else 0)
    data, vec, ops = dump()
    write(path, data)
    write(os.path.join(args.out, "testdata", "vectors.json"), vec)
    write(os.path.join(args.out, "testdata", "operations.json"), ops)


if __name__ == "__main__":
    main()
