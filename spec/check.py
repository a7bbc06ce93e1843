#!/usr/bin/env python3
"""An independent checker of the LoRA adapter format, version 1.

It was written from adapter-v1.md alone, with the standard library of Python
only, to show that the text suffices. It is not fast and not for production:

    check.py PATH [--base BASE] [--deep]     findings, one a line
    check.py --vectors DIR                   holds itself against the vectors
"""

import argparse, hashlib, json, math, os, re, stat, struct, sys, tempfile, unicodedata
from fractions import Fraction

BITS = dict(BOOL=8, F4=4, F6_E2M3=6, F6_E3M2=6, U8=8, I8=8, F8_E5M2=8, F8_E4M3=8, F8_E8M0=8, F8_E4M3FNUZ=8, F8_E5M2FNUZ=8,
            I16=16, U16=16, F16=16, BF16=16, I32=32, U32=32, F32=32, C64=64, F64=64, I64=64, U64=64)
FLOATS = {"F16", "BF16", "F32", "F64", "F8_E5M2", "F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}
TYPES = """PROMPT_TUNING MULTITASK_PROMPT_TUNING P_TUNING PREFIX_TUNING CPT CARTRIDGE ADAPTION_PROMPT LORA ADALORA ADAMSS BOFT IA3 BEFT LILY LOHA
LOKR OFT POLY LN_TUNING VERA FROD PVERA FOURIERFT GLORA XLORA HRA VBLORA UNILORA MISS RANDLORA ROAD TRAINABLE_TOKENS HIRA SHIRA C3A WAVEFT OSF
DELORA GRALORA TINYLORA PSOFT PEANUT SUPERTUNING DEFT BONE MIXED""".split()
# Fields of PEFT 0.21 that say nothing about the adapted model, and those that do.
SILENT = """peft_type task_type auto_mapping revision inference_mode lora_dropout exclude_modules layers_to_transform layers_pattern
ensure_weight_tying loftq_config eva_config corda_config lora_ga_config megatron_config megatron_core qalora_group_size velora_config
monteclora_config runtime_config merge_weights""".split()
SWITCHES = "layer_replication alora_invocation_tokens arrow_config use_bdlora kasa_config use_qalora enable_lora".split()
KNOWN = SILENT + SWITCHES + """base_model_name_or_path peft_version bias r lora_alpha rank_pattern alpha_pattern use_rslora use_dora fan_in_fan_out
lora_bias modules_to_save target_parameters target_modules trainable_token_indices init_lora_weights lora_B_layout""".split()


class Broken(Exception):
    """A rule whose break makes the rest unreadable."""


class Findings:
    def __init__(self):
        self.errors, self.warnings, self.unsupported = [], [], []

    def error(self, rule):
        self.errors.append(rule)

    def warn(self, rule):
        self.warnings.append(rule)

    def refuse(self, rule):
        self.unsupported.append(rule)


# ---- strict JSON, chapters 3.2 and 4 ----

def strict_json(data, rules):
    """Decodes bytes; rules names the rule for each fault: utf8, syntax, twice, pair, deep."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Broken(rules["utf8"])
    if text.startswith("\ufeff"):
        raise Broken(rules["syntax"])
    depth = most = 0
    in_string = escaped = False
    for c in text:
        if in_string:
            escaped, in_string = (c == "\\" and not escaped), not (c == '"' and not escaped)
        elif c == '"':
            in_string, escaped = True, False
        elif c in "[{":
            depth += 1
            most = max(most, depth)
        elif c in "]}":
            depth -= 1
    if most > 64:
        raise Broken(rules["deep"])

    def members(pairs):
        keys = [k for k, _ in pairs]
        if len(set(keys)) != len(keys):
            raise Broken(rules["twice"])
        return dict(pairs)

    def number(literal):
        raise Broken(rules["syntax"])

    try:
        value = json.loads(text, object_pairs_hook=members, parse_constant=number)
    except json.JSONDecodeError:
        raise Broken(rules["syntax"])

    def surrogates(v):
        if isinstance(v, str):
            return any(0xD800 <= ord(c) < 0xE000 for c in v)
        if isinstance(v, dict):
            return any(surrogates(k) or surrogates(x) for k, x in v.items())
        return isinstance(v, list) and any(map(surrogates, v))

    if surrogates(value):
        raise Broken(rules["pair"])
    return value


def is_int(v):
    return isinstance(v, int) and not isinstance(v, bool)


def is_number(v):
    return isinstance(v, (int, float)) and not isinstance(v, bool)


# ---- chapter 3: the container ----

FOREIGN = [b"version https://git-lfs", b"PK\x03\x04", b"GGUF", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x93NUMPY"]


def foreign(data):
    head = data[:512].lstrip()
    return any(data.startswith(m) for m in FOREIGN) or head[:1] in (b"<", b"{") or data[:1] == b"\x80" and data[1:2] in (b"\2", b"\3", b"\4", b"\5")


class File:
    """A container that broke no rule with MUST."""

    def __init__(self, path, f):
        if not os.path.exists(path) or not stat.S_ISREG(os.stat(path).st_mode):
            raise Broken("ST033")
        self.path, self.data = path, open(path, "rb").read()
        self.tensors, self.metadata = {}, {}
        try:
            self.header(f)
        except Broken as b:
            head = self.data[8:].lstrip()[:1]
            early = b.args[0] in ("ST001", "ST002", "ST003", "ST035") or b.args[0] in ("ST004", "ST005", "ST006") and head != b"{"
            if early and foreign(self.data):
                raise Broken("ST024")
            raise

    def header(self, f):
        d = self.data
        if len(d) < 8:
            raise Broken("ST001")
        n = struct.unpack("<Q", d[:8])[0]
        if n == 0:
            raise Broken("ST035")
        if n > 100_000_000:
            raise Broken("ST002")
        if 8 + n > len(d):
            raise Broken("ST003")
        raw = d[8:8 + n]
        self.start = 8 + n
        body = raw.rstrip(b" \t\r\n")
        if raw[:1] in b" \t\r\n":
            f.warn("ST007")
        if raw[len(body):].strip(b" "):
            f.warn("ST008")
        top = strict_json(raw, dict(utf8="ST004", syntax="ST005", twice="ST009", pair="ST032", deep="ST023"))
        if not isinstance(top, dict):
            raise Broken("ST006")
        meta = top.pop("__metadata__", None)
        if meta is not None:
            if not isinstance(meta, dict) or not all(isinstance(v, str) for v in meta.values()):
                raise Broken("ST022")
            self.metadata = meta
        for name, entry in top.items():
            self.entry(f, name, entry)
        self.layout(f)
        self.names(f)

    def entry(self, f, name, e):
        if not isinstance(e, dict) or not {"dtype", "shape", "data_offsets"} <= set(e):
            raise Broken("ST010")
        if len(e) > 3:
            f.warn("ST011")
        shape, offsets = e["shape"], e["data_offsets"]
        if not isinstance(e["dtype"], str) or e["dtype"] not in BITS:
            raise Broken("ST012")
        if not isinstance(shape, list) or not all(is_int(n) and 0 <= n < 2**64 for n in shape):
            raise Broken("ST013")
        bits = BITS[e["dtype"]] * math.prod(n for n in shape if n)
        if bits >= 2**64 or any(n >= 2**63 for n in shape):
            raise Broken("ST014")
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(is_int(n) and n >= 0 for n in offsets) or offsets[0] > offsets[1]:
            raise Broken("ST015")
        bits = 0 if 0 in shape else bits
        if bits % 8:
            raise Broken("ST021")
        if offsets[1] - offsets[0] != bits // 8:
            raise Broken("ST019")
        if any(n > 2**48 - 1 for n in shape):
            f.warn("ST027")
        self.tensors[name] = (e["dtype"], shape, offsets)

    def layout(self, f):
        end = 0
        for dtype, _, (begin, stop) in sorted(self.tensors.values(), key=lambda t: t[2]):
            if begin > end:
                raise Broken("ST017")
            if begin < end:
                raise Broken("ST018")
            end = stop
            if (self.start + begin) % max(BITS[dtype] // 8, 1):
                f.warn("ST029")
        have = len(self.data) - self.start
        if have != end:
            raise Broken("ST016" if have < end else "ST020")

    def names(self, f):
        def hidden(s):
            return any(unicodedata.category(c)[0] in "CZ" and c != " " for c in s)
        folded = {}
        for n in self.tensors:
            if n == "":
                f.warn("ST030")
            elif hidden(n) or n[0] == "/" or "\\" in n or ".." in n.split("/"):
                f.warn("ST025")
            key = unicodedata.normalize("NFC", n).casefold()
            if folded.setdefault(key, n) != n:
                f.warn("ST026")
        for k, v in self.metadata.items():
            if hidden(k) or any(unicodedata.category(c) == "Cc" and c not in "\n\r\t" for c in v):
                f.warn("ST025")

    def bytes(self, name):
        _, _, (a, b) = self.tensors[name]
        return self.data[self.start + a:self.start + b]

    def values(self, name):
        return decode(self.tensors[name][0], self.bytes(name))


def decode(dtype, data):
    if dtype == "F32":
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    if dtype == "F64":
        return list(struct.unpack(f"<{len(data) // 8}d", data))
    if dtype == "F16":
        return list(struct.unpack(f"<{len(data) // 2}e", data))
    if dtype == "BF16":
        wide = b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2))
        return list(struct.unpack(f"<{len(data) // 2}f", wide))
    if dtype == "F8_E4M3":
        return [math.nan if b & 0x7F == 0x7F else (1 if b < 128 else -1) * (((b & 7) / 8 + 1) * 2.0 ** ((b >> 3 & 15) - 7) if b >> 3 & 15 else (b & 7) / 8 * 2.0 ** -6)
                for b in data]
    return list(data)


# ---- chapter 6: checkpoints ----

def safe(name):
    parts = name.split("/")
    return (0 < len(name.encode()) <= 1024 and not any(p in ("", ".", "..") for p in parts) and "\\" not in name and ":" not in name
            and not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in name))


def checkpoint(path, f):
    """Returns {tensor: (file, name)}."""
    files, tensors = {}, {}
    if os.path.isfile(path):
        files[os.path.basename(path)] = File(path, f)
        return collect(files, f)
    names = sorted(n for n in os.listdir(path) if n.endswith(".safetensors"))
    index = [n for n in os.listdir(path) if n.endswith(".safetensors.index.json")]
    if not index:
        for n in names:
            files[n] = File(os.path.join(path, n), f)
        return collect(files, f)
    name = index[0]
    if os.path.getsize(os.path.join(path, name)) > 250_000_000:
        raise Broken("SH015")
    rule = "SH001"
    top = strict_json(open(os.path.join(path, name), "rb").read(), dict(utf8=rule, syntax=rule, twice=rule, pair=rule, deep=rule))
    if not isinstance(top, dict):
        raise Broken("SH001")
    weights = top.get("weight_map")
    if not isinstance(weights, dict) or not weights or not all(isinstance(v, str) for v in weights.values()):
        raise Broken("SH002")
    shards = list(dict.fromkeys(weights.values()))
    for s in shards:
        if not safe(s):
            raise Broken("SH003")
        full = os.path.join(path, s)
        if not s.endswith(".safetensors") or os.path.isdir(full):
            raise Broken("SH005")
        if not os.path.exists(full):
            raise Broken("SH004")
    for s in shards:
        files[s] = File(os.path.join(path, s), f)
    tensors = collect(files, f)
    for t, s in weights.items():
        if t not in tensors:
            raise Broken("SH006")
        if t not in files[s].tensors:
            raise Broken("SH009")
    if set(tensors) - set(weights):
        f.warn("SH007")
    total = (top.get("metadata") or {}).get("total_size")
    if total is not None:
        if not is_int(total):
            f.warn("SH011")
        elif total != sum(len(x.data) - x.start for x in files.values()):
            f.warn("SH010")
    numbered = [re.fullmatch(r".*-(\d+)-of-(\d+)\.safetensors", s) for s in shards]
    numbered = [(int(m[1]), int(m[2])) for m in numbered if m]
    if numbered and sorted(k for k, _ in numbered) != list(range(1, numbered[0][1] + 1)):
        f.warn("SH012")
    single = name.removesuffix(".index.json")
    for n in names:
        if n not in shards:
            f.warn("SH013" if n == single else "SH018")
    return tensors


def collect(files, f):
    tensors, dtypes = {}, set()
    for x in files.values():
        for t, (dtype, _, _) in x.tensors.items():
            if t in tensors:
                raise Broken("SH008")
            tensors[t] = x
            if dtype in FLOATS:
                dtypes.add(dtype)
    if len(dtypes) > 1:
        f.warn("SH016")
    return tensors


# ---- chapter 4: the config ----

def strings(v):
    return isinstance(v, list) and all(isinstance(x, str) for x in v)


def rows(v):
    return isinstance(v, list) and all(is_int(x) and x >= 0 for x in v)


TASKS = ("SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION")
CHECKS = {
    "rank_pattern": lambda v: isinstance(v, dict) and all(is_int(x) and 1 <= x <= 2**20 for x in v.values()),
    "alpha_pattern": lambda v: isinstance(v, dict) and all(is_number(x) for x in v.values()),
    "bias": lambda v: v in ("none", "all", "lora_only"),
    "target_modules": lambda v: isinstance(v, str) or strings(v),
    "target_parameters": strings, "modules_to_save": strings,
    "trainable_token_indices": lambda v: rows(v) or isinstance(v, dict) and all(map(rows, v.values())),
    "base_model_name_or_path": lambda v: isinstance(v, str), "peft_version": lambda v: isinstance(v, str),
    "init_lora_weights": lambda v: isinstance(v, (bool, str)), "task_type": lambda v: v in TASKS,
    "lora_dropout": lambda v: is_number(v) and 0 <= v <= 1,
    "exclude_modules": lambda v: isinstance(v, str) or strings(v), "layers_pattern": lambda v: isinstance(v, str) or strings(v),
    "layers_to_transform": lambda v: is_int(v) or isinstance(v, list) and all(map(is_int, v)),
}
for name in ("eva_config", "corda_config", "lora_ga_config", "velora_config"):
    CHECKS[name] = lambda v: isinstance(v, dict)
for flag in ("use_rslora", "use_dora", "fan_in_fan_out", "lora_bias", "use_qalora", "ensure_weight_tying"):
    CHECKS[flag] = lambda v: isinstance(v, bool)
PYTHON_ONLY = re.compile(r"\(\?(=|!|<=|<!|>|\(|P=)|\\[1-9]|[*+?}]\+")


def config(path, f):
    name = os.path.join(path, "adapter_config.json")
    if not os.path.exists(name):
        raise Broken("AD001")
    if os.path.getsize(name) > 8 << 20:
        raise Broken("AD002")
    rule = "AD002"
    c = strict_json(open(name, "rb").read(), dict(utf8=rule, syntax=rule, twice=rule, pair=rule, deep=rule))
    if not isinstance(c, dict):
        raise Broken("AD002")
    kind = c.get("peft_type")
    if kind is None and {"fine_tune_type", "lora_parameters", "lora_layers"} & set(c):
        f.refuse("AD007")
        return None
    if kind not in TYPES:
        raise Broken("AD006")
    if kind != "LORA":
        f.refuse("AD007")
        return None
    lower = {k.lower(): k for k in KNOWN}
    for k, v in c.items():
        if k not in KNOWN:
            if k.lower() in lower:
                f.warn("AD035")
            elif k.startswith("use_") and v is True or k.endswith("_config") and isinstance(v, dict) and v:
                f.refuse("AD007")
            elif v:
                f.warn("AD036")
        elif v is None:
            continue
        elif k in CHECKS and not CHECKS[k](v):
            raise Broken("AD003")
        elif k in SWITCHES and v:
            f.refuse("AD007")
    r, alpha, targets = c.get("r"), c.get("lora_alpha"), c.get("target_modules")
    if r is None:
        f.warn("AD004")
    elif not is_int(r) or not 1 <= r <= 2**20:
        raise Broken("AD004")
    if alpha is None:
        f.warn("AD005")
    elif not is_number(alpha) or not math.isfinite(alpha):
        raise Broken("AD005")
    narrow = [k for k in ("layers_to_transform", "layers_pattern") if c.get(k) is not None]
    init = c.get("init_lora_weights")
    if isinstance(targets, str) and narrow or c.get("layers_pattern") and c.get("layers_to_transform") is None:
        raise Broken("AD003")
    if c.get("lora_bias") and (c.get("use_dora") or isinstance(init, str)):
        raise Broken("AD003")
    if isinstance(init, str) and init not in ("", "eva", "orthogonal") and init.lower() not in ("gaussian", "mica"):
        f.refuse("AD007")
    base = c.get("base_model_name_or_path")
    if not base:
        f.warn("AD030")
    elif base[0] in "/~" or "\\" in base or base[1:3] == ":/":
        f.warn("AD043")
    if c.get("use_rslora") and (c.get("rank_pattern") or c.get("alpha_pattern")):
        f.warn("AD041")
    for lib in ((c.get("auto_mapping") or {}).get("parent_library"), c.get("megatron_core")):
        known = ("diffusers", "lerobot", "megatron-core", "megatron.core", "transformers")
        if lib and not any(lib == k or lib.startswith(k + ".") for k in known):
            f.warn("AD044")
    for e in [targets if isinstance(targets, str) else ""] + list(c.get("rank_pattern") or {}) + list(c.get("alpha_pattern") or {}):
        if not compiles(e):
            f.warn("AD033")
    return c


def compiles(e):
    try:
        re.compile(e)
    except re.error:
        return False
    return not PYTHON_ONLY.search(e)


def pattern(c, field, default, name):
    for k, v in (c.get(field) or {}).items():
        if re.match(rf"(.*\.)?({k})$", name):
            return v
    return (c.get(field) or {}).get(name, default)


def narrowed(c, path):
    """Whether exclude_modules or layers_to_transform leave a module out that target_modules names."""
    out, layers, at = c.get("exclude_modules"), c.get("layers_to_transform"), c.get("layers_pattern") or []
    if isinstance(out, str) and re.fullmatch(out, path) or isinstance(out, list) and ends(path, out):
        return True
    if layers is None or layers == [] or path in c["target_modules"]:
        return False
    at = [p for p in ([at] if isinstance(at, str) else at) if p] or [r"[^.]*"]
    m = next(filter(None, (re.match(rf".*?\.{p}\.(\d+)\.", path) for p in at)), None)
    return m is None or int(m[1]) not in (layers if isinstance(layers, list) else [layers])


def older_alphas(c, name):
    """Alphas to PEFT 0.14 and before it, AD048."""
    ranks, alphas = c.get("rank_pattern") or {}, c.get("alpha_pattern") or {}
    first = lambda keys: next((k for k in keys if compiles(k) and re.match(rf".*\.{k}$", name)), name)
    default = 8 if c.get("lora_alpha") is None else c["lora_alpha"]
    return {alphas.get(first(alphas), default), alphas.get(first([*ranks, *alphas]), default)}


def since_015(c):
    m = re.match(r"(\d+)\.(\d+)", c.get("peft_version") or "")
    return bool(m) and (int(m[1]), int(m[2])) >= (0, 15)


def scale(c, name):
    """Rank and alpha of a module, chapter 4.2."""
    return pattern(c, "rank_pattern", c.get("r") or 8, name), pattern(c, "alpha_pattern", 8 if c.get("lora_alpha") is None else c["lora_alpha"], name)


# ---- chapter 5: tensors ----

WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
MARKERS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")


def split(name):
    """Takes a tensor's name apart: path, part, name of the adapter."""
    path = [p for p in name.split(".") if p not in WRAPPERS]
    if path[:2] == ["base_model", "model"]:
        path = path[2:]
    for i, p in enumerate(path[1:], 1):
        rest = path[i + 1:]
        where = ".".join(path[:i])
        if p in MARKERS:
            part = p
            if rest and rest[-1] in ("weight", "bias"):
                part += ".bias" if rest[-1] == "bias" and p == "lora_B" else ""
                rest = rest[:-1]
            return where, part, ".".join(rest)
        if p == "token_adapter" and rest[:1] == ["trainable_tokens_delta"]:
            return where, "tokens", ".".join(rest[1:])
        if p in ("token_adapter", "original_module", "lora_velora_embed", "lora_monteclora_sampler") or p == "base_layer" and rest == ["weight"]:
            return ".".join(path), "unused", ""
        if p == "base_layer":
            return ".".join(path[:i] + rest), "other", ""
        if p == "modules_to_save" and rest:
            keep = rest[1:] if rest[0] == "default" and len(rest) > 1 else rest
            return ".".join(path[:i] + keep), "other", rest[0] if keep is not rest else ""
    return ".".join(path), "other", ""


def ends(path, names):
    return any(path == n or path.endswith("." + n) for n in names)


EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "shared", "tok_embeddings", "tokens_embed")
HEADS = ("lm_head", "embed_out", "cls.predictions.decoder", "lm_head.decoder")


