#!/usr/bin/env python3
"""Holds the tokenizer against the Hugging Face tokenizers library: the ids of
thousands of texts, with and without special tokens, and the texts that come
back, must be equal. The vocabularies are trained on the spot, one for each
type of tokenizer.json that models in use have; GPT-2's own file is read where
../shared/data/gpt2-tokenizer has it.

usage: check_tokenizer.py --loratool BIN [--texts N] [--seed S]"""
import argparse, glob, json, os, random, subprocess, sys, tempfile, time, unicodedata
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SCRIPTS = """Съешь же ещё этих мягких французских булок, да выпей чаю.
Ζαφείρι δέξου πάγκαλο, βαθῶν ψυχῆς τὸ σῆμα.
色は匂へど散りぬるを我が世誰ぞ常ならむ。いろはにほへと ちりぬるを カタカナ。
天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。这是一个测试，2024年。
키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.
نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश
เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน
Zażółć gęślą jaźń. Příliš žluťoučký kůň. Ærøskøbing, Öl, Ümlaut, façade, naïve.
👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽 ❤️ ✨ ½ ² Ⅷ ① ﬁ ﷺ Å Å ẛ̣ ï İstanbul ſtraße K"""
SPECIAL = ["<|begin|>", "<|end|>", "<|im_start|>", "<|im_end|>"]


def corpus():
    files = sorted(glob.glob("docs/*.md") + glob.glob("interop/*.py") + glob.glob(os.path.dirname(os.__file__) + "/[a-f]*.py"))[:60]
    text = [open(f, encoding="utf-8", errors="replace").read() for f in files]
    return text + [SCRIPTS] * 20 + [" ".join(str(random.Random(1).randrange(10**6)) for _ in range(2000))]


def byte_level(normalizer, pre, **kw):
    t = Tokenizer(models.BPE(**kw))
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=3000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=SPECIAL, show_progress=False))
    return t


def split(*patterns):
    parts = [pre_tokenizers.Split(Regex(p), "isolated") for p in patterns]
    return pre_tokenizers.Sequence(parts + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def gpt2():
    t = byte_level(None, pre_tokenizers.ByteLevel(add_prefix_space=False))
    t.add_tokens([AddedToken("Zog", normalized=True), AddedToken("left", lstrip=True), AddedToken("right", rstrip=True), AddedToken("word", single_word=True)])
    return t


def gpt2_prefix():
    return byte_level(None, pre_tokenizers.ByteLevel(add_prefix_space=True))


def llama3():
    t = byte_level(None, split(LLAMA3), ignore_merges=True)
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(single="<|begin|> $A", pair="<|begin|> $A <|begin|> $B", special_tokens=[("<|begin|>", 0)])])
    return t


def qwen2():
    return byte_level(normalizers.NFC(), split(QWEN2))


def o200k():
    return byte_level(None, split(O200K))


def smollm2():
    t = byte_level(None, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]))
    t.post_processor = processors.TemplateProcessing(single="<|begin|> $A <|end|>", special_tokens=[("<|begin|>", 0), ("<|end|>", 1)])
    return t


def deepseek():
    return byte_level(normalizers.Sequence([]), split(r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK))


