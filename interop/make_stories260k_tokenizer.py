#!/usr/bin/env python3
"""Makes tokenizer.json and tokenizer_config.json of testdata/stories260k/base from
tok512.bin, the tokenizer of stories260K (karpathy/tinyllamas, MIT) in the format of
llama2.c: a BPE of the SentencePiece type with byte fallback.

usage: make_stories260k_tokenizer.py TOK512.bin OUT_DIR
Needs no packages. Merges are written as transformers writes those of Llama 2: for
each token every pair that makes it, by score and then by the ids of the pair."""
import json, struct, sys

raw = open(sys.argv[1], "rb").read()
at, pieces, scores = 4, [], []
while at < len(raw):
    score, n = struct.unpack_from("<fi", raw, at)
    scores.append(score)
    pieces.append(raw[at + 8 : at + 8 + n].decode())
    at += 8 + n
pieces[0:3] = ["<unk>", "<s>", "</s>"]
pieces = [p if i < 259 else p.replace(" ", "\u2581") for i, p in enumerate(pieces)]
ids = {p: i for i, p in enumerate(pieces)}
assert len(ids) == len(pieces) == 512 and pieces[3] == "<0x00>" and pieces[258] == "<0xFF>"
merges = []
for i in sorted(range(259, 512), key=lambda i: -scores[i]):
    p = pieces[i]
    pairs = [(p[:k], p[k:]) for k in range(1, len(p)) if p[:k] in ids and p[k:] in ids]
    merges += sorted(pairs, key=lambda pair: (ids[pair[0]], ids[pair[1]]))
special = [{"id": i, "content": pieces[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for i in range(3)]
space = "\u2581"
tokenizer = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": space}, {"type": "Replace", "pattern": {"String": " "}, "content": space}]},
    "pre_tokenizer": None,
    "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                       "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                       "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": space}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                                                 {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
              "byte_fallback": True, "ignore_merges": False, "vocab": ids, "merges": [" ".join(m) for m in merges]},
}
with open(sys.argv[2] + "/tokenizer.json", "w") as f:
    json.dump(tokenizer, f, indent=1, ensure_ascii=False)
    f.write("\n")
with open(sys.argv[2] + "/tokenizer_config.json", "w") as f:
    json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "model_max_length": 512}, f, indent=1)
    f.write("\n")