class Adapter:
    def __init__(self, path, f, deep):
        self.f, self.deep = f, deep
        folder = path if os.path.isdir(path) else os.path.dirname(path)
        self.c = config(folder, f)
        weights = os.path.join(folder, "adapter_model.safetensors")
        pickle = os.path.join(folder, "adapter_model.bin")
        if not os.path.exists(weights):
            raise Broken("AD009" if os.path.exists(pickle) else "AD008")
        if os.path.exists(pickle):
            f.warn("AD010")
        self.file = File(weights, f)
        self.modules, self.others, self.tokens, self.copies = {}, [], {}, {}
        if self.c is None:
            return
        self.group()
        for path in list(self.modules):
            self.module(path)
        for path, name in self.tokens.items():
            self.token(path, name)
        rows = self.c.get("trainable_token_indices") or []
        if not self.tokens and (any(rows.values()) if isinstance(rows, dict) else rows):
            raise Broken("AD046")
        self.lint()
        replaced = [name for _, name in self.others] + list(self.tokens.values())
        if deep and any(not math.isfinite(x) for t in replaced if self.file.tensors[t][0] in FLOATS for x in self.file.values(t)):
            f.warn("AD017")
        Additions(self)

    def shape(self, name):
        return self.file.tensors[name][1]

    def group(self):
        infixes, groups, odd = set(), {}, False
        for name in self.file.tensors:
            path, part, infix = split(name)
            if infix:
                infixes.add(infix)
            odd = odd or bool(infix) or not name.startswith("base_model.model.") or bool(set(WRAPPERS) & set(name.split(".")))
            if part == "unused":
                if name.endswith(".base_layer.weight"):
                    self.copies[path.removesuffix(".base_layer.weight") + ".weight"] = name
                continue
            if part == "other":
                self.others.append((path, name))
            elif part == "tokens":
                self.tokens[path] = name
            elif groups.setdefault(path, {}).setdefault(part, name) != name:
                raise Broken("AD023")
        if odd:
            self.f.warn("AD024")
        if len(infixes) > 1:
            raise Broken("AD047")
        self.modules = groups
        if not groups and not self.others and not self.tokens:
            raise Broken("AD026")

    def module(self, path):
        parts, c, f = self.modules[path], self.c, self.f
        embedding = "lora_embedding_A" in parts or "lora_embedding_B" in parts
        a, b = (parts.get(("lora_embedding_" if embedding else "lora_") + x) for x in "AB")
        if not a or not b:
            raise Broken("AD011")
        A, B = self.shape(a), self.shape(b)
        if 0 in A or 0 in B:
            raise Broken("AD025")
        if any(self.file.tensors[t][0] not in FLOATS for t in parts.values()):
            raise Broken("AD015")
        if len(A) != len(B) or not 2 <= len(A) <= 5 or any(n != 1 for n in B[2:]):
            raise Broken("AD014")
        if A[0] != B[1]:
            raise Broken("AD013")
        stacked = any(ends(p, [path.rsplit(".", 1)[-1] + "." + p.rsplit(".", 1)[-1]]) for p in c.get("target_parameters") or [])
        rank, alpha = scale(c, path)
        if A[0] != rank and not (stacked and A[0] % rank == 0):
            raise Broken("AD012")
        magnitude = "lora_magnitude_vector" in parts
        if c.get("use_dora") and not magnitude:
            raise Broken("AD031")
        if magnitude and not c.get("use_dora"):
            f.warn("AD031")
        if c.get("lora_bias") and "lora_B.bias" not in parts:
            raise Broken("AD011")
        if "lora_B.bias" in parts and not c.get("lora_bias"):
            f.warn("AD020")
        s = alpha / (math.sqrt(rank) if c.get("use_rslora") else rank)
        if not 0 < s <= 1e4:
            f.warn("AD038")
        if not stacked and rank > min(B[0], math.prod(A[1:])):
            f.warn("AD040")
        self.modules[path] = dict(a=a, b=b, rank=rank, alpha=alpha, s=s, embedding=embedding, stacked=stacked, parts=parts)
        if self.deep:
            for name, rule in ((a, "AD019"), (b, "AD018")):
                v = self.file.values(name)
                if not all(map(math.isfinite, v)):
                    raise Broken("AD017")
                if not any(v):
                    f.warn(rule)
            if any(not math.isfinite(x) for part in ("lora_magnitude_vector", "lora_B.bias") if part in parts for x in self.file.values(parts[part])):
                raise Broken("AD017")

    def adds_bias(self, m):
        bias = m["parts"].get("lora_B.bias")
        return bias is not None and any(self.file.values(bias))

    def token(self, path, name):
        t = self.c.get("trainable_token_indices")
        if isinstance(t, dict):
            t = next((v for k, v in t.items() if ends(path, [k])), next((v for k, v in t.items() if path.endswith(k)), None))
        if t is None or len(self.shape(name)) != 2 or len(t) != self.shape(name)[0]:
            raise Broken("AD046")

    def lint(self):
        c, f = self.c, self.f
        if len({self.file.tensors[m[k]][0] for m in self.modules.values() for k in "ab"}) > 1:
            f.warn("AD016")
        targets = c.get("target_modules")
        plain = [p for p, m in self.modules.items() if not m["stacked"]]
        if isinstance(targets, list):
            if any(not any(ends(p, [t]) for p in self.modules) for t in targets):
                f.warn("AD021")
            if targets and any(not ends(p, targets) or narrowed(c, p) for p in plain):
                f.warn("AD022")
        elif isinstance(targets, str) and targets.lower() != "all-linear" and compiles(targets):
            if any(not re.fullmatch(targets, p) for p in plain):
                f.warn("AD022")
        if not since_015(c) and "lora.spec" not in self.file.metadata:
            if any(older_alphas(c, p) != {m["alpha"]} for p, m in self.modules.items() if not m["stacked"]):
                f.warn("AD048")
        for field, rule in (("rank_pattern", "AD032"), ("alpha_pattern", "AD034")):
            for k in c.get(field) or {}:
                if compiles(k) and k not in self.modules and not any(re.match(rf"(.*\.)?({k})$", p) for p in self.modules):
                    f.warn(rule)
        saved = c.get("modules_to_save") or []
        has = lambda s: any(f".{s}." in f".{p}." for p, _ in self.others)
        for s in saved:
            if not has(s) and not (s in ("classifier", "score") and (has("classifier") or has("score"))):
                f.warn("AD037")
        for p, _ in self.others:
            module = p.removesuffix(".weight")
            if module != p and module in plain:
                f.warn("AD020")
                continue
            asked = any(f".{s}." in f".{p}." for s in saved) or p.endswith("bias") and c.get("bias") in ("all", "lora_only")
            if not asked and not (p.endswith(".weight") and (ends(module, EMBEDDINGS) or ends(module, HEADS) or {"classifier", "score"} & set(p.split(".")))):
                f.warn("AD020")