def pieces(normalizer, pre, decoder, byte_fallback=True, fuse_unk=True, **added):
    """SentencePiece type: trained with Metaspace, then given the parts that the files in use have."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=fuse_unk))
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    bytes_ = [f"<0x{i:02X}>" for i in range(256)] if byte_fallback else []
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=2500, limit_alphabet=150, special_tokens=["<unk>", "<s>", "</s>"] + bytes_, show_progress=False))
    d = json.loads(t.to_str())
    d["added_tokens"] = [a for a in d["added_tokens"] if a["id"] < 3]
    d["model"]["byte_fallback"] = byte_fallback
    t = Tokenizer.from_str(json.dumps(d))
    t.normalizer, t.pre_tokenizer, t.decoder = normalizer or normalizers.Sequence([]), pre or pre_tokenizers.Sequence([]), decoder
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    d = json.loads(t.to_str())
    if normalizer is None:
        d["normalizer"] = None
    if pre is None:
        d["pre_tokenizer"] = None
    t = Tokenizer.from_str(json.dumps(d))
    t.add_special_tokens(SPECIAL[2:])
    t.add_tokens([AddedToken("[TOOL]", normalized=True, lstrip=True), AddedToken(" two", normalized=True)])
    return t


def llama2():
    return pieces(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None,
                  decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]))


def mistral():
    return pieces(None, pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False),
                  decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]))


def gemma():
    return pieces(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"),
                  decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]))


def metaspace():
    return pieces(normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()]), pre_tokenizers.Metaspace(prepend_scheme="always"), decoders.Metaspace(), byte_fallback=False)


def unfused():
    return pieces(None, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Metaspace(prepend_scheme="first")]), decoders.Metaspace(prepend_scheme="never"), byte_fallback=False, fuse_unk=False)


def behaviors():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\d+|[.!?]"), "merged_with_next"), pre_tokenizers.Split(Regex(r"\w+"), "contiguous", invert=True),
                                   pre_tokenizers.Split(",", "removed"), pre_tokenizers.Split(Regex(r"\s"), "merged_with_previous"), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return byte_level(normalizers.NFD(), pre)


def words():
    return byte_level(normalizers.NFKD(), pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel()]))


TYPES = [gpt2, gpt2_prefix, llama3, qwen2, o200k, smollm2, deepseek, llama2, mistral, gemma, metaspace, unfused, behaviors, words]


def known(c):
    """Characters of which every version of Unicode since 13 says the same."""
    o = ord(c)
    return unicodedata.ucd_3_2_0.category(c) == unicodedata.category(c) != "Cn" and not 0xD800 <= o < 0xE000


def texts(rng, n):
    whole = "\n".join(corpus())
    out = ["", " ", "  ", "\n", "\r\n\r\n", "\t\t x", "a  b", " a", "a ", "   a   ", "'S 'ſ 'LL x'd", "K'K", "\ufeffBOM", "\u200b\u200d", "\u00a0\u3000x\u2028y\u0085z",
           "0123456789 12 1234567", "<|im_start|>user\nHi<|im_end|> <|end|>", "left right  word words left", "[TOOL] x  [TOOL]", "one two  two", "\x00\x01", "e\u0301 \u1e9b\u0323", "Zog Zogs zog",
           "x" * 3000, " " * 3000, "\n " * 500, "ab" * 2000, "é" * 1000, "9" * 1500, "▁a ▁ ▁▁", "<0x41><0x0A>", "</s><s> <unk>x"]
    alphabet = [chr(i) for i in range(1, 0x3400) if known(chr(i))] + list("\U0001F600\U0001F468\U00020000𝔘𝟙")
    common = list(" \t\n\r'’.,!?-_/\\0123456789abcstdmreABCZ▁é世") + SPECIAL + ["word", "left", "right", "[TOOL]", " two", "'ll", "'RE", "\r\n"]
    while len(out) < n:
        kind = rng.random()
        if kind < 0.4:
            at = rng.randrange(len(whole))
            out.append(whole[at : at + rng.choice([5, 40, 200, 2000])])
        elif kind < 0.7:
            out.append("".join(rng.choice(common) for _ in range(rng.randint(1, 60))))
        else:
            out.append("".join(rng.choice(alphabet if rng.random() < 0.5 else common) for _ in range(rng.randint(1, 60))))
    return out


def check(name, tok, path, sample, binary):
    lines = "".join(json.dumps(s) + "\n" for s in sample).encode()
    run = subprocess.run([binary, "tokenize", path, "--json-lines"], input=lines, capture_output=True)
    if run.returncode:
        print(f"{name}: exit {run.returncode}: {run.stderr.decode()}")
        return len(sample)
    failed = 0
    for s, line in zip(sample, run.stdout.decode().split("\n")[:-1], strict=True):
        got = json.loads(line)
        plain, full = tok.encode(s, add_special_tokens=False).ids, tok.encode(s).ids
        want = {"ids": plain, "with_special": full, "text": tok.decode(plain, skip_special_tokens=False), "clean": tok.decode(plain, skip_special_tokens=True)}
        bad = [k for k in want if got[k] != want[k]]
        if bad:
            failed += 1
            if failed <= 3:
                print(f"{name}: {s[:80]!r}: {bad[0]}\n  got  {str(got[bad[0]])[:200]}\n  want {str(want[bad[0]])[:200]}")
    return failed


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--loratool", required=True)
    ap.add_argument("--texts", type=int, default=1500)
    ap.add_argument("--seed", type=int, default=8)
    args = ap.parse_args()
    sample = texts(random.Random(args.seed), args.texts)
    passed = failed = 0
    with tempfile.TemporaryDirectory() as work:
        cases = [(t.__name__, t()) for t in TYPES]
        real = "../shared/data/gpt2-tokenizer/tokenizer.json"
        if os.path.exists(real):
            cases.append(("gpt2 of OpenAI", Tokenizer.from_file(real)))
        cases.append(("stories260K", Tokenizer.from_file("testdata/stories260k/base/tokenizer.json")))
        for name, tok in cases:
            path = f"{work}/{name}"
            os.mkdir(path)
            tok.save(f"{path}/tokenizer.json")
            start = time.time()
            bad = check(name, tok, path, sample, args.loratool)
            print(f"{name}: {len(sample) - bad} of {len(sample)} texts equal, {tok.get_vocab_size()} tokens, {time.time() - start:.1f} s", flush=True)
            passed += len(sample) - bad
            failed += bad
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
