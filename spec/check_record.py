"""Annex A, the reversible record, for check.py: reads a record, and restores the base of one single-file or one-shard
checkpoint and one adapter in rational numbers. Written from annex-a-record.md alone. Adapters of experts, or several at
once, merges of other dtypes than F16, BF16, F32 and F64, and --skip are more than the vectors need, and not done here."""

import hashlib, json, math, os, struct
from fractions import Fraction

import zstd
from check import Adapter, BITS, Broken, File, Findings, fit, is_int, is_number, resolve, settings, strict_json

MAGIC = b"LORAREC\x01"
PIECE = 4 << 20

# ---- A.1 and A.2: the file and its head ----

BLOB = {"at": int, "len": int}
SHARD = {"name": str, "bytes": int, "digest": str, "header": BLOB, "header_bytes": int}
FILE = {"name": str, "bytes": int, "sha256": str}
HEAD = {
    "version": int, "arithmetic": str, "rounding": str, "seed?": str, "dtype?": str, "skip?": [str], "add_missing?": bool,
    "adapters": [{"name": str, "weight": float, "files": [FILE]}],
    "base": {"folder": bool, "shards": [SHARD], "files?": [{**FILE, "content?": BLOB}]},
    "merged": [{"name": str, "bytes": int, "digest": str, "same?": str, "pieces": BLOB}],
    "tensors": [{"name": str, "kind": str, "data": BLOB, "blocks": BLOB, "gains?": BLOB, "radius?": int}],
}


def typed(v, want):
    """Holds a value against one of the types above: RC004."""
    if isinstance(want, dict):
        names = {k.rstrip("?"): t for k, t in want.items()}
        ok = isinstance(v, dict) and set(v) <= set(names) and all(typed(x, names[k]) for k, x in v.items())
    elif isinstance(want, list):
        ok = v is None or isinstance(v, list) and all(typed(x, want[0]) for x in v)
    elif want is int:
        ok = is_int(v) and -2**63 <= v < 2**63
    elif want is float:
        ok = is_number(v)
    else:
        ok = isinstance(v, want)
    if not ok:
        raise Broken("RC004")
    return True


def local(name):
    return name != "" and all(p not in ("", ".", "..") for p in name.split("/"))