# ---- chapter 7: additions ----

DIGEST = re.compile(r"[0-9a-f]{64}")
LATER = ("lora.spec", "lora.required_features", "lora.base.tensors", "lora.base.fingerprint", "lora.provenance", "lora.tensors", "lora.modules")


def table(text, rule):
    try:
        v = strict_json(text.encode(), dict(utf8=rule, syntax=rule, twice=rule, pair=rule, deep=rule))
    except Broken:
        v = None
    if not isinstance(v, dict):
        raise Broken(rule)
    return v


class Additions:
    def __init__(self, a):
        self.a, self.m, f = a, a.file.metadata, a.f
        minor, known = 0, True
        v = self.m.get("lora.spec")
        if v is not None:
            n = re.fullmatch(r"(0|[1-9]\d{0,3})\.(0|[1-9]\d{0,3})", v)
            if not n:
                raise Broken("LT001")
            if n[1] != "1":
                known = False
                f.refuse("LT002")
            minor = int(n[2])
        names = self.m.get("lora.required_features", "").split(" ") if self.m.get("lora.required_features") else []
        if len(set(names)) != len(names) or not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", x) for x in names):
            raise Broken("LT004")
        for _ in names:
            known = False
            f.refuse("LT003")
        if minor == 0 and known and any(k.startswith("lora.") and k not in LATER for k in self.m):
            f.warn("LT011")
        if self.m.get("format") != "pt":
            f.warn("LT014")
        a.bound = self.base()
        self.tensors()
        self.modules()
        if "lora.provenance" in self.m:
            try:
                table(self.m["lora.provenance"], "LT013")
            except Broken:
                f.warn("LT013")

    def base(self):
        text, mark = self.m.get("lora.base.tensors"), self.m.get("lora.base.fingerprint")
        if (text is None) != (mark is None):
            raise Broken("LT006")
        if text is None:
            return None
        t = table(text, "LT005")
        for name, w in t.items():
            ok = isinstance(w, dict) and w.get("dtype") in BITS and isinstance(w.get("shape"), list) and len(w["shape"]) <= 16
            ok = ok and all(is_int(n) and n >= 0 for n in w["shape"]) and isinstance(w.get("sha256"), str) and DIGEST.fullmatch(w["sha256"])
            if not ok or not name or any(ord(c) < 32 or ord(c) == 127 for c in name):
                raise Broken("LT005")
        lines = "".join(f"{t[n]['sha256']} {t[n]['dtype']} {'x'.join(map(str, t[n]['shape'])) or '-'} {n}\n" for n in sorted(t, key=str.encode))
        if mark != "sha256:" + hashlib.sha256(lines.encode()).hexdigest():
            raise Broken("LT006")
        biased = {p + ".bias": self.a.adds_bias(m) for p, m in self.a.modules.items() if "lora_B.bias" in m["parts"]}
        want = {p + ".weight" for p in self.a.modules} | {name for name, adds in biased.items() if adds}
        if set(t) - biased.keys() != want - biased.keys() or not set(t) >= want:
            self.a.f.warn("LT012")
        return t

    def tensors(self):
        if "lora.tensors" not in self.m:
            return
        t, file = table(self.m["lora.tensors"], "LT009"), self.a.file
        if set(t) != set(file.tensors) or not all(isinstance(d, str) and DIGEST.fullmatch(d) for d in t.values()):
            raise Broken("LT009")
        if self.a.deep and any(hashlib.sha256(file.bytes(n)).hexdigest() != d for n, d in t.items()):
            raise Broken("LT008")

    def modules(self):
        for path, v in (table(self.m["lora.modules"], "LT010") if "lora.modules" in self.m else {}).items():
            m = self.a.modules.get(path)
            if not isinstance(v, list) or len(v) != 2 or not m or [m["rank"], m["alpha"]] != v:
                raise Broken("LT010")


