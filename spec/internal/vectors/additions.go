package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

func sum(b []byte) string { return hex.EncodeToString(digestOf(b)) }

func digestOf(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

// row is an entry of lora.base.tensors.
func row(t tensor) string {
	return fmt.Sprintf(`%s:{"dtype":%s,"shape":%s,"sha256":%s}`, quoted(t.name), quoted(t.dtype), numbers(t.shape), quoted(sum(t.data)))
}

// fingerprint follows chapter 7 of the specification.
func fingerprint(weights ...tensor) string {
	slices.SortFunc(weights, func(a, b tensor) int { return strings.Compare(a.name, b.name) })
	var lines strings.Builder
	for _, t := range weights {
		shape := strings.Trim(strings.ReplaceAll(fmt.Sprint(t.shape), " ", "x"), "[]")
		if shape == "" {
			shape = "-"
		}
		fmt.Fprintf(&lines, "%s %s %s %s\n", sum(t.data), t.dtype, shape, t.name)
	}
	return "sha256:" + sum([]byte(lines.String()))
}

// bound are the entries that bind an adapter to weights.
func bound(weights ...tensor) metadata {
	var rows []string
	for _, t := range weights {
		rows = append(rows, row(t))
	}
	return pt.with("lora.spec", "1.0", "lora.base.tensors", object(rows...), "lora.base.fingerprint", fingerprint(weights...))
}

// digests is lora.tensors for tensors.
func digests(ts ...tensor) string {
	var rows []string
	for _, t := range ts {
		rows = append(rows, quoted(t.name)+":"+quoted(sum(t.data)))
	}
	return object(rows...)
}

// additions are the vectors of the rules LT.
func additions() []vector {
	a, b := factors()[0], factors()[1]
	with := func(pairs ...string) map[string][]byte { return folder(plain(), pt.with(pairs...), a, b) }
	reject := func(rule, name, comment string, files map[string][]byte) vector {
		return vector{name: name, expect: "reject", rules: rule, comment: comment, files: files}
	}
	warn := func(rule, name, comment string, files map[string][]byte) vector {
		return vector{name: rule + "_" + name, warn: rule, comment: comment, files: files}
	}
	refuse := func(rule, name, comment string, files map[string][]byte) vector {
		return vector{name: name, expect: "unsupported", rules: rule, comment: comment, files: files}
	}
	table := object(row(weight()))
	on := func(v vector, files map[string][]byte) vector {
		v.base, v.deep, v.files = "base", true, also(v.files, files)
		return v
	}
	other := weight()
	other.data = slices.Clone(other.data)
	other.data[5] ^= 1
	return []vector{
		{name: "additions_all", deep: true, base: "base", comment: "a binding, digests, ranks and alphas, provenance", rules: "LT001 LT004 LT005 LT006 LT007 LT008 LT009 LT010 LT011 LT012 LT013 LT014",
			files: also(folder(plain(), bound(weight()).with("lora.tensors", digests(a, b), "lora.modules", `{"`+q+`":[2,4]}`, "lora.provenance", `{"steps":[]}`, "lora.required_features", ""), a, b), base("", weight()))},
		on(vector{name: "additions_base_renamed", comment: "the base has other prefixes than when the adapter was bound: the weight is the same", rules: "LT007", files: folder(plain(), bound(weight()), a, b)},
			base("", weight().named("layers.0.self_attn.q_proj.weight"))),
		{name: "additions_newer_minor", comment: "version 1.1 with an optional feature that is not known: it is ignored, and kept", rules: "LT002 LT003 LT011", files: with("lora.spec", "1.1", "lora.shiny", "new")},
		reject("LT001", "one_number", "a version of one number", with("lora.spec", "1")),
		reject("LT001", "leading_zero", "a version with a leading zero", with("lora.spec", "1.01")),
		refuse("LT002", "version_2", "version 2.0", with("lora.spec", "2.0")),
		refuse("LT003", "feature", "version 1.1 with a required feature that is not known", with("lora.spec", "1.1", "lora.required_features", "ternary-packing")),
		reject("LT004", "comma", "features with a comma between them", with("lora.required_features", "a,b")),
		reject("LT004", "twice", "a feature twice", with("lora.required_features", "a a")),
		reject("LT005", "no_object", "a base table that is a list", with("lora.base.tensors", "[]", "lora.base.fingerprint", fingerprint())),
		reject("LT005", "short_digest", "a digest that is too short", with("lora.base.tensors", strings.Replace(table, sum(weight().data), "00ff", 1), "lora.base.fingerprint", fingerprint(weight()))),
		reject("LT006", "other", "a fingerprint of another table", with("lora.base.tensors", table, "lora.base.fingerprint", fingerprint(weight().named("x.weight")))),
		reject("LT006", "alone", "a fingerprint without a table", with("lora.base.fingerprint", fingerprint(weight()))),
		on(reject("LT007", "value", "one bit of the base's weight differs", folder(plain(), bound(weight()), a, b)), base("", other)),
		on(reject("LT007", "dtype", "the base is BF16, the adapter is bound to F32", folder(plain(), bound(weight()), a, b)), base("", bf16(q+".weight", -1, 0.5, 3, 4))),
		func() vector {
			v := reject("LT008", "edited", "a factor that was edited after its digest was taken", folder(plain(), pt.with("lora.tensors", digests(a, b)), a.at(0, 9), b))
			v.deep = true
			return v
		}(),
		reject("LT009", "tensor_missing", "digests of one tensor of two", with("lora.tensors", digests(a))),
		reject("LT009", "tensor_more", "digests of a tensor that is not there", with("lora.tensors", digests(a, b, weight()))),
		reject("LT010", "rank", "a rank that the config does not give", with("lora.modules", `{"`+q+`":[4,4]}`)),
		reject("LT010", "alpha", "an alpha that the config does not give", with("lora.modules", `{"`+q+`":[2,8]}`)),
		warn("LT011", "misspelt", "a key that version 1.0 does not have", with("lora.spec", "1.0", "lora.base.tensor", "{}")),
		warn("LT012", "incomplete", "a binding that lacks one of two modules", folder(plain().with("target_modules", `["q_proj","k_proj"]`), bound(weight()), append(pair("model.layers.0.self_attn.k_proj", 2, 4, 3), a, b)...)),
		warn("LT013", "provenance", "a provenance that is no object", with("lora.provenance", "made with love")),
		warn("LT014", "no_format", "metadata without the format", folder(plain(), metadata{{"by", "hand"}}, a, b)),
	}
}