class Record:
    def __init__(self, path):
        d = self.data = open(path, "rb").read()
        if len(d) < 64 or d[:8] != MAGIC:
            raise Broken("RC001")
        if hashlib.sha256(d[:-32]).digest() != d[-32:]:
            raise Broken("RC002")
        at, n, raw = struct.unpack("<3Q", d[-56:-32])
        if at < 8 or at + n != len(d) - 56:
            raise Broken("RC003")
        self.end = at
        if raw > 64 << 20:
            raise Broken("RC005")
        text = self.expand({"at": at, "len": n}, raw)
        rule = "RC004"
        self.head = strict_json(text, dict(utf8=rule, syntax=rule, twice=rule, pair=rule, deep=rule))
        typed(self.head, HEAD)
        if self.head.get("version") != 1 or self.head.get("arithmetic") != "exact-1":
            raise NotImplementedError("another version")
        self.blobs(self.head)
        self.fields()

    def blobs(self, v):
        """RC007, of every blob in a value."""
        if isinstance(v, dict) and set(v) == {"at", "len"}:
            if v["at"] < 8 or v["len"] < 0 or v["at"] + v["len"] > self.end:
                raise Broken("RC007")
        elif isinstance(v, (dict, list)):
            for x in v.values() if isinstance(v, dict) else v:
                self.blobs(x)

    def fields(self):
        """RC006."""
        h = self.head
        base, merged, tensors = h.get("base", {}), h.get("merged") or [], h.get("tensors") or []
        here = [x.get("name", "") for x in (base.get("shards") or []) + (base.get("files") or [])]
        there = [m.get("name", "") for m in merged]
        entries = [(t["name"], t["kind"]) for t in tensors]
        ok = h.get("adapters") and base.get("shards") and merged and all(map(local, here + there))
        ok = ok and all(len(set(x)) == len(x) for x in (here, there, entries)) and all(k in ("preimages", "verbatim") for _, k in entries)
        ok = ok and all(0 <= t.get("radius", 0) <= 60 for t in tensors) and all(math.isfinite(a["weight"]) for a in h["adapters"])
        ok = ok and h.get("rounding") in ("nearest", "stochastic") and h.get("dtype", "F32") in BITS
        if h.get("rounding") == "stochastic":
            ok = ok and h.get("seed", "").isdecimal() and int(h["seed"]) < 2**64
        ok = ok and all(m["pieces"]["len"] == 8 * -(-m["bytes"] // PIECE) for m in merged)
        if not ok:
            raise Broken("RC006")

    def read(self, b):
        return self.data[b["at"]:b["at"] + b["len"]]

    def expand(self, b, size):
        if not 0 <= size < 2**31 or size // 16384 > b["len"]:
            raise Broken("RC005")
        try:
            out = zstd.decompress(self.read(b))
        except ValueError:
            raise Broken("RC008")
        if len(out) != size:
            raise Broken("RC008")
        return out

    def cut(self, t, count):
        """The blocks of an entry: RC009."""
        raw, data, out, at = self.read(t["blocks"]), self.read(t["data"]), [], 0
        for _ in range(count):
            n, used = varint(raw, "RC009")
            raw = raw[used:]
            out.append(data[at:at + n])
            at += n
        if raw or at != len(data):
            raise Broken("RC009")
        return out


def varint(raw, rule):
    n = 0
    for i, b in enumerate(raw[:10]):
        n |= (b & 127) << 7 * i
        if b < 128:
            return n, i + 1
    raise Broken(rule)


# ---- sums of files ----

def table(polynomial):
    rows = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (polynomial if n & 1 else 0)
        rows.append(n)
    return rows


TABLES = table(0x82F63B78), table(0xEDB88320)  # Castagnoli and IEEE, reversed


def pieces(data):
    out = b""
    for at in range(0, len(data), PIECE):
        for rows in TABLES:
            c = 0xFFFFFFFF
            for b in data[at:at + PIECE]:
                c = c >> 8 ^ rows[(c ^ b) & 255]
            out += struct.pack("<I", c ^ 0xFFFFFFFF)
    return out


def digest(data):
    return hashlib.sha256(pieces(data)).hexdigest()


# ---- A.3: preimages ----

DIGITS = {"F16": (11, -24), "BF16": (8, -133), "F32": (24, -149), "F64": (53, -1074)}  # digits, exponent of the smallest value


def value(dtype, magnitude):
    """The value of bits without the sign."""
    digits, low = DIGITS[dtype]
    field, rest = divmod(magnitude, 1 << digits - 1)
    return Fraction(rest) * Fraction(2) ** low if field == 0 else Fraction(rest + (1 << digits - 1)) * Fraction(2) ** (low + field - 1)


def largest(dtype):
    digits = DIGITS[dtype][0]
    return ((1 << BITS[dtype] - digits) - 1 << digits - 1) - 1


def cell(dtype, bits, u):
    """The cell of finite bits, to nearest if u is None. The end None is infinity."""
    sign = 1 << BITS[dtype] - 1
    m = bits & ~sign
    v = value(dtype, m)
    inner = v - value(dtype, m - 1) if m else Fraction(0)
    outer = value(dtype, m + 1) - v if m < largest(dtype) else inner
    if u is None:
        low, high = v - inner / 2, v + outer / 2
    else:
        low, high = v - (1 - u) * inner, v + u * outer if m < largest(dtype) else None
    return (low, high) if not bits & sign else (None if high is None else -high, -low)


def preimages(dtype, low, high, delta, gain=Fraction(1), rho=Fraction(0)):
    """First and last of the preimages, as numbers in the order of the values: −0 is −1, +0 is 0."""
    most = largest(dtype)
    if gain == 0:
        return -most - 1, most
    if gain < 0:
        low, high, gain = None if high is None else -high, None if low is None else -low, -gain

    def reach(n):
        x = (value(dtype, n) if n >= 0 else -value(dtype, -n - 1)) + delta
        ends = x * gain * (1 - rho), x * gain * (1 + rho)
        return min(ends), max(ends)

    def first(found):
        a, b = -most - 1, most + 1
        while a < b:
            mid = (a + b) // 2
            if found(reach(mid)):
                b = mid
            else:
                a = mid + 1
        return a
    begin = first(lambda r: low is None or r[1] >= low)
    return begin, first(lambda r: high is not None and r[0] > high) - 1


class Bits:
    def __init__(self, data):
        self.value, self.left, self.at = int.from_bytes(data, "little"), 8 * len(data), 0

    def take(self, n):
        """The next n bits, the highest first."""
        v = 0
        for _ in range(n):
            if self.at >= self.left:
                raise Broken("RC010")
            v = v << 1 | self.value >> self.at & 1
            self.at += 1
        return v

    def index(self, n):
        k = n.bit_length() - 1
        short = (2 << k) - n
        v = self.take(k)
        return v if v < short else (v << 1 | self.take(1)) - short

    def finish(self):
        if self.left - self.at >= 8 or self.value >> self.at:
            raise Broken("RC010")


def philox(seed, name):
    """The numbers u of a tensor, by element: A.5."""
    key = hashlib.sha256(b"loratool stochastic rounding 1\0" + struct.pack("<Q", seed) + name.encode()).digest()

    def u(i):
        k0, k1 = struct.unpack("<2I", key[:8])
        x = [i // 4 % 2**32, i // 2**34, 0, 0]
        for _ in range(10):
            p, q = x[0] * 0xD2511F53, x[2] * 0xCD9E8D57
            x = [q >> 32 ^ x[1] ^ k0, q & 0xFFFFFFFF, p >> 32 ^ x[3] ^ k1, p & 0xFFFFFFFF]
            k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
        return Fraction(x[i % 4] >> 4, 1 << 28)
    return u


# ---- A.6: verbatim bytes ----

def verbatim(r, t, width, size):
    out = b""
    for i, code in enumerate(r.cut(t, -(-size // 131072))):
        n = min(131072, size - 131072 * i)
        planes, count = [], n // width
        for _ in range(width):
            plane, code = take_plane(code, count)
            planes.append(plane)
        for e in zip(*planes):
            v = int.from_bytes(bytes(e), "little")
            out += (v >> 1 | (v & 1) << 8 * width - 1).to_bytes(width, "little")
        if len(code) != n - width * count:
            raise Broken("RC010")
        out += code
    return out


def take_plane(code, n):
    mode, code = code[:1], code[1:]
    if mode == b"\0" and len(code) >= n:
        return code[:n], code[n:]
    if mode == b"\1" and code:
        return code[:1] * n, code[1:]
    if mode == b"\2":
        size, used = varint(code, "RC010")
        body = code[used:used + size]
        try:
            table, most, head = zstd.huffman_table(body)
            return zstd.four_streams(body[head:], table, most, n), code[used + size:]
        except (ValueError, IndexError, struct.error):
            pass
    raise Broken("RC010")


# ---- A.4 and A.7: restoring ----

def sha256(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest()


class Header(File):
    """The header of a file without its bytes: RC015."""

    def __init__(self, raw, size):
        self.tensors, self.metadata, self.raw = {}, {}, raw
        self.data = raw + bytes(max(0, min(size, 1 << 28) - len(raw)))
        try:
            self.header(Findings())
        except Broken:
            raise Broken("RC015")
        if self.start != len(raw) or len(self.data) != size:
            raise Broken("RC015")


def check_inputs(r, merged, adapter):
    """RC011 and RC012."""
    h, folder = r.head, os.path.isdir(merged)
    a, = h["adapters"]
    files = [os.path.join(adapter, n) for n in ("adapter_model.safetensors", "adapter_config.json")]
    if [(f["bytes"], f["sha256"]) for f in a["files"]] != [(os.path.getsize(f), sha256(f)) for f in files] or a["weight"] != 1:
        raise Broken("RC012")
    have = sorted(n for n in os.listdir(merged) if n.endswith(".safetensors")) if folder else [h["merged"][0]["name"]]
    if h["base"]["folder"] != folder or sorted(m["name"] for m in h["merged"]) != have:
        raise Broken("RC011")
    for m in h["merged"]:
        data = open(os.path.join(merged, m["name"]) if folder else merged, "rb").read()
        if len(data) != m["bytes"] or digest(data) != m["digest"]:
            raise Broken("RC011")
    for f in h["base"].get("files") or []:
        path = os.path.join(merged, f["name"])
        if "content" not in f and (not os.path.exists(path) or sha256(path) != f["sha256"]):
            raise Broken("RC011")
        if "content" in f and hashlib.sha256(r.expand(f["content"], f["bytes"])).hexdigest() != f["sha256"]:
            raise Broken("RC014")


class Restorer:
    def __init__(self, r, merged, adapter):
        self.r, h = r, r.head
        check_inputs(r, merged, adapter)
        shard, = h["base"]["shards"]
        self.shard, self.header = shard, Header(r.expand(shard["header"], shard["header_bytes"]), shard["bytes"])
        self.merged = File(os.path.join(merged, h["merged"][0]["name"]) if os.path.isdir(merged) else merged, Findings())
        self.a = Adapter(adapter, Findings(), False)
        self.entries = {(t["name"], t["kind"]): t for t in h["tensors"] or []}
        self.modules, conf = {}, settings(merged)
        for path, m in self.a.modules.items():
            name = resolve(self.header.tensors, path + ".weight")
            self.modules[name] = m, fit(self.a, m, self.header.tensors[name][1], conf)
        self.replaced = {resolve(self.header.tensors, p) for p, _ in self.a.others}
        self.rows = {resolve(self.header.tensors, p + ".weight"): self.a.c["trainable_token_indices"] for p in self.a.tokens}
        self.rows = {n: next(iter(v.values())) if isinstance(v, dict) else v for n, v in self.rows.items()}

    def take(self, name, kind):
        if (name, kind) not in self.entries:
            raise Broken("RC016")
        return self.entries.pop((name, kind))

    def run(self):
        out = bytearray(self.header.raw)
        for name, (dtype, shape, (a, b)) in sorted(self.header.tensors.items(), key=lambda t: t[1][2]):
            out += self.tensor(name, dtype, shape, b - a)
        if self.entries:
            raise Broken("RC016")
        if digest(bytes(out)) != self.shard["digest"]:
            raise Broken("RC014")
        return bytes(out)

    def tensor(self, name, dtype, shape, size):
        if name in self.replaced:
            return verbatim(self.r, self.take(name, "verbatim"), max(1, BITS[dtype] // 8), size)
        if name not in self.merged.tensors or self.merged.tensors[name][1] != shape:
            raise Broken("RC011")
        to, wide = self.merged.tensors[name][0], self.r.head.get("dtype")
        if to != (wide if wide and dtype in DIGITS else dtype):
            raise Broken("RC011")
        if to == dtype and name not in self.modules and name not in self.rows:
            return self.merged.bytes(name)
        return self.inverse(name, dtype, to, shape)

    def inverse(self, name, dtype, to, shape):
        t, cols = self.take(name, "preimages"), math.prod(shape[1:])
        n = shape[0] * cols
        blocks, width = self.r.cut(t, -(-n // 65536)), BITS[dtype] // 8
        gains, rows = self.gains(name, t, shape), self.rows.get(name, [])
        old = verbatim(self.r, self.take(name, "verbatim"), width, len(rows) * cols * width) if rows else b""
        merged, size, out = self.merged.bytes(name), BITS[to] // 8, b""
        u = philox(int(self.r.head["seed"]), name) if self.r.head["rounding"] == "stochastic" else lambda i: None
        delta, bits = self.delta(name, shape), None
        for i in range(n):
            if i % 65536 == 0:
                if bits:
                    bits.finish()
                bits = Bits(blocks[i // 65536])
            row = i // cols
            if row in rows:
                at = (rows.index(row) * cols + i % cols) * width
                out += old[at:at + width]
                continue
            if to == dtype and name not in self.modules:
                out += merged[i * size:(i + 1) * size]
                continue
            m = int.from_bytes(merged[i * size:(i + 1) * size], "little")
            out += self.element(dtype, to, m, u(i), delta(i), gains(i), bits).to_bytes(width, "little")
        if bits:
            bits.finish()
        return out

    def element(self, dtype, to, m, u, delta, gain, bits):
        if m & (1 << BITS[to] - 1) - 1 > largest(to):
            return m if to == dtype else bits.index(1 << BITS[dtype])
        first, last = preimages(dtype, *cell(to, m, u), delta, *gain)
        if last < first:
            raise Broken("RC013")
        v = first + (bits.index(last - first + 1) if last > first else 0)
        return v if v >= 0 else -v - 1 | 1 << BITS[dtype] - 1

    def delta(self, name, shape):
        if name not in self.modules:
            return lambda i: Fraction(0)
        m, transposed = self.modules[name]
        A, B = self.a.file.values(m["a"]), self.a.file.values(m["b"])
        r, n_in, cols, s = self.a.shape(m["a"])[0], math.prod(self.a.shape(m["a"])[1:]), math.prod(shape[1:]), Fraction(m["s"])

        def at(i):
            i, j = divmod(i, cols)
            if transposed:
                i, j = j, i
            return s * sum(Fraction(B[i * r + q]) * Fraction(A[q * n_in + j]) for q in range(r))
        return at

    def gains(self, name, t, shape):
        scaled = name in self.modules and "lora_magnitude_vector" in self.modules[name][0]["parts"]
        if scaled != ("gains" in t):
            raise Broken("RC016")
        if not scaled:
            return lambda i: (Fraction(1), Fraction(0))
        outputs, cols, transposed = shape[1 if self.modules[name][1] else 0], math.prod(shape[1:]), self.modules[name][1]
        raw = self.r.read(t["gains"])
        g = struct.unpack(f"<{outputs}d", raw) if len(raw) == 8 * outputs else [math.nan]
        if not all(map(math.isfinite, g)):
            raise Broken("RC016")
        rho = Fraction(1, 2 ** t.get("radius", 0))
        return lambda i: (Fraction(g[i % cols if transposed else i // cols]), rho)


def restored(record, merged, adapter):
    """The SHA-256 of the restored file."""
    return hashlib.sha256(Restorer(Record(record), merged, adapter).run()).hexdigest()