# ---- chapters 5.3 and 7.4: an adapter and its base ----

def settings(path):
    name = os.path.join(path, "config.json")
    return json.load(open(name)) if os.path.isdir(path) and os.path.exists(name) else {}


def resolve(base, name):
    found = [n for n in [name, "model." + name, name.removeprefix("model.")] if n in base]
    return found[0] if found else None


def fit(a, m, W, conf):
    """Says whether the delta is added transposed; AD027."""
    A, B = a.shape(m["a"]), a.shape(m["b"])
    if m["embedding"]:
        if W != [A[1], B[0]]:
            raise Broken("AD027")
        return True
    if len(A) > 2:
        if W != [B[0]] + A[1:]:
            raise Broken("AD027")
        return False
    if W == [B[0], A[1]]:
        return W[0] == W[1] and conf.get("model_type") == "gpt2"
    if W == [A[1], B[0]]:
        return True
    raise Broken("AD027")


def same(f, name, g, other):
    """Whether two tensors have the same values, but for a rounding to the dtype of one of them."""
    pairs = list(zip(f.values(name), g.values(other)))
    if all(x == y for x, y in pairs):
        return True
    near = lambda d, x, y: round_to(d, Fraction(x)) == round_to(d, Fraction(y))
    return any(all(near(d, x, y) for x, y in pairs) for d in {f.tensors[name][0], g.tensors[other][0]} if d in ("F32", "F16", "BF16"))


def against(a, path):
    """Holds an adapter against a base; returns {tensor: (module, transposed)}."""
    scratch = Findings()
    base, conf = checkpoint(path, scratch), settings(path)
    tied, targets = conf.get("tie_word_embeddings"), {}
    for name, copy in a.copies.items():
        if name not in base:
            continue
        if a.shape(copy) != base[name].tensors[name][1]:
            raise Broken("AD027")
        if a.deep and not same(a.file, copy, base[name], name):
            a.f.refuse("AD049")
    on_head = [p for p in a.modules if ends(p, HEADS)]
    touched = list(a.modules) + [p.removesuffix(".weight") for p, _ in a.others]
    if tied and any(ends(p, HEADS) for p in touched) != any(ends(p, EMBEDDINGS) for p in touched):
        a.f.warn("AD029")
    for p, m in a.modules.items():
        name = resolve(base, p + ".weight")
        if name and a.adds_bias(m) and not resolve(base, p + ".bias"):
            a.f.refuse("AD028")
        if not name:
            if tied and p in on_head:
                continue
            raise Broken("AD028")
        dtype, shape, _ = base[name].tensors[name]
        targets[name] = (m, fit(a, m, shape, conf))
        w = (a.bound or {}).get(p + ".weight")
        if w and (w["dtype"] != dtype or w["shape"] != shape or a.deep and hashlib.sha256(base[name].bytes(name)).hexdigest() != w["sha256"]):
            raise Broken("LT007")
    return base, targets


def round_to(dtype, x):
    """Rounds a Fraction to nearest even and returns the bytes, or raises OverflowError."""
    digits, low, bias, size = {"F32": (24, -149, 127, 4), "BF16": (8, -133, 127, 2), "F16": (11, -24, 15, 2)}[dtype]
    sign, x = x < 0, abs(x)
    if x == 0:
        return bytes(size)
    e = x.numerator.bit_length() - x.denominator.bit_length()
    if Fraction(2) ** e > x:
        e -= 1
    e = max(e - digits + 1, low)
    q = x / Fraction(2) ** e
    n = q.numerator // q.denominator
    rest = q - n
    if rest > Fraction(1, 2) or rest == Fraction(1, 2) and n & 1:
        n += 1
    if n == 2 ** digits:
        n, e = n // 2, e + 1
    if n >= 2 ** (digits - 1):
        field = e - low + 1
        if field > 2 * bias:
            raise OverflowError
        n = (field << digits - 1) + n - 2 ** (digits - 1)
    return (n | sign << 8 * size - 1).to_bytes(size, "little")


def merge(a, path):
    """The bytes of the merged single file of a base, computed in rational numbers."""
    base, targets = against(a, path)
    file = next(iter(base.values()))
    out = bytearray(file.data)
    for name, (m, transposed) in targets.items():
        dtype, shape, (begin, _) = file.tensors[name]
        A, B = a.file.values(m["a"]), a.file.values(m["b"])
        r, n_in = a.shape(m["a"])[0], math.prod(a.shape(m["a"])[1:])
        old, size, data = file.values(name), BITS[dtype] // 8, b""
        s = Fraction(m["s"])
        for k, w in enumerate(old):
            i, j = divmod(k, shape[1])
            if transposed:
                i, j = j, i
            d = s * sum(Fraction(B[i * r + q]) * Fraction(A[q * n_in + j]) for q in range(r))
            try:
                data += round_to(dtype, Fraction(w) + d)
            except OverflowError:
                raise Broken("AD045")
        out[file.start + begin:file.start + begin + len(data)] = data
    return bytes(out)


def check(path, base=None, deep=False):
    f = Findings()
    try:
        if path.endswith(".jsonl"):
            samples(path)
        elif path.endswith("tokenizer.json"):
            tokenizer(path)
        elif os.path.isfile(path) and os.path.basename(path) not in ("adapter_config.json", "adapter_model.safetensors"):
            x = File(path, f)
            if deep and any(b > 1 for n, t in x.tensors.items() if t[0] == "BOOL" for b in x.bytes(n)):
                f.warn("ST028")
        elif os.path.isdir(path) and not any(n.startswith("adapter_") for n in os.listdir(path)):
            checkpoint(path, f)
        else:
            a = Adapter(path, f, deep)
            if base and a.c is not None:
                against(a, base)
    except Broken as b:
        f.error(b.args[0])
    return f


# ---- annex C: what training reads ----

KINDS = ("prompt", "text", "messages", "input_ids")


def samples(path):
    rule, some = "TD001", False
    for line in open(path, "rb").read().splitlines():
        if not line.strip():
            continue
        v, some = strict_json(line, dict(utf8=rule, syntax=rule, twice=rule, pair=rule, deep=rule)), True
        if not isinstance(v, dict) or sum(k in v for k in KINDS) != 1:
            raise Broken(rule)
        ids = v.get("input_ids", [0])
        if not rows(ids) or not ids or "labels" in v and (not isinstance(v["labels"], list) or len(v["labels"]) != len(ids)):
            raise Broken(rule)
    if not some:
        raise Broken("TD002")


def tokenizer(path):
    """Vocabulary and merges; what a template may say, Jinja knows."""
    rule = "TK001"
    top = strict_json(open(path, "rb").read(), dict(utf8=rule, syntax=rule, twice=rule, pair=rule, deep=rule))
    if not isinstance(top, dict):
        raise Broken(rule)
    model = top.get("model") or {}
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or not all(is_int(n) for n in vocab.values()):
        raise Broken("TK002")
    for m in model.get("merges", []):
        pair = m.split(" ") if isinstance(m, str) else m
        if len(pair) != 2 or not {pair[0], pair[1], "".join(pair)} <= set(vocab):
            raise Broken("TK002")


# ---- the vectors ----

def vector(folder):
    v = dict(line.split(": ", 1) for line in open(os.path.join(folder, "vector.txt"), encoding="utf-8").read().splitlines())
    at = lambda key: os.path.join(folder, v[key]) if key in v else None
    if "extend" in v:
        name, size = v["extend"].split()
        with tempfile.TemporaryDirectory() as copy:
            os.system(f"cp -r '{folder}/.' '{copy}'")
            full = os.path.join(copy, name)
            with open(full, "ab") as out:
                out.write(b" " * (int(size) - os.path.getsize(full)))
            return v, check(os.path.join(copy, v["input"])), None
    if "merged" in v:
        from check_record import restored
        f = Findings()
        try:
            return v, f, restored(at("input"), at("merged"), at("adapter"))
        except Broken as b:
            f.error(b.args[0])
        return v, f, None
    if v["expect"] == "merge" or v.get("rule") == "AD045":
        f = Findings()
        try:
            a = Adapter(at("input"), f, False)
            return v, f, hashlib.sha256(merge(a, at("base"))).hexdigest()
        except Broken as b:
            f.error(b.args[0])
        return v, f, None
    return v, check(at("input"), at("base"), v.get("deep") == "yes"), None


def vectors(root):
    passed = failed = skipped = 0
    for name in sorted(os.listdir(root)):
        v, f, digest = vector(os.path.join(root, name))
        if "profile" in v or v.get("rule") == "TK003":  # the standard library has no servers and no Jinja
            skipped += 1
            continue
        warned = sorted(set(f.warnings))
        got = {"reject": f.errors, "unsupported": f.unsupported if not f.errors else ["error"], "merge": [digest], "accept": f.errors + f.unsupported}.get(v["expect"])
        want = {"merge": [v.get("sha256")], "accept": []}.get(v["expect"], [v.get("rule")])
        ok = v["expect"] == "any" or sorted(set(got)) == want
        if "merged" in v:
            ok = ok and digest == v.get("sha256")
        elif v["expect"] == "accept":
            ok = ok and warned == v.get("warn", "").split()
        if ok:
            passed += 1
        else:
            failed += 1
            print(f"{name}: errors {f.errors}, unsupported {f.unsupported}, warnings {warned}, digest {digest}; want {v}")
    print(f"{passed} passed, {failed} failed, {skipped} about servers and templates skipped")
    return failed


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("path", nargs="?")
    p.add_argument("--base")
    p.add_argument("--deep", action="store_true")
    p.add_argument("--vectors")
    o = p.parse_args()
    if o.vectors:
        sys.exit(vectors(o.vectors) > 0)
    if not o.path:
        p.error("a path is needed")
    f = check(o.path, o.base, o.deep)
    for kind, rules in (("error", f.errors), ("unsupported", f.unsupported), ("warning", f.warnings)):
        for r in rules:
            print(kind, r)
    sys.exit(3 if f.errors else 4 if f.unsupported else 0)


if __name__ == "__main__":
    sys.modules["check"] = sys.modules["__main__"]  # for check_record, which needs what is above
    main()
